//! Tables and batches to test with.
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{
    BinaryViewBuilder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder, StringViewBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, TimestampNanosecondArray,
    UInt16Array, UInt64Array,
};
use schema::{Field, Kind, Table};
use segment::{Options, Snapshot, Store};

/// A table with a column of every kind, and `ts` and `n` in front.
pub(crate) fn table(name: &'static str) -> Table {
    let field = |name: &'static str, kind, nullable| Field {
        name: Cow::Borrowed(name),
        doc: Cow::Owned(format!("What {name} says.")),
        kind,
        nullable,
    };
    let mut fields = vec![field("ts", Kind::Time, false), field("n", Kind::Count, false)];
    fields.extend(Kind::ALL.into_iter().map(|it| field(it.name(), it, true)));
    Table {
        name: Cow::Borrowed(name),
        doc: Cow::Borrowed("Rows to test with."),
        fields: fields.into(),
    }
}

/// One row for each number in `n`, everything in it derived from that number; `ts` as given.
pub(crate) fn batch(table: &Table, n: &[u64], ts: impl Fn(u64) -> i64) -> RecordBatch {
    let schema = table.arrow();
    let columns = table.fields.iter().map(|it| match it.name.as_ref() {
        "ts" => times(n.iter().map(|it| Some(ts(*it)))),
        "n" => Arc::new(UInt64Array::from(n.to_vec())) as ArrayRef,
        _ => column(it.kind, n),
    });
    RecordBatch::try_new(schema, columns.collect()).unwrap()
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

fn column(kind: Kind, n: &[u64]) -> ArrayRef {
    // Every seventh value is null.
    let n = n.iter().map(|it| (it % 7 != 3).then_some(*it));
    let text = |prefix: &'static str| {
        let mut builder = StringViewBuilder::new();
        n.clone().for_each(|it| builder.append_option(it.map(|it| format!("{prefix}{it}"))));
        Arc::new(builder.finish()) as ArrayRef
    };
    match kind {
        Kind::Flag => Arc::new(n.map(|it| it.map(|it| it % 2 == 0)).collect::<BooleanArray>()),
        Kind::Code => Arc::new(n.map(|it| it.map(|it| -(it as i32 % 600))).collect::<Int32Array>()),
        Kind::Port => Arc::new(n.map(|it| it.map(|it| it as u16)).collect::<UInt16Array>()),
        Kind::Count | Kind::Size => {
            Arc::new(n.map(|it| it.map(|it| u64::MAX - it)).collect::<UInt64Array>())
        }
        Kind::Label => text("label "),
        Kind::Text => text("a text that is too long to stand in a view itself: "),
        Kind::Json => text("{\"json\":true}"),
        Kind::Address => text("10.0.0."),
        Kind::Id => text("0000flow"),
        Kind::Time => times(n.map(|it| it.map(|it| -(it as i64)))),
        Kind::Duration => Arc::new(n.map(|it| it.map(|it| it as i64 - 5)).collect::<Int64Array>()),
        Kind::Body => {
            let mut builder = BinaryViewBuilder::new();
            n.for_each(|it| builder.append_option(it.map(body)));
            Arc::new(builder.finish())
        }
        Kind::Texts => {
            let mut builder = ListBuilder::new(StringBuilder::new());
            for n in n {
                let values = (0..n.unwrap_or_default() % 3).map(|it| Some(it.to_string()));
                values.for_each(|it| builder.values().append_option(it));
                builder.append(n.is_some());
            }
            Arc::new(builder.finish())
        }
        Kind::Headers => {
            let names = MapFieldNames {
                entry: "entries".into(),
                key: "keys".into(),
                value: "values".into(),
            };
            let mut builder =
                MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
            for n in n {
                // The same name twice, in order.
                for value in 0..n.unwrap_or_default() % 4 {
                    builder.keys().append_value("set-cookie");
                    builder.values().append_value(format!("{value}={value}"));
                }
                builder.append(n.is_some()).unwrap();
            }
            Arc::new(builder.finish())
        }
    }
}

/// Not compressible, of a length that depends on `n`.
pub(crate) fn body(n: u64) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..n % 97).map(byte).collect()
}

/// The numbers of the rows, in order of appearance.
pub(crate) fn numbers(batch: &RecordBatch) -> Vec<u64> {
    batch.column_by_name("n").unwrap().as_primitive::<UInt64Type>().values().to_vec()
}

/// The numbers of a snapshot's rows, sorted. Reads what is on disk.
pub(crate) fn all_numbers(snapshot: &Snapshot) -> Vec<u64> {
    let mut found = snapshot.hot.iter().flat_map(numbers).collect::<Vec<_>>();
    for segment in &snapshot.segments {
        for batch in segment.read(Some(&["n"])).unwrap() {
            found.extend(numbers(&batch.unwrap()));
        }
    }
    found.sort_unstable();
    found
}

/// Everything is kept, nothing is sealed or merged by itself.
pub(crate) fn patient() -> Options {
    Options {
        hot_bytes: 64 << 20,
        seal_after: Duration::from_secs(3600),
        append_wait: Duration::from_secs(60),
        merge_bytes: 0,
        ..Options::default()
    }
}

/// A store with one table, `http`, in a new directory.
pub(crate) fn store(options: Options) -> (tempfile::TempDir, Store, Table) {
    let dir = tempfile::tempdir().unwrap();
    let table = table("http");
    let (store, _) = Store::open(dir.path(), std::slice::from_ref(&table), options).unwrap();
    (dir, store, table)
}
