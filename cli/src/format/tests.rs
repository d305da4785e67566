use std::sync::Arc;

use arrow_array::builder::{MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, Int32Array, Int64Array, StringViewArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow_ipc::reader::StreamReader;
use arrow_schema::Schema;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schema::{Field, Kind};

use super::*;

#[test]
fn json_lines_name_every_column_and_keep_every_value() {
    assert_eq!(
        text(Format::Ndjson, None, &[batch()]),
        concat!(
            r#"{"ts":"2026-11-22T10:00:00.123456789Z","duration":1500000,"verb":"GET","status":200,"bytes":18446744073709551615,"#,
            r#""failed":false,"body":"hé","headers":{"set-cookie":["a=1","b=2"],"host":["x"]}}"#,
            "\n",
            r#"{"ts":"2026-11-22T10:00:01.123456789Z","duration":null,"verb":"a,\"b\"\n\u001b[2J","status":null,"bytes":0,"#,
            r#""failed":true,"body":{"base64":"/wA="},"headers":null}"#,
            "\n",
        )
    );
}

#[test]
fn a_json_answer_is_one_array_also_without_rows() {
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(&text(Format::Json, None, &[batch(), batch()])).unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(text(Format::Json, None, &[]), "[]");
    assert_eq!(text(Format::Ndjson, None, &[]), "");
}

#[test]
fn csv_has_a_header_also_without_rows() {
    assert_eq!(
        text(Format::Csv, None, &[batch()]),
        "ts,duration,verb,status,bytes,failed,body,headers\n\
         2026-11-22T10:00:00.123456789Z,1500000,GET,200,18446744073709551615,false,hé,\
         \"{\"\"set-cookie\"\":[\"\"a=1\"\",\"\"b=2\"\"],\"\"host\"\":[\"\"x\"\"]}\"\n\
         2026-11-22T10:00:01.123456789Z,,\"a,\"\"b\"\"\n\u{1b}[2J\",,0,true,base64:/wA=,\n"
    );
    assert_eq!(text(Format::Csv, None, &[]), "ts,duration,verb,status,bytes,failed,body,headers\n");
}

#[test]
fn a_table_shows_no_control_character_of_a_value() {
    let shown = text(Format::Table, None, &[batch()]);
    assert!(shown.contains("1.50 ms"), "{shown}");
    assert!(shown.contains("a,\"b\"\\n\\u{1b}[2J"), "{shown}");
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
}

#[test]
fn a_table_fits_its_terminal_or_gives_each_value_a_line() {
    let wide = text(Format::Table, Some(100), &[batch()]);
    assert!(wide.lines().all(|it| it.chars().count() <= 100), "{wide}");
    assert!(wide.starts_with("ts"), "{wide}");
    let narrow = text(Format::Table, Some(40), &[batch()]);
    assert!(narrow.starts_with("── row 1 ──\nts "), "{narrow}");
    assert_eq!(narrow.matches("── row").count(), 2, "{narrow}");
}

#[test]
fn a_table_of_many_rows_prints_them_all() {
    let many = vec![batch(); 700];
    assert_eq!(text(Format::Table, None, &many).lines().count(), 2 + 1400);
}

#[test]
fn arrow_and_parquet_give_the_same_rows_back() {
    let bytes = written(Format::Arrow, None, &[batch()]);
    let read: Vec<_> =
        StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, [batch()]);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), written(Format::Parquet, None, &[batch()])).unwrap();
    let read: Vec<_> = ParquetRecordBatchReaderBuilder::try_new(file.reopen().unwrap())
        .unwrap()
        .build()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(read, [batch()]);
    // What a column says about itself travels too.
    assert_eq!(read[0].schema().field(1).metadata()["kind"], "duration");
}

#[test]
fn packets_come_out_as_they_are() {
    let bytes = written(Format::Pcapng, None, &[packets(&[1, 2, 3])]);
    let mut file = source::FileSource::from_reader("test", std::io::Cursor::new(bytes)).unwrap();
    let packet = file.next().unwrap().unwrap();
    assert_eq!(
        (packet.ts, packet.link.dlt(), packet.wire_len, packet.data),
        (1_500, 1, 60, &[1u8, 2, 3][..])
    );
    assert!(file.next().unwrap().is_none());
}

#[test]
fn rows_that_are_no_packets_are_refused_as_pcapng() {
    let why = rows(Format::Pcapng, &batch().schema(), Vec::new(), None).err().unwrap();
    assert!(why.to_string().starts_with("a pcapng file is made of packets"), "{why}");
}

fn text(format: Format, width: Option<usize>, batches: &[RecordBatch]) -> String {
    String::from_utf8(written(format, width, batches)).unwrap()
}

fn written(format: Format, width: Option<usize>, batches: &[RecordBatch]) -> Vec<u8> {
    let mut out = Vec::new();
    let schema = batches.first().map_or_else(|| batch().schema(), RecordBatch::schema);
    let mut rows = rows(format, &schema, &mut out, width).unwrap();
    batches.iter().for_each(|it| rows.write(it).unwrap());
    rows.finish().unwrap();
    out
}

/// Two rows with every kind of value: the first tame, the second with nulls, bytes, quotes and escape sequences.
fn batch() -> RecordBatch {
    let names =
        MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    let mut headers = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for (name, value) in [("set-cookie", "a=1"), ("host", "x"), ("set-cookie", "b=2")] {
        headers.keys().append_value(name);
        headers.values().append_value(value);
    }
    headers.append(true).unwrap();
    headers.append(false).unwrap();
    let ts =
        TimestampNanosecondArray::from(vec![1_795_341_600_123_456_789, 1_795_341_601_123_456_789]);
    table(
        &[
            ("ts", Kind::Time, false),
            ("duration", Kind::Duration, true),
            ("verb", Kind::Label, false),
            ("status", Kind::Code, true),
            ("bytes", Kind::Size, false),
            ("failed", Kind::Flag, false),
            ("body", Kind::Body, true),
            ("headers", Kind::Headers, true),
        ],
        vec![
            Arc::new(ts.with_timezone("UTC")),
            Arc::new(Int64Array::from(vec![Some(1_500_000), None])),
            Arc::new(StringViewArray::from(vec!["GET", "a,\"b\"\n\u{1b}[2J"])),
            Arc::new(Int32Array::from(vec![Some(200), None])),
            Arc::new(UInt64Array::from(vec![u64::MAX, 0])),
            Arc::new(BooleanArray::from(vec![false, true])),
            Arc::new(BinaryViewArray::from(vec!["hé".as_bytes(), &[0xff, 0]])),
            Arc::new(headers.finish()),
        ],
    )
}

fn packets(data: &[u8]) -> RecordBatch {
    table(
        &[
            ("data", Kind::Body, false),
            ("ts", Kind::Time, false),
            ("link", Kind::Code, false),
            ("interface", Kind::Count, false),
            ("wire_bytes", Kind::Size, false),
        ],
        vec![
            Arc::new(BinaryViewArray::from(vec![data])),
            Arc::new(TimestampNanosecondArray::from(vec![1_500]).with_timezone("UTC")),
            Arc::new(Int32Array::from(vec![1])),
            Arc::new(UInt64Array::from(vec![0])),
            Arc::new(UInt64Array::from(vec![60])),
        ],
    )
}

fn table(fields: &[(&'static str, Kind, bool)], columns: Vec<ArrayRef>) -> RecordBatch {
    let field = |(name, kind, nullable): &(&'static str, Kind, bool)| {
        Field { name: (*name).into(), doc: "".into(), kind: *kind, nullable: *nullable }.arrow()
    };
    let schema = Schema::new(fields.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}
