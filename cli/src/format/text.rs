//! Values as text, for the formats that know nothing else.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_cast::base64::{BASE64_STANDARD, Engine as _};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::json;

/// Bytes as text: as they are where they are text, else as base64 with that word in front.
pub(super) fn of_bytes(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(format!("base64:{}", BASE64_STANDARD.encode(bytes))),
    }
}

/// The same columns, those of a type that a flat file has no word for as text.
pub(super) fn flat_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|it| match it.data_type() {
        kind if is_flat(kind) => Arc::clone(it),
        _ => Arc::new(Field::new(it.name(), DataType::Utf8, it.is_nullable())),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The rows in the schema that [`flat_schema`] makes.
pub(super) fn flat(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let fields = batch.schema();
    let columns = batch.columns().iter().zip(fields.fields()).map(|(column, field)| {
        Ok(match column.data_type() {
            kind if is_flat(kind) => Arc::clone(column),
            DataType::Binary => bytes(column, |row| column.as_binary::<i32>().value(row)),
            DataType::LargeBinary => bytes(column, |row| column.as_binary::<i64>().value(row)),
            DataType::BinaryView => bytes(column, |row| column.as_binary_view().value(row)),
            _ => Arc::new(json::column(field, column)?) as ArrayRef,
        })
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, ArrowError>>()?)
}

fn bytes<'a>(column: &'a ArrayRef, value: impl Fn(usize) -> &'a [u8]) -> ArrayRef {
    let texts = (0..column.len()).map(|row| column.is_valid(row).then(|| of_bytes(value(row))));
    Arc::new(texts.collect::<StringArray>())
}

fn is_flat(kind: &DataType) -> bool {
    !kind.is_nested()
        && !matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}
