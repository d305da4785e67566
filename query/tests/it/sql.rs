//! Behaviour, in SQL: `tests/slt/*.slt` over one store.
use std::path::Path;

use async_trait::async_trait;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use query::{Engine, Error};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use crate::fixture::{Where, ask, engine, local, open, rows, sql, table_of};

struct Db(Engine);

#[async_trait]
impl AsyncDB for Db {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, text: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let (batches, _) = ask(&self.0, sql(text)).await?;
        let options = FormatOptions::default().with_null("NULL");
        let mut rows = Vec::new();
        let mut types = Vec::new();
        for batch in &batches {
            types = vec![DefaultColumnType::Any; batch.num_columns()];
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|it| ArrayFormatter::try_new(it.as_ref(), &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                let cells = columns.iter().map(|it| match it.value(row).to_string() {
                    it if it.is_empty() => "(empty)".to_owned(),
                    it => it,
                });
                rows.push(cells.collect());
            }
        }
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_behaves_as_written() {
    let (_data, engine) = local(200, Where::Mixed);
    let dir = Path::new("tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let mut runner = Runner::new(|| async { Ok(Db(engine.clone())) });
        if let Err(error) = runner.run_file_async(&file).await {
            panic!("{}", error.display(false));
        }
    }
}

/// Of segments whose rows all point to a dictionary, only that is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distinct_texts_are_those_of_all_rows_and_cost_no_rows() {
    for rows in [Where::Hot, Where::Mixed, Where::Segments] {
        let (_data, engine) = local(3_000, rows);
        for (table, column) in [
            ("http", "client_namespace"),
            ("http", "target"),
            ("http", "client_ip"),
            ("http", "flow_id"),
            ("http", "node"),
            ("traffic", "error"),
            ("traffic", "server_ip"),
            ("traffic", "table_name"),
            ("connections", "state"),
        ] {
            let all = format!("select distinct {column} as it from {table} order by 1");
            // With a condition, rows are read.
            let read = format!(
                "select distinct {column} as it from {table} where ts > '2020-01-01' order by 1"
            );
            let (expected, by_rows) = ask(&engine, sql(&read)).await.unwrap();
            let (got, by_dictionary) = ask(&engine, sql(&all)).await.unwrap();
            assert_eq!(table_of(&got), table_of(&expected), "{rows:?}: {all}");
            let count = format!(
                "select count(distinct {column}), count(distinct 'a' || {column}) from {table}"
            );
            let (count, _) = ask(&engine, sql(&count)).await.unwrap();
            let [ours, theirs] = [0, 1].map(|it| count[0].column(it).slice(0, 1));
            assert_eq!(&ours, &theirs, "{rows:?}: {column} of {table}");
            let scanned = |it: &query::Accounting| it.nodes[0].cost.rows_scanned;
            if rows == Where::Segments && ["client_namespace", "target"].contains(&column) {
                let (few, many) = (scanned(&by_dictionary), scanned(&by_rows));
                assert!(few * 10 < many, "{few} of {many} rows: {all}");
            }
        }
    }
}

/// What has seen only nulls so far has a say in what may be skipped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greatest_value_is_found_behind_nulls_whatever_else_is_asked() {
    let data = open();
    // The newest are read first: two without an error, which are the least ones, and behind them one with.
    for i in [4, 10, 20] {
        for (table, batch) in rows(0, i..i + 1) {
            data.store.append(&table.name, batch).unwrap();
        }
    }
    let (got, _) =
        ask(&engine(&data), sql("select max(error), min(request_bytes) from http")).await.unwrap();
    assert_eq!(table_of(&got), ["|boom|100|", "|max(http.error)|min(http.request_bytes)|"]);
}
