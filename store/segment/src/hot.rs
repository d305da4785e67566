//! Rows in memory: few batches, each as small as its rows.
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType};
use arrow_select::concat::concat_batches;

/// A batch with what is asked of it often.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) batch: RecordBatch,
    /// What the batch takes in memory.
    pub(crate) bytes: usize,
    /// The earliest `ts`.
    pub(crate) from: i64,
    /// The latest `ts`.
    pub(crate) to: i64,
}

impl Rows {
    /// `ts` is the index of the column of that name. The batch has rows.
    pub(crate) fn new(batch: RecordBatch, ts: usize) -> Result<Self, ArrowError> {
        let batch = tidy(batch)?;
        let times = times(&batch, ts);
        let from = times.iter().copied().min().unwrap_or_default();
        let to = times.iter().copied().max().unwrap_or_default();
        let bytes = batch.get_array_memory_size();
        Ok(Self { batch, bytes, from, to })
    }

    pub(crate) fn len(&self) -> u64 {
        self.batch.num_rows() as u64
    }
}

/// Adds rows, joining small batches so that a scan meets few. A batch is joined to the one before
/// only when that is not much longer, so a row is copied a logarithmic number of times.
pub(crate) fn push(hot: &mut Vec<Rows>, rows: Rows) {
    hot.push(rows);
    while let [.., before, last] = hot.as_slice() {
        let small = before.len() + last.len() <= JOINED_ROWS
            && before.bytes + last.bytes <= JOINED_BYTES
            && before.len() <= 2 * last.len();
        if !small {
            break;
        }
        let batch = concat_batches(before.batch.schema_ref(), [&before.batch, &last.batch]);
        let Ok(batch) = batch.and_then(squeeze) else { break };
        let joined = Rows {
            bytes: batch.get_array_memory_size(),
            from: before.from.min(last.from),
            to: before.to.max(last.to),
            batch,
        };
        hot.truncate(hot.len() - 2);
        hot.push(joined);
    }
}

/// The values of column `ts`.
pub(crate) fn times(batch: &RecordBatch, ts: usize) -> &[i64] {
    batch.column(ts).as_primitive::<TimestampNanosecondType>().values()
}

/// Copies a batch that holds much more memory than its rows need: a slice of a large one, or one
/// whose builders had room for many rows.
fn tidy(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let needed = batch.columns().iter().map(needed_bytes).sum::<usize>();
    if batch.get_array_memory_size() <= needed + needed / 2 + SLACK_BYTES {
        return Ok(batch);
    }
    // Joining with nothing copies; a single batch would only be cloned.
    squeeze(concat_batches(batch.schema_ref(), [&batch, &batch.slice(0, 0)])?)
}

/// Views share the buffers they came from: copy what they show into a buffer of their own.
fn squeeze(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    });
    RecordBatch::try_new(batch.schema(), columns.collect())
}

fn needed_bytes(column: &ArrayRef) -> usize {
    let views = column.len() * size_of::<u128>();
    match column.data_type() {
        DataType::Utf8View => views + column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => views + column.as_binary_view().total_buffer_bytes_used(),
        _ => column.to_data().get_slice_memory_size().unwrap_or_default(),
    }
}

/// The rows of a batch in memory, about what DataFusion takes at a time.
const JOINED_ROWS: u64 = 8192;
/// Copying more than this at once would hold up readers.
const JOINED_BYTES: usize = 4 << 20;
/// Unused memory that is not worth a copy.
const SLACK_BYTES: usize = 4 << 10;
