//! JSON: an array, or one object a line.
//!
//! As the Hub writes it: every column is named in every row, null or not; bytes that are text are given as text,
//! others as `{"base64": "…"}`; headers are an object of lists, because a name may stand more than once.

use std::io::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, MapArray, RecordBatch, StringArray};
use arrow_cast::base64::{BASE64_STANDARD, Engine as _};
use arrow_json::writer::{
    JsonArray, JsonFormat, LineDelimited, NullableEncoder, Writer, WriterBuilder,
};
use arrow_json::{Encoder, EncoderFactory, EncoderOptions};
use arrow_schema::{ArrowError, DataType, FieldRef};

use super::{Error, Rows};

/// An array of objects.
pub(super) fn array<W: Write>(out: W) -> Json<W, JsonArray> {
    Json(builder().build::<_, JsonArray>(out))
}

/// One object a line.
pub(super) fn lines<W: Write>(out: W) -> Json<W, LineDelimited> {
    Json(builder().build::<_, LineDelimited>(out))
}

/// Each value of a column as JSON; null where it is null.
pub(super) fn column(field: &FieldRef, array: &ArrayRef) -> Result<StringArray, ArrowError> {
    let options =
        EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(Values));
    let mut encoder = arrow_json::writer::make_encoder(field, array, &options)?;
    let mut json = Vec::new();
    Ok((0..array.len())
        .map(|row| {
            if encoder.is_null(row) {
                return None;
            }
            json.clear();
            encoder.encode(row, &mut json);
            Some(String::from_utf8_lossy(&json).into_owned())
        })
        .collect())
}

pub(super) struct Json<W: Write, F: JsonFormat>(Writer<W, F>);

impl<W: Write, F: JsonFormat> Rows for Json<W, F> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        Ok(self.0.write(batch)?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.0.finish()?;
        Ok(self.0.get_mut().flush()?)
    }
}

fn builder() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(Values))
}

/// The values that JSON has no type for.
#[derive(Debug)]
struct Values;

impl EncoderFactory for Values {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let nulls = array.logical_nulls();
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Binary => Box::new(Bytes(|row| array.as_binary::<i32>().value(row))),
            DataType::LargeBinary => Box::new(Bytes(|row| array.as_binary::<i64>().value(row))),
            DataType::BinaryView => Box::new(Bytes(|row| array.as_binary_view().value(row))),
            DataType::Map(entries, _) if is_text_to_text(entries) => {
                Box::new(Headers(array.as_map()))
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, nulls)))
    }
}

struct Bytes<F>(F);

impl<'a, F: Fn(usize) -> &'a [u8]> Encoder for Bytes<F> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        match std::str::from_utf8((self.0)(row)) {
            Ok(text) => string(text, out),
            Err(_) => {
                out.extend_from_slice(b"{\"base64\":");
                string(&BASE64_STANDARD.encode((self.0)(row)), out);
                out.push(b'}');
            }
        }
    }
}

struct Headers<'a>(&'a MapArray);

impl Encoder for Headers<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let entries = self.0.value(row);
        let (names, values) =
            (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
        out.push(b'{');
        let mut first = true;
        for at in 0..names.len() {
            let name = names.value(at);
            let same = |it: &usize| names.value(*it) == name;
            if (0..at).any(|it| same(&it)) {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            string(name, out);
            out.push(b':');
            out.push(b'[');
            for (n, it) in (at..names.len()).filter(same).enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                optional(values, it, out);
            }
            out.push(b']');
        }
        out.push(b'}');
    }
}

fn is_text_to_text(entries: &FieldRef) -> bool {
    let DataType::Struct(fields) = entries.data_type() else { return false };
    fields.len() == 2 && fields.iter().all(|it| *it.data_type() == DataType::Utf8)
}

fn optional(values: &StringArray, at: usize, out: &mut Vec<u8>) {
    if values.is_null(at) {
        out.extend_from_slice(b"null");
    } else {
        string(values.value(at), out);
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is valid JSON and a Vec takes all");
}
