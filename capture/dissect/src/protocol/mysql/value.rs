//! Values as JSON, by the number of their type.
use super::packet::Fields;
use crate::protocol::common::sql;

/// What a column or parameter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) code: u8,
    pub(super) is_unsigned: bool,
    /// Bytes, not text.
    pub(super) is_binary: bool,
}

impl Kind {
    pub(super) fn of_column(code: u8, flags: u16, charset: u16) -> Self {
        Self { code, is_unsigned: flags & UNSIGNED != 0, is_binary: charset == BINARY }
    }

    pub(super) fn of_parameter(kind: u16) -> Self {
        let (code, is_unsigned) = Self::parts(kind);
        Self { code, is_unsigned, is_binary: false }
    }

    /// The type, and whether it is unsigned.
    pub(super) fn parts(kind: u16) -> (u8, bool) {
        let [code, flags] = kind.to_le_bytes();
        (code, flags & 0x80 != 0)
    }
}

/// A value sent as text.
pub(super) fn write_text(to: &mut String, cell: &[u8], kind: Option<Kind>) {
    match kind.map(|it| it.code) {
        Some(
            DECIMAL | TINY | SHORT | LONG | FLOAT | DOUBLE | LONGLONG | INT24 | YEAR | NEWDECIMAL,
        ) => {
            sql::json_digits(to, cell);
        }
        Some(BIT | GEOMETRY) => sql::json_hex(to, cell),
        _ => sql::json_bytes(to, cell),
    }
}

/// A value sent as its type has it. `None` if the bytes are no such value.
pub(super) fn write_binary(to: &mut String, fields: &mut Fields<'_>, kind: Kind) -> Option<()> {
    match kind.code {
        NULL => to.push_str("null"),
        TINY if kind.is_unsigned => sql::json_integer(to, fields.u8()?),
        TINY => sql::json_integer(to, fields.u8()?.cast_signed()),
        SHORT | YEAR if kind.is_unsigned => sql::json_integer(to, fields.u16()?),
        SHORT | YEAR => sql::json_integer(to, fields.u16()?.cast_signed()),
        LONG | INT24 if kind.is_unsigned => sql::json_integer(to, fields.u32()?),
        LONG | INT24 => sql::json_integer(to, fields.u32()?.cast_signed()),
        LONGLONG if kind.is_unsigned => sql::json_integer(to, fields.u64()?),
        LONGLONG => sql::json_integer(to, fields.u64()?.cast_signed()),
        FLOAT => {
            let number = f32::from_bits(fields.u32()?);
            if number.is_finite() {
                // The shortest digits that say the same are others for the wider type.
                sql::json_integer(to, number);
            } else {
                sql::json_float(to, number.into());
            }
        }
        DOUBLE => sql::json_float(to, f64::from_bits(fields.u64()?)),
        DATE | DATETIME | TIMESTAMP => {
            let mut it = Fields(fields.text()?);
            let is_date = kind.code == DATE;
            let (year, month, day) = match it.0 {
                [] => (0, 0, 0),
                _ => (it.u16()?, it.u8()?, it.u8()?),
            };
            let mut text = format!("{year:04}-{month:02}-{day:02}");
            if !is_date {
                let (hour, minute, second) = match it.0 {
                    [] => (0, 0, 0),
                    _ => (it.u8()?, it.u8()?, it.u8()?),
                };
                text += &format!(" {hour:02}:{minute:02}:{second:02}");
                if let Some(micros) = it.u32() {
                    text += &format!(".{micros:06}");
                }
            }
            sql::json_text(to, &text);
        }
        TIME => {
            let mut it = Fields(fields.text()?);
            if it.0.is_empty() {
                to.push_str("\"00:00:00\"");
                return Some(());
            }
            let sign = if it.u8()? == 0 { "" } else { "-" };
            let days = it.u32()?;
            let (hours, minute, second) = (it.u8()?, it.u8()?, it.u8()?);
            let hours = u64::from(days) * 24 + u64::from(hours);
            let mut text = format!("{sign}{hours:02}:{minute:02}:{second:02}");
            if let Some(micros) = it.u32() {
                text += &format!(".{micros:06}");
            }
            sql::json_text(to, &text);
        }
        DECIMAL | NEWDECIMAL => sql::json_digits(to, fields.text()?),
        BIT | GEOMETRY => sql::json_hex(to, fields.text()?),
        _ => sql::json_bytes(to, fields.text()?),
    }
    Some(())
}

/// A column's flag.
const UNSIGNED: u16 = 0x20;

/// The character set of bytes.
const BINARY: u16 = 63;

const DECIMAL: u8 = 0;
const TINY: u8 = 1;
const SHORT: u8 = 2;
const LONG: u8 = 3;
const FLOAT: u8 = 4;
const DOUBLE: u8 = 5;
const NULL: u8 = 6;
const TIMESTAMP: u8 = 7;
const LONGLONG: u8 = 8;
const INT24: u8 = 9;
const DATE: u8 = 10;
const TIME: u8 = 11;
const DATETIME: u8 = 12;
const YEAR: u8 = 13;
const BIT: u8 = 16;
const NEWDECIMAL: u8 = 246;
const GEOMETRY: u8 = 255;
