//! Rows as a Parquet file, written as they come.
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::fmt;
use std::io::Write;

/// A Parquet file under way. It is one only once it is finished.
pub struct Parquet<W: Write + Send>(ArrowWriter<W>);

impl<W: Write + Send> Parquet<W> {
    /// A file of rows of this schema; what stands before the first row is written.
    ///
    /// # Errors
    /// If Parquet has no word for a column's type, or `out` fails.
    pub fn new(out: W, schema: &SchemaRef) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        Ok(Self(ArrowWriter::try_new(out, SchemaRef::clone(schema), Some(properties))?))
    }

    /// Adds rows. A row group of them is held in memory: some 32 MiB.
    ///
    /// # Errors
    /// If they are not of the schema, or the output fails.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.0.write(batch)?;
        // A row group is held in memory until it is closed: bodies make it large before it is long.
        if self.0.in_progress_size() > GROUP_BYTES {
            self.0.flush()?;
        }
        Ok(())
    }

    /// Writes what comes after the last row.
    ///
    /// # Errors
    /// If the output fails.
    pub fn finish(&mut self) -> Result<(), ParquetError> {
        self.0.finish()?;
        Ok(())
    }
}

impl Parquet<Vec<u8>> {
    /// What was written since the last call.
    ///
    /// # Errors
    /// None that memory knows.
    pub fn take(&mut self) -> Result<Vec<u8>, ParquetError> {
        self.0.sync()?;
        Ok(std::mem::take(self.0.inner_mut()))
    }
}

impl<W: Write + Send> fmt::Debug for Parquet<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parquet").field("in_progress", &self.0.in_progress_rows()).finish()
    }
}

/// Large enough for good compression, small enough to hold a few of.
const GROUP_BYTES: usize = 32 << 20;
