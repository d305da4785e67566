//! Behaviour, in SQL: `tests/slt/*.slt` over one store.
use std::path::Path;

use async_trait::async_trait;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use query::{Engine, Error};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use crate::fixture::{Where, ask, local, sql};

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
