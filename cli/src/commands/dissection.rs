//! `kubeshark dissection`.

use std::io::Write;

use anyhow::Result;
use api::{DissectionRequest, NodeDissection};
use clap::Args;

use super::complain;
use crate::Outcome;
use crate::hub::Hub;
use crate::output::{self, Output};

/// Say or change when workers dissect packets: live, on demand, or not at all.
///
/// Packets and connections are kept in any case. With `on-demand`, and for what was captured while dissection was not
/// live, a query has the packets dissected that it asks about, and the next one finds the rows there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubeshark dissection
  kubeshark dissection on-demand --node worker-3
  kubeshark dissection --again --since 24h")]
pub(crate) struct Dissection {
    /// The mode from now on: `live`, `on-demand` or `off`; without one, how it stands.
    mode: Option<api::Dissection>,
    /// The node it is about; else all that are linked.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Dissect again, in the background, what older dissectors read, and replace its rows.
    #[arg(long)]
    again: bool,
    /// With --again: packets from then on, an RFC 3339 time or an age such as `15m`.
    #[arg(long, value_name = "TIME", requires = "again")]
    since: Option<String>,
    /// With --again: packets until then, an RFC 3339 time or an age such as `5m`.
    #[arg(long, value_name = "TIME", requires = "again")]
    until: Option<String>,
    /// With --again: also what these dissectors read themselves.
    #[arg(long, requires = "again")]
    all: bool,
    #[command(flatten)]
    hub: Hub,
}

impl Dissection {
    pub(crate) fn run(self) -> Result<Outcome> {
        let Self { mode, node, again, since, until, all, hub } = self;
        let request = DissectionRequest { node, mode, again, since, until, all };
        let asks = request.mode.is_none() && !request.again;
        let answer =
            if asks { hub.dissection(request.node.as_deref())? } else { hub.dissect(&request)? };
        let mut out = output::stdout();
        let mut outcome = Outcome::Done;
        for node in &answer.nodes {
            if let Some(error) = &node.error {
                complain(format_args!("{}: {error}", node.node));
                outcome = Outcome::Incomplete;
                continue;
            }
            tell(&mut out, node)?;
        }
        out.flush()?;
        Ok(outcome)
    }
}

fn tell(out: &mut Output, it: &NodeDissection) -> Result<()> {
    write!(out, "{}: {}, dissectors of version {}", it.node, it.mode, it.parser_version)?;
    if it.undissected_s > 0 {
        write!(out, "; {} s of packets not dissected", it.undissected_s)?;
    }
    if it.outdated_s > 0 {
        write!(out, "; {} s dissected by another version", it.outdated_s)?;
    }
    if it.busy {
        write!(out, "; dissecting now")?;
    }
    writeln!(out)?;
    Ok(())
}
