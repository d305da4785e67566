//! Which columns the list shows, in which order, and by which it is sorted. Both stand in the address.

use std::cmp::Ordering;

use api::{Kind, Table};

use crate::{
    state::hue,
    value::{Row, Value, clock, duration, shown, size},
};

/// The columns shown, by name: those of `traffic`, and two that put several of them into one.
pub(crate) fn shown_columns(text: &str, width: f64) -> Vec<String> {
    if text.is_empty() {
        // beside an open row there is less room
        let hidden: &[&str] = match width {
            ..780.0 => &["ends", "size"],
            780.0..940.0 => &["size"],
            _ => &[],
        };
        return DEFAULT
            .split(',')
            .filter(|name| !hidden.contains(name))
            .map(str::to_owned)
            .collect();
    }
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()).take(MOST) {
        if !names.iter().any(|it| it == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// What a column is called above the list.
pub(crate) fn title(name: &str) -> &str {
    match name {
        "ts" => "time",
        ENDS => "client → server",
        other => other,
    }
}

/// How wide a column is, as the style sheet's grids have it.
pub(crate) fn track(name: &str, tables: &[Table]) -> &'static str {
    match name {
        "ts" => "15ch",
        "protocol" | "verb" => "9ch",
        "target" => "minmax(12ch, 1fr)",
        "status" => "7ch",
        ENDS => "minmax(20ch, 38ch)",
        "duration" | SIZE => "9ch",
        "error" => "minmax(12ch, 1fr)",
        other => match kind(other, tables) {
            Some(Kind::Flag | Kind::Code | Kind::Port | Kind::Count) => "9ch",
            Some(Kind::Size | Kind::Duration) => "10ch",
            Some(Kind::Time) => "13ch",
            Some(Kind::Address) => "minmax(9ch, 16ch)",
            _ => "minmax(8ch, 22ch)",
        },
    }
}

pub(crate) fn kind(name: &str, tables: &[Table]) -> Option<Kind> {
    tables.iter().find(|table| table.name == "traffic")?.field(name).map(|field| field.kind)
}

/// A cell: its class and its text.
pub(crate) fn cell(
    row: &Row<'_>,
    name: &str,
    tables: &[Table],
    now_ns: i64,
    zone: i64,
) -> (String, String) {
    let plain = |class: &str, text: String| (class.to_owned(), text);
    match name {
        "ts" => match row.value("ts") {
            Value::Time(ns) => plain("dim", clock(ns, now_ns, zone)),
            _ => plain("dim", String::new()),
        },
        "protocol" => {
            let protocol = row.text("protocol").into_owned();
            (format!("protocol {}", hue(tables, &protocol)), protocol)
        }
        "verb" => plain("verb", shown(&row.value("verb"), Some(Kind::Label), zone)),
        "status" => plain("status", status(row)),
        ENDS => {
            plain("dim", format!("{} → {}", end(row, "client", false), end(row, "server", true)))
        }
        "duration" => plain(
            "dim right",
            match row.value("duration") {
                Value::Int(ns) => duration(ns),
                _ => "–".to_owned(),
            },
        ),
        SIZE => plain("dim right", size(bytes(row))),
        other => {
            let kind = kind(other, tables);
            let is_right = matches!(
                kind,
                Some(Kind::Count | Kind::Size | Kind::Code | Kind::Port | Kind::Duration)
            );
            plain(if is_right { "right" } else { "" }, shown(&row.value(other), kind, zone))
        }
    }
}

fn status(row: &Row<'_>) -> String {
    let failed = row.flag("failed");
    let status = shown(&row.value("status"), Some(Kind::Code), 0);
    if !status.is_empty() {
        return status;
    }
    if failed {
        // some protocols fail in words
        return row.text("error").split_whitespace().next().unwrap_or("failed").to_owned();
    }
    if row.value("duration") == Value::Null { String::new() } else { "ok".to_owned() }
}

fn bytes(row: &Row<'_>) -> u64 {
    let part = |name| row.number(name).unwrap_or_default();
    part("request_bytes").saturating_add(part("response_bytes"))
}

/// The best name of an end: what it is in the cluster, else its address.
fn end(row: &Row<'_>, side: &str, with_port: bool) -> String {
    let part =
        |name: &str| Some(row.text(&format!("{side}_{name}"))).filter(|text| !text.is_empty());
    let name = ["service", "workload", "pod", "process"].into_iter().find_map(part);
    let is_named = name.is_some();
    let name = name.or_else(|| part("ip")).unwrap_or_else(|| "?".into());
    match row.number(&format!("{side}_port")) {
        Some(port) if with_port && name.contains(':') && !is_named => format!("[{name}]:{port}"),
        Some(port) if with_port => format!("{name}:{port}"),
        _ => name.into_owned(),
    }
}

/// The columns of `traffic` behind what the list shows in one.
pub(crate) fn parts(name: &str) -> Vec<&str> {
    match name {
        ENDS => vec![
            "client_ip",
            "client_workload",
            "client_process",
            "server_ip",
            "server_port",
            "server_service",
            "server_workload",
            "server_process",
        ],
        SIZE => vec!["request_bytes", "response_bytes"],
        other => vec![other],
    }
}

/// What rows are sorted by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sort {
    pub(crate) column: String,
    pub(crate) descending: bool,
}

impl Sort {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (column, descending) = match text.strip_prefix('-') {
            Some(column) => (column, true),
            None => (text, false),
        };
        (!column.is_empty()).then(|| Self { column: column.to_owned(), descending })
    }

    pub(crate) fn written(&self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.column)
    }

    /// What a click on a column's head asks for next: the largest first, the smallest first, by time again.
    pub(crate) fn next(now: Option<&Self>, column: &str) -> Option<Self> {
        match now {
            Some(sort) if sort.column == column && sort.descending => {
                Some(Self { column: column.to_owned(), descending: false })
            }
            Some(sort) if sort.column == column => None,
            _ => Some(Self { column: column.to_owned(), descending: true }),
        }
    }
}

/// Something to compare rows by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Key {
    Nothing,
    Number(f64),
    Text(String),
}

impl Key {
    pub(crate) fn of(row: &Row<'_>, column: &str) -> Self {
        match column {
            SIZE => Self::Number(bytes(row) as f64),
            ENDS => {
                Self::Text(format!("{} {}", end(row, "server", true), end(row, "client", false)))
            }
            "status" => match row.value("status") {
                Value::Null => Self::Nothing,
                value => Self::from(&value),
            },
            name => Self::from(&row.value(name)),
        }
    }

    /// What has no value stands last, whichever way round.
    pub(crate) fn compare(&self, other: &Self, descending: bool) -> Ordering {
        let order = match (self, other) {
            (Self::Nothing, Self::Nothing) => return Ordering::Equal,
            (Self::Nothing, _) => return Ordering::Greater,
            (_, Self::Nothing) => return Ordering::Less,
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        };
        if descending { order.reverse() } else { order }
    }
}

impl From<&Value<'_>> for Key {
    fn from(value: &Value<'_>) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Flag(flag) => Self::Number(f64::from(u8::from(*flag))),
            Value::Int(number) | Value::Time(number) | Value::Duration(number) => {
                Self::Number(*number as f64)
            }
            Value::Uint(number) => Self::Number(*number as f64),
            Value::Float(number) => Self::Number(*number),
            other => Self::Text(shown(other, None, 0)),
        }
    }
}

pub(crate) const DEFAULT: &str = "ts,protocol,verb,target,status,ends,duration,size";
pub(crate) const ENDS: &str = "ends";
pub(crate) const SIZE: &str = "size";
const MOST: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn columns_are_those_of_the_address_once_each() {
        assert_eq!(shown_columns("ts,, verb ,ts,error", 500.0), ["ts", "verb", "error"]);
        assert_eq!(shown_columns("", 2_000.0).join(","), DEFAULT);
        assert!(!shown_columns("", 800.0).contains(&"size".to_owned()));
    }

    #[test]
    fn a_cell_names_the_ends_and_shows_failure() {
        let batch = fixture::traffic(3);
        let tables = fixture::tables();
        let look = |at, name| {
            cell(&Row { batch: &batch, at }, name, &tables, 1_795_341_892_000_000_000, 0).1
        };
        assert_eq!(look(0, "ts"), "10:04:52.000");
        assert_eq!(look(0, "duration"), "1.23 ms");
        assert_eq!(look(0, ENDS), "10.0.0.7 → library:70");
        assert_eq!(look(2, "status"), "503");
        assert_eq!(look(2, "failed"), "yes");
        assert_eq!(look(2, "no such column"), "");
    }

    #[test]
    fn rows_are_sorted_with_what_is_missing_last() {
        let mut keys =
            vec![Key::Nothing, Key::Number(1.0), Key::Number(3.0), Key::Text("a".into())];
        keys.sort_by(|a, b| a.compare(b, true));
        assert_eq!(keys, [Key::Text("a".into()), Key::Number(3.0), Key::Number(1.0), Key::Nothing]);
        let first = Sort::next(None, "duration").expect("it sorts");
        assert_eq!(first.written(), "-duration");
        let second = Sort::next(Some(&first), "duration").expect("it sorts the other way");
        assert_eq!(Sort::read(&second.written()), Some(second.clone()));
        assert_eq!(Sort::next(Some(&second), "duration"), None);
    }
}
