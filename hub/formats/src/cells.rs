//! Values in the forms that have no type for them: bytes and headers as JSON, anything nested as text.
//!
//! Every column is named in every row, null or not; bytes that are text are given as text, others as
//! `{"base64": "…"}`; headers are an object of lists, because a name may stand more than once.

use arrow_array::{Array, ArrayRef, MapArray, RecordBatch, StringArray, cast::AsArray as _};
use arrow_cast::base64::{BASE64_STANDARD, Engine as _};
use arrow_json::writer::{
    Encoder, EncoderFactory, EncoderOptions, NullableEncoder, WriterBuilder, make_encoder,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use std::{borrow::Cow, sync::Arc};

/// What writes rows as JSON.
pub(crate) fn json() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(Values))
}

/// The same columns; those of a type that a flat file has no word for as text.
pub fn flat_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema
        .fields()
        .iter()
        .map(|field| {
            if is_flat(field.data_type()) {
                Arc::clone(field)
            } else {
                Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable()))
            }
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The rows in the schema that [`flat_schema`] makes.
pub fn flat(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let fields = batch.schema();
    let columns = batch
        .columns()
        .iter()
        .zip(fields.fields())
        .map(|(column, field)| match column.data_type() {
            kind if is_flat(kind) => Ok(Arc::clone(column)),
            DataType::Binary => Ok(texts(column, |row| column.as_binary::<i32>().value(row))),
            DataType::LargeBinary => Ok(texts(column, |row| column.as_binary::<i64>().value(row))),
            DataType::BinaryView => Ok(texts(column, |row| column.as_binary_view().value(row))),
            _ => jsons(field, column),
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// Bytes as text: as they are where they are text, else in base64 with that word in front.
fn texts<'a>(column: &'a ArrayRef, value: impl Fn(usize) -> &'a [u8]) -> ArrayRef {
    let texts = (0..column.len()).map(|row| {
        column.is_valid(row).then(|| match str::from_utf8(value(row)) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(format!("base64:{}", BASE64_STANDARD.encode(value(row)))),
        })
    });
    Arc::new(texts.collect::<StringArray>())
}

fn jsons(field: &FieldRef, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options =
        EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(Values));
    let mut encoder = make_encoder(field, column, &options)?;
    let mut json = Vec::new();
    let texts = (0..column.len()).map(|row| {
        (!encoder.is_null(row)).then(|| {
            json.clear();
            encoder.encode(row, &mut json);
            String::from_utf8_lossy(&json).into_owned()
        })
    });
    Ok(Arc::new(texts.collect::<StringArray>()))
}

fn is_flat(kind: &DataType) -> bool {
    !kind.is_nested()
        && !matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// The values JSON has no type for.
#[derive(Debug)]
struct Values;

impl EncoderFactory for Values {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Binary => Box::new(Bodies(|row| array.as_binary::<i32>().value(row))),
            DataType::LargeBinary => Box::new(Bodies(|row| array.as_binary::<i64>().value(row))),
            DataType::BinaryView => Box::new(Bodies(|row| array.as_binary_view().value(row))),
            DataType::Map(..) => match Headers::new(array.as_map()) {
                Some(headers) => Box::new(headers),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.logical_nulls())))
    }
}

struct Bodies<F>(F);

impl<'a, F: Fn(usize) -> &'a [u8]> Encoder for Bodies<F> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let bytes = (self.0)(row);
        match str::from_utf8(bytes) {
            Ok(text) => out.extend(to_json(text)),
            Err(_) => {
                out.extend_from_slice(b"{\"base64\":");
                out.extend(to_json(&BASE64_STANDARD.encode(bytes)));
                out.push(b'}');
            }
        }
    }
}

/// A name may stand more than once, so that each has a list.
struct Headers<'a> {
    map: &'a MapArray,
    names: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> Headers<'a> {
    /// None if it is a map of something else than texts.
    fn new(map: &'a MapArray) -> Option<Self> {
        let (names, values) =
            (map.keys().as_string_opt::<i32>()?, map.values().as_string_opt::<i32>()?);
        Some(Self { map, names, values })
    }
}

impl Encoder for Headers<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let offsets = self.map.value_offsets();
        let at = |row: usize| offsets.get(row).map_or(0, |at| usize::try_from(*at).unwrap_or(0));
        let mut lists: Vec<(&str, Vec<Option<&str>>)> = Vec::new();
        for entry in at(row)..at(row + 1) {
            let name = self.names.value(entry);
            let value = self.values.is_valid(entry).then(|| self.values.value(entry));
            match lists.iter_mut().find(|(known, _)| *known == name) {
                Some((_, list)) => list.push(value),
                None => lists.push((name, vec![value])),
            }
        }
        out.push(b'{');
        for (n, (name, list)) in lists.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            out.extend(to_json(*name));
            out.push(b':');
            out.extend(to_json(list));
        }
        out.push(b'}');
    }
}

fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Texts and lists of them: nothing that could fail.
    serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec())
}
