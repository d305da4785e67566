//! Where questions are asked: a Hub, or this process with files it has read.

use anyhow::Result;
use api::{Accounting, QueryRequest};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

/// Somewhere to ask.
pub(crate) trait Place {
    /// Asks; the rows stream in as they are read.
    fn ask(&self, request: &QueryRequest) -> Result<Box<dyn Answer + '_>>;
}

/// An answer as it comes in.
pub(crate) trait Answer {
    /// Its columns.
    fn schema(&self) -> SchemaRef;
    /// More rows, until there are none.
    fn next(&mut self) -> Result<Option<RecordBatch>>;
    /// What it cost and whether it is whole, once all rows were taken; nothing if nobody knows.
    fn accounting(self: Box<Self>) -> Result<Option<Accounting>>;
}
