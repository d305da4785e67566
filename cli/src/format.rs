//! Rows, written the way the asker wants them.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};
use clap::ValueEnum;

pub(crate) mod pcapng;
mod table;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: columns, or one value a line where the columns don't fit the terminal.
    Table,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values, with a header line.
    Csv,
    /// An Arrow IPC stream: every type as it is.
    Arrow,
    /// A Parquet file.
    Parquet,
    /// The packets themselves, for Wireshark and its kin.
    Pcapng,
}

impl Format {
    /// Whether what it writes is for a program's eyes only.
    pub(crate) fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet | Self::Pcapng)
    }
}

/// Takes rows, batch by batch, and writes them.
pub(crate) trait Rows {
    /// Writes some rows.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error>;
    /// Writes what must come after the last row.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The rows don't fit the format.
    #[error("the rows can't be written in this format: {0}")]
    Arrow(#[from] ArrowError),
    #[error("the rows can't be written as Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("writing the rows: {0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Packets(String),
}

/// What writes rows of this schema as `format` to `out`. A `width` is that of the terminal that shows them.
pub(crate) fn rows<'a>(
    format: Format,
    schema: &SchemaRef,
    out: impl Write + Send + 'a,
    width: Option<usize>,
) -> Result<Box<dyn Rows + 'a>, Error> {
    Ok(match format {
        Format::Table => Box::new(table::Table::new(out, schema, width)),
        Format::Json => Box::new(Text { out, form: Form::Array, any: false }),
        Format::Ndjson => Box::new(Text { out, form: Form::Lines, any: false }),
        Format::Csv => {
            Box::new(Text { out, form: Form::Csv(formats::flat_schema(schema)), any: false })
        }
        Format::Arrow => Box::new(Arrow(StreamWriter::try_new(out, schema)?)),
        Format::Parquet => Box::new(Parquet(formats::Parquet::new(out, schema)?)),
        Format::Pcapng => Box::new(pcapng::Packets::new(out, schema)?),
    })
}

/// What writes rows that have no end, for people: a line each.
pub(crate) fn lines<'a>(
    schema: &SchemaRef,
    out: impl Write + Send + 'a,
    width: Option<usize>,
) -> Result<Box<dyn Rows + 'a>, Error> {
    Ok(Box::new(table::Table::endless(out, schema, width)?))
}

struct Arrow<W: Write>(StreamWriter<W>);

impl<W: Write> Rows for Arrow<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        Ok(self.0.write(batch)?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        Ok(self.0.finish()?)
    }
}

struct Parquet<W: Write + Send>(formats::Parquet<W>);

impl<W: Write + Send> Rows for Parquet<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        Ok(self.0.write(batch)?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        Ok(self.0.finish()?)
    }
}

/// Rows as text.
struct Text<W: Write> {
    out: W,
    form: Form,
    /// Whether there was a row.
    any: bool,
}

enum Form {
    /// A JSON array of objects.
    Array,
    /// A JSON object a line.
    Lines,
    /// Comma-separated values of these columns.
    Csv(SchemaRef),
}

impl<W: Write> Text<W> {
    /// What comes before the first row, also if none comes: that is an answer too.
    fn begin(&mut self) -> Result<(), Error> {
        match &self.form {
            Form::Array => self.out.write_all(b"[")?,
            Form::Lines => {}
            Form::Csv(schema) => self.out.write_all(&formats::csv_header(schema))?,
        }
        Ok(())
    }
}

impl<W: Write> Rows for Text<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if !self.any {
            self.begin()?;
        }
        let bytes = match &self.form {
            Form::Array => formats::json_items(batch, self.any)?,
            Form::Lines => formats::json_lines(batch)?,
            Form::Csv(schema) => formats::csv(batch, schema)?,
        };
        self.any = true;
        Ok(self.out.write_all(&bytes)?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        if !self.any {
            self.begin()?;
        }
        if matches!(self.form, Form::Array) {
            self.out.write_all(b"]")?;
        }
        Ok(self.out.flush()?)
    }
}

#[cfg(test)]
mod tests;
