//! Rows of `packets` as the packets they are.

use std::{
    collections::HashSet,
    io::{self, Write},
};

use arrow_array::{
    Array, ArrayRef, PrimitiveArray, RecordBatch, StringViewArray,
    cast::AsArray,
    types::{Int64Type, UInt32Type},
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Schema};

use crate::{Packet, Writer};

/// The columns of `packets` that make a packet. Of `node` and `flow_id`, if they are there, comments are made.
pub const COLUMNS: [&str; 5] = ["ts", "link", "interface", "wire_bytes", "data"];

/// Whether rows of this schema are packets.
#[must_use]
pub fn are_packets(schema: &Schema) -> bool {
    COLUMNS.iter().all(|it| schema.index_of(it).is_ok())
}

/// Why rows do not become packets.
#[derive(Debug)]
pub enum Error {
    /// They are none; what is wrong, in a sentence.
    Rows(String),
    /// A value does not fit.
    Values(ArrowError),
    /// They could not be written.
    Io(io::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rows(what) => f.write_str(what),
            Self::Values(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Writes rows that have at least [`COLUMNS`].
#[derive(Debug)]
pub struct Rows<W> {
    writer: Writer<W>,
    /// Conversations whose first packet was written, with its comment.
    told: HashSet<u128>,
}

impl<W: Write> Rows<W> {
    /// Begins a file for rows of this schema.
    pub fn new(out: W, schema: &Schema) -> Result<Self, Error> {
        if !are_packets(schema) {
            return Err(Error::Rows(format!(
                "a pcapng file is made of packets: select the columns {} of the table packets, or any rows with a flow_id",
                COLUMNS.join(", ")
            )));
        }
        Ok(Self { writer: Writer::new(out).map_err(Error::Io)?, told: HashSet::new() })
    }

    /// Adds the rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let [ts, link, interface, wire_bytes, data] = COLUMNS;
        let ts = column(batch, ts, &DataType::Int64)?;
        let ts = ts.as_primitive::<Int64Type>();
        let link = numbers(batch, link)?;
        let interface = numbers(batch, interface)?;
        let wire_bytes = numbers(batch, wire_bytes)?;
        let data = column(batch, data, &DataType::BinaryView)?;
        let data = data.as_binary_view();
        let nodes = texts(batch, "node")?;
        let flows = texts(batch, "flow_id")?;
        for row in 0..batch.num_rows() {
            if ts.is_null(row) || data.is_null(row) {
                return Err(Error::Rows("a row without ts or data is no packet".to_owned()));
            }
            let node = text(nodes.as_ref(), row);
            let comment = text(flows.as_ref(), row).filter(|it| self.is_first(node, it));
            let comment = comment.map(|flow| match node {
                Some(node) => format!("conversation {flow}, seen by node {node}"),
                None => format!("conversation {flow}"),
            });
            let packet = Packet {
                ts: ts.value(row),
                link: link.value(row),
                interface: interface.value(row),
                node: node.unwrap_or_default(),
                wire_len: wire_bytes.value(row),
                data: data.value(row),
                comment: comment.as_deref(),
            };
            self.writer.write(&packet).map_err(Error::Io)?;
        }
        Ok(())
    }

    /// What it writes to; what was written so far may be taken out of it.
    pub fn get_mut(&mut self) -> &mut W {
        self.writer.get_mut()
    }

    /// Flushes, and gives the writer back.
    pub fn finish(self) -> io::Result<W> {
        self.writer.finish()
    }

    /// Whether no packet of the conversation was written. Past a bound nobody is told any more.
    fn is_first(&mut self, node: Option<&str>, flow: &str) -> bool {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, node, flow).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        self.told.len() < TOLD && self.told.insert((half(0) << 64) | half(1))
    }
}

fn numbers(batch: &RecordBatch, name: &str) -> Result<PrimitiveArray<UInt32Type>, Error> {
    Ok(column(batch, name, &DataType::UInt32)?.as_primitive::<UInt32Type>().clone())
}

/// A column of texts, if there is one.
fn texts(batch: &RecordBatch, name: &str) -> Result<Option<StringViewArray>, Error> {
    if batch.column_by_name(name).is_none() {
        return Ok(None);
    }
    Ok(Some(column(batch, name, &DataType::Utf8View)?.as_string_view().clone()))
}

fn text(column: Option<&StringViewArray>, row: usize) -> Option<&str> {
    column.filter(|it| !it.is_null(row)).map(|it| it.value(row))
}

/// The column in the type that the writer takes; a value that doesn't fit is an error, not a null.
fn column(batch: &RecordBatch, name: &str, kind: &DataType) -> Result<ArrayRef, Error> {
    let column = batch.column_by_name(name).ok_or_else(|| {
        Error::Rows(format!("the rows have no column {name}, so they are no packets"))
    })?;
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, kind, &options).map_err(Error::Values)
}

/// Conversations whose first packet gets a comment: some megabytes of names are remembered.
const TOLD: usize = 100_000;
