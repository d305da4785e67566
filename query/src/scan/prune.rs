//! What need not be looked at: batches, segments and row groups in which a filter can't be true.
use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, StringViewArray, TimestampNanosecondArray, UInt64Array,
};
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimestampNanosecondType};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ScalarValue, Statistics};
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use segment::{Blooms, Segment};

use super::Hot;
use crate::tables::TABLE_NAME;

/// The batches in which the filter may be true. `named`: the name of the table is a column.
pub(super) fn hot(batches: Vec<Hot>, pruning: Option<&PruningPredicate>, named: bool) -> Vec<Hot> {
    match pruning.and_then(|it| it.prune(&HotStatistics { batches: &batches, named }).ok()) {
        Some(keep) => kept(batches, keep),
        None => batches,
    }
}

/// A segment of which something must be read.
pub(super) struct Part<'a> {
    pub(super) segment: &'a Arc<Segment>,
    /// Which row groups; all without.
    pub(super) row_groups: Option<ParquetAccessPlan>,
    /// How many they are at most.
    pub(super) n_row_groups: u64,
    /// About how many bytes there are to choose from.
    pub(super) bytes: u64,
}

/// What must be read of which segments, and whether their bloom filters were asked already.
///
/// Times and the name of the table are known without their files; for other columns, the footers
/// have bounds, and for ids there are bloom filters. Both are in memory as a rule.
pub(super) fn segments<'a>(
    segments: Vec<&'a Arc<Segment>>,
    pruning: Option<&PruningPredicate>,
    columns: &SchemaRef,
    named: bool,
) -> (Vec<Part<'a>>, bool) {
    let all = |it: &'a Arc<Segment>| Part {
        segment: it,
        row_groups: None,
        n_row_groups: u64::MAX,
        bytes: it.bytes,
    };
    let Some(pruning) = pruning else { return (segments.into_iter().map(all).collect(), false) };
    let segments = match pruning.prune(&SegmentStatistics { segments: &segments, named }) {
        Ok(keep) => kept(segments, keep),
        Err(_) => segments,
    };
    let mut asked = collect_columns(pruning.orig_expr()).into_iter();
    if asked.all(|it| it.name() == "ts" || (named && it.name() == TABLE_NAME)) {
        return (segments.into_iter().map(all).collect(), false);
    }
    let by_bloom = !pruning.literal_guarantees().is_empty();
    let statistics = RowGroupStatistics::new(&segments, columns, named, by_bloom);
    let Ok(keep) = pruning.prune(&statistics) else {
        return (segments.into_iter().map(all).collect(), false);
    };
    let filtered = by_bloom && statistics.footers.iter().all(|it| it.blooms.is_some());
    let mut keep = keep.into_iter();
    let mut parts = Vec::new();
    for (segment, footer) in segments.iter().zip(&statistics.footers) {
        let Some(metadata) = &footer.metadata else {
            // Whoever reads it will say what is wrong with it.
            keep.next();
            parts.push(all(segment));
            continue;
        };
        let keep: Vec<bool> = keep.by_ref().take(metadata.num_row_groups()).collect();
        let bytes = metadata.row_groups().iter().zip(&keep);
        let bytes = bytes.filter(|it| *it.1).map(|it| it.0.compressed_size()).sum::<i64>();
        let (bytes, none) = (u64::try_from(bytes).unwrap_or_default(), !keep.contains(&true));
        if none {
            continue;
        }
        let n_row_groups = keep.iter().filter(|it| **it).count() as u64;
        let access = |it| if it { RowGroupAccess::Scan } else { RowGroupAccess::Skip };
        let some = keep.contains(&false);
        let row_groups =
            some.then(|| ParquetAccessPlan::new(keep.into_iter().map(access).collect()));
        parts.push(Part { segment, row_groups, n_row_groups, bytes });
    }
    (parts, filtered)
}

fn kept<T>(of: Vec<T>, keep: Vec<bool>) -> Vec<T> {
    of.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|it| it.0).collect()
}

/// What is known of a segment without touching its file, for the columns it may have.
pub(super) fn statistics(segment: &Segment, columns: &SchemaRef) -> Statistics {
    let mut statistics = Statistics::new_unknown(columns);
    statistics.num_rows = Precision::Exact(usize::try_from(segment.rows).unwrap_or(usize::MAX));
    if let Some(ts) =
        columns.index_of("ts").ok().and_then(|it| statistics.column_statistics.get_mut(it))
    {
        let at =
            |ns| Precision::Exact(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
        (ts.min_value, ts.max_value) = (at(segment.min_ts), at(segment.max_ts));
        ts.null_count = Precision::Exact(0);
    }
    statistics
}

struct SegmentStatistics<'a> {
    segments: &'a [&'a Arc<Segment>],
    named: bool,
}

impl SegmentStatistics<'_> {
    fn of(&self, column: &Column, time: impl Fn(&Segment) -> i64) -> Option<ArrayRef> {
        match column.name.as_str() {
            "ts" => {
                let times = self.segments.iter().map(|it| time(it));
                let times = TimestampNanosecondArray::from_iter_values(times);
                Some(Arc::new(times.with_timezone("UTC")))
            }
            TABLE_NAME if self.named => {
                let names = self.segments.iter().map(|it| it.table.as_str());
                Some(Arc::new(StringViewArray::from_iter_values(names)))
            }
            _ => None,
        }
    }
}

impl PruningStatistics for SegmentStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column, |it| it.min_ts)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column, |it| it.max_ts)
    }

    fn num_containers(&self) -> usize {
        self.segments.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.segments.iter().map(|it| it.rows))))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// The row groups of some segments, one after the other. A segment whose footer can't be read
/// counts as one, of which nothing is known.
struct RowGroupStatistics<'a> {
    columns: &'a SchemaRef,
    named: bool,
    footers: Vec<Footer>,
}

struct Footer {
    segment: Arc<Segment>,
    metadata: Option<Arc<ParquetMetaData>>,
    blooms: Option<Arc<Blooms>>,
}

impl Footer {
    fn row_groups(&self) -> usize {
        self.metadata.as_ref().map_or(1, |it| it.num_row_groups())
    }
}

impl<'a> RowGroupStatistics<'a> {
    fn new(
        segments: &[&Arc<Segment>],
        columns: &'a SchemaRef,
        named: bool,
        by_bloom: bool,
    ) -> Self {
        let footers = segments.iter().map(|it| Footer {
            segment: Arc::clone(it),
            metadata: it.metadata().ok(),
            blooms: by_bloom.then(|| it.blooms().ok()).flatten(),
        });
        Self { columns, named, footers: footers.collect() }
    }

    fn bounds(&self, column: &Column, max: bool) -> Option<ArrayRef> {
        let field = self.columns.field_with_name(&column.name).ok()?;
        let unknown = |n| datafusion::arrow::array::new_null_array(field.data_type(), n);
        let bounds = self.footers.iter().map(|footer| {
            if self.named && column.name == TABLE_NAME {
                let names = std::iter::repeat_n(footer.segment.table.as_str(), footer.row_groups());
                return Arc::new(StringViewArray::from_iter_values(names)) as ArrayRef;
            }
            let Some(metadata) = &footer.metadata else { return unknown(1) };
            let parquet = metadata.file_metadata().schema_descr();
            // The columns as they are in the file: it may have others, and in another order.
            let schema = &footer.segment.schema;
            let converter = StatisticsConverter::try_new(&column.name, schema, parquet);
            let bounds = converter.and_then(|it| match max {
                true => it.row_group_maxes(metadata.row_groups()),
                false => it.row_group_mins(metadata.row_groups()),
            });
            let bounds = bounds.ok().filter(|it| it.data_type() == field.data_type());
            bounds.unwrap_or_else(|| unknown(footer.row_groups()))
        });
        let bounds: Vec<ArrayRef> = bounds.collect();
        let bounds: Vec<&dyn Array> = bounds.iter().map(AsRef::as_ref).collect();
        compute::concat(&bounds).ok()
    }
}

impl PruningStatistics for RowGroupStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, false)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, true)
    }

    fn num_containers(&self) -> usize {
        self.footers.iter().map(Footer::row_groups).sum()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.footers.iter().flat_map(|footer| match &footer.metadata {
            Some(it) => {
                let rows = it.row_groups().iter().map(|it| it.num_rows());
                rows.map(|it| u64::try_from(it).unwrap_or_default()).collect()
            }
            None => vec![footer.segment.rows],
        });
        Some(Arc::new(UInt64Array::from_iter_values(rows)))
    }

    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let texts = values.iter().map(|it| it.try_as_str().flatten());
        let texts = texts.collect::<Option<Vec<_>>>()?;
        let absent = |footer: &Footer, row_group| {
            let blooms = footer.blooms.as_ref()?;
            let mut found = texts.iter().map(|it| blooms.may_have(&column.name, row_group, it));
            // Bloom filters never say that it is there.
            found.all(|it| it == Some(false)).then_some(false)
        };
        let all = self.footers.iter();
        Some(all.flat_map(|it| (0..it.row_groups()).map(move |i| absent(it, i))).collect())
    }
}

/// A batch in memory has no statistics, but two are found faster than a filter is evaluated: the
/// range of `ts`, and the one value of a column that has only one, such as `protocol`.
struct HotStatistics<'a> {
    batches: &'a [Hot],
    named: bool,
}

impl HotStatistics<'_> {
    fn of(&self, column: &Column, max: bool) -> Option<ArrayRef> {
        if self.named && column.name == TABLE_NAME {
            let names = self.batches.iter().map(|it| it.table.as_ref());
            return Some(Arc::new(StringViewArray::from_iter_values(names)));
        }
        let values: Vec<ArrayRef> = self
            .batches
            .iter()
            .map(|it| {
                let column = it.batch.column_by_name(&column.name)?;
                match column.data_type() {
                    DataType::Timestamp(..) if column.null_count() == 0 => {
                        let times = column.as_primitive_opt::<TimestampNanosecondType>()?;
                        let it = if max { compute::max(times) } else { compute::min(times) };
                        Some(TimestampNanosecondArray::from(vec![it]).with_timezone("UTC"))
                            .map(|it| Arc::new(it) as ArrayRef)
                    }
                    DataType::Utf8View => only_value(column.as_string_view_opt()?),
                    _ => None,
                }
            })
            .collect::<Option<_>>()?;
        let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        compute::concat(&values).ok()
    }
}

/// The column's first value, if all the others are the same; null if they are not.
fn only_value(column: &StringViewArray) -> Option<ArrayRef> {
    let views = column.views();
    let first = views.first()?;
    // Up to 12 bytes stand in the view itself, so that equal views are equal texts.
    let inline = (*first as u32) <= 12;
    let one = inline && column.null_count() == 0 && views.iter().all(|it| it == first);
    Some(if one { column.slice(0, 1) } else { StringViewArray::new_null(1) })
        .map(|it| Arc::new(it) as _)
}

impl PruningStatistics for HotStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column, false)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column, true)
    }

    fn num_containers(&self) -> usize {
        self.batches.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.batches.iter().map(|it| it.batch.num_rows() as u64);
        Some(Arc::new(UInt64Array::from_iter_values(rows)))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
