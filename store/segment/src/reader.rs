//! Segment → batches.
use std::fs::File;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};

use crate::{Error, Segment};

impl Segment {
    /// The rows, in batches of at most 8192, with the named columns (all of them with `None`) in
    /// the table's order. Names the segment has not are left out.
    pub fn read(&self, columns: Option<&[&str]>) -> Result<Batches, Error> {
        let file = File::open(self.path()).map_err(Error::io("open", self.path()))?;
        let metadata = ArrowReaderMetadata::try_new(self.metadata()?, ArrowReaderOptions::new());
        let metadata = metadata.map_err(Error::parquet(self.path()))?;
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_batch_size(BATCH_ROWS);
        if let Some(columns) = columns {
            let roots = self.schema.fields().iter().enumerate();
            let roots = roots.filter(|(_, it)| columns.contains(&it.name().as_str()));
            let mask = ProjectionMask::roots(reader.parquet_schema(), roots.map(|it| it.0));
            reader = reader.with_projection(mask);
        }
        let reader = reader.build().map_err(Error::parquet(self.path()))?;
        Ok(Batches { reader, path: self.path().to_path_buf() })
    }
}

/// A segment's rows.
#[derive(Debug)]
pub struct Batches {
    reader: ParquetRecordBatchReader,
    path: std::path::PathBuf,
}

impl Batches {
    /// The columns that were asked for.
    pub fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|it| Error::parquet(&self.path)(it.into())))
    }
}

const BATCH_ROWS: usize = 8192;
