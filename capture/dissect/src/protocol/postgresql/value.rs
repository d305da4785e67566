//! Values as JSON, by their type's number in `pg_type`.
use crate::protocol::common::sql;

/// A value of a parameter or row as JSON; `None` is NULL.
pub(super) fn write(to: &mut String, value: Option<&[u8]>, oid: u32, is_binary: bool) {
    let Some(bytes) = value else {
        to.push_str("null");
        return;
    };
    if !is_binary {
        return write_text(to, bytes, oid);
    }
    if write_binary(to, bytes, oid).is_none() {
        match bytes.len() {
            // Of an unknown type, these are rather numbers.
            1 | 2 | 4 | 8 | 16 if oid == 0 => sql::json_hex(to, bytes),
            _ => sql::json_bytes(to, bytes),
        }
    }
}

fn write_text(to: &mut String, bytes: &[u8], oid: u32) {
    match (oid, bytes) {
        (BOOL, b"t") => to.push_str("true"),
        (BOOL, b"f") => to.push_str("false"),
        (INT8 | INT2 | INT4 | OID | FLOAT4 | FLOAT8 | NUMERIC, _) => sql::json_digits(to, bytes),
        _ => sql::json_bytes(to, bytes),
    }
}

/// `None` if the bytes are no such value.
fn write_binary(to: &mut String, bytes: &[u8], oid: u32) -> Option<()> {
    match oid {
        BOOL => match bytes {
            [it] => to.push_str(if *it == 0 { "false" } else { "true" }),
            _ => return None,
        },
        INT2 => sql::json_integer(to, i16::from_be_bytes(bytes.try_into().ok()?)),
        INT4 => sql::json_integer(to, i32::from_be_bytes(bytes.try_into().ok()?)),
        INT8 => sql::json_integer(to, i64::from_be_bytes(bytes.try_into().ok()?)),
        OID => sql::json_integer(to, u32::from_be_bytes(bytes.try_into().ok()?)),
        // As the shortest digits that say the same, which are others for the wider type.
        FLOAT4 => {
            let number = f32::from_be_bytes(bytes.try_into().ok()?);
            if number.is_finite() {
                sql::json_integer(to, number);
            } else {
                sql::json_float(to, f64::from(number));
            }
        }
        FLOAT8 => sql::json_float(to, f64::from_be_bytes(bytes.try_into().ok()?)),
        NUMERIC => write_numeric(to, bytes)?,
        BYTEA => sql::json_hex(to, bytes),
        JSONB => match bytes {
            [1, json @ ..] => sql::json_bytes(to, json),
            _ => return None,
        },
        UUID => {
            let number = u128::from_be_bytes(bytes.try_into().ok()?);
            let digits = format!("{number:032x}");
            let (a, rest) = digits.split_at_checked(8)?;
            let (b, rest) = rest.split_at_checked(4)?;
            let (c, rest) = rest.split_at_checked(4)?;
            let (d, e) = rest.split_at_checked(4)?;
            sql::json_text(to, &format!("{a}-{b}-{c}-{d}-{e}"));
        }
        DATE => {
            let days = i32::from_be_bytes(bytes.try_into().ok()?);
            sql::json_text(to, &date(days.into()));
        }
        TIME => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?);
            sql::json_text(to, &time(micros));
        }
        TIMESTAMP | TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?);
            let text = match micros {
                i64::MAX => "infinity".to_owned(),
                i64::MIN => "-infinity".to_owned(),
                _ => {
                    let zone = if oid == TIMESTAMPTZ { "+00" } else { "" };
                    let (day, of_day) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
                    format!("{} {}{zone}", date(day), time(of_day))
                }
            };
            sql::json_text(to, &text);
        }
        _ => return None,
    }
    Some(())
}

/// Digits to the base of 10,000, the place of the first, a sign and how many decimals to show.
fn write_numeric(to: &mut String, bytes: &[u8]) -> Option<()> {
    let (head, digits) = bytes.split_at_checked(8)?;
    let mut head = head.chunks_exact(2).filter_map(|it| it.try_into().ok()).map(i16::from_be_bytes);
    let (count, weight, sign, scale) = (head.next()?, head.next()?, head.next()?, head.next()?);
    if digits.len() != 2 * usize::try_from(count).ok()? || !(-500..500).contains(&weight) {
        return None;
    }
    let sign = match sign.cast_unsigned() {
        0 => "",
        0x4000 => "-",
        _ => return None,
    };
    let digit = |place: i16| {
        let at = usize::try_from(weight.checked_sub(place)?).ok()?;
        let bytes = digits.get(2 * at..2 * at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    let mut text = String::from(sign);
    for place in (0..=weight.max(0)).rev() {
        let four = digit(place).unwrap_or(0);
        text += &if place == weight.max(0) { four.to_string() } else { format!("{four:04}") };
    }
    let scale = usize::try_from(scale).ok()?.min(MOST_DECIMALS);
    if scale > 0 {
        let mut decimals = String::new();
        let mut place = -1;
        while decimals.len() < scale {
            decimals += &format!("{:04}", digit(place).unwrap_or(0));
            place -= 1;
        }
        text.push('.');
        text.push_str(decimals.get(..scale)?);
    }
    sql::json_digits(to, text.as_bytes());
    Some(())
}

/// A day, counted from 2000-01-01.
fn date(days: i64) -> String {
    let (year, month, day) = sql::civil(days.saturating_add(10_957));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Microseconds of a day.
fn time(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match fraction {
        0 => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}.{fraction:06}"),
    }
}

/// Microseconds.
const DAY: i64 = 86_400_000_000;

/// More than fit into a cell's number.
const MOST_DECIMALS: usize = 100;

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const OID: u32 = 26;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const DATE: u32 = 1082;
const TIME: u32 = 1083;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;
const JSONB: u32 = 3802;
