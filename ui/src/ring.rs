//! The newest rows, kept as the Arrow batches they came in.

use std::collections::VecDeque;

use arrow_array::{Array as _, ArrayRef, RecordBatch, cast::AsArray as _};
use arrow_schema::DataType;
use arrow_select::concat::concat_batches;

use crate::value::Row;

/// Rows numbered in the order of their coming. Beyond its bounds, the oldest batches go whole.
#[derive(Debug)]
pub(crate) struct Ring {
    parts: VecDeque<Part>,
    end: u64,
    bytes: usize,
    most_rows: u64,
    most_bytes: usize,
}

#[derive(Debug)]
struct Part {
    start: u64,
    batch: RecordBatch,
    /// The batch's first row is its newest, as in answers.
    newest_first: bool,
    bytes: usize,
}

impl Ring {
    pub(crate) fn new(most_rows: u64, most_bytes: usize) -> Self {
        Self { parts: VecDeque::new(), end: 0, bytes: 0, most_rows, most_bytes }
    }

    /// The number of the oldest row kept.
    pub(crate) fn start(&self) -> u64 {
        self.parts.front().map_or(self.end, |part| part.start)
    }

    /// The number the next row will have.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start() >= self.most_rows || self.bytes >= self.most_bytes
    }

    pub(crate) fn clear(&mut self) {
        self.parts.clear();
        self.bytes = 0;
    }

    /// Takes rows in; `bytes` is what they occupy.
    pub(crate) fn push(&mut self, batch: RecordBatch, bytes: usize, newest_first: bool) {
        if batch.num_rows() == 0 {
            return;
        }
        let rows = batch.num_rows() as u64;
        let mut part = Part { start: self.end, batch, newest_first, bytes };
        if let Some(last) = self.parts.pop_back_if(|last| joins(last, &part)) {
            self.bytes -= last.bytes;
            part = join(last, part);
        }
        self.end += rows;
        self.bytes += part.bytes;
        self.parts.push_back(part);
        while self.parts.len() > 1
            && (self.bytes > self.most_bytes
                || self.parts.get(1).is_some_and(|next| self.end - next.start >= self.most_rows))
        {
            if let Some(gone) = self.parts.pop_front() {
                self.bytes -= gone.bytes;
            }
        }
    }

    /// The row of that number, if it is still here.
    pub(crate) fn get(&self, number: u64) -> Option<Row<'_>> {
        let after = self.parts.partition_point(|part| part.start <= number);
        let part = self.parts.get(after.checked_sub(1)?)?;
        let rows = part.batch.num_rows();
        let place = usize::try_from(number - part.start).ok().filter(|place| *place < rows)?;
        let at = if part.newest_first { rows - 1 - place } else { place };
        Some(Row { batch: &part.batch, at })
    }
}

/// At low rates a batch holds a row or two, and its framing outweighs them: such batches become one.
fn joins(last: &Part, new: &Part) -> bool {
    let small = |part: &Part| !part.newest_first && part.batch.num_rows() < SMALL_ROWS;
    small(last) && small(new) && last.batch.schema_ref() == new.batch.schema_ref()
}

fn join(last: Part, new: Part) -> Part {
    let Ok(both) = concat_batches(last.batch.schema_ref(), [&last.batch, &new.batch]) else {
        // the same schema cannot fail to join; should it, the newer rows are what matters
        return new;
    };
    // the views still hold on to the messages they came in
    let columns = both.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => std::sync::Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => std::sync::Arc::new(column.as_binary_view().gc()) as ArrayRef,
        _ => ArrayRef::clone(column),
    });
    let batch = RecordBatch::try_new(both.schema(), columns.collect()).unwrap_or(both);
    let bytes = batch.columns().iter().map(|column| column.get_buffer_memory_size()).sum();
    Part { start: last.start, batch, newest_first: false, bytes }
}

const SMALL_ROWS: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{StringViewArray, UInt64Array};
    use arrow_schema::{Field, Schema};

    use super::*;

    fn batch(numbers: std::ops::Range<u64>) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("n", DataType::UInt64, false),
            Field::new("text", DataType::Utf8View, false),
        ]);
        let texts = numbers.clone().map(|n| format!("row number {n} of the test"));
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(UInt64Array::from_iter_values(numbers)),
                Arc::new(StringViewArray::from_iter_values(texts)),
            ],
        )
        .expect("columns fit the schema")
    }

    fn number(ring: &Ring, at: u64) -> Option<u64> {
        ring.get(at).and_then(|row| row.number("n"))
    }

    #[test]
    fn the_oldest_batches_go_whole() {
        let mut ring = Ring::new(1000, usize::MAX);
        for k in 0..10 {
            ring.push(batch(k * 300..k * 300 + 300), 1, false);
        }
        assert_eq!((ring.start(), ring.end()), (1800, 3000));
        assert_eq!(
            [1799, 1800, 2999, 3000].map(|at| number(&ring, at)),
            [None, Some(1800), Some(2999), None]
        );
        assert!(ring.is_full());
    }

    #[test]
    fn bytes_bound_it_too_but_the_newest_batch_stays() {
        let mut ring = Ring::new(1000, 10);
        ring.push(batch(0..300), 6, false);
        ring.push(batch(300..600), 6, false);
        assert_eq!((ring.start(), ring.end()), (300, 600));
        ring.push(batch(600..900), 60, false);
        assert_eq!((ring.start(), ring.end()), (600, 900));
    }

    #[test]
    fn single_rows_become_one_batch() {
        let mut ring = Ring::new(1000, usize::MAX);
        for k in 0..600 {
            ring.push(batch(k..k + 1), 5_000, false);
        }
        assert!(ring.parts.len() <= 4, "{} parts", ring.parts.len());
        assert!(ring.bytes < 600 * 200, "{} bytes", ring.bytes);
        assert!((0..600).all(|at| number(&ring, at) == Some(at)));
        assert_eq!(
            ring.get(599).expect("it was just pushed").text("text"),
            "row number 599 of the test"
        );
    }

    #[test]
    fn an_answer_is_turned_round() {
        let mut ring = Ring::new(1000, usize::MAX);
        ring.push(batch(0..5), 1, true);
        ring.push(batch(10..12), 1, false);
        assert_eq!(
            [0, 4, 5, 6].map(|at| number(&ring, at)),
            [Some(4), Some(0), Some(10), Some(11)]
        );
        ring.clear();
        assert_eq!((ring.start(), ring.end(), number(&ring, 5)), (7, 7, None));
    }
}
