//! A cell of an Arrow column, and how it reads. What a value means comes from its [`Kind`], never
//! from the name of its column.

use std::{borrow::Cow, ops::Range};

use api::Kind;
use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray as _,
    types::{
        ArrowDictionaryKeyType, Date32Type, Date64Type, DurationMicrosecondType,
        DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type,
        Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
        UInt16Type, UInt32Type, UInt64Type,
    },
};
use arrow_schema::{DataType, Field, TimeUnit};

/// One value, whatever column it stands in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Flag(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    /// Nanoseconds since 1970, UTC.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
    /// Names and values, in order.
    Pairs(Vec<(String, String)>),
    List(Vec<Self>),
}

/// One row of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) batch: &'a RecordBatch,
    pub(crate) at: usize,
}

impl<'a> Row<'a> {
    /// The value in the column of that name; null if there is no such column.
    pub(crate) fn value(&self, name: &str) -> Value<'a> {
        self.batch.column_by_name(name).map_or(Value::Null, |column| read(column, self.at))
    }

    /// The text in a column, empty if it is null.
    pub(crate) fn text(&self, name: &str) -> Cow<'a, str> {
        match self.value(name) {
            Value::Null => Cow::Borrowed(""),
            Value::Text(text) => text,
            other => Cow::Owned(shown(&other, None, 0)),
        }
    }

    /// A number that is not negative.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.value(name) {
            Value::Uint(number) => Some(number),
            Value::Int(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// Whether a column says yes.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.value(name) == Value::Flag(true)
    }

    /// What makes this row the one it is.
    pub(crate) fn key(&self) -> api::RowKey {
        api::RowKey {
            protocol: self.text("protocol").into_owned(),
            node: self.text("node").into_owned(),
            flow_id: self.text("flow_id").into_owned(),
            seq: self.number("seq").unwrap_or_default(),
        }
    }
}

/// What a column means: its metadata says so, or its type does.
pub(crate) fn kind(field: &Field) -> Option<Kind> {
    if let Some(kind) = field.metadata().get("kind").and_then(|name| Kind::from_name(name)) {
        return Some(kind);
    }
    match field.data_type() {
        DataType::Boolean => Some(Kind::Flag),
        DataType::Timestamp(..) => Some(Kind::Time),
        DataType::Duration(_) => Some(Kind::Duration),
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => Some(Kind::Body),
        DataType::Map(..) => Some(Kind::Headers),
        _ => None,
    }
}

/// Whether values are compared by their size, and so stand to the right.
pub(crate) fn is_number(field: &Field) -> bool {
    match kind(field) {
        Some(Kind::Count | Kind::Size | Kind::Duration | Kind::Code | Kind::Port) => true,
        Some(_) => false,
        None => field.data_type().is_numeric(),
    }
}

/// Reads one cell.
pub(crate) fn read(array: &ArrayRef, row: usize) -> Value<'_> {
    if row >= array.len() || array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => Value::Flag(array.as_boolean().value(row)),
        DataType::Int8 => Value::Int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Value::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => Value::Uint(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => Value::Uint(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => Value::Uint(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => Value::Uint(array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).into()),
        DataType::LargeUtf8 => Value::Text(array.as_string::<i64>().value(row).into()),
        DataType::Utf8View => Value::Text(array.as_string_view().value(row).into()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Value::Bytes(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Value::Bytes(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => Value::Bytes(array.as_fixed_size_binary().value(row)),
        DataType::Date32 => {
            Value::Time(i64::from(array.as_primitive::<Date32Type>().value(row)) * DAY_NS)
        }
        DataType::Date64 => {
            Value::Time(array.as_primitive::<Date64Type>().value(row).saturating_mul(1_000_000))
        }
        DataType::Timestamp(unit, _) => Value::Time(scaled(
            *unit,
            match unit {
                TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
                TimeUnit::Millisecond => {
                    array.as_primitive::<TimestampMillisecondType>().value(row)
                }
                TimeUnit::Microsecond => {
                    array.as_primitive::<TimestampMicrosecondType>().value(row)
                }
                TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
            },
        )),
        DataType::Duration(unit) => Value::Duration(scaled(
            *unit,
            match unit {
                TimeUnit::Second => array.as_primitive::<DurationSecondType>().value(row),
                TimeUnit::Millisecond => array.as_primitive::<DurationMillisecondType>().value(row),
                TimeUnit::Microsecond => array.as_primitive::<DurationMicrosecondType>().value(row),
                TimeUnit::Nanosecond => array.as_primitive::<DurationNanosecondType>().value(row),
            },
        )),
        DataType::Decimal128(..) => Value::Text(
            array.as_primitive::<arrow_array::types::Decimal128Type>().value_as_string(row).into(),
        ),
        DataType::List(_) => list(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(array.as_list::<i64>().value(row)),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (names, values) = (entries.column(0), entries.column(1));
            let text = |column, at| shown(&read(column, at), None, 0);
            Value::Pairs((0..entries.len()).map(|at| (text(names, at), text(values, at))).collect())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            let value = |(at, field): (usize, &std::sync::Arc<Field>)| {
                (field.name().clone(), shown(&read(columns.column(at), row), kind(field), 0))
            };
            Value::Pairs(fields.iter().enumerate().map(value).collect())
        }
        DataType::Dictionary(key, _) => match key.as_ref() {
            DataType::Int8 => dictionary::<Int8Type>(array, row),
            DataType::Int16 => dictionary::<Int16Type>(array, row),
            DataType::Int32 => dictionary::<Int32Type>(array, row),
            DataType::Int64 => dictionary::<Int64Type>(array, row),
            DataType::UInt8 => dictionary::<UInt8Type>(array, row),
            DataType::UInt16 => dictionary::<UInt16Type>(array, row),
            DataType::UInt32 => dictionary::<UInt32Type>(array, row),
            _ => dictionary::<UInt64Type>(array, row),
        },
        other => Value::Text(format!("({other})").into()),
    }
}

/// A value as one line of text. `zone` is how many seconds the clock on the wall is ahead of UTC.
pub(crate) fn shown(value: &Value<'_>, kind: Option<Kind>, zone: i64) -> String {
    match (value, kind) {
        (Value::Null, _) => String::new(),
        (Value::Flag(flag), _) => if *flag { "yes" } else { "no" }.to_owned(),
        (Value::Int(number), Some(Kind::Duration)) => duration(*number),
        (Value::Uint(number), Some(Kind::Duration)) => {
            duration(i64::try_from(*number).unwrap_or(i64::MAX))
        }
        (Value::Int(number), Some(Kind::Code | Kind::Port | Kind::Id)) => number.to_string(),
        (Value::Uint(number), Some(Kind::Code | Kind::Port | Kind::Id)) => number.to_string(),
        (Value::Int(number), Some(Kind::Size)) => {
            u64::try_from(*number).map_or_else(|_| number.to_string(), size)
        }
        (Value::Uint(number), Some(Kind::Size)) => size(*number),
        (Value::Int(number), _) if *number < 0 => format!("-{}", grouped(number.unsigned_abs())),
        (Value::Int(number), _) => grouped(number.unsigned_abs()),
        (Value::Uint(number), _) => grouped(*number),
        (Value::Float(number), Some(Kind::Duration)) => duration(*number as i64),
        (Value::Float(number), _) => float(*number),
        (Value::Text(text), _) => one_line(text),
        (Value::Bytes(bytes), _) => match std::str::from_utf8(bytes) {
            Ok(text) => one_line(text),
            Err(_) => {
                let mut line = hex_line(bytes.get(..16).unwrap_or(bytes));
                if bytes.len() > 16 {
                    line.push_str(&format!("… ({})", size(bytes.len() as u64)));
                }
                line
            }
        },
        (Value::Time(ns), _) => time(*ns, zone),
        (Value::Duration(ns), _) => duration(*ns),
        (Value::Pairs(pairs), _) => {
            let parts = pairs.iter().map(|(name, value)| format!("{name}: {}", one_line(value)));
            parts.collect::<Vec<_>>().join(" · ")
        }
        (Value::List(values), _) => {
            values.iter().map(|value| shown(value, None, zone)).collect::<Vec<_>>().join(", ")
        }
    }
}

/// A value as the filter bar reads it; nothing if it cannot be compared for equality there.
pub(crate) fn literal(value: &Value<'_>, kind: Option<Kind>) -> Option<String> {
    match (value, kind) {
        (_, Some(Kind::Body | Kind::Headers | Kind::Texts)) => None,
        (Value::Flag(flag), _) => Some(flag.to_string()),
        (Value::Int(number), _) => Some(number.to_string()),
        (Value::Uint(number), _) => Some(number.to_string()),
        (Value::Float(number), _) => Some(number.to_string()),
        (Value::Text(text), _) => Some(api::quote_text(text)),
        (Value::Time(ns), _) => Some(format!("'{}Z'", instant(*ns, 'T', 9))),
        _ => None,
    }
}

/// What lets rows with this value through, and what keeps them out; nothing where it can't be said.
pub(crate) fn clauses(
    column: &str,
    value: &Value<'_>,
    kind: Option<Kind>,
) -> Option<(String, String)> {
    if *value == Value::Null {
        return Some((format!("{column} is null"), format!("{column} is not null")));
    }
    let literal = literal(value, kind)?;
    Some(match (kind, value) {
        (Some(Kind::Duration), _) => {
            (format!("{column} >= {literal}"), format!("{column} < {literal}"))
        }
        (_, Value::Flag(true)) => (column.to_owned(), format!("not {column}")),
        (_, Value::Flag(false)) => (format!("not {column}"), column.to_owned()),
        _ => (format!("{column} = {literal}"), format!("{column} != {literal}")),
    })
}

/// `12.3 ms`: three digits that count, in the unit that suits them.
pub(crate) fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let (value, unit) = match ns {
        0 => return "0".to_owned(),
        1..1_000 => return format!("{sign}{ns} ns"),
        1_000..999_950 => (ns as f64 / 1e3, "µs"),
        999_950..999_950_000 => (ns as f64 / 1e6, "ms"),
        999_950_000..120_000_000_000 => (ns as f64 / 1e9, "s"),
        _ => {
            let secs = ns / 1_000_000_000;
            let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
            return match (days, hours) {
                (0, 0) if secs.is_multiple_of(60) => format!("{sign}{minutes} m"),
                (0, 0) => format!("{sign}{minutes} m {} s", secs % 60),
                (0, _) if minutes == 0 => format!("{sign}{hours} h"),
                (0, _) => format!("{sign}{hours} h {minutes} m"),
                _ if hours == 0 => format!("{sign}{days} d"),
                _ => format!("{sign}{days} d {hours} h"),
            };
        }
    };
    format!("{sign}{} {unit}", short(value))
}

/// `1.2 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 || unit == "TiB" {
            let number = if unit == "B" { bytes.to_string() } else { short(value) };
            return format!("{number} {unit}");
        }
        value /= 1024.0;
    }
    String::new()
}

/// `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `2026-11-22 10:04:52.123456`, by the clock on the wall.
pub(crate) fn time(ns: i64, zone: i64) -> String {
    instant(ns.saturating_add(zone.saturating_mul(1_000_000_000)), ' ', 6)
}

/// The time within the day if that is today's, else to the second with the date.
pub(crate) fn clock(ns: i64, now_ns: i64, zone: i64) -> String {
    let shift = zone.saturating_mul(1_000_000_000);
    let (local, now) = (ns.saturating_add(shift), now_ns.saturating_add(shift));
    let text = instant(local, ' ', 3);
    let same_day = local.div_euclid(DAY_NS) == now.div_euclid(DAY_NS);
    let part = if same_day { text.get(11..23) } else { text.get(5..19) };
    part.unwrap_or(&text).to_owned()
}

/// [`hex`] in pieces, with those of some bytes marked, both as numbers and as text.
pub(crate) fn hex_marked(bytes: &[u8], range: &Range<usize>) -> Vec<(bool, String)> {
    let mut pieces: Vec<(bool, String)> = Vec::new();
    let mut push = |is_marked: bool, text: &str| match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some((last, all)) if *last == is_marked => all.push_str(text),
        _ => pieces.push((is_marked, text.to_owned())),
    };
    for (at, line) in hex(bytes).split_inclusive('\n').enumerate() {
        let within = |place: usize| place.clamp(at * 16, at * 16 + 16) - at * 16;
        let (from, until) = (within(range.start), within(range.end));
        if from >= until {
            push(false, line);
            continue;
        }
        let number = |byte: usize| 8 + byte * 3 + usize::from(byte > 7);
        let mut done = 0;
        for (from, until) in [(number(from), number(until - 1) + 2), (58 + from, 58 + until)] {
            push(false, line.get(done..from).unwrap_or_default());
            push(true, line.get(from..until).unwrap_or_default());
            done = until;
        }
        push(false, line.get(done..).unwrap_or_default());
    }
    pieces
}

/// Bytes as a dump: place, hexadecimal, and text where it is readable.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let text: String = chunk
            .iter()
            .map(|b| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '.' })
            .collect();
        let (left, right) = chunk.split_at(chunk.len().min(8));
        let (left, right) = (hex_line(left), hex_line(right));
        out.push_str(&format!(
            "{:06x}  {left:<23}  {right:<23}  {text}
",
            line * 16
        ));
    }
    out
}

/// A JSON document with line breaks and indents, its members in their order and its numbers as
/// they were written; nothing if it is not JSON.
pub(crate) fn pretty(text: &str) -> Option<String> {
    let text = text.trim();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let (mut quoted, mut escaped) = (false, false);
    let mut chars = text.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(char) = chars.next() {
        if quoted {
            out.push(char);
            (quoted, escaped) = (escaped || char != '"', !escaped && char == '\\');
            continue;
        }
        match char {
            '"' => {
                quoted = true;
                out.push(char);
            }
            '{' | '[' => {
                while chars.next_if(|next| next.is_whitespace()).is_some() {}
                out.push(char);
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(char);
            }
            ',' => {
                out.push(char);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            space if space.is_whitespace() => {}
            other => out.push(other),
        }
    }
    Some(out)
}

fn list<'a>(values: ArrayRef) -> Value<'a> {
    let owned = |at| match read(&values, at) {
        Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
        other => Value::Text(Cow::Owned(shown(&other, None, 0))),
    };
    Value::List((0..values.len()).map(owned).collect())
}

fn dictionary<K: ArrowDictionaryKeyType>(array: &ArrayRef, row: usize) -> Value<'_> {
    let dictionary = array.as_dictionary::<K>();
    match dictionary.key(row) {
        Some(key) => read(dictionary.values(), key),
        None => Value::Null,
    }
}

fn scaled(unit: TimeUnit, value: i64) -> i64 {
    value.saturating_mul(match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    })
}

fn float(number: f64) -> String {
    if !number.is_finite() {
        return number.to_string();
    }
    if number == number.trunc() && number.abs() < 1e15 {
        let sign = if number < 0.0 { "-" } else { "" };
        return format!("{sign}{}", grouped(number.abs() as u64));
    }
    if number.abs() >= 1e15 || number.abs() < 1e-4 {
        return format!("{number:.4e}");
    }
    let text = format!("{number:.4}");
    text.trim_end_matches('0').to_owned()
}

/// Three digits that count.
fn short(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

fn hex_line(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Control characters as their pictures, so that a cell is one line and hides nothing.
fn one_line(text: &str) -> String {
    let picture = |char: char| match char {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(char)).unwrap_or('␦'),
        '\u{7f}' => '␡',
        // marks that reorder or hide what follows them
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => '␦',
        other => other,
    };
    text.chars().take(CELL_CHARS).map(picture).collect()
}

pub(crate) fn instant(ns: i64, between: char, decimals: usize) -> String {
    let (days, within) = (ns.div_euclid(DAY_NS), ns.rem_euclid(DAY_NS));
    let (year, month, day) = civil(days);
    let secs = within / 1_000_000_000;
    let fraction = format!("{:09}", within % 1_000_000_000);
    format!(
        "{year:04}-{month:02}-{day:02}{between}{:02}:{:02}:{:02}.{}",
        secs / 3600,
        secs / 60 % 60,
        secs % 60,
        fraction.get(..decimals).unwrap_or(&fraction)
    )
}

/// Days since 1970 as a date (the era algorithm of Howard Hinnant's `chrono` notes).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

const DAY_NS: i64 = 86_400_000_000_000;
/// More than this of one value is never put into a line.
const CELL_CHARS: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_look() {
        let text = |text: &'static str| Value::Text(text.into());
        for kind in Kind::ALL {
            let (value, look) = match kind {
                Kind::Flag => (Value::Flag(true), "yes"),
                Kind::Code => (Value::Int(1404), "1404"),
                Kind::Port => (Value::Uint(54321), "54321"),
                Kind::Count => (Value::Uint(54321), "54,321"),
                Kind::Size => (Value::Uint(54321), "53.0 KiB"),
                Kind::Label => (text("GET"), "GET"),
                Kind::Text => (text("a\r\nb\u{202e}c"), "a␍␊b␦c"),
                Kind::Json => (text("{\"a\":1}"), "{\"a\":1}"),
                Kind::Texts => (Value::List(vec![text("a"), text("b")]), "a, b"),
                Kind::Body => (Value::Bytes(&[0xff, 0x00]), "ff 00"),
                Kind::Headers => (
                    Value::Pairs(vec![("a".into(), "1".into()), ("b".into(), "2".into())]),
                    "a: 1 · b: 2",
                ),
                Kind::Address => (text("10.0.0.1"), "10.0.0.1"),
                Kind::Time => {
                    (Value::Time(1_795_341_892_123_456_789), "2026-11-22 10:04:52.123456")
                }
                Kind::Duration => (Value::Int(12_345_678), "12.3 ms"),
                Kind::Id => (text("0abc"), "0abc"),
            };
            assert_eq!(shown(&value, Some(kind), 0), look, "{}", kind.name());
        }
    }

    #[test]
    fn durations_keep_three_digits() {
        let look =
            [0, 999, 1_000, 12_340, 999_949, 999_950, 2_500_000_000, 125_000_000_000, -1_500_000]
                .map(duration);
        assert_eq!(
            look,
            [
                "0", "999 ns", "1.00 µs", "12.3 µs", "1000 µs", "1.00 ms", "2.50 s", "2 m 5 s",
                "-1.50 ms"
            ]
        );
    }

    #[test]
    fn sizes_and_numbers() {
        assert_eq!(
            [0, 999, 1000, 1536, 1 << 30, u64::MAX].map(size),
            ["0 B", "999 B", "0.98 KiB", "1.50 KiB", "1.00 GiB", "16777216 TiB"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [1.5, 1e9, 0.333_333, f64::NAN].map(float),
            ["1.5", "1,000,000,000", "0.3333", "NaN"]
        );
    }

    #[test]
    fn times_are_dates_in_every_year() {
        assert_eq!(time(0, 0), "1970-01-01 00:00:00.000000");
        assert_eq!(time(-1_000, 0), "1969-12-31 23:59:59.999999");
        assert_eq!(time(951_782_400_000_000_000, 3600), "2000-02-29 01:00:00.000000");
        assert_eq!(clock(1_795_341_892_123_456_789, 1_795_341_900_000_000_000, 0), "10:04:52.123");
        assert_eq!(
            clock(1_795_341_892_123_456_789, 1_795_441_900_000_000_000, 0),
            "11-22 10:04:52"
        );
    }

    #[test]
    fn json_keeps_its_order_and_its_numbers() {
        let look = pretty(r#" {"b":1.50,"a":[ ],"c":["x, \"y\": {"],"d":{"e":null}} "#)
            .expect("this is JSON");
        assert_eq!(
            look,
            "{\n  \"b\": 1.50,\n  \"a\": [],\n  \"c\": [\n    \"x, \\\"y\\\": {\"\n  ],\n  \"d\": {\n    \"e\": null\n  }\n}"
        );
        assert_eq!(pretty("{broken"), None);
        assert_eq!(pretty("17"), None);
    }

    #[test]
    fn some_bytes_of_a_dump_are_marked_as_numbers_and_as_text() {
        let bytes = b"0123456789abcdefXYZ";
        let dump = hex_marked(bytes, &(6..18));
        let all: String = dump.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(all, hex(bytes));
        let marked: Vec<_> = dump.iter().filter(|it| it.0).map(|it| it.1.as_str()).collect();
        assert_eq!(marked, ["36 37  38 39 61 62 63 64 65 66", "6789abcdef", "58 59", "XY"]);
        assert_eq!(hex_marked(bytes, &(0..0)), [(false, hex(bytes))]);
    }

    #[test]
    fn a_dump_has_place_bytes_and_text() {
        assert_eq!(
            hex(b"GET / HTTP/1.1\r\n\0"),
            "000000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  GET / HTTP/1.1..\n000010  00                                                .\n"
        );
    }

    #[test]
    fn a_value_is_let_through_or_kept_out() {
        let pair = |value, kind| clauses("c", &value, Some(kind)).expect("it can be said");
        let said = |pass: &str, keep: &str| (pass.to_owned(), keep.to_owned());
        assert_eq!(pair(Value::Text("x".into()), Kind::Label), said("c = 'x'", "c != 'x'"));
        assert_eq!(pair(Value::Int(5), Kind::Duration), said("c >= 5", "c < 5"));
        assert_eq!(pair(Value::Flag(false), Kind::Flag), said("not c", "c"));
        assert_eq!(pair(Value::Null, Kind::Text), said("c is null", "c is not null"));
        assert_eq!(clauses("c", &Value::Bytes(b"x"), Some(Kind::Body)), None);
    }

    #[test]
    fn literals_are_read_back_by_the_filter() {
        assert_eq!(
            literal(&Value::Text("it's".into()), Some(Kind::Label)).as_deref(),
            Some("'it''s'")
        );
        assert_eq!(literal(&Value::Int(500), Some(Kind::Code)).as_deref(), Some("500"));
        assert_eq!(literal(&Value::Bytes(b"x"), Some(Kind::Body)), None);
        assert_eq!(literal(&Value::Null, Some(Kind::Text)), None);
    }
}
