//! The texts of a column that its dictionary says already, so that whoever wants each of them once need not read
//! the rows.
use std::ops::Range;
use std::sync::Arc;

use arrow_array::StringViewArray;
use arrow_array::builder::StringViewBuilder;
use arrow_buffer::Buffer;
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use crate::{Error, Reader, Segment};

/// A column of some row groups of a segment whose dictionaries have all of its texts.
#[derive(Clone, Debug)]
pub struct Dictionaries {
    leaf: usize,
    /// The row groups that have one.
    pub row_groups: Vec<usize>,
}

impl Segment {
    /// The row groups in which every row of that column of texts points to the dictionary; `None` if it is no such
    /// column, or the footer is not at hand.
    pub fn dictionaries(&self, column: &str) -> Option<Dictionaries> {
        let field = self.schema.field_with_name(column).ok()?;
        if *field.data_type() != DataType::Utf8View {
            return None;
        }
        let metadata = Arc::clone(&self.cached_footer()?.metadata);
        let leaves = metadata.file_metadata().schema_descr();
        let leaf = leaves.columns().iter().position(|it| it.path().parts() == [column])?;
        let groups = 0..metadata.num_row_groups();
        let row_groups = groups.filter(|it| chunk(&metadata, *it, leaf).and_then(said).is_some());
        Some(Dictionaries { leaf, row_groups: row_groups.collect() })
    }
}

impl Reader {
    /// The texts of that column in that row group, each once, and null if a row has none; and how many bytes were
    /// read for it.
    pub async fn dictionary(
        &mut self,
        of: &Dictionaries,
        row_group: usize,
    ) -> Result<(StringViewArray, u64), Error> {
        let metadata = self.metadata().await?;
        let path = self.segment().named();
        let wrong = |reason: &str| Error::Damaged {
            path: path.clone(),
            reason: format!("a dictionary: {reason}"),
        };
        let chunk = chunk(&metadata, row_group, of.leaf);
        let (Some(chunk), Some((range, null))) = (chunk, chunk.and_then(said)) else {
            return Err(wrong("it is gone"));
        };
        let bytes = self.read(vec![range.clone()]).await?.pop().unwrap_or_default();
        let texts = texts(chunk, bytes, null);
        texts.map(|it| (it, range.end - range.start)).map_err(|it| wrong(&it.to_string()))
    }
}

fn chunk(
    metadata: &ParquetMetaData,
    row_group: usize,
    leaf: usize,
) -> Option<&ColumnChunkMetaData> {
    metadata.row_groups().get(row_group)?.columns().get(leaf)
}

/// Where the dictionary is, if it has every text of the chunk, and whether there are nulls besides.
fn said(chunk: &ColumnChunkMetaData) -> Option<(Range<u64>, bool)> {
    // The encodings of the pages of rows; whoever has given the dictionary up has another one as well.
    let only = chunk.page_encoding_stats_mask()?.is_only(Encoding::RLE_DICTIONARY);
    let from = u64::try_from(chunk.dictionary_page_offset()?).ok()?;
    let to = u64::try_from(chunk.data_page_offset()).ok()?;
    let nulls = chunk.statistics()?.null_count_opt()?;
    (only && from < to).then_some((from..to, nulls > 0))
}

fn texts(
    chunk: &ColumnChunkMetaData,
    bytes: Bytes,
    null: bool,
) -> Result<StringViewArray, ParquetError> {
    let wrong = |reason: &str| ParquetError::General(reason.to_owned());
    let len = i64::try_from(bytes.len()).map_err(|it| wrong(&it.to_string()))?;
    // The page alone, as if the file were no more than that.
    let chunk = chunk
        .clone()
        .into_builder()
        .set_dictionary_page_offset(Some(0))
        .set_data_page_offset(len)
        .set_total_compressed_size(len)
        .build()?;
    let mut pages = SerializedPageReader::new(Arc::new(bytes), &chunk, 0, None)?;
    let Some(Page::DictionaryPage { buf, num_values, .. }) = pages.get_next_page()? else {
        return Err(wrong("there is none"));
    };
    let page = Buffer::from(buf);
    let mut texts = StringViewBuilder::with_capacity(num_values as usize + 1);
    let block = texts.append_block(page.clone());
    let mut at = 0_usize;
    // PLAIN: a length of four bytes, little-endian, before each text (Parquet's Encodings.md).
    for _ in 0..num_values {
        let rest = page.as_slice().get(at..).and_then(<[u8]>::split_first_chunk::<4>);
        let (length, rest) = rest.ok_or_else(|| wrong("it ends early"))?;
        let length = u32::from_le_bytes(*length);
        if length as usize > rest.len() {
            return Err(wrong("a text is longer than it"));
        }
        let start = u32::try_from(at + 4).map_err(|it| wrong(&it.to_string()))?;
        texts.try_append_view(block, start, length)?;
        at += 4 + length as usize;
    }
    if null {
        texts.append_null();
    }
    Ok(texts.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow_array::cast::AsArray;
    use arrow_array::{Array, ArrayRef, RecordBatch, TimestampNanosecondArray};
    use schema::{Field, Kind, Table};

    use super::*;
    use crate::{Options, Store};

    #[test]
    fn a_dictionary_says_every_text_of_its_rows_and_none_that_is_not_complete_is_asked() {
        let field = |name: &'static str, kind, nullable| Field {
            name: name.into(),
            doc: "What it says.".into(),
            kind,
            nullable,
        };
        let fields = vec![
            field("ts", Kind::Time, false),
            field("few", Kind::Text, true),
            field("many", Kind::Text, false),
        ];
        let table = Table { name: "http".into(), doc: "Rows.".into(), fields: fields.into() };
        let (rows, dir) = (50_000, tempfile::tempdir().unwrap());
        let few = (0..rows).map(|i| match i % 40 {
            0 => None,
            1 => Some(String::new()),
            2 => Some("short".to_owned()),
            n => Some(format!("a text that is too long for a view, {n}")),
        });
        let few: StringViewArray = few.collect();
        let many = (0..rows).map(|i| Some(format!("no two rows have this text in common: {i}")));
        let ts = TimestampNanosecondArray::from_iter_values(0..rows).with_timezone("UTC");
        let columns: Vec<ArrayRef> =
            vec![Arc::new(ts), Arc::new(few.clone()), Arc::new(many.collect::<StringViewArray>())];
        let batch = RecordBatch::try_new(table.arrow(), columns).unwrap();
        let (store, _) = Store::open(dir.path(), &[table], Options::default()).unwrap();
        store.append("http", batch).unwrap();
        store.seal().unwrap();
        let snapshot = store.snapshot("http");
        let said = |texts: &StringViewArray| -> BTreeSet<Option<String>> {
            texts.iter().map(|it| it.map(str::to_owned)).collect()
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut read = BTreeSet::new();
        for segment in &snapshot.segments {
            segment.metadata().unwrap();
            let many = segment.dictionaries("many").unwrap();
            assert!(many.row_groups.is_empty(), "more texts than a dictionary holds");
            assert!(segment.dictionaries("ts").is_none() && segment.dictionaries("none").is_none());
            let few = segment.dictionaries("few").unwrap();
            assert_eq!(few.row_groups.len(), segment.metadata().unwrap().num_row_groups());
            let mut reader = Reader::new(Arc::clone(segment));
            for group in &few.row_groups {
                let got = reader.dictionary(&few, *group);
                let (texts, bytes) = runtime.block_on(got).unwrap();
                assert!(bytes > 0 && texts.len() <= 40, "{bytes} bytes, {} texts", texts.len());
                read.extend(said(&texts));
            }
        }
        assert_eq!(read, said(&few));
        let rows = snapshot.segments.iter().flat_map(|it| it.read(Some(&["few"])).unwrap());
        let rows = rows.flat_map(|it| said(it.unwrap().column(0).as_string_view()));
        assert_eq!(rows.collect::<BTreeSet<_>>(), read);
    }
}
