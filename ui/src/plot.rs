//! Rows as something to draw: which column is the time, which are names, which are numbers.

use api::Kind;
use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};

use crate::{
    scale::Unit,
    value::{Value, is_number, kind, read, shown},
};

/// How it is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Look {
    #[default]
    Table,
    Line,
    Area,
    Bars,
    Points,
    Heat,
    Single,
}

impl Look {
    pub(crate) const ALL: [Self; 7] =
        [Self::Table, Self::Line, Self::Area, Self::Bars, Self::Points, Self::Heat, Self::Single];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Line => "line",
            Self::Area => "area",
            Self::Bars => "bar",
            Self::Points => "scatter",
            Self::Heat => "heat map",
            Self::Single => "single value",
        }
    }

    /// What suits an answer nobody has chosen a look for: a chart if its columns are few and say plainly what goes
    /// across, else the table.
    pub(crate) fn suited(schema: &Schema, batches: &[RecordBatch]) -> Self {
        let fields = schema.fields();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let is_time = |field: &Field| kind(field) == Some(Kind::Time);
        let is_value = |field: &Field| {
            is_number(field) && !matches!(kind(field), Some(Kind::Port | Kind::Code))
        };
        let times = fields.iter().filter(|it| is_time(it)).count();
        let values = fields.iter().filter(|it| is_value(it)).count();
        let labels = fields.len() - times - values;
        let is_nested = fields.iter().any(|it| it.data_type().is_nested());
        match (times, labels, values) {
            _ if is_nested || rows == 0 || rows > MOST_POINTS => Self::Table,
            (0, 0, 1) if rows == 1 => Self::Single,
            (1, 0 | 1, 1..=4) if rows > 2 => {
                let at = fields.iter().position(|it| is_time(it));
                if at.is_some_and(|at| is_even(batches, at)) { Self::Line } else { Self::Points }
            }
            (0, 1, 1..=3) if (2..=MOST_NAMES).contains(&rows) => Self::Bars,
            _ => Self::Table,
        }
    }
}

/// What the horizontal axis is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Across {
    /// Nanoseconds since 1970.
    Time,
    Number(Unit),
    /// Places of names.
    Names(Vec<String>),
}

/// A line, a row of bars or a cloud of points. A point's value may be missing: there the line breaks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Which of the colours; series that say something good or bad have theirs.
    pub(crate) tone: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Something to draw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plot {
    pub(crate) across: Across,
    /// What is shown of the horizontal axis; the data decides if it is not said.
    pub(crate) span: Option<(f64, f64)>,
    /// How much of it a bar takes; as much as the nearest two are apart, if it is not said.
    pub(crate) step: Option<f64>,
    pub(crate) series: Vec<Series>,
    pub(crate) unit: Unit,
    /// What was left out to keep it readable.
    pub(crate) left_out: Option<String>,
}

/// Reads rows as a plot, or says what they lack.
pub(crate) fn plot(
    schema: &Schema,
    batches: &[RecordBatch],
    look: Look,
    zone: i64,
) -> Result<Plot, &'static str> {
    let fields = schema.fields();
    let place = |wanted: &dyn Fn(usize) -> bool| (0..fields.len()).find(|at| wanted(*at));
    let is_time = |at: usize| fields.get(at).is_some_and(|field| kind(field) == Some(Kind::Time));
    let is_value = |at: usize| {
        fields.get(at).is_some_and(|field| {
            is_number(field) && !matches!(kind(field), Some(Kind::Port | Kind::Code))
        })
    };
    let is_label = |at: usize| !is_time(at) && !is_value(at);
    let mut values: Vec<usize> = (0..fields.len()).filter(|at| is_value(*at)).collect();
    let numbers_only = values.len() == fields.len() && values.len() > 1;
    let across = match (place(&is_time), numbers_only) {
        (Some(at), _) => at,
        (None, true) => values.remove(0),
        (None, false) => match place(&is_label) {
            Some(at) => at,
            None if look == Look::Single => usize::MAX,
            None => return Err("a chart needs a time, a name or a second number to go across"),
        },
    };
    if values.is_empty() {
        return Err("a chart needs a column of numbers");
    }
    let labels: Vec<usize> =
        (0..fields.len()).filter(|at| is_label(*at) && *at != across).collect();
    let unit =
        values.first().and_then(|at| fields.get(*at)).map_or(Unit::Number, |field| unit(field));
    let mut names: Vec<String> = Vec::new();
    let mut series: Vec<Series> = Vec::new();
    let mut rows = 0;
    let mut points = 0;
    for batch in batches {
        for row in 0..batch.num_rows() {
            rows += 1;
            let cell = |at: usize| batch.columns().get(at).map_or(Value::Null, |it| read(it, row));
            let x = if across == usize::MAX {
                rows as f64
            } else if is_time(across) || is_value(across) {
                match number(&cell(across)) {
                    Some(x) => x,
                    None => continue,
                }
            } else {
                let name = shown(&cell(across), fields.get(across).and_then(|it| kind(it)), zone);
                let name = if name.is_empty() { "–".to_owned() } else { name };
                match names.iter().position(|it| *it == name) {
                    Some(at) => at as f64,
                    None if names.len() < MOST_NAMES => {
                        names.push(name);
                        (names.len() - 1) as f64
                    }
                    None => continue,
                }
            };
            let label: Vec<String> = labels
                .iter()
                .map(|at| shown(&cell(*at), fields.get(*at).and_then(|it| kind(it)), zone))
                .collect();
            let label = label.join(" · ");
            for at in &values {
                let column = fields.get(*at).map_or("", |field| field.name());
                let name = match (labels.is_empty(), values.len()) {
                    (true, _) => column.to_owned(),
                    (false, 1) if label.is_empty() => "–".to_owned(),
                    (false, 1) => label.clone(),
                    (false, _) => format!("{label} · {column}"),
                };
                let y = number(&cell(*at)).unwrap_or(f64::NAN);
                points += 1;
                if points > MOST_POINTS {
                    continue;
                }
                if let Some(line) = series.iter_mut().find(|it| it.name == name) {
                    line.points.push((x, y));
                } else if series.len() < MOST_SEEN {
                    series.push(Series { tone: String::new(), name, points: vec![(x, y)] });
                }
            }
        }
    }
    if rows == 0 {
        return Err("there are no rows to draw");
    }
    let weight = |line: &Series| {
        line.points.iter().map(|(_, y)| y.abs()).filter(|y| y.is_finite()).sum::<f64>()
    };
    let left_out = (series.len() > MOST_SERIES || points > MOST_POINTS).then(|| {
        if points > MOST_POINTS {
            format!("only the first {MOST_POINTS} of {points} points are drawn")
        } else {
            format!("only the {MOST_SERIES} largest of {} series are drawn", series.len())
        }
    });
    if series.len() > MOST_SERIES {
        series.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        series.truncate(MOST_SERIES);
    }
    for (at, line) in series.iter_mut().enumerate() {
        line.tone = tone(&line.name, at);
        if !matches!(look, Look::Points) {
            line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
    }
    let across = if across == usize::MAX {
        Across::Number(Unit::Number)
    } else if is_time(across) {
        Across::Time
    } else if is_value(across) {
        Across::Number(fields.get(across).map_or(Unit::Number, |field| self::unit(field)))
    } else {
        Across::Names(names)
    };
    Ok(Plot { across, span: None, step: None, series, unit, left_out })
}

/// Whether times stand in steps, as those of buckets do, with whole seconds or milliseconds between them.
fn is_even(batches: &[RecordBatch], at: usize) -> bool {
    let mut times: Vec<i64> = batches
        .iter()
        .filter_map(|batch| batch.columns().get(at))
        .flat_map(|column| (0..column.len()).map(move |row| read(column, row)))
        .filter_map(|value| match value {
            Value::Time(ns) => Some(ns),
            _ => None,
        })
        .collect();
    times.sort_unstable();
    times.dedup();
    let gaps = || times.windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?));
    let step = gaps().min().unwrap_or(1);
    step >= 1_000_000 && gaps().all(|gap| gap % step == 0)
}

/// What goes wrong is red wherever it stands; the others have the colours in their order.
fn tone(name: &str, place: usize) -> String {
    match name {
        "failed" | "failures" | "errors" | "lost" => "bad".to_owned(),
        "ok" | "succeeded" => "good".to_owned(),
        _ => format!("tone-{}", place % TONES),
    }
}

/// What a column's numbers are. An aggregate has lost its column's kind, but its name often tells.
fn unit(field: &Field) -> Unit {
    match kind(field) {
        Some(Kind::Duration) => return Unit::Duration,
        Some(Kind::Size) => return Unit::Bytes,
        _ => {}
    }
    let name = field.name().to_lowercase();
    let has = |part: &str| name.contains(part);
    if has("bytes") {
        Unit::Bytes
    } else if (has("duration") || has("latency") || has("rtt")) && !has("count") {
        Unit::Duration
    } else {
        Unit::Number
    }
}

fn number(value: &Value<'_>) -> Option<f64> {
    Some(match value {
        Value::Int(number) | Value::Time(number) | Value::Duration(number) => *number as f64,
        Value::Uint(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Flag(flag) => f64::from(u8::from(*flag)),
        Value::Null | Value::Text(_) | Value::Bytes(_) | Value::Pairs(_) | Value::List(_) => {
            return None;
        }
    })
}

pub(crate) const TONES: usize = 10;
const MOST_SERIES: usize = 20;
const MOST_SEEN: usize = 2_000;
const MOST_NAMES: usize = 60;
const MOST_POINTS: usize = 50_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampNanosecondArray};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).expect("columns are as long as each other")
    }

    fn drawn(batch: &RecordBatch, look: Look) -> Result<Plot, &'static str> {
        plot(&batch.schema(), std::slice::from_ref(batch), look, 0)
    }

    fn time(values: &[i64]) -> ArrayRef {
        Arc::new(TimestampNanosecondArray::from(values.to_vec()))
    }

    #[test]
    fn a_time_a_name_and_a_number_are_lines() {
        let rows = batch(vec![
            ("t", time(&[2, 1, 1])),
            ("protocol", Arc::new(StringArray::from(vec!["http", "http", "dns"]))),
            ("n", Arc::new(Int64Array::from(vec![Some(5), Some(4), None]))),
        ]);
        let plot = drawn(&rows, Look::Line).expect("it can be drawn");
        assert_eq!(plot.across, Across::Time);
        let names: Vec<_> = plot.series.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["http", "dns"]);
        assert_eq!(
            plot.series.first().map(|line| line.points.clone()),
            Some(vec![(1.0, 4.0), (2.0, 5.0)])
        );
        assert!(plot.series.iter().any(|line| line.points.iter().any(|(_, y)| y.is_nan())));
    }

    #[test]
    fn names_and_pairs_of_numbers_are_drawn_too() {
        let rows = batch(vec![
            ("verb", Arc::new(StringArray::from(vec!["GET", "PUT"]))),
            ("response_bytes", Arc::new(Int64Array::from(vec![5, 6]))),
            ("failed", Arc::new(Int64Array::from(vec![1, 0]))),
        ]);
        let plot = drawn(&rows, Look::Bars).expect("it can be drawn");
        assert_eq!(plot.across, Across::Names(vec!["GET".into(), "PUT".into()]));
        assert_eq!(plot.unit, Unit::Bytes);
        assert_eq!(
            plot.series.iter().map(|it| it.tone.as_str()).collect::<Vec<_>>(),
            ["tone-0", "bad"]
        );

        let rows = batch(vec![
            ("x", Arc::new(Float64Array::from(vec![2.0, 1.0]))),
            ("y", Arc::new(Float64Array::from(vec![5.0, 6.0]))),
        ]);
        let plot = drawn(&rows, Look::Points).expect("it can be drawn");
        assert!(matches!(plot.across, Across::Number(_)));
        assert_eq!(plot.series.len(), 1);
    }

    #[test]
    fn an_answer_is_shown_as_suits_it() {
        let numbers = |n: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..n)) };
        let names = |n: i64| -> ArrayRef {
            Arc::new(StringArray::from_iter_values((0..n).map(|k| format!("n{k}"))))
        };
        let suited = |columns| {
            let rows = batch(columns);
            Look::suited(&rows.schema(), std::slice::from_ref(&rows))
        };
        let second = 1_000_000_000;
        let steps = || time(&[0, second, 4 * second]);
        assert_eq!(suited(vec![("n", numbers(1))]), Look::Single);
        assert_eq!(suited(vec![("t", steps()), ("n", numbers(3))]), Look::Line);
        assert_eq!(suited(vec![("t", steps()), ("who", names(3)), ("n", numbers(3))]), Look::Line);
        let odd = time(&[0, second, second + 7]);
        assert_eq!(suited(vec![("t", odd), ("duration", numbers(3))]), Look::Points);
        assert_eq!(suited(vec![("who", names(5)), ("n", numbers(5))]), Look::Bars);
        assert_eq!(suited(vec![("who", names(500)), ("n", numbers(500))]), Look::Table);
        assert_eq!(suited(vec![("a", names(5)), ("b", names(5)), ("n", numbers(5))]), Look::Table);
        assert_eq!(suited(vec![("n", numbers(0))]), Look::Table);
    }

    #[test]
    fn what_cannot_be_drawn_says_why() {
        let none = batch(vec![("a", Arc::new(StringArray::from(vec!["x"])))]);
        assert_eq!(drawn(&none, Look::Line), Err("a chart needs a column of numbers"));
        let alone = batch(vec![("n", Arc::new(Int64Array::from(vec![3])))]);
        assert!(drawn(&alone, Look::Line).is_err());
        assert!(drawn(&alone, Look::Single).is_ok());
        let empty =
            batch(vec![("t", time(&[])), ("n", Arc::new(Int64Array::from(Vec::<i64>::new())))]);
        assert_eq!(drawn(&empty, Look::Line), Err("there are no rows to draw"));
    }

    #[test]
    fn too_many_series_are_cut_to_the_largest() {
        let names: Vec<String> = (0..50).map(|k| format!("s{k}")).collect();
        let rows = batch(vec![
            ("t", time(&[1; 50])),
            ("name", Arc::new(StringArray::from(names))),
            ("n", Arc::new(Int64Array::from_iter_values(0..50))),
        ]);
        let plot = drawn(&rows, Look::Line).expect("it can be drawn");
        assert_eq!(plot.series.len(), MOST_SERIES);
        assert!(plot.series.iter().all(|line| line.points.iter().all(|(_, y)| *y >= 30.0)));
        assert!(plot.left_out.is_some());
    }
}
