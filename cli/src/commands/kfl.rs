//! `kubeshark kfl`.

use std::io::Write;

use clap::Args;
use query::kfl::{self, Generation};
use serde::Serialize;

use super::complain;
use crate::hub::{self, Hub};
use crate::{Outcome, output};

/// Say a filter of the original Kubeshark's language, KFL, as one of this program's.
///
/// Both generations of KFL are read. The filter holds for the same rows; what can't be said is named, and
/// then there is no filter. Without --hub, columns are those that this program makes.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kubeshark kfl 'http && status_code >= 500 && path.contains(\"/api\")'")]
pub(crate) struct Kfl {
    /// The KFL expression.
    expression: String,
    #[command(flatten)]
    hub: Hub,
    /// The filter as text, or one JSON object.
    #[arg(long, alias = "output", value_enum, default_value_t = Shape::Text)]
    format: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    Text,
    Json,
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Said {
    Filter { filter: String, generation: Generation },
    Error { error: api::ApiError },
}

impl Kfl {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let tables = if self.hub.is_named() {
            query::Tables::new(self.hub.tables()?.tables)
        } else {
            query::Tables::new(dissect::tables().iter().cloned())
        };
        let (said, outcome) = match kfl::translate(&self.expression, &tables) {
            Ok(it) => {
                (Said::Filter { filter: it.filter, generation: it.generation }, Outcome::Done)
            }
            Err(why) => {
                let error = server::told(&query::Error::Filter(why));
                complain(format_args!("{}", hub::sentence(&error, Some(&self.expression))));
                (Said::Error { error }, Outcome::Refused)
            }
        };
        let mut out = output::stdout();
        match (self.format, &said) {
            (Shape::Json, said) => {
                serde_json::to_writer(&mut out, said)?;
                writeln!(out)?;
            }
            (Shape::Text, Said::Filter { filter, .. }) => writeln!(out, "{filter}")?,
            (Shape::Text, Said::Error { .. }) => {}
        }
        out.flush()?;
        Ok(outcome)
    }
}
