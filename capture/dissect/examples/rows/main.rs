//! Prints a capture's rows, one a line: the table, a tab, the row as JSON. What a protocol's author
//! looks at seconds after a change, without building the query engine.
//!
//! ```text
//! cargo run -p dissect --example rows -- CAPTURE [TABLE…]
//! ```
//!
//! Without a capture it prints every table's columns and their kinds.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for its builders fails by panicking"
)]
mod capture;
#[path = "../../tests/support/json.rs"]
mod json;

use serde_json::Value;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        for table in dissect::tables() {
            for field in table.fields.iter() {
                println!("{}\t{}\t{}", table.name, field.name, field.kind.name());
            }
        }
        return;
    };
    let wanted: Vec<_> = arguments.collect();
    let bytes = std::fs::read(path).unwrap();
    for (table, mut row) in capture::rows(&bytes) {
        if !wanted.is_empty() && !wanted.contains(&table) {
            continue;
        }
        let columns = dissect::tables().iter().find(|it| it.name == table.as_str()).unwrap();
        for field in columns.fields.iter() {
            row.entry(field.name.to_string()).or_insert(Value::Null);
        }
        println!("{table}\t{}", Value::Object(row));
    }
}
