//! `kubeshark tail`.

use anyhow::{Context, Result, anyhow, bail};
use api::{ApiError, TailRequest, TailStatus, route};
use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamDecoder;
use clap::{Args, ValueEnum};
use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::{self, Message};

use super::query::MAIN;
use super::{complain, enough, interrupted, runtime};
use crate::Outcome;
use crate::capture::Age;
use crate::format::{self, Format, Rows};
use crate::hub::{self, Hub};
use crate::output;

/// Show rows as they come, from all workers.
///
/// It ends when it is interrupted, or as --limit or --for say. What it could not show in time is said at the end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubeshark tail
  kubeshark tail \"http.status >= 500 or redis.error is not null\"
  kubeshark tail --format ndjson --limit 100 \"duration > 1s\"")]
pub(crate) struct Tail {
    /// A filter such as `http.status >= 500`; without one, all traffic.
    filter: Option<String>,
    #[command(flatten)]
    hub: Hub,
    /// The columns to show; else those of `traffic`, the main ones for `table`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    columns: Vec<String>,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t = Lines::Table)]
    format: Lines,
    /// End after so many rows.
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// End after that time, such as `30s`.
    #[arg(long = "for", value_name = "TIME")]
    time: Option<Age>,
}

/// How rows are written that have no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// For people: a line each.
    Table,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values, with a header line.
    Csv,
}

impl Tail {
    pub(crate) fn run(self) -> Result<Outcome> {
        runtime()?.block_on(async {
            let mut shown = Shown { rows: 0, skipped: 0, missing: false };
            tokio::select! {
                ended = self.show(&mut shown) => ended?,
                () = interrupted() => {}
                () = enough(self.time) => {}
            }
            if shown.skipped > 0 {
                complain(format_args!("{} rows came too fast to be shown", shown.skipped));
            }
            let whole = shown.skipped == 0 && !shown.missing;
            Ok(if whole { Outcome::Done } else { Outcome::Incomplete })
        })
    }

    async fn show(&self, shown: &mut Shown) -> Result<()> {
        let request = self.hub.socket(route::TAIL)?;
        let (mut socket, _) =
            tokio_tungstenite::connect_async(request).await.map_err(|why| self.refused(why))?;
        let filter = self.filter.clone().unwrap_or_default();
        let asks = serde_json::to_string(&TailRequest { filter })?;
        socket.send(Message::Text(asks.into())).await.context("the Hub has gone")?;
        let mut decoder = StreamDecoder::new();
        let mut rows = None;
        while let Some(message) = socket.next().await {
            match message.context("the Hub has gone")? {
                Message::Text(text) => self.told(serde_json::from_str(&text)?, shown)?,
                Message::Binary(bytes) => {
                    let mut bytes = arrow_buffer::Buffer::from(bytes);
                    while let Some(batch) = decoder.decode(&mut bytes)? {
                        if self.write(&batch, &mut rows, shown)? {
                            return Ok(());
                        }
                    }
                }
                Message::Close(_) => break,
                _ => {}
            }
        }
        bail!("the Hub has ended it");
    }

    /// Writes rows; true if that is enough of them.
    fn write(
        &self,
        batch: &RecordBatch,
        rows: &mut Option<Box<dyn Rows>>,
        shown: &mut Shown,
    ) -> Result<bool> {
        let left = self.limit.map_or(usize::MAX, |it| it.saturating_sub(shown.rows));
        let batch = self.chosen(batch)?;
        let batch = batch.slice(0, batch.num_rows().min(left));
        let rows = match rows {
            Some(rows) => rows,
            None => {
                let (schema, out) = (batch.schema(), output::lines());
                rows.insert(match self.format {
                    Lines::Table => format::lines(&schema, out, output::width()),
                    Lines::Ndjson => format::rows(Format::Ndjson, &schema, out, None),
                    Lines::Csv => format::rows(Format::Csv, &schema, out, None),
                }?)
            }
        };
        rows.write(&batch)?;
        shown.rows += batch.num_rows();
        Ok(self.limit.is_some_and(|it| shown.rows >= it))
    }

    fn chosen(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let chosen: Vec<&str> = match self.format {
            Lines::Table if self.columns.is_empty() => MAIN.to_vec(),
            _ if self.columns.is_empty() => return Ok(batch.clone()),
            _ => self.columns.iter().map(String::as_str).collect(),
        };
        let schema = batch.schema();
        let find = |name: &&str| {
            schema.index_of(name).map_err(|_| anyhow!("{name} is no column of traffic"))
        };
        let chosen = chosen.iter().map(find).collect::<Result<Vec<_>>>()?;
        Ok(batch.project(&chosen)?)
    }

    fn told(&self, status: TailStatus, shown: &mut Shown) -> Result<()> {
        match status {
            TailStatus::Started { nodes } if nodes.is_empty() => {
                complain(format_args!("no worker is there yet; rows come once one is"));
            }
            TailStatus::Started { .. } => {}
            TailStatus::Rate { skipped, .. } => shown.skipped = skipped,
            TailStatus::NodeJoined { node } => complain(format_args!("{node} has joined")),
            TailStatus::NodeGone { node, reason } => {
                shown.missing = true;
                complain(format_args!("{node} is gone: {reason}"));
            }
            TailStatus::Error(error) => {
                bail!("{}", hub::sentence(&error, self.filter.as_deref()))
            }
        }
        Ok(())
    }

    /// The Hub's own words for why not.
    fn refused(&self, why: tungstenite::Error) -> anyhow::Error {
        let body = match &why {
            tungstenite::Error::Http(response) => response.body().as_deref(),
            _ => None,
        };
        match body.and_then(|it| serde_json::from_slice::<ApiError>(it).ok()) {
            Some(error) => anyhow!("{}", hub::sentence(&error, None)),
            None => self.hub.unanswered(&why),
        }
    }
}

/// What came of it so far.
struct Shown {
    rows: usize,
    /// Rows that came faster than they could be shown.
    skipped: u64,
    /// A node's rows stopped coming.
    missing: bool,
}
