//! Rows as bytes, in each form the Hub answers in. See [`api::JsonAnswer`] for how values look as JSON.

use api::{Accounting, AnswerLine, ApiError, Format, Table};
use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use formats::{Parquet, csv, csv_header, flat_schema, json_items, json_lines};
use std::sync::Arc;

/// Turns the batches of one answer into bytes.
pub(crate) struct Writer {
    form: Form,
    schema: SchemaRef,
    rows: u64,
}

enum Form {
    Json,
    /// With a line of accounting at the end, or without.
    Ndjson(bool),
    Csv(SchemaRef),
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<Parquet<Vec<u8>>>),
    Pcapng(Box<pcapng::Rows<Vec<u8>>>),
}

impl Writer {
    /// `accounting` as in [`api::QueryRequest::accounting`].
    pub(crate) fn new(
        format: Format,
        schema: &SchemaRef,
        accounting: bool,
    ) -> Result<Self, ArrowError> {
        let form = match format {
            Format::Json => Form::Json,
            Format::Ndjson => Form::Ndjson(accounting),
            Format::Csv => Form::Csv(flat_schema(schema)),
            Format::Arrow => Form::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
            Format::Parquet => Form::Parquet(Box::new(Parquet::new(Vec::new(), schema)?)),
            Format::Pcapng => {
                Form::Pcapng(Box::new(pcapng::Rows::new(Vec::new(), schema).map_err(unfit)?))
            }
        };
        Ok(Self { form, schema: Arc::clone(schema), rows: 0 })
    }

    /// What comes before the first row.
    pub(crate) fn begin(&mut self) -> Result<Bytes, ArrowError> {
        Ok(match &mut self.form {
            Form::Json => {
                let table = Table::from_arrow("", &self.schema);
                let mut out = b"{\"columns\":".to_vec();
                out.extend(to_json(&table.fields));
                out.extend_from_slice(b",\"rows\":[");
                out.into()
            }
            Form::Ndjson(_) => Bytes::new(),
            Form::Csv(schema) => csv_header(schema).into(),
            Form::Arrow(writer) => std::mem::take(writer.get_mut()).into(),
            Form::Parquet(writer) => writer.take()?.into(),
            Form::Pcapng(writer) => std::mem::take(writer.get_mut()).into(),
        })
    }

    /// Some rows, in pieces small enough to pass on one by one.
    pub(crate) fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, ArrowError> {
        let batch = link::compact(batch);
        let mut out = Vec::new();
        for piece in pieces(&batch) {
            let bytes = match &mut self.form {
                Form::Json => json_items(&piece, self.rows > 0)?.into(),
                Form::Ndjson(_) => json_lines(&piece)?.into(),
                Form::Csv(schema) => csv(&piece, schema)?.into(),
                Form::Arrow(writer) => {
                    writer.write(&link::compact(&piece))?;
                    std::mem::take(writer.get_mut()).into()
                }
                Form::Parquet(writer) => {
                    writer.write(&piece)?;
                    writer.take()?.into()
                }
                Form::Pcapng(writer) => {
                    writer.write(&piece).map_err(unfit)?;
                    std::mem::take(writer.get_mut()).into()
                }
            };
            self.rows += piece.num_rows() as u64;
            out.push(bytes);
        }
        Ok(out)
    }

    /// What comes after the last row.
    pub(crate) fn end(&mut self, accounting: &Accounting) -> Result<Bytes, ArrowError> {
        Ok(match &mut self.form {
            Form::Json => {
                let mut out = b"],\"accounting\":".to_vec();
                out.extend(to_json(accounting));
                if let Some(error) = &accounting.error {
                    out.extend_from_slice(b",\"error\":");
                    out.extend(to_json(error));
                }
                out.push(b'}');
                out.into()
            }
            Form::Ndjson(wanted) => {
                let mut out = Vec::new();
                if let Some(error) = &accounting.error {
                    out.extend(line(&AnswerLine::Error(error.clone())));
                }
                if *wanted {
                    out.extend(line(&AnswerLine::Accounting(accounting.clone())));
                }
                out.into()
            }
            Form::Csv(_) | Form::Pcapng(_) => Bytes::new(),
            Form::Parquet(writer) => {
                writer.finish()?;
                writer.take()?.into()
            }
            Form::Arrow(writer) => {
                writer.finish()?;
                std::mem::take(writer.get_mut()).into()
            }
        })
    }

    /// Can the form itself say that the rows break off? If not, the connection has to break.
    pub(crate) const fn tells_errors(&self) -> bool {
        matches!(self.form, Form::Json | Form::Ndjson(_))
    }
}

/// Breaks the connection off: what came before is not all there is.
pub(crate) fn broken(error: &ApiError) -> std::io::Error {
    std::io::Error::other(error.to_string())
}

fn unfit(error: pcapng::Error) -> ArrowError {
    match error {
        pcapng::Error::Values(error) => error,
        other => ArrowError::InvalidArgumentError(other.to_string()),
    }
}

fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Our own types: maps with text keys, no custom code that could fail.
    serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec())
}

fn line(line: &AnswerLine) -> Vec<u8> {
    let mut line = to_json(line);
    line.push(b'\n');
    line
}

/// Parts of about a mebibyte, so that no answer needs memory in proportion to a batch's widest column.
fn pieces(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    if rows == 0 {
        return Vec::new();
    }
    let row_bytes = (batch.get_array_memory_size() / rows).max(1);
    let step = (PIECE_BYTES / row_bytes).clamp(16, rows.max(16));
    (0..rows).step_by(step).map(|at| batch.slice(at, step.min(rows - at))).collect()
}

const PIECE_BYTES: usize = 1 << 20;
