//! Rows of `packets` as the packets they are.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use pcapng::Rows as Writer;
pub(crate) use pcapng::{COLUMNS, are_packets};

use super::{Error, Rows};

/// Writes rows that have at least [`COLUMNS`].
pub(super) struct Packets<W: Write>(Writer<W>);

impl<W: Write> Packets<W> {
    pub(super) fn new(out: W, schema: &Schema) -> Result<Self, Error> {
        Ok(Self(Writer::new(out, schema)?))
    }
}

impl<W: Write> Rows for Packets<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        Ok(self.0.write(batch)?)
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        self.0.finish()?;
        Ok(())
    }
}

impl From<pcapng::Error> for Error {
    fn from(error: pcapng::Error) -> Self {
        match error {
            pcapng::Error::Rows(what) => Self::Packets(what),
            pcapng::Error::Values(error) => error.into(),
            pcapng::Error::Io(error) => error.into(),
        }
    }
}
