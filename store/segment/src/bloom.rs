//! Which row groups of a segment can't have an id: its bloom filters, in memory.
use std::collections::HashMap;

use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;

/// The bloom filters of a segment: of its ids, one for each row group.
#[derive(Debug, Default)]
pub struct Blooms {
    columns: HashMap<String, Vec<Option<Sbbf>>>,
}

impl Blooms {
    /// Reads those of every column that has them.
    pub(crate) fn read(
        file: &impl ChunkReader,
        metadata: &ParquetMetaData,
    ) -> Result<Self, ParquetError> {
        let mut columns = HashMap::new();
        let Some(first) = metadata.row_groups().first() else { return Ok(Self::default()) };
        for (i, column) in first.columns().iter().enumerate() {
            if column.bloom_filter_offset().is_none() {
                continue;
            }
            let filters = metadata.row_groups().iter().map(|it| match it.columns().get(i) {
                Some(column) => Sbbf::read_from_column_chunk(column, file),
                None => Ok(None),
            });
            let name = column.column_path().string();
            columns.insert(name, filters.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(Self { columns })
    }

    /// Whether a row group may have that text in a column; it surely has not, if false. `None`
    /// without a filter.
    pub fn may_have(&self, column: &str, row_group: usize, text: &str) -> Option<bool> {
        let filter = self.columns.get(column)?.get(row_group)?.as_ref()?;
        Some(filter.check(text))
    }
}
