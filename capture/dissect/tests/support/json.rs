//! Rows as JSON.
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{ArrayRef, RecordBatch};
use serde_json::{Map, Value};

/// The rows of a batch; times are nanoseconds since 1970.
pub(crate) fn objects(batch: &RecordBatch) -> Vec<Map<String, Value>> {
    let names = batch.schema();
    let columns = names.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let plain: ArrayRef = match column.as_primitive_opt::<TimestampNanosecondType>() {
            Some(times) => Arc::new(times.reinterpret_cast::<Int64Type>()),
            None => Arc::clone(column),
        };
        (field.name().clone(), plain)
    });
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = arrow_json::ArrayWriter::new(Vec::new());
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    match writer.into_inner() {
        nothing if nothing.is_empty() => Vec::new(),
        text => serde_json::from_slice(&text).unwrap(),
    }
}
