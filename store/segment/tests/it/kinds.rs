//! What is written is what is read, and others can read it.
use arrow_select::concat::concat_batches;
use parquet::basic::{Compression, Encoding};
use schema::Table;
use segment::{Segment, Store};

use crate::rows::{batch, numbers, patient, store, table};

#[test]
fn every_kind_comes_back_as_it_went() {
    let (_dir, store, table) = store(patient());
    let n = (0..20_000).collect::<Vec<_>>();
    let wrote = batch(&table, &n, |it| it as i64);
    store.append("http", wrote.clone()).unwrap();

    let hot = store.snapshot("http").hot;
    assert_eq!(concat_batches(&table.arrow(), &hot).unwrap(), wrote);

    store.seal().unwrap();
    let snapshot = store.snapshot("http");
    assert!(snapshot.hot.is_empty());
    let [segment] = snapshot.segments.as_slice() else { panic!("{:?}", snapshot.segments) };
    assert_eq!(segment.schema, table.arrow(), "types, docs and kinds");
    assert_eq!(Table::from_arrow("http", &segment.schema), table);
    let batches = segment.read(None).unwrap();
    assert_eq!(batches.schema().fields(), table.arrow().fields());
    let read = batches.collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(concat_batches(&table.arrow(), &read).unwrap(), wrote);
    assert_eq!((segment.rows, segment.min_ts, segment.max_ts), (20_000, 0, 19_999));
    assert_eq!(segment.bytes, std::fs::metadata(segment.path().unwrap()).unwrap().len());
    assert_eq!(store.dir().join(&segment.file), segment.path().unwrap());

    // On its own, without the store.
    let alone = Segment::open(segment.path().unwrap()).unwrap();
    alone.verify().unwrap();
    assert_eq!(alone.schema, table.arrow());
    let read = alone.read(Some(&["headers", "n"])).unwrap().next().unwrap().unwrap();
    assert_eq!(read, wrote.project(&[1, 12]).unwrap().slice(0, 8192));
}

#[test]
fn each_column_is_laid_out_for_its_kind() {
    let (_dir, store, table) = store(patient());
    let n = (0..50_000).collect::<Vec<_>>();
    store.append("http", batch(&table, &n, |it| it as i64)).unwrap();
    store.seal().unwrap();
    let segment = &store.snapshot("http").segments[0];
    let metadata = segment.metadata().unwrap();
    assert_eq!(metadata.num_row_groups(), 1);
    let group = metadata.row_group(0);
    assert_eq!(group.sorting_columns().unwrap()[0].column_idx, 0);
    let index = |name: &str| {
        group.columns().iter().position(|it| it.column_path().parts()[0] == name).unwrap()
    };
    let pages = |name: &str| metadata.offset_index().unwrap()[0][index(name)].page_locations();
    let column = |name: &str| group.column(index(name));
    for column in group.columns() {
        assert!(matches!(column.compression(), Compression::ZSTD(_)), "{column:?}");
        assert!(column.statistics().is_some());
        assert!(column.offset_index_offset().is_some());
    }
    let dictionary = |name: &str| column(name).dictionary_page_offset().is_some();
    assert!(dictionary("label") && dictionary("address") && dictionary("id"));
    assert!(!dictionary("body") && !dictionary("ts"));
    assert!(column("ts").encodings().any(|it| it == Encoding::DELTA_BINARY_PACKED));
    assert!(column("id").bloom_filter_offset().is_some());
    assert!(column("label").bloom_filter_offset().is_none());
    let longest = pages("body").iter().map(|it| it.compressed_page_size).max().unwrap();
    assert!((8 << 10..320 << 10).contains(&longest), "{longest}");
    let fields = metadata.column_index().unwrap();
    assert!(!matches!(
        fields[0][index("ts")],
        parquet::file::page_index::column_index::ColumnIndexMetaData::NONE
    ));
}

#[test]
fn rows_are_in_the_order_of_time() {
    let (_dir, store, table) = store(patient());
    // Three interleaved parts, one of them backwards.
    let ts = |it: u64| if it.is_multiple_of(3) { 100_000 - it as i64 } else { it as i64 };
    for part in 0..3 {
        let n = (0..9_000).filter(|it| it % 3 == part).collect::<Vec<_>>();
        store.append("http", batch(&table, &n, ts)).unwrap();
    }
    store.seal().unwrap();
    let segment = &store.snapshot("http").segments[0];
    let read = segment.read(None).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let read = concat_batches(&table.arrow(), &read).unwrap();
    let mut expected = (0..9_000).collect::<Vec<_>>();
    expected.sort_by_key(|it| (ts(*it), *it));
    let order = numbers(&read);
    assert!(order.iter().map(|it| ts(*it)).is_sorted());
    assert_eq!(read, batch(&table, &order, ts), "rows stay whole");
    let mut found = order;
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn row_groups_are_bounded_by_rows_and_by_bytes() {
    let mut options = patient();
    options.sealed.row_group_rows = 1_000;
    let (_dir, rows_store, table) = store(options.clone());
    let n = (0..10_000).collect::<Vec<_>>();
    rows_store.append("http", batch(&table, &n, |it| it as i64)).unwrap();
    rows_store.seal().unwrap();
    let metadata = rows_store.snapshot("http").segments[0].metadata().unwrap();
    assert_eq!(metadata.num_row_groups(), 10);

    options.sealed.row_group_rows = 100_000;
    options.sealed.row_group_bytes = 200_000;
    let (_dir, bytes_store, table) = store(options);
    for n in n.chunks(1_000) {
        bytes_store.append("http", batch(&table, n, |it| it as i64)).unwrap();
    }
    bytes_store.seal().unwrap();
    let metadata = bytes_store.snapshot("http").segments[0].metadata().unwrap();
    assert!(metadata.num_row_groups() >= 3, "{}", metadata.num_row_groups());
}

#[test]
fn footers_are_parsed_once_within_their_bound() {
    let mut options = patient();
    options.footer_bytes = 1;
    let (_small, small, table) = store(options);
    let (_large, large, _) = store(patient());
    for store in [&small, &large] {
        for n in 0..3 {
            store.append("http", batch(&table, &[n], |it| it as i64)).unwrap();
            store.seal().unwrap();
        }
    }
    let same = |store: &Store| {
        let segments = store.snapshot("http").segments;
        let first = segments.iter().map(|it| it.metadata().unwrap()).collect::<Vec<_>>();
        let again = segments.iter().map(|it| it.metadata().unwrap());
        again.zip(first).filter(|it| std::sync::Arc::ptr_eq(&it.0, &it.1)).count()
    };
    assert_eq!(same(&large), 3);
    assert!(same(&small) < 3);
}

#[test]
fn bloom_filters_say_which_row_groups_can_not_have_an_id() {
    let mut options = patient();
    options.sealed.row_group_rows = 1_000;
    // So that the second store keeps no footer, and no filter, but the last one.
    let small = segment::Options { footer_bytes: 1, ..options.clone() };
    for options in [options, small] {
        let (_dir, store, table) = store(options);
        for n in [0..4_000, 4_000..8_000] {
            store.append("http", batch(&table, &n.collect::<Vec<_>>(), |it| it as i64)).unwrap();
            store.seal().unwrap();
        }
        for (i, segment) in store.snapshot("http").segments.iter().enumerate() {
            let blooms = segment.blooms().unwrap();
            let mut wrong = 0;
            for n in (0..8_000).filter(|n| n % 7 != 3) {
                for row_group in 0..4 {
                    let there = n / 1_000 == i * 4 + row_group;
                    let may = blooms.may_have("id", row_group, &format!("0000flow{n}")).unwrap();
                    assert!(may || !there, "{n} is in row group {row_group}");
                    wrong += usize::from(may && !there);
                }
            }
            assert!(wrong < 8_000 * 4 / 20, "{wrong} of 32000");
            assert_eq!(blooms.may_have("id", 4, "0000flow1"), None);
            assert_eq!(blooms.may_have("label", 0, "label 1"), None);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (dir, store, table) = store(patient());
    let good = batch(&table, &[1], |_| 1);
    let check = |table: &str, batch, expected: &str| {
        let error = store.append(table, batch).unwrap_err().to_string();
        assert_eq!(error, expected);
    };
    check("htpp", good.clone(), "no table is named \"htpp\"");
    let short = good.project(&[0, 1]).unwrap();
    check("http", short, "rows don't fit table http: 2 columns instead of 17");
    let swapped = good.project(&[1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    check("http", swapped.unwrap(), "rows don't fit table http: column n instead of ts");
    assert_eq!(store.state().tables[0].rows, 0);

    let error = Store::open(dir.path(), &[], patient()).unwrap_err().to_string();
    let expected = format!(
        "{} is in use by process {}: stop it or choose another directory",
        dir.path().canonicalize().unwrap().display(),
        std::process::id()
    );
    assert_eq!(error, expected);

    for (name, expected) in [
        ("../http", "table \"../http\" can't be stored: its name does not do for a folder"),
        ("torn", "table \"torn\" can't be stored: its name does not do for a folder"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let tables = [crate::rows::table(name)];
        let error = Store::open(dir.path(), &tables, patient()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let mut no_time = crate::rows::table("http");
    no_time.fields.to_mut().remove(0);
    let other = tempfile::tempdir().unwrap();
    let error = Store::open(other.path(), &[no_time], patient()).unwrap_err();
    assert_eq!(error.to_string(), "table \"http\" can't be stored: it has no column ts");
}

#[test]
fn tables_of_another_version_are_served() {
    let (dir, store, _) = store(patient());
    let own = table("http");
    store.append("http", batch(&own, &[1, 2], |it| it as i64)).unwrap();
    drop(store);
    // Someone else's folder stays as it is.
    std::fs::create_dir(dir.path().join("notes")).unwrap();
    std::fs::write(dir.path().join("notes/todo.txt"), "milk").unwrap();
    let (store, recovery) = Store::open(dir.path(), &[table("dns")], patient()).unwrap();
    assert_eq!((recovery.segments, recovery.rows), (1, 2));
    assert!(recovery.torn.is_empty());
    assert_eq!(store.snapshot("http").schema, own.arrow());
    assert_eq!(store.tables().len(), 2);
    assert!(store.append("http", batch(&own, &[3], |_| 3)).is_err());
    assert!(dir.path().join("notes/todo.txt").exists());
}
