//! Segment → batches.
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};

use crate::blocks::Checked;
use crate::{Error, Segment};

impl Segment {
    /// The rows, in batches of at most 8192, with the named columns (all of them with `None`) in
    /// the table's order. Names the segment has not are left out. Damage is an error that names the
    /// file.
    pub fn read(self: &Arc<Self>, columns: Option<&[&str]>) -> Result<Batches, Error> {
        let file = Checked::open(self)?;
        let metadata = ArrowReaderMetadata::try_new(self.metadata()?, ArrowReaderOptions::new());
        let metadata = metadata.map_err(Error::parquet(self.path()))?;
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_batch_size(BATCH_ROWS);
        let roots = self.schema.fields().iter().enumerate();
        let wanted = |name: &str| columns.is_none_or(|it| it.contains(&name));
        let roots = roots.filter(|it| wanted(it.1.name())).map(|it| it.0).collect::<Vec<_>>();
        let schema = self
            .schema
            .project(&roots)
            .map_err(|it| Error::Rows { table: self.table.clone(), reason: it.to_string() })?;
        let mask = ProjectionMask::roots(reader.parquet_schema(), roots);
        let reader = reader.with_projection(mask).build().map_err(Error::parquet(self.path()))?;
        Ok(Batches { reader, schema: Arc::new(schema), path: self.path().to_path_buf() })
    }
}

/// A segment's rows.
#[derive(Debug)]
pub struct Batches {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    path: PathBuf,
}

impl Batches {
    /// The columns that were asked for.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?.and_then(|it| {
            let rows = RecordBatchOptions::new().with_row_count(Some(it.num_rows()));
            let columns = it.columns().to_vec();
            RecordBatch::try_new_with_options(self.schema(), columns, &rows)
        });
        Some(batch.map_err(|it| Error::parquet(&self.path)(it.into())))
    }
}

const BATCH_ROWS: usize = 8192;
