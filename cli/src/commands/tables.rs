//! `kubeshark tables`.

use std::io::{self, IsTerminal, Write};

use anyhow::bail;
use clap::Args;
use schema::Table;

use crate::Outcome;
use crate::hub::Hub;
use crate::output::{self, Output};

/// List the tables, or the columns of one, with what they mean.
///
/// Without --hub: the tables that this program makes; those of a cluster's objects can be asked where a Hub watches one.
/// With it: those that can be asked there.
#[derive(Debug, Args)]
pub(crate) struct Tables {
    /// The table whose columns to list.
    table: Option<String>,
    #[command(flatten)]
    hub: Hub,
    /// For people, or as one JSON array.
    #[arg(long, value_enum, default_value_t = Shape::Text)]
    format: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    Text,
    Json,
}

impl Tables {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::Done;
        let mut tables = if self.hub.is_named() {
            let answer = self.hub.tables()?;
            for refused in &answer.refused {
                outcome = Outcome::Incomplete;
                super::complain(format_args!(
                    "{} is not asked at {}: {}",
                    refused.table, refused.node, refused.reason
                ));
            }
            answer.tables
        } else {
            let known = dissect::tables().iter().chain(cluster::tables());
            query::Tables::new(known.cloned()).all()
        };
        if let Some(name) = &self.table {
            let names: Vec<_> = tables.iter().map(|it| it.name.to_string()).collect();
            tables.retain(|it| it.name == name.as_str());
            if tables.is_empty() {
                bail!("there is no table {name}; there are: {}", names.join(", "));
            }
        }
        let mut out = output::stdout();
        match self.format {
            Shape::Json => {
                serde_json::to_writer_pretty(&mut out, &tables)?;
                writeln!(out)?;
            }
            Shape::Text if self.table.is_none() => list(&mut out, &tables)?,
            Shape::Text => tables.iter().try_for_each(|it| describe(&mut out, it))?,
        }
        out.flush()?;
        Ok(outcome)
    }
}

fn list(out: &mut Output, tables: &[Table]) -> io::Result<()> {
    let name = tables.iter().map(|it| it.name.len()).max().unwrap_or(0);
    for table in tables {
        writeln!(
            out,
            "{:name$}  {:>2} columns  {}",
            table.name,
            table.fields.len(),
            first(&table.doc)
        )?;
    }
    Ok(())
}

fn describe(out: &mut Output, table: &Table) -> io::Result<()> {
    writeln!(out, "{}\n", table.doc)?;
    let name = table.fields.iter().map(|it| it.name.len()).max().unwrap_or(0);
    let room = if io::stdout().is_terminal() { output::width().unwrap_or(ROOM) } else { ROOM };
    for field in table.fields.iter() {
        let kind = field.kind.name();
        let null = if field.nullable { "null" } else { "" };
        let indent = name + 20;
        let mut column = indent;
        write!(out, "{:name$}  {kind:9}  {null:4}  ", field.name)?;
        for word in field.doc.split_whitespace() {
            if column > indent && column + word.len() >= room {
                write!(out, "\n{:indent$}", "")?;
                column = indent;
            }
            write!(out, "{word} ")?;
            column += word.len() + 1;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The first sentence.
fn first(doc: &str) -> &str {
    doc.split_inclusive(". ").next().unwrap_or(doc).lines().next().unwrap_or(doc).trim_end()
}

/// Columns of a line where nobody says how many there are.
const ROOM: usize = 100;
