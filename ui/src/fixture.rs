//! Tables and rows for tests, shaped as the Hub sends them.

use std::sync::Arc;

use api::{Field, Kind, Table};
use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampNanosecondArray, UInt16Array, UInt64Array,
    builder::{MapBuilder, StringBuilder},
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::Schema;

fn field(name: &'static str, kind: Kind) -> Field {
    Field { name: name.into(), doc: format!("What {name} says.").into(), kind, nullable: true }
}

/// The columns every protocol shares.
pub(crate) fn envelope() -> Vec<Field> {
    vec![
        field("ts", Kind::Time),
        field("duration", Kind::Duration),
        field("protocol", Kind::Label),
        field("verb", Kind::Label),
        field("target", Kind::Text),
        field("status", Kind::Code),
        field("failed", Kind::Flag),
        field("client_ip", Kind::Address),
        field("client_port", Kind::Port),
        field("server_ip", Kind::Address),
        field("server_port", Kind::Port),
        field("server_service", Kind::Label),
        field("request_bytes", Kind::Size),
        field("response_bytes", Kind::Size),
        field("flow_id", Kind::Id),
        field("seq", Kind::Count),
        field("node", Kind::Label),
    ]
}

/// What a Hub could describe: a view, and a table of a protocol the page has never heard of.
pub(crate) fn tables() -> Vec<Table> {
    let mut gopher = envelope();
    gopher.extend([
        field("request_headers", Kind::Headers),
        field("response_body", Kind::Body),
        field("selector", Kind::Text),
    ]);
    vec![
        Table { name: "traffic".into(), doc: "Every exchange.".into(), fields: envelope().into() },
        Table { name: "gopher".into(), doc: "Menus and documents.".into(), fields: gopher.into() },
    ]
}

/// Rows of `traffic`, each a second after the one before; every third failed.
pub(crate) fn traffic(rows: u64) -> RecordBatch {
    rows_of(&envelope(), rows)
}

/// What names such a row.
pub(crate) fn traffic_key(seq: u64) -> api::RowKey {
    api::RowKey {
        protocol: "gopher".into(),
        node: "node-1".into(),
        flow_id: "0abcdefghijk".into(),
        seq,
    }
}

/// One row of `gopher`.
pub(crate) fn gopher() -> RecordBatch {
    let tables = tables();
    rows_of(&tables.get(1).expect("there are two").fields, 1)
}

fn rows_of(fields: &[Field], rows: u64) -> RecordBatch {
    let text = |text: &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values((0..rows).map(|_| text)))
    };
    let column = |field: &Field| -> ArrayRef {
        match (field.kind, field.name.as_ref()) {
            (Kind::Time, _) => Arc::new(
                TimestampNanosecondArray::from_iter_values(
                    (0..rows as i64).map(|k| 1_795_341_892_000_000_000 + k * 1_000_000_000),
                )
                .with_timezone("UTC"),
            ),
            (Kind::Duration, _) => Arc::new(Int64Array::from_iter_values(
                (0..rows as i64).map(|k| 1_234_567 * (k + 1)),
            )),
            (Kind::Code, _) => Arc::new(Int32Array::from_iter_values(
                (0..rows).map(|k| if k % 3 == 2 { 503 } else { 200 }),
            )),
            (Kind::Flag, _) => {
                Arc::new(BooleanArray::from_iter((0..rows).map(|k| Some(k % 3 == 2))))
            }
            (Kind::Port, _) => Arc::new(UInt16Array::from_iter_values((0..rows).map(|_| 70))),
            (Kind::Count | Kind::Size, _) => Arc::new(UInt64Array::from_iter_values(0..rows)),
            (Kind::Body, _) => {
                Arc::new(BinaryViewArray::from_iter_values((0..rows).map(|_| b"{\"menu\":[1,2]}")))
            }
            (Kind::Headers, _) => {
                let mut map = MapBuilder::new(
                    Some(arrow_array::builder::MapFieldNames {
                        entry: "entries".into(),
                        key: "keys".into(),
                        value: "values".into(),
                    }),
                    StringBuilder::new(),
                    StringBuilder::new(),
                );
                for _ in 0..rows {
                    for (name, value) in
                        [("accept", "text/plain"), ("x-evil", "<script>alert(1)</script>")]
                    {
                        map.keys().append_value(name);
                        map.values().append_value(value);
                    }
                    map.append(true).expect("keys and values are as many");
                }
                Arc::new(map.finish())
            }
            (_, "protocol") => text("gopher"),
            (_, "verb") => text("FETCH"),
            (_, "target") => {
                Arc::new(StringViewArray::from_iter_values((0..rows).map(|k| format!("/menu/{k}"))))
            }
            (_, "client_ip") => text("10.0.0.7"),
            (_, "server_ip") => text("10.0.0.8"),
            (_, "server_service") => text("library"),
            (_, "flow_id") => text("0abcdefghijk"),
            (_, "node") => text("node-1"),
            (_, name) => text(name),
        }
    };
    let columns: Vec<ArrayRef> = fields.iter().map(column).collect();
    let arrow = fields.iter().zip(&columns).map(|(field, column)| {
        let known = [
            ("doc".to_owned(), field.doc.to_string()),
            ("kind".to_owned(), field.kind.name().to_owned()),
        ];
        arrow_schema::Field::new(field.name.as_ref(), column.data_type().clone(), true)
            .with_metadata(known.into())
    });
    let schema = Schema::new(arrow.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns fit the schema")
}

/// Batches as one Arrow stream.
pub(crate) fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let schema = batches.first().expect("there is a batch").schema();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).expect("the schema can be written");
    for batch in batches {
        writer.write(batch).expect("a batch can be written");
    }
    writer.into_inner().expect("a stream can be ended")
}
