//! Rows of `packets` as the packets they are.

use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Schema};
use dissect::{Link, Packet};

use super::{Error, Rows};

/// The columns of `packets` that make a packet.
pub(crate) const COLUMNS: [&str; 5] = ["ts", "link", "interface", "wire_bytes", "data"];

/// Whether rows of this schema are packets.
pub(crate) fn are_packets(schema: &Schema) -> bool {
    COLUMNS.iter().all(|it| schema.index_of(it).is_ok())
}

/// Writes rows that have at least [`COLUMNS`].
pub(super) struct Packets<W: Write>(source::pcapng::Writer<W>);

impl<W: Write> Packets<W> {
    pub(super) fn new(out: W, schema: &Schema) -> Result<Self, Error> {
        if !are_packets(schema) {
            return Err(Error::Packets(format!(
                "a pcapng file is made of packets: select the columns {} of the table packets, or any rows with a flow_id",
                COLUMNS.join(", ")
            )));
        }
        Ok(Self(source::pcapng::Writer::new(out)?))
    }
}

impl<W: Write> Rows for Packets<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let [ts, link, interface, wire_bytes, data] = COLUMNS;
        let ts = column(batch, ts, &DataType::Int64)?;
        let ts = ts.as_primitive::<Int64Type>();
        let link = numbers(batch, link)?;
        let interface = numbers(batch, interface)?;
        let wire_bytes = numbers(batch, wire_bytes)?;
        let data = column(batch, data, &DataType::BinaryView)?;
        let data = data.as_binary_view();
        for row in 0..batch.num_rows() {
            if ts.is_null(row) || data.is_null(row) {
                return Err(Error::Packets("a row without ts or data is no packet".to_owned()));
            }
            self.0.write(&Packet {
                ts: ts.value(row),
                link: Link::from_dlt(link.value(row)),
                interface: interface.value(row),
                wire_len: wire_bytes.value(row),
                data: data.value(row),
            })?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        self.0.finish()?;
        Ok(())
    }
}

fn numbers(batch: &RecordBatch, name: &str) -> Result<PrimitiveArray<UInt32Type>, Error> {
    Ok(column(batch, name, &DataType::UInt32)?.as_primitive::<UInt32Type>().clone())
}

/// The column in the type that the writer takes; a value that doesn't fit is an error, not a null.
fn column(batch: &RecordBatch, name: &str, kind: &DataType) -> Result<ArrayRef, Error> {
    let column = batch.column_by_name(name).ok_or_else(|| {
        Error::Packets(format!("the rows have no column {name}, so they are no packets"))
    })?;
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(column, kind, &options)?)
}
