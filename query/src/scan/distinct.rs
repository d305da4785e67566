//! Drops rows that say what others said, where only distinct texts are wanted.
//!
//! Of row groups in which every row points to a dictionary, only that is read.
//!
//! In others, a text that repeats is stored once for each row group as well, in its dictionary, and the column that is
//! read points to it. So two rows that point to the same place are the same, and that is seen
//! without looking at the text. What is left is grouped as usual: this only spares it work.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringViewArray};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::hash_utils::RandomState;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use futures::{Stream, StreamExt};
use segment::{Dictionaries, Reader, Segment};

use super::{Meter, Scan};

/// The scan whose distinct texts are all that this node asks for.
pub(super) fn wanted(node: &dyn ExecutionPlan) -> Option<&Scan> {
    let aggregate = node.downcast_ref::<AggregateExec>()?;
    let groups = aggregate.group_expr();
    let [(group, _)] = groups.expr() else { return None };
    let plain = groups.is_single() && aggregate.aggr_expr().is_empty() && group.is::<Column>();
    let scan = aggregate.input().downcast_ref::<Scan>()?;
    let [field] = scan.schema.fields().as_ref() else { return None };
    let text = *field.data_type() == DataType::Utf8View;
    (plain && text && scan.limit.is_none()).then_some(scan)
}

/// Where the texts were that came so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What views point to, and short texts themselves.
    places: HashSet<u128, RandomState>,
    null: bool,
    /// As long as they are held, nothing else can come to lie in their place.
    buffers: Vec<Buffer>,
    rows: usize,
    fresh: usize,
    useless: bool,
}

impl Seen {
    /// The rows of `batch`, which has one column of texts, that may be the first of their kind.
    pub(super) fn fresh(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let column = match batch.columns() {
            [column] if !self.useless => column.as_string_view_opt().cloned(),
            _ => None,
        };
        let Some(column) = column else { return Ok(batch) };
        let fresh = self.mark(&column);
        self.rows += fresh.len();
        self.fresh += fresh.true_count();
        // Texts that hardly repeat, or are stored one by one.
        self.useless = self.rows >= TRIAL_ROWS && self.fresh > self.rows / 2;
        if self.useless {
            (self.places, self.buffers) = Default::default();
        }
        Ok(filter_record_batch(&batch, &fresh)?)
    }

    fn mark(&mut self, column: &StringViewArray) -> BooleanArray {
        let buffers = column.data_buffers();
        let held = |it: &Buffer| self.buffers.iter().any(|held| held.as_ptr() == it.as_ptr());
        let news: Vec<Buffer> = buffers.iter().filter(|it| !held(it)).cloned().collect();
        if self.buffers.len() + news.len() > BUFFERS || self.places.len() > PLACES {
            self.places.clear();
            self.buffers.clear();
            self.buffers.extend(buffers.iter().cloned());
        } else {
            self.buffers.extend(news);
        }
        let starts: Vec<u64> = buffers.iter().map(|it| it.as_ptr() as u64).collect();
        let views = column.views().iter().enumerate();
        let fresh = views.map(|(row, view)| {
            if column.is_null(row) {
                return !std::mem::replace(&mut self.null, true);
            }
            let length = *view as u32;
            let place = match length {
                // Up to twelve bytes stand in the view itself.
                0..=12 => *view,
                _ => {
                    let (buffer, offset) = ((*view >> 64) as u32, (*view >> 96) as u32);
                    let start = starts.get(buffer as usize).copied().unwrap_or_default();
                    u128::from(start + u64::from(offset)) << 64 | u128::from(length)
                }
            };
            self.places.insert(place)
        });
        fresh.collect::<Vec<bool>>().into()
    }
}

/// The scan's rows for whoever wants its distinct texts only.
pub(super) fn of(scan: &Scan) -> Arc<Scan> {
    let mut scan = Scan { distinct: true, ..scan.clone() };
    let Some(plain) = scan.plain.take() else { return Arc::new(scan) };
    let partitions = scan.hot.len().max(1);
    let mut said = vec![Vec::new(); partitions];
    // By file: the row groups that must be read, of those for which the others need not be.
    let mut left = HashMap::new();
    for (file, segment) in plain.segments.iter() {
        let of = segment.dictionaries(&plain.column).filter(|it| !it.row_groups.is_empty());
        let Some(of) = of else { continue };
        let Ok(metadata) = segment.metadata() else { continue };
        let mut access = ParquetAccessPlan::new_all(metadata.num_row_groups());
        of.row_groups.iter().for_each(|it| access.skip(*it));
        if let Some(it) = said.get_mut(left.len() % partitions) {
            it.push((Arc::clone(segment), Arc::new(of)));
        }
        left.insert(file.as_str(), access);
    }
    let mut config = plain.config;
    let groups = config.file_groups.iter().map(|group| {
        let files = group.files().iter().filter_map(|file| {
            match left.get(file.object_meta.location.as_ref()) {
                Some(access) if access.row_group_indexes().is_empty() => None,
                Some(access) => Some(file.clone().with_extension(access.clone())),
                None => Some(file.clone()),
            }
        });
        FileGroup::new(files.collect())
    });
    config.file_groups = groups.collect();
    let any = config.file_groups.iter().any(|it| !it.is_empty());
    scan.files = any.then(|| DataSourceExec::from_data_source(config) as _);
    scan.said = Said { segments: said };
    Arc::new(scan)
}

/// How the files of a scan are read that wants one column of all rows, as it is.
#[derive(Clone)]
pub(super) struct Plain {
    column: String,
    config: FileScanConfig,
    segments: Arc<BTreeMap<String, Arc<Segment>>>,
}

/// Whether the condition is only what was found out meanwhile, as of the first rows in some order: it spares work,
/// and who has more rows is not wrong.
pub(super) fn is_advice(predicate: &Arc<dyn PhysicalExpr>) -> bool {
    split_conjunction(predicate).into_iter().all(|it| it.is::<DynamicFilterPhysicalExpr>())
}

/// That, if it is such a scan.
pub(super) fn plain(
    config: &FileScanConfig,
    segments: &Arc<BTreeMap<String, Arc<Segment>>>,
) -> Option<Plain> {
    let [only] = config.file_source().projection()?.as_ref() else { return None };
    let column = only.expr.downcast_ref::<Column>()?.name().to_owned();
    Some(Plain { column, config: config.clone(), segments: Arc::clone(segments) })
}

/// Dictionaries that are read in place of rows, per partition.
#[derive(Clone, Default)]
pub(super) struct Said {
    segments: Vec<Vec<(Arc<Segment>, Arc<Dictionaries>)>>,
}

impl Said {
    /// Their texts.
    pub(super) fn stream(
        &self,
        partition: usize,
        schema: &SchemaRef,
        meter: &Arc<Meter>,
    ) -> impl Stream<Item = Result<RecordBatch>> + Send + use<> {
        let (schema, meter) = (Arc::clone(schema), Arc::clone(meter));
        let segments = self.segments.get(partition).cloned().unwrap_or_default();
        futures::stream::iter(segments).flat_map(move |(segment, of)| {
            let (schema, meter) = (Arc::clone(&schema), Arc::clone(&meter));
            meter.segments.fetch_add(1, Relaxed);
            let groups = futures::stream::iter(of.row_groups.clone());
            groups.then(move |group| {
                let (segment, of) = (Arc::clone(&segment), Arc::clone(&of));
                let (schema, meter) = (Arc::clone(&schema), Arc::clone(&meter));
                async move {
                    let read = Reader::new(segment).dictionary(&of, group).await;
                    let (texts, bytes) =
                        read.map_err(|it| DataFusionError::External(Box::new(it)))?;
                    meter.rows.fetch_add(texts.len() as u64, Relaxed);
                    meter.bytes.fetch_add(bytes, Relaxed);
                    Ok(RecordBatch::try_new(schema, vec![Arc::new(texts)])?)
                }
            })
        })
    }
}

/// After that many rows it shows whether it is of use.
const TRIAL_ROWS: usize = 64 << 10;
/// Places remembered at most, 16 bytes each and room to grow.
const PLACES: usize = 128 << 10;
/// Dictionaries and pages held at most; each is about a megabyte.
const BUFFERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{StringArray, StringViewBuilder};
    use datafusion::arrow::compute::cast;

    fn texts(batch: &RecordBatch) -> Vec<Option<String>> {
        batch.column(0).as_string_view().iter().map(|it| it.map(str::to_owned)).collect()
    }

    #[test]
    fn every_text_comes_through_and_those_in_one_place_once() {
        let mut dictionary = StringViewBuilder::new();
        let long = |i: usize| format!("a text that is too long for a view, {i}");
        (0..100).for_each(|i| dictionary.append_value(long(i)));
        ["a", "b"].iter().for_each(|it| dictionary.append_value(it));
        dictionary.append_null();
        let dictionary = dictionary.finish();
        let mut seen = Seen::default();
        let mut came = Vec::new();
        for start in 0..50_u32 {
            let rows = (0..1000).map(|i| (start + i * 7) % 103).collect::<Vec<u32>>();
            let rows = datafusion::arrow::array::UInt32Array::from(rows);
            let column = datafusion::arrow::compute::take(&dictionary, &rows, None).unwrap();
            let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
            came.extend(texts(&seen.fresh(batch).unwrap()));
        }
        assert_eq!(came.len(), 103, "each once");
        came.sort();
        came.dedup();
        assert_eq!(came.len(), 103);
    }

    #[test]
    fn the_same_text_in_other_places_and_others_in_the_same_place_are_kept() {
        let mut seen = Seen::default();
        for round in 0..100 {
            // Each batch is freed before the next is made, so that it may come to lie there.
            let texts_ = (0..50).map(|i| format!("a text too long for a view: {round} {i}"));
            let plain = StringArray::from_iter_values(texts_);
            let column = cast(&plain, &DataType::Utf8View).unwrap();
            let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
            assert_eq!(texts(&seen.fresh(batch.clone()).unwrap()), texts(&batch), "{round}");
        }
        assert!(seen.buffers.len() <= BUFFERS);
    }
}
