//! Rows as bytes, in each form the Hub answers in. See [`api::JsonAnswer`] for how values look as JSON.

use api::{Accounting, AnswerLine, ApiError, Format, Table};
use arrow_array::{Array, ArrayRef, MapArray, RecordBatch, StringArray, cast::AsArray as _};
use arrow_cast::base64::{BASE64_STANDARD, Engine as _};
use arrow_csv::writer::WriterBuilder as CsvBuilder;
use arrow_ipc::writer::StreamWriter;
use arrow_json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder,
    WriterBuilder as JsonBuilder, make_encoder,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use std::{borrow::Cow, sync::Arc};

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
            Form::Csv(schema) => csv(&RecordBatch::new_empty(Arc::clone(schema)), true)?,
            Form::Arrow(writer) => std::mem::take(writer.get_mut()).into(),
        })
    }

    /// Some rows, in pieces small enough to pass on one by one.
    pub(crate) fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, ArrowError> {
        let batch = link::compact(batch);
        let mut out = Vec::new();
        for piece in pieces(&batch) {
            let bytes = match &mut self.form {
                Form::Json => {
                    let mut lines = lines(&piece)?;
                    // No value holds a bare line feed: in a text it is escaped.
                    lines.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b',');
                    lines.pop();
                    if self.rows > 0 {
                        lines.insert(0, b',');
                    }
                    lines.into()
                }
                Form::Ndjson(_) => lines(&piece)?.into(),
                Form::Csv(schema) => csv(&flat(&piece, schema)?, false)?,
                Form::Arrow(writer) => {
                    writer.write(&link::compact(&piece))?;
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
            Form::Csv(_) => Bytes::new(),
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

fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Our own types: maps with text keys, no custom code that could fail.
    serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec())
}

fn line(line: &AnswerLine) -> Vec<u8> {
    let mut line = to_json(line);
    line.push(b'\n');
    line
}

fn lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = JsonBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Values))
        .build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

fn csv(batch: &RecordBatch, header: bool) -> Result<Bytes, ArrowError> {
    let mut out = Vec::new();
    {
        let mut writer = CsvBuilder::new().with_header(header).build(&mut out);
        writer.write(batch)?;
    }
    Ok(out.into())
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

/// The same columns; those of a type that a flat file has no word for as text.
fn flat_schema(schema: &Schema) -> SchemaRef {
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

fn flat(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
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

const PIECE_BYTES: usize = 1 << 20;
