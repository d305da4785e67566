//! Rows as text. The Hub's answers and the files that the command line writes look alike because
//! both are written here.
mod cells;
mod csv;
mod file;

use arrow_array::RecordBatch;
use arrow_json::writer::LineDelimited;
use arrow_schema::{ArrowError, SchemaRef};

pub use self::cells::{flat, flat_schema};
pub use self::file::Parquet;

/// A JSON object a line.
pub fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = cells::json().build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Items of a JSON array, with a comma in front if there were some `before`.
pub fn json_items(batch: &RecordBatch, before: bool) -> Result<Vec<u8>, ArrowError> {
    let mut items = json_lines(batch)?;
    // No value holds a bare line feed: in a text it is escaped.
    items.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b',');
    items.pop();
    if before && !items.is_empty() {
        items.insert(0, b',');
    }
    Ok(items)
}

/// Comma-separated values in the schema that [`flat_schema`] makes.
pub fn csv(batch: &RecordBatch, schema: &SchemaRef) -> Result<Vec<u8>, ArrowError> {
    csv::lines(&flat(batch, schema)?)
}

/// The line of names that stands before them.
pub fn csv_header(schema: &SchemaRef) -> Vec<u8> {
    csv::header(schema.fields().iter().map(|it| it.name().as_str()))
}
