//! JSON: an array, or one object a line, as the Hub writes it.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_json::writer::{JsonArray, JsonFormat, LineDelimited, Writer};
use server::cells;

use super::{Error, Rows};

/// An array of objects.
pub(super) fn array<W: Write>(out: W) -> Json<W, JsonArray> {
    Json(cells::json().build::<_, JsonArray>(out))
}

/// One object a line.
pub(super) fn lines<W: Write>(out: W) -> Json<W, LineDelimited> {
    Json(cells::json().build::<_, LineDelimited>(out))
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
