//! Which time an answer is about, and what was lost in it.
use query::node::Loss;
use query::{Ask, Engine, Tables};
use schema::{Field, Kind, Table};

use crate::fixture::{Cell, MS, T0, ask, batch, filter, open_with, options, rows, sql, tables};

fn losses() -> Table {
    let field = |name: &'static str, kind, nullable| Field {
        name: name.into(),
        doc: "".into(),
        kind,
        nullable,
    };
    let fields = vec![
        field("ts", Kind::Time, false),
        field("until", Kind::Time, false),
        field("stage", Kind::Label, false),
        field("count", Kind::Count, false),
        field("bytes", Kind::Size, true),
    ];
    Table { name: "losses".into(), doc: "What was lost.".into(), fields: fields.into() }
}

fn loss(stage: &str, count: u64, bytes: u64) -> Loss {
    Loss { stage: stage.to_owned(), count, bytes }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_which_time_it_is_about_and_what_was_lost_in_it() {
    let mut all = tables();
    all.push(losses());
    for sealed in [false, true] {
        let data = open_with(&all);
        for (table, batch) in rows(0, 100..200) {
            data.store.append(&table.name, batch).unwrap();
        }
        let interval = |from: i64, stage: &str, count: i64, bytes: Cell| {
            let (from, to) = (T0 + from * MS, T0 + (from + 10) * MS);
            vec![from.into(), to.into(), stage.into(), count.into(), bytes]
        };
        let lost = [
            interval(100, "kernel", 3, Cell::Null),
            interval(150, "kernel", 4, 400.into()),
            interval(150, "quota", 5, 500.into()),
            interval(190, "kernel", 7, Cell::Null),
        ];
        data.store.append("losses", batch(&losses(), &lost)).unwrap();
        if sealed {
            data.store.seal().unwrap();
        }
        let engine =
            Engine::local("node-0", data.store.clone(), Tables::new(all.clone()), options());

        let (_, cost) = ask(&engine, sql("select count(*) from http")).await.unwrap();
        let node = &cost.nodes[0].cost;
        assert_eq!((node.oldest, node.newest), (Some(T0 + 100 * MS), Some(T0 + 199 * MS)));
        assert_eq!(node.losses, [loss("kernel", 14, 400), loss("quota", 5, 500)]);
        assert!(!node.losses_cut && node.busy_us > 0 && node.elapsed_us > 0, "{node:?}");
        assert!(cost.planning_us > 0 && cost.merging_us > 0, "{cost:?}");

        // Of what was asked, not of all there is; an interval counts that reaches into it.
        let (from, to) = (Some(T0 + 50 * MS), Some(T0 + 155 * MS));
        let mut query = filter("http");
        query.ask = Ask::Filter { filter: "http".to_owned(), limit: None, from, to };
        let (_, cost) = ask(&engine, query).await.unwrap();
        let node = &cost.nodes[0].cost;
        assert_eq!((node.oldest, node.newest), (Some(T0 + 100 * MS), to));
        assert_eq!(node.losses, [loss("kernel", 7, 400), loss("quota", 5, 500)]);

        let text = "select 1 from http where ts >= '2026-01-01T00:00:00.165Z' and status = 200";
        let (_, cost) = ask(&engine, sql(text)).await.unwrap();
        let node = &cost.nodes[0].cost;
        assert_eq!((node.oldest, node.newest), (Some(T0 + 165 * MS), Some(T0 + 199 * MS)));
        assert_eq!(node.losses, [loss("kernel", 7, 0)]);

        let (_, cost) =
            ask(&engine, sql("select 1 from http where ts < '2001-01-01'")).await.unwrap();
        let node = &cost.nodes[0].cost;
        assert_eq!((node.oldest, node.newest, node.losses.len()), (None, None, 0));
        let (_, cost) = ask(&engine, sql("select 1")).await.unwrap();
        let node = &cost.nodes[0].cost;
        assert_eq!((node.oldest, node.losses.len()), (None, 0), "nothing was asked about");
    }
}
