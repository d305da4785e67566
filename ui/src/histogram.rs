//! How many rows there were when: the bars above the list.

use api::{QueryRequest, Table, WorkerState};

use crate::{
    browser::Abort,
    client::{Answer, Failure, Session},
    filter::sql,
    plot::{Across, Plot, Series},
    range::{self, Range},
    scale::{Unit, bucket},
    value::{Value, read},
};

/// Rows by time, those that failed apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    pub(crate) low: i64,
    pub(crate) high: i64,
    pub(crate) step: i64,
    /// The number of a bar, and how many rows in it did well and failed.
    bars: std::collections::BTreeMap<i64, (u64, u64)>,
    /// Only the newest rows were counted.
    pub(crate) is_cut: bool,
}

impl Histogram {
    pub(crate) fn rows(&self) -> u64 {
        self.bars.values().map(|(good, bad)| good + bad).sum()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.bars.values().map(|(_, bad)| bad).sum()
    }

    pub(crate) fn plot(&self) -> Plot {
        let line = |name: &str, tone: &str, pick: fn(&(u64, u64)) -> u64| Series {
            name: name.to_owned(),
            tone: tone.to_owned(),
            points: self
                .bars
                .iter()
                .map(|(slot, bar)| (slot.saturating_mul(self.step) as f64, pick(bar) as f64))
                .collect(),
        };
        Plot {
            across: Across::Time,
            span: Some((self.low as f64, self.high as f64)),
            // there may be one bar only
            step: Some(self.step as f64),
            series: vec![line("failed", "bad", |bar| bar.1), line("ok", "good", |bar| bar.0)],
            unit: Unit::Number,
            left_out: None,
        }
    }

    fn add(&mut self, slot: i64, failed: bool, rows: u64) {
        let bar = self.bars.entry(slot).or_default();
        if failed { bar.1 += rows } else { bar.0 += rows }
    }
}

/// The time the bars span: as asked, and where that is open, what the Workers have.
pub(crate) fn span(range: &Range, workers: &[WorkerState], now_ms: f64) -> Option<(i64, i64)> {
    let (from, to) = range.bounds(now_ms);
    let tables = || workers.iter().flat_map(|worker| &worker.health.tables);
    let oldest = tables().filter_map(|table| table.oldest_ms).min();
    let newest = tables().filter_map(|table| table.newest_ms).max();
    let now = (now_ms * 1e6) as i64;
    let ns = |ms: i64| ms.saturating_mul(1_000_000);
    let high = to.unwrap_or_else(|| match newest {
        // what is being captured ends now; a file ends with its last row
        Some(newest) if now.saturating_sub(ns(newest)) > STILL_NS => ns(newest.saturating_add(1)),
        _ => now,
    });
    let low = from.or_else(|| Some(ns(oldest?)))?;
    (low < high).then_some((low, high))
}

/// Counts the rows that match: on the nodes where the filter can be said in SQL, else here.
pub(crate) async fn ask(
    session: Session,
    filter: &str,
    tables: &[Table],
    (low, high): (i64, i64),
    abort: &Abort,
) -> Result<Histogram, Failure> {
    let step = bucket(high.saturating_sub(low), BARS);
    let mut histogram = Histogram { low, high, step, ..Histogram::default() };
    let Some(condition) = sql::condition(filter, tables) else {
        let question = QueryRequest {
            columns: vec!["ts".to_owned(), "failed".to_owned()],
            since: Some(range::written(low)),
            until: Some(range::written(high)),
            limit: Some(MOST_ROWS),
            ..QueryRequest::filter(filter)
        };
        let answer = session.ask(question, abort).await?;
        histogram.is_cut = answer.rows as u64 >= MOST_ROWS;
        count(&mut histogram, &answer);
        return Ok(histogram);
    };
    let clause = range::clause(Some(low), Some(high));
    let statement = format!(
        "SELECT CAST(ts AS BIGINT) / {step} AS slot, failed, count(*) AS n FROM traffic WHERE {clause} AND ({condition}) GROUP BY 1, 2"
    );
    let answer = session.ask(QueryRequest::sql(statement), abort).await?;
    for batch in &answer.batches {
        let [slots, failed, rows] = batch.columns() else { continue };
        for at in 0..batch.num_rows() {
            if let (Value::Int(slot), Value::Int(rows)) = (read(slots, at), read(rows, at)) {
                let failed = read(failed, at) == Value::Flag(true);
                histogram.add(slot, failed, u64::try_from(rows).unwrap_or_default());
            }
        }
    }
    Ok(histogram)
}

fn count(histogram: &mut Histogram, answer: &Answer) {
    for batch in &answer.batches {
        let [times, failed] = batch.columns() else { continue };
        for at in 0..batch.num_rows() {
            if let Value::Time(ns) = read(times, at) {
                let slot = ns.div_euclid(histogram.step.max(1));
                histogram.add(slot, read(failed, at) == Value::Flag(true), 1);
            }
        }
    }
}

const BARS: i64 = 120;
/// A filter that only the Hub can read is counted from this many of its newest rows.
const MOST_ROWS: u64 = 100_000;
const STILL_NS: i64 = 120_000_000_000;

#[cfg(test)]
mod tests {
    use api::{NodeHealth, TableState};

    use super::*;
    use crate::fixture;

    #[test]
    fn rows_are_counted_by_time_and_failure() {
        let batch = fixture::traffic(6);
        let names =
            ["ts", "failed"].map(|name| batch.schema().index_of(name).expect("it is there"));
        let batch = batch.project(&names).expect("both are there");
        let low = 1_795_341_892_000_000_000;
        let mut histogram = Histogram {
            low,
            high: low + 6_000_000_000,
            step: 2_000_000_000,
            ..Histogram::default()
        };
        count(&mut histogram, &Answer { batches: vec![batch], ..Answer::default() });
        assert_eq!((histogram.rows(), histogram.failed()), (6, 2));
        let plot = histogram.plot();
        let bad: Vec<f64> = plot
            .series
            .iter()
            .filter(|line| line.tone == "bad")
            .flat_map(|line| line.points.iter().map(|it| it.1))
            .collect();
        assert_eq!(bad, [0.0, 1.0, 1.0]);
    }

    #[test]
    fn an_open_range_spans_what_there_is() {
        let worker = |oldest, newest| WorkerState {
            health: NodeHealth {
                tables: vec![TableState {
                    oldest_ms: Some(oldest),
                    newest_ms: Some(newest),
                    ..TableState::default()
                }],
                ..NodeHealth::default()
            },
            ..WorkerState::default()
        };
        let now = 1_000_000_000.0;
        let old = [worker(5_000, 9_000)];
        assert_eq!(span(&Range::default(), &old, now), Some((5_000_000_000, 9_001_000_000)));
        let live = [worker(999_000_000, 999_999_000)];
        assert_eq!(
            span(&Range::default(), &live, now),
            Some((999_000_000_000_000, 1_000_000_000_000_000))
        );
        assert_eq!(span(&Range::default(), &[], now), None);
        assert_eq!(
            span(&Range::new("1m", ""), &live, now).map(|it| it.0),
            Some(999_940_000_000_000)
        );
    }
}
