//! What of the time that a query asks about a place has rows of, and what was lost in it.
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use segment::{Store, StoreState};

/// What was lost at one stage: see the table `losses`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Loss {
    /// Where, such as `kernel` or `quota`.
    pub stage: String,
    /// How many units of that stage.
    pub count: u64,
    /// How many bytes, as far as that is known.
    pub bytes: u64,
}

/// The time that the scans of a query ask about at one place, and the rows there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    /// From and to, of all scans together; nothing where one of them asks without a bound.
    asked: Option<(Option<i64>, Option<i64>)>,
    /// The oldest and newest row of the tables that are scanned.
    kept: Option<(i64, i64)>,
}

impl Coverage {
    /// Another scan asks for the rows of a table that hold for `predicate`.
    pub(crate) fn ask(
        &mut self,
        state: &StoreState,
        table: &str,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
    ) {
        let (from, to) = predicate.map_or((None, None), bounds);
        self.asked = Some(match self.asked {
            None => (from, to),
            Some((earlier, later)) => {
                (earlier.zip(from).map(|(a, b)| a.min(b)), later.zip(to).map(|(a, b)| a.max(b)))
            }
        });
        let Some(state) = state.tables.iter().find(|it| it.name == table) else { return };
        let Some((oldest, newest)) = state.oldest.zip(state.newest) else { return };
        self.kept = Some(match self.kept {
            None => (oldest, newest),
            Some((a, b)) => (a.min(oldest), b.max(newest)),
        });
    }

    /// The oldest and the newest time in what was asked that there are rows of.
    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        let (mut oldest, mut newest) = self.kept?;
        let (from, to) = self.asked.unwrap_or_default();
        oldest = oldest.max(from.unwrap_or(i64::MIN));
        newest = newest.min(to.unwrap_or(i64::MAX));
        (oldest <= newest).then_some((oldest, newest))
    }

    /// What was lost in the time asked about, by stage, and whether older losses were left out.
    pub(crate) fn losses(&self, store: &Store) -> (Vec<Loss>, bool) {
        let Some((from, to)) = self.asked else { return (Vec::new(), false) };
        let (from, to) = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
        let snapshot = store.snapshot(LOSSES);
        let mut sums = BTreeMap::new();
        for batch in &snapshot.hot {
            add(batch, from, to, &mut sums);
        }
        let may_have = |min: i64, max: i64| min <= to && max >= from.saturating_sub(INTERVAL);
        let segments = snapshot.segments.iter().rev();
        let mut segments = segments.filter(|it| may_have(it.min_ts, it.max_ts));
        let mut cut = false;
        for segment in segments.by_ref().take(SEGMENTS) {
            // What only the bucket has would have to be waited for.
            if !segment.is_local() {
                cut = true;
                continue;
            }
            let Ok(batches) = segment.read(Some(&COLUMNS)) else {
                tracing::warn!(segment = segment.file, "losses can't be read");
                continue;
            };
            batches.filter_map(Result::ok).for_each(|it| add(&it, from, to, &mut sums));
        }
        cut |= segments.next().is_some();
        let losses = sums.into_iter();
        (losses.map(|(stage, (count, bytes))| Loss { stage, count, bytes }).collect(), cut)
    }
}

/// Adds the rows that overlap the time to the sums.
fn add(batch: &RecordBatch, from: i64, to: i64, sums: &mut BTreeMap<String, (u64, u64)>) {
    let column = |name: &str, to: &DataType| cast(batch.column_by_name(name)?, to).ok();
    let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let found = (|| {
        Some((
            column("ts", &time)?,
            column("until", &time)?,
            column("stage", &DataType::Utf8View)?,
            column("count", &DataType::UInt64)?,
            column("bytes", &DataType::UInt64)?,
        ))
    })();
    let Some((begun, ended, stage, count, bytes)) = found else { return };
    let begun = begun.as_primitive::<TimestampNanosecondType>();
    let ended = ended.as_primitive::<TimestampNanosecondType>();
    let stage = stage.as_string_view();
    let count = count.as_primitive::<UInt64Type>();
    let bytes = bytes.as_primitive::<UInt64Type>();
    for row in 0..batch.num_rows() {
        if begun.value(row) > to || ended.value(row) < from {
            continue;
        }
        let sum = match sums.get_mut(stage.value(row)) {
            Some(it) => it,
            None => sums.entry(stage.value(row).to_owned()).or_default(),
        };
        sum.0 += count.value(row);
        if bytes.is_valid(row) {
            sum.1 += bytes.value(row);
        }
    }
}

/// The bounds that a condition sets to `ts`.
fn bounds(predicate: &Arc<dyn PhysicalExpr>) -> (Option<i64>, Option<i64>) {
    let (mut from, mut to): (Option<i64>, Option<i64>) = (None, None);
    for part in split_conjunction(predicate) {
        let Some(it) = part.downcast_ref::<BinaryExpr>() else { continue };
        let (op, value) = match (time(it.left()), time(it.right())) {
            (None, Some(value)) if is_ts(it.left()) => (*it.op(), value),
            (Some(value), None) if is_ts(it.right()) => match it.op().swap() {
                Some(op) => (op, value),
                None => continue,
            },
            _ => continue,
        };
        if matches!(op, Operator::Gt | Operator::GtEq | Operator::Eq) {
            from = Some(from.map_or(value, |it| it.max(value)));
        }
        if matches!(op, Operator::Lt | Operator::LtEq | Operator::Eq) {
            to = Some(to.map_or(value, |it| it.min(value)));
        }
    }
    (from, to)
}

/// Whether it compares `ts` with a moment, and does nothing else.
pub(crate) fn is_bound(part: &Arc<dyn PhysicalExpr>) -> bool {
    part.downcast_ref::<BinaryExpr>().is_some_and(|it| {
        let ends = (is_ts(it.left()) && time(it.right()).is_some())
            || (is_ts(it.right()) && time(it.left()).is_some());
        ends && BOUNDS.contains(it.op())
    })
}

fn is_ts(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Column>().is_some_and(|it| it.name() == "ts")
}

fn time(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::TimestampNanosecond(it, _) => *it,
        _ => None,
    }
}

const BOUNDS: [Operator; 5] =
    [Operator::Eq, Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq];
const LOSSES: &str = "losses";
const COLUMNS: [&str; 5] = ["ts", "until", "stage", "count", "bytes"];
/// How long before a time an interval may have begun that reaches into it: a minute as a rule.
const INTERVAL: i64 = 3_600_000_000_000;
/// Segments of losses that are read, the newest ones: one is read in well under a millisecond, and
/// a node has two seconds to say what a query cost.
const SEGMENTS: usize = 512;
