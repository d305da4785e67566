//! What a question may not do, and what it may cost.
use std::time::{Duration, Instant};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use futures::StreamExt;
use query::{Engine, Error, Tables};
use schema::{Field, Kind};

use crate::fixture::{
    Where, ask, batch, count, engine, fill, filter, local, open, open_with, options, rows, sql,
    table_of, tables,
};
use crate::pipe::fleet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_reading_is_done() {
    let (_data, engine) = local(20, Where::Hot);
    for text in [
        "create external table x stored as parquet location '/etc'",
        "create table t as select 1",
        "create view v as select 1",
        "copy (select 1) to '/tmp/out.csv' stored as csv",
        "explain copy (select 1) to '/tmp/out.csv' stored as csv",
        "explain analyze copy (select 1) to '/tmp/out.csv' stored as csv",
        "explain insert into http select * from http",
        "insert into http select * from http",
        "delete from http",
        "update http set status = 1",
        "truncate http",
        "drop table http",
        "set datafusion.execution.batch_size = 1",
        "reset datafusion.execution.batch_size",
        "show all",
        "show tables",
        "prepare p as select 1",
        "begin",
        "select 1; select 2",
        "select 1 into t",
        "create function f(int) returns int return $1 + 1",
    ] {
        let error = ask(&engine, sql(text)).await.err().unwrap_or_else(|| panic!("done: {text}"));
        assert!(matches!(error, Error::Refused(_) | Error::Invalid { .. }), "{text}: {error:?}");
    }
    for text in [
        "select * from '/etc/passwd'",
        "select * from read_csv('/etc/passwd')",
        "select * from information_schema.df_settings",
        "select * from information_schema.tables",
        "",
        "selec 1",
    ] {
        let error = ask(&engine, sql(text)).await.err().unwrap_or_else(|| panic!("done: {text}"));
        assert!(matches!(error, Error::Invalid { .. }), "{text}: {error:?}");
    }
    for text in [
        "explain select 1",
        "explain analyze select count(*) from http",
        "describe http",
        "with x as (select 1) select * from x",
    ] {
        assert!(count(&ask(&engine, sql(text)).await.unwrap().0) > 0, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_say_what_was_meant() {
    let (_data, engine) = local(20, Where::Hot);
    let said = async |text: &str| ask(&engine, sql(text)).await.unwrap_err().to_string();
    assert!(said("select * from htp").await.contains("did you mean http?"));
    assert!(said("select statsu from http").await.contains("status"));
    let text = "select ts,\n  statsu from http";
    let error = ask(&engine, sql(text)).await.unwrap_err();
    let Error::Invalid { at: Some(at), .. } = &error else { panic!("{error:?}") };
    assert_eq!(text.get(at.clone()), Some("statsu"), "{error:?}");
    let error = ask(&engine, sql("select *\nfrom http\nwhere status = = 1")).await.unwrap_err();
    let Error::Invalid { at: Some(at), .. } = &error else { panic!("{error:?}") };
    assert!(at.start >= 19, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_and_deep_questions_are_refused() {
    let (_data, engine) = local(20, Where::Hot);
    let long = format!("select '{}'", "x".repeat(70_000));
    assert!(matches!(ask(&engine, sql(&long)).await, Err(Error::Invalid { .. })));
    let deep = format!("select {}1{}", "(".repeat(2000), ")".repeat(2000));
    assert!(matches!(ask(&engine, sql(&deep)).await, Err(Error::Invalid { .. })));
    let wide = format!("select {}", vec!["1"; 8000].join(" + "));
    let answer = ask(&engine, sql(&wide)).await;
    assert!(answer.is_ok() || matches!(answer, Err(Error::Invalid { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_beyond_the_limit_are_cut_off_and_it_says_so() {
    let (_data, engine) = local(200, Where::Mixed);
    for (limit, rows, truncated) in
        [(50, 50, true), (200, 200, false), (199, 199, true), (0, 0, true)]
    {
        let mut query = sql("select * from http");
        query.limits.rows = limit;
        let (batches, cost) = ask(&engine, query).await.unwrap();
        assert_eq!((count(&batches), cost.truncated), (rows, truncated), "{limit}");
        assert_eq!(cost.rows, rows as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_weighs_no_more_than_it_may_and_says_that_it_was_cut() {
    let (_data, engine) = local(1000, Where::Mixed);
    let asked = |bytes| {
        let mut query = filter("http");
        query.ask = query::Ask::Filter {
            filter: "http".to_owned(),
            limit: Some(900),
            from: None,
            to: None,
        };
        query.limits.bytes = bytes;
        query
    };
    let (rows, cost) = ask(&engine, asked(u64::MAX)).await.unwrap();
    assert_eq!((count(&rows), cost.truncated), (900, false));
    let (rows, cost) = ask(&engine, asked(100_000)).await.unwrap();
    // A row of traffic is some hundred bytes.
    assert!((100..900).contains(&count(&rows)), "{}", count(&rows));
    assert!(cost.truncated && cost.complete, "{cost:?}");
    let (rows, cost) = ask(&engine, asked(0)).await.unwrap();
    assert_eq!((count(&rows), cost.truncated), (0, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_needs_too_much_memory_fails_alone() {
    let (_data, engine) = local(20_000, Where::Segments);
    let mut query = sql("select array_agg(response_body) from http");
    query.limits.memory = 200 << 10;
    let error = ask(&engine, query).await.unwrap_err();
    assert!(matches!(error, Error::Memory(_)), "{error:?}");
    assert!(ask(&engine, sql("select count(*) from http")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_wide_rows_the_first_ones_are_held_and_no_others() {
    let (_data, engine) = local(40_000, Where::Segments);
    let order = "from http order by duration desc, flow_id, seq limit 20";
    let mut query = sql(&format!("select * {order}"));
    // A batch of whole rows takes more.
    query.limits.memory = 4 << 20;
    let (rows, _) = ask(&engine, query).await.unwrap();
    let (keys, _) =
        ask(&engine, sql(&format!("select duration, flow_id, seq {order}"))).await.unwrap();
    let keys_of = |batches: &[RecordBatch]| {
        let chosen = batches.iter().map(|it| {
            let at = ["duration", "flow_id", "seq"].map(|name| it.schema().index_of(name).unwrap());
            it.project(&at).unwrap()
        });
        table_of(&chosen.collect::<Vec<_>>())
    };
    assert_eq!(count(&rows), 20);
    assert_eq!(keys_of(&rows), keys_of(&keys));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_has_a_deadline() {
    let (_data, engine) = local(10, Where::Hot);
    let mut query = sql(
        "select sum(sqrt(a.value * b.value)) from generate_series(1, 100000) a, generate_series(1, 100000) b",
    );
    query.limits.deadline = Duration::from_millis(500);
    let begun = Instant::now();
    let error = ask(&engine, query).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_nobody_reads_end_the_query() {
    let (_data, engine) = local(2_000, Where::Hot);
    let mut query = sql("select a.ts from http a, http b");
    query.limits.rows = usize::MAX - 1;
    let mut answer = engine.run(query).await.unwrap();
    answer.rows.next().await.unwrap().unwrap();
    drop(answer.rows);
    let cost = tokio::time::timeout(Duration::from_secs(2), answer.accounting).await.unwrap();
    assert!(!cost.complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_older_than_a_column_have_null_there() {
    let old = tables();
    let mut new = tables();
    let added = Field {
        name: "grade".into(),
        doc: "Added later.".into(),
        kind: Kind::Count,
        nullable: false,
    };
    new[0].fields.to_mut().push(added);
    for place in [Where::Hot, Where::Mixed, Where::Segments] {
        let data = open_with(&old);
        fill(&data.store, &[0], 100, place);
        let tables = Tables::new(new.clone());
        let engine = Engine::local("node-0", data.store.clone(), tables, options());
        let one = async |text: &str| -> i64 {
            let (rows, _) = ask(&engine, sql(text)).await.unwrap();
            rows[0].column(0).as_primitive::<Int64Type>().value(0)
        };
        assert_eq!(one("select count(*) from http where grade is null").await, 100, "{place:?}");
        assert_eq!(one("select count(*) from http where grade > 3").await, 0, "{place:?}");
        assert_eq!(one("select count(grade) from http").await, 0, "{place:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_may_carry_several_protocols() {
    let data = open();
    fill(&data.store, &[0], 100, Where::Mixed);
    // Rows of the table `http` whose protocol is another.
    let (table, one) = rows(0, 100..110).remove(0);
    let mut columns = one.columns().to_vec();
    let other = vec!["http2"; one.num_rows()];
    columns[2] = std::sync::Arc::new(datafusion::arrow::array::StringViewArray::from(other));
    let other = RecordBatch::try_new(batch(&table, &[]).schema(), columns).unwrap();
    data.store.append("http", other).unwrap();
    let engine = engine(&data);
    let n = async |text: &str| count(&ask(&engine, sql(text)).await.unwrap().0);
    assert_eq!(n("select * from traffic where protocol = 'http2'").await, 10);
    assert_eq!(n("select * from traffic where protocol = 'http'").await, 100);
    assert_eq!(n("select * from traffic where table_name = 'http'").await, 110);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_segment_is_read_in_pieces_and_each_row_once() {
    let data = open();
    let (table, one) = rows(0, 0..4000).remove(0);
    // Bytes that don't compress, so that the segment is as large as it looks.
    let mut state = 1u64;
    let bodies: Vec<Vec<u8>> = (0..one.num_rows())
        .map(|_| {
            let byte = |_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 56) as u8
            };
            (0..4096).map(byte).collect()
        })
        .collect();
    let mut columns = one.columns().to_vec();
    let body = one.schema().index_of("response_body").unwrap();
    let bodies = bodies.iter().map(Vec::as_slice);
    columns[body] =
        std::sync::Arc::new(datafusion::arrow::array::BinaryViewArray::from_iter_values(bodies));
    let large = RecordBatch::try_new(batch(&table, &[]).schema(), columns).unwrap();
    data.store.append("http", large).unwrap();
    data.store.seal().unwrap();
    let engine = engine(&data);
    let text = "select count(*), count(distinct flow_id || seq), sum(octet_length(response_body)) from http";
    let (found, cost) = ask(&engine, sql(text)).await.unwrap();
    let number = |i: usize| {
        let column = found[0].column(i);
        let column = datafusion::arrow::compute::cast(
            column,
            &datafusion::arrow::datatypes::DataType::Int64,
        );
        column.unwrap().as_primitive::<Int64Type>().value(0)
    };
    assert_eq!((number(0), number(1), number(2)), (4000, 4000, 4000 * 4096));
    assert_eq!(cost.nodes[0].cost.rows_scanned, 4000);
    let (newest, _) =
        ask(&engine, sql("select seq from http order by ts desc limit 3")).await.unwrap();
    assert_eq!(count(&newest), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_questions_at_once_are_each_answered() {
    let (_nodes, engine) = fleet(300, Where::Mixed);
    let asked = (0..16).map(|i| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let mut query = sql(&format!("select count(*) from traffic where seq >= {}", i % 10));
            query.id = format!("many-{i}");
            ask(&engine, query)
                .await
                .map(|it| it.0[0].column(0).as_primitive::<Int64Type>().value(0))
        })
    });
    for (i, it) in futures::future::join_all(asked).await.into_iter().enumerate() {
        let counted = it.unwrap().unwrap();
        assert!(counted > 0 && (i % 10 > 0 || counted == 1650), "{i}: {counted}");
    }
}
