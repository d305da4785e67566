//! How a table is laid out in Parquet: see each line's reason.
use arrow_schema::Schema;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use schema::{Field, Kind};

use crate::writer::Target;

/// What of the layout can be chosen. The defaults are measured: the table of candidates stands in
/// `benches/README.md`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// Zstandard's level.
    pub zstd_level: i32,
    /// A row group has at most this many rows.
    pub row_group_rows: usize,
    /// A row group has about at most this many bytes; one is held in memory while it is written.
    pub row_group_bytes: usize,
    /// A page of a narrow column has at most this many rows: finding a row reads one.
    pub page_rows: usize,
    /// A page of headers has about this many bytes before it is compressed.
    pub headers_page_bytes: usize,
    /// A page of payloads has about this many: fetching one reads a page.
    pub body_page_bytes: usize,
    /// A column has a dictionary of at most this many bytes; one with more is written without.
    pub dictionary_bytes: usize,
    /// The values of headers have a dictionary too.
    pub headers_dictionary: bool,
    /// Lengths of payloads and of header values stand apart from their bytes.
    pub lengths_apart: bool,
    /// Texts that no dictionary holds share the beginning of the one before.
    pub text_prefixes: bool,
    /// Counts, sizes and durations stand as differences.
    pub number_deltas: bool,
    /// How often a Bloom filter of a column of ids is wrong; 0: there is none.
    pub bloom_fpp: f64,
}

impl Layout {
    /// Of what is sealed: written once, while traffic comes, and soon merged.
    pub const SEALED: Self = Self {
        zstd_level: 1,
        row_group_rows: 128 << 10,
        row_group_bytes: 32 << 20,
        page_rows: 20_000,
        headers_page_bytes: 256 << 10,
        body_page_bytes: 256 << 10,
        dictionary_bytes: 1 << 20,
        headers_dictionary: false,
        lengths_apart: true,
        text_prefixes: false,
        number_deltas: false,
        bloom_fpp: 0.01,
    };

    /// Of what small segments are merged into: kept for long, and made when there is time. At this
    /// level Zstandard takes twenty times the memory of what it compresses at a time, once for each
    /// column: of a dictionary of 1 MiB, 34 MiB. Smaller ones make the files no larger.
    pub const MERGED: Self = Self {
        zstd_level: 15,
        dictionary_bytes: 240 << 10,
        row_group_bytes: 16 << 20,
        ..Self::SEALED
    };
}

/// What a table's segments are written with.
pub(crate) fn properties(target: Target<'_>, layout: &Layout, scratch: bool) -> WriterProperties {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(layout.row_group_rows.max(1)))
        .set_max_row_group_bytes(Some(layout.row_group_bytes.max(1)));
    if scratch {
        return properties
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .build();
    }
    let level = ZstdLevel::try_new(layout.zstd_level).unwrap_or_default();
    let mut properties = properties
        .set_created_by(concat!("kubeshark segment ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_data_page_row_count_limit(layout.page_rows.max(1))
        .set_dictionary_page_size_limit(layout.dictionary_bytes)
        // Bounds of each page: the page index.
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: leaf(target.schema, target.ts),
            descending: false,
            nulls_first: false,
        }]));
    let Ok(leaves) = ArrowSchemaConverter::new().convert(target.schema) else {
        return properties.build();
    };
    let apart =
        if layout.lengths_apart { Encoding::DELTA_LENGTH_BYTE_ARRAY } else { Encoding::PLAIN };
    for (index, leaf) in leaves.columns().iter().enumerate() {
        let field = Field::from_arrow(target.schema.field(leaves.get_column_root_idx(index)));
        let path = leaf.path().clone();
        let names = leaf.name() == "keys";
        properties = match field.kind {
            // One payload is fetched by reading one page; bounds of payloads prune nothing.
            Kind::Body => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path.clone(), apart)
                .set_column_data_page_size_limit(path.clone(), layout.body_page_bytes)
                .set_column_statistics_enabled(path, EnabledStatistics::Chunk),
            // The same names and values come again and again, but a row's page should be small.
            Kind::Headers | Kind::Texts | Kind::Json => properties
                .set_column_dictionary_enabled(path.clone(), names || layout.headers_dictionary)
                .set_column_encoding(path.clone(), apart)
                .set_column_data_page_size_limit(path.clone(), layout.headers_page_bytes)
                .set_column_statistics_enabled(path, EnabledStatistics::Chunk),
            // Times in order differ little from one to the next.
            Kind::Time => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            Kind::Id if layout.bloom_fpp > 0.0 => properties
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), layout.bloom_fpp)
                .set_column_bloom_filter_max_ndv(path, layout.row_group_rows as u64),
            // Dictionaries, which are given up where values don't repeat.
            Kind::Text if layout.text_prefixes => {
                properties.set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY)
            }
            Kind::Count | Kind::Size | Kind::Duration if layout.number_deltas => {
                properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
            Kind::Label | Kind::Address | Kind::Text | Kind::Flag | Kind::Code => properties,
            Kind::Port | Kind::Count | Kind::Size | Kind::Duration | Kind::Id => properties,
        };
    }
    properties.build()
}

/// The Parquet leaf of a column that is not nested.
fn leaf(schema: &Schema, column: usize) -> i32 {
    let Ok(leaves) = ArrowSchemaConverter::new().convert(schema) else { return 0 };
    let leaf = (0..leaves.num_columns()).find(|it| leaves.get_column_root_idx(*it) == column);
    leaf.unwrap_or_default() as i32
}
