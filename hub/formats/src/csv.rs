//! Comma-separated values (RFC 4180), as the crate `csv` quotes them and `arrow-cast` spells them.
//!
//! `arrow-csv` goes through both, value by value, with a text of its own for each. What rows
//! are mostly made of (text, times, numbers) is written in place here; everything else is spelled
//! by `arrow-cast`. `cargo xtask bench` prints what whole questions cost, told as CSV.

use arrow_array::temporal_conversions::as_datetime;
use arrow_array::types::{
    ArrowPrimitiveType, Int16Type, Int32Type, Int64Type, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, PrimitiveArray, RecordBatch, StringArray, StringViewArray, cast::AsArray as _,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use std::{fmt::Display, io::Write as _};

/// The rows, a line each.
pub(crate) fn lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let columns = batch.columns().iter().map(|it| Column::of(it.as_ref()));
    let mut columns = columns.collect::<Result<Vec<_>, _>>()?;
    let mut out = Vec::with_capacity(batch.num_rows() * columns.len() * CELL_BYTES);
    for row in 0..batch.num_rows() {
        let begin = out.len();
        for (n, column) in columns.iter_mut().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            column.write(row, &mut out)?;
        }
        if out.len() == begin {
            // An empty line would be none.
            out.extend_from_slice(b"\"\"");
        }
        out.push(b'\n');
    }
    Ok(out)
}

/// The line of names.
pub(crate) fn header<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, name) in names.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        quoted(name, &mut out);
    }
    if out.is_empty() {
        out.extend_from_slice(b"\"\"");
    }
    out.push(b'\n');
    out
}

/// A column, by how its values are written.
enum Column<'a> {
    Views(&'a StringViewArray),
    Texts(&'a StringArray),
    Times(&'a PrimitiveArray<TimestampNanosecondType>, Seconds),
    I16(&'a PrimitiveArray<Int16Type>),
    I32(&'a PrimitiveArray<Int32Type>),
    I64(&'a PrimitiveArray<Int64Type>),
    U8(&'a PrimitiveArray<UInt8Type>),
    U16(&'a PrimitiveArray<UInt16Type>),
    U32(&'a PrimitiveArray<UInt32Type>),
    U64(&'a PrimitiveArray<UInt64Type>),
    Other(&'a dyn Array, ArrayFormatter<'a>, String),
}

impl<'a> Column<'a> {
    fn of(array: &'a dyn Array) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Utf8View => Self::Views(array.as_string_view()),
            DataType::Utf8 => Self::Texts(array.as_string()),
            DataType::Timestamp(TimeUnit::Nanosecond, Some(zone)) if &**zone == "UTC" => {
                Self::Times(array.as_primitive(), Seconds::default())
            }
            DataType::Int16 => Self::I16(array.as_primitive()),
            DataType::Int32 => Self::I32(array.as_primitive()),
            DataType::Int64 => Self::I64(array.as_primitive()),
            DataType::UInt8 => Self::U8(array.as_primitive()),
            DataType::UInt16 => Self::U16(array.as_primitive()),
            DataType::UInt32 => Self::U32(array.as_primitive()),
            DataType::UInt64 => Self::U64(array.as_primitive()),
            _ => {
                let formatter = ArrayFormatter::try_new(array, &FormatOptions::default())?;
                Self::Other(array, formatter, String::new())
            }
        })
    }

    /// One value; nothing for null.
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        match self {
            Self::Views(array) if array.is_valid(row) => quoted(array.value(row), out),
            Self::Texts(array) if array.is_valid(row) => quoted(array.value(row), out),
            Self::Times(array, seconds) if array.is_valid(row) => {
                seconds.write(array.value(row), out)?;
            }
            Self::I16(array) => number(array, row, out)?,
            Self::I32(array) => number(array, row, out)?,
            Self::I64(array) => number(array, row, out)?,
            Self::U8(array) => number(array, row, out)?,
            Self::U16(array) => number(array, row, out)?,
            Self::U32(array) => number(array, row, out)?,
            Self::U64(array) => number(array, row, out)?,
            Self::Other(array, formatter, text) if array.is_valid(row) => {
                text.clear();
                formatter.value(row).write(text)?;
                quoted(text, out);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Times of one second have its text in common, and rows mostly come in the order of time.
#[derive(Default)]
struct Seconds {
    second: i64,
    text: String,
}

impl Seconds {
    fn write(&mut self, nanoseconds: i64, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let second = nanoseconds.div_euclid(SECOND);
        if second != self.second || self.text.is_empty() {
            self.second = second;
            let time = as_datetime::<TimestampSecondType>(second);
            let time =
                time.ok_or_else(|| ArrowError::ComputeError(format!("{second} s is no time")))?;
            self.text = format!("{time:?}");
        }
        out.extend_from_slice(self.text.as_bytes());
        let rest = nanoseconds.rem_euclid(SECOND);
        match (rest, rest % 1_000_000, rest % 1_000) {
            (0, ..) => {}
            (_, 0, _) => write!(out, ".{:03}", rest / 1_000_000)?,
            (_, _, 0) => write!(out, ".{:06}", rest / 1_000)?,
            _ => write!(out, ".{rest:09}")?,
        }
        out.push(b'Z');
        Ok(())
    }
}

fn number<T>(array: &PrimitiveArray<T>, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError>
where
    T: ArrowPrimitiveType<Native: Display>,
{
    if array.is_valid(row) {
        write!(out, "{}", array.value(row))?;
    }
    Ok(())
}

fn quoted(text: &str, out: &mut Vec<u8>) {
    let special = |it: &u8| matches!(it, b',' | b'"' | b'\r' | b'\n');
    if !text.as_bytes().iter().any(special) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for (n, part) in text.split('"').enumerate() {
        if n > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

const SECOND: i64 = 1_000_000_000;
/// What is set aside for a value before it is known.
const CELL_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::types::Float64Type;
    use arrow_array::{ArrayRef, BooleanArray, TimestampNanosecondArray};
    use std::sync::Arc;

    fn expected(batch: &RecordBatch, header: bool) -> String {
        let mut out = Vec::new();
        arrow_csv::WriterBuilder::new().with_header(header).build(&mut out).write(batch).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|it| (it.0, it.1, true)))
            .unwrap()
    }

    #[test]
    fn rows_are_written_as_the_usual_libraries_write_them() {
        let texts = [
            Some("plain"),
            None,
            Some(""),
            Some("a,b"),
            Some("\"said\""),
            Some("two\nlines"),
            Some("\r"),
            Some(" spaces #"),
            Some("\"\",\"\n"),
            Some("'=1+1 ü"),
        ];
        let times = [
            0,
            1,
            -1,
            1_700_000_000_123_456_789,
            1_700_000_000_123_456_000,
            1_700_000_000_123_000_000,
            1_700_000_001_000_000_000,
            1_700_000_000_000_000_001,
            i64::MIN,
            i64::MAX,
        ];
        let n = texts.len();
        let numbers =
            |it: usize| (!it.is_multiple_of(3)).then(|| i64::MIN + (it as i64) * (i64::MAX / 5));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("view", Arc::new(texts.iter().collect::<StringViewArray>())),
            ("text,", Arc::new(texts.iter().collect::<StringArray>())),
            (
                "ts",
                Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC")),
            ),
            (
                "local",
                Arc::new(
                    PrimitiveArray::<TimestampNanosecondType>::from_iter_values(
                        times[..n].to_vec(),
                    )
                    .with_timezone("+02:00"),
                ),
            ),
            ("i64", Arc::new((0..n).map(numbers).collect::<PrimitiveArray<Int64Type>>())),
            (
                "u8",
                Arc::new((0..n).map(|it| Some(it as u8)).collect::<PrimitiveArray<UInt8Type>>()),
            ),
            (
                "f64",
                Arc::new(
                    (0..n).map(|it| Some(0.1 * it as f64)).collect::<PrimitiveArray<Float64Type>>(),
                ),
            ),
            (
                "bool",
                Arc::new(
                    (0..n).map(|it| (it > 2).then_some(it % 2 == 0)).collect::<BooleanArray>(),
                ),
            ),
        ];
        for column in &columns {
            let one = batch(vec![column.clone()]);
            assert_eq!(String::from_utf8(lines(&one).unwrap()).unwrap(), expected(&one, false));
        }
        let all = batch(columns);
        let mut ours = header(all.schema().fields().iter().map(|it| it.name().as_str()));
        ours.extend(lines(&all).unwrap());
        assert_eq!(String::from_utf8(ours).unwrap(), expected(&all, true));
    }
}
