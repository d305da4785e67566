//! `kubeshark query`.

use std::collections::HashSet;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::{Result, bail};
use api::{Accounting, Conversations, NodeState, QueryRequest};
use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions::timestamp_ms_to_datetime;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_cast::cast;
use arrow_schema::DataType;
use arrow_select::filter::filter_record_batch;
use clap::Args;

use super::complain;
use crate::Outcome;
use crate::capture::{Age, Keys, Size};
use crate::format::pcapng::{self, are_packets};
use crate::format::{self, Format};
use crate::hub::{self, Hub};
use crate::local::Local;
use crate::output;
use crate::place::{Answer, Place};

/// Ask a Hub, or capture files, in SQL or with a filter.
///
/// With --read no server is needed: the files are read into a temporary store and asked there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubeshark query \"http.status >= 500\"
  kubeshark query --read day.pcapng \"select verb, count(*) from redis group by verb\"
  kubeshark query --read day.pcapng --format pcapng -o one.pcapng \"http.target like '/cart%'\"")]
pub(crate) struct Query {
    /// A SELECT statement, or a filter such as `http.status >= 500`; without one, all traffic.
    question: Option<String>,
    /// A capture file to ask instead of a Hub (pcap, pcapng; plain, gzip or zstd); `-` is standard input.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    read: Vec<PathBuf>,
    #[command(flatten)]
    keys: Keys,
    #[command(flatten)]
    hub: Hub,
    /// How much of each message's body is kept of what is read.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", requires = "read")]
    body_bytes: Size,
    /// A filter, as an option.
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "question")]
    filter: Option<String>,
    /// The columns of a filter's rows; else those of `traffic`, the main ones for `table`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    columns: Vec<String>,
    /// How the rows are written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The file to write to; else standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// How many rows at most; a filter gives the newest.
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// A filter's rows from then on: an RFC 3339 time, or an age such as `15m`.
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// A filter's rows until then: an RFC 3339 time, or an age such as `5m`.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// When to give up, such as `30s`.
    #[arg(long, value_name = "TIME")]
    pub(super) deadline: Option<Age>,
}

impl Query {
    /// For packets: of the conversations that have such rows.
    pub(super) fn packets_of(filter: String, hub: Hub) -> Self {
        Self {
            question: None,
            read: Vec::new(),
            keys: Keys::default(),
            hub,
            body_bytes: Size(0),
            filter: Some(filter),
            columns: Vec::new(),
            format: Format::Pcapng,
            output: None,
            limit: None,
            since: None,
            until: None,
            deadline: None,
        }
    }

    pub(crate) fn run(mut self) -> Result<Outcome> {
        self.take_question_from_files();
        if self.format.is_binary() && self.output.is_none() && io::stdout().is_terminal() {
            bail!("this format is not for a terminal: name a file with -o, or pipe it");
        }
        let request = self.request();
        if self.read.is_empty() {
            return self.answer(&self.hub, request);
        }
        let packets = self.format == Format::Pcapng;
        let local = Local::read(&self.read, &request, packets, self.body_bytes, &self.keys)?;
        let outcome = self.answer(&local, request)?;
        // Said after the rows: they are what was good.
        for damage in local.damage() {
            complain(format_args!("{damage}"));
        }
        Ok(if local.damage().is_empty() { outcome } else { Outcome::Damaged })
    }

    /// `--read ONE TWO 'select …'`: what follows the files and is none is the question.
    fn take_question_from_files(&mut self) {
        if self.question.is_some() || self.filter.is_some() || self.read.len() < 2 {
            return;
        }
        if let Some(last) = self.read.pop_if(|it| it.as_os_str() != "-" && !it.exists()) {
            self.question = Some(last.to_string_lossy().into_owned());
        }
    }

    fn request(&self) -> QueryRequest {
        let text = self.question.clone().or_else(|| self.filter.clone()).unwrap_or_default();
        let mut request = if self.filter.is_none() && is_sql(&text) {
            QueryRequest { max_rows: self.limit, ..QueryRequest::sql(text) }
        } else {
            let main = MAIN.iter().map(|it| (*it).to_owned());
            let columns = match self.format {
                Format::Table if self.columns.is_empty() => main.collect(),
                _ => self.columns.clone(),
            };
            QueryRequest {
                columns,
                limit: self.limit,
                since: self.since.clone(),
                until: self.until.clone(),
                ..QueryRequest::filter(text)
            }
        };
        request.deadline_ms = self.deadline.map(Age::milliseconds);
        request
    }

    fn answer(&self, place: &dyn Place, request: QueryRequest) -> Result<Outcome> {
        if self.format == Format::Pcapng {
            return self.packets(place, request);
        }
        let answer = place.ask(&request)?;
        self.write(answer, Ok)
    }

    /// The rows are packets, or lead to some: then it is the packets of their conversations that are written.
    fn packets(&self, place: &dyn Place, mut request: QueryRequest) -> Result<Outcome> {
        if request.sql.is_none() {
            request.columns = vec![FLOW.to_owned()];
        }
        let mut answer = place.ask(&request)?;
        if are_packets(&answer.schema()) {
            return self.write(answer, Ok);
        }
        if answer.schema().index_of(FLOW).is_err() {
            // Says what is needed.
            format::rows(Format::Pcapng, &answer.schema(), io::sink(), None)?;
        }
        let mut flows = HashSet::new();
        let mut listed = Some(Conversations::default());
        while let Some(batch) = answer.next()? {
            for flow in texts(&batch, FLOW)?.into_iter().flatten() {
                if listed.as_mut().is_some_and(|it| !it.insert(&flow)) {
                    listed = None;
                }
                flows.insert(flow);
            }
        }
        let first = judge(answer.accounting()?.as_ref(), self.limit.is_some(), &request);
        let sql = match &listed {
            Some(it) => it.sql(),
            // Too many to name: all packets are read and sifted here.
            None => format!(
                "select {}, {FLOW}, node from packets order by ts",
                pcapng::COLUMNS.join(", ")
            ),
        };
        let request = QueryRequest { deadline_ms: request.deadline_ms, ..QueryRequest::sql(sql) };
        let second = self.write(place.ask(&request)?, |batch| {
            let wanted = texts(&batch, FLOW)?;
            let wanted = wanted.iter().map(|it| it.as_ref().is_some_and(|it| flows.contains(it)));
            Ok(filter_record_batch(&batch, &BooleanArray::from_iter(wanted.map(Some)))?)
        })?;
        Ok(if first == Outcome::Done { second } else { first })
    }

    fn write(
        &self,
        mut answer: Box<dyn Answer + '_>,
        mut change: impl FnMut(RecordBatch) -> Result<RecordBatch>,
    ) -> Result<Outcome> {
        let out = output::open(self.output.as_deref())?;
        let width = if self.output.is_none() { output::width() } else { None };
        let mut rows = format::rows(self.format, &answer.schema(), out, width)?;
        let mut written = 0;
        while let Some(batch) = answer.next()? {
            let batch = change(batch)?;
            written += batch.num_rows();
            rows.write(&batch)?;
        }
        rows.finish()?;
        let accounting = answer.accounting()?;
        let outcome = judge(accounting.as_ref(), self.limit.is_some(), &self.request());
        if self.format == Format::Table && io::stderr().is_terminal() {
            footer(written, accounting.as_ref());
        }
        Ok(outcome)
    }
}

/// Says what is missing from an answer, if anything.
pub(super) fn judge(
    accounting: Option<&Accounting>,
    limited: bool,
    request: &QueryRequest,
) -> Outcome {
    let Some(accounting) = accounting else { return Outcome::Done };
    let mut outcome = Outcome::Done;
    for node in accounting.nodes.iter().filter(|it| it.state != NodeState::Answered) {
        let state = if node.state == NodeState::Missing { "is missing" } else { "failed" };
        let reason = node.reason.as_deref().unwrap_or("it did not say why");
        complain(format_args!("{} {state}: {reason}", node.node));
        outcome = Outcome::Incomplete;
    }
    for node in accounting.nodes.iter().filter(|it| it.state == NodeState::Answered) {
        if let Some(reason) = &node.reason {
            complain(format_args!("{}: {reason}", node.node));
            outcome = Outcome::Incomplete;
        }
    }
    if let Some(error) = &accounting.error {
        let asked = request.sql.as_deref().or(request.filter.as_deref());
        complain(format_args!("{}", hub::sentence(error, asked)));
        outcome = Outcome::Incomplete;
    }
    if accounting.truncated && !limited {
        complain(format_args!("the answer stops at {} rows; there are more", accounting.rows));
        outcome = Outcome::Incomplete;
    }
    if !accounting.complete && outcome == Outcome::Done && !limited {
        complain(format_args!("the answer is incomplete"));
        outcome = Outcome::Incomplete;
    }
    outcome
}

/// What the answer cost, for whoever looks at it.
fn footer(rows: usize, accounting: Option<&Accounting>) {
    let s = |n: usize| if n == 1 { "" } else { "s" };
    let mut text = format!("{rows} row{}", s(rows));
    if let Some(it) = accounting {
        let nodes = it.nodes.iter().filter(|it| it.state == NodeState::Answered).count();
        let answered = match it.nodes.len() {
            // Its own tables need nobody else.
            0 if it.complete => "the hub answered".to_owned(),
            all => format!("{nodes} of {all} node{} answered", s(all)),
        };
        text.push_str(&format!(
            " in {:.2} s; {answered}; scanned {} rows and {}, moved {}",
            seconds(it.elapsed_ms),
            it.rows_scanned,
            bytes(it.bytes_scanned),
            bytes(it.bytes_moved)
        ));
        let stages = it.stages;
        text.push_str(&format!(
            "; planning {} ms, scanning {} ms, merging {} ms",
            stages.planning_us / 1_000,
            stages.scanning_us / 1_000,
            stages.merging_us / 1_000
        ));
        let dissected: u64 = it.nodes.iter().map(|it| it.dissected_packets).sum();
        if dissected > 0 {
            text.push_str(&format!("; dissected {dissected} packets"));
        }
    }
    complain(format_args!("{text}"));
    for sentence in accounting.map(coverage).unwrap_or_default() {
        complain(format_args!("{sentence}"));
    }
}

/// The time that the answer is about, and what was lost in it.
fn coverage(accounting: &Accounting) -> Vec<String> {
    let mut sentences = Vec::new();
    if let (Some(oldest), Some(newest)) = (accounting.oldest_ms, accounting.newest_ms) {
        let mut text = format!("rows from {} to {} UTC", moment(oldest), moment(newest));
        let is_late =
            |it: &&api::NodeAccounting| it.oldest_ms.is_some_and(|ms| ms - oldest >= LATE_MS);
        let late: Vec<_> = accounting.nodes.iter().filter(is_late).collect();
        for node in late.iter().take(NAMED) {
            let since = moment(node.oldest_ms.unwrap_or(oldest));
            text.push_str(&format!("; {} has them only since {since}", node.node));
        }
        if late.len() > NAMED {
            text.push_str(&format!("; and so {} other nodes later", late.len() - NAMED));
        }
        sentences.push(text);
    }
    if !accounting.losses.is_empty() {
        let losses = accounting.losses.iter().map(|it| match it.bytes {
            0 => format!("{} {}", it.count, it.stage),
            n => format!("{} {} ({})", it.count, it.stage, bytes(n)),
        });
        let losses: Vec<_> = losses.collect();
        let cut = accounting.nodes.iter().any(|it| it.losses_cut);
        let more = if cut { "; losses longer ago were not counted" } else { "" };
        sentences.push(format!("lost in that time: {}{more}", losses.join(", ")));
    }
    sentences
}

fn moment(ms: i64) -> String {
    timestamp_ms_to_datetime(ms).map_or_else(|| format!("{ms} ms"), |it| it.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1e3
}

fn bytes(n: u64) -> impl std::fmt::Display {
    indicatif::BinaryBytes(n)
}

/// Whether a question is SQL; all else is a filter. A filter never begins with these words, for none is a column.
fn is_sql(text: &str) -> bool {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    if text.starts_with("--") || text.starts_with("/*") {
        return true;
    }
    let word: String = text.chars().take_while(|c| c.is_ascii_alphabetic()).collect();
    let after = text.chars().nth(word.len());
    STATEMENTS.contains(&word.to_ascii_lowercase().as_str())
        && after.is_none_or(|c| c.is_whitespace() || c == '(')
}

fn texts(batch: &RecordBatch, name: &str) -> Result<Vec<Option<String>>> {
    let Some(column) = batch.column_by_name(name) else { bail!("the rows have no column {name}") };
    let column = cast(column, &DataType::Utf8View)?;
    Ok(column.as_string_view().iter().map(|it| it.map(str::to_owned)).collect())
}

/// The columns of a filter's rows that fit a terminal.
pub(super) const MAIN: [&str; 8] =
    ["ts", "client_ip", "server_ip", "server_port", "verb", "target", "status", "duration"];
/// How a statement may begin; those that change something are refused by the engine, in its words.
const STATEMENTS: [&str; 18] = [
    "select", "with", "values", "table", "from", "explain", "describe", "desc", "show", "insert",
    "update", "delete", "create", "drop", "alter", "copy", "set", "truncate",
];
const FLOW: &str = "flow_id";
/// A node that has rows so much less far back than another is named.
const LATE_MS: i64 = 60_000;
/// As many as fit a line.
const NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_is_told_from_a_filter() {
        for sql in [
            "select 1",
            " SELECT\n1",
            "(select 1)",
            "with a as (select 1) select * from a",
            "-- hi\nselect 1",
        ] {
            assert!(is_sql(sql), "{sql}");
        }
        for filter in [
            "",
            "http.status >= 500",
            "status = 200",
            "selected = 1",
            "failed",
            "(a or b)",
            "showing",
        ] {
            assert!(!is_sql(filter), "{filter}");
        }
    }

    #[test]
    fn a_node_that_has_less_of_the_time_is_named_and_losses_are_told() {
        let node = |name: &str, oldest_ms| api::NodeAccounting {
            node: name.to_owned(),
            oldest_ms: Some(oldest_ms),
            ..Default::default()
        };
        let nine = 1_767_258_000_000;
        let accounting = Accounting {
            oldest_ms: Some(nine),
            newest_ms: Some(nine + 3_600_000),
            nodes: vec![node("a", nine), node("b", nine + 2_400_000), node("c", nine + 59_000)],
            losses: vec![
                api::Loss { stage: "kernel".to_owned(), count: 12, bytes: 0 },
                api::Loss { stage: "quota".to_owned(), count: 3, bytes: 2048 },
            ],
            ..Accounting::default()
        };
        assert_eq!(
            coverage(&accounting),
            [
                "rows from 2026-01-01 09:00:00 to 2026-01-01 10:00:00 UTC; \
                 b has them only since 2026-01-01 09:40:00",
                "lost in that time: 12 kernel, 3 quota (2.00 KiB)",
            ]
        );
        assert!(coverage(&Accounting::default()).is_empty());
    }

    #[test]
    fn a_node_that_did_not_answer_makes_the_answer_incomplete() {
        let mut accounting = Accounting { complete: true, ..Accounting::default() };
        let request = QueryRequest::sql("select 1");
        assert_eq!(judge(Some(&accounting), false, &request), Outcome::Done);
        accounting.truncated = true;
        assert_eq!(judge(Some(&accounting), true, &request), Outcome::Done);
        assert_eq!(judge(Some(&accounting), false, &request), Outcome::Incomplete);
        accounting.truncated = false;
        accounting.nodes.push(api::NodeAccounting { node: "a".to_owned(), ..Default::default() });
        assert_eq!(judge(Some(&accounting), true, &request), Outcome::Incomplete);
    }
}
