//! What can go wrong with a question, by what the asker can do about it.
use std::ops::Range;

use datafusion::common::DataFusionError;

use crate::filter::FilterError;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The question is malformed: mend its text.
    #[error("{message}")]
    Invalid {
        /// What is wrong, and where there is one, the nearest right spelling.
        message: String,
        /// The bytes of the question it is about, when known.
        at: Option<Range<usize>>,
    },
    /// The filter is malformed: mend its text.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The question asks for something that is not done here, such as changing data.
    #[error("{0}")]
    Refused(String),
    /// The question needs more memory than it may have: narrow it.
    #[error("the query needs more memory than its limit; narrow it, or use approx_ functions: {0}")]
    Memory(String),
    /// The time is up: narrow the question or give it longer.
    #[error("no answer within {seconds} s")]
    Deadline {
        /// The time it had.
        seconds: f64,
    },
    /// The engine failed: nothing in the question helps.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// A failure of planning, which is nearly always about the text of the question.
    pub(crate) fn planning(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(it) => Self::Memory(first_line(it)),
            DataFusionError::Internal(_) => Self::Failed(plain(&error)),
            _ => Self::Invalid { message: plain(&error), at: None },
        }
    }

    /// A failure while rows were made.
    pub(crate) fn running(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(it) => Self::Memory(first_line(it)),
            root if about_the_question(root) => Self::Invalid { message: plain(error), at: None },
            _ => Self::Failed(plain(error)),
        }
    }
}

/// Whether every node would fail like this, so that asking again without one is no use.
pub(crate) fn about_the_question(error: &DataFusionError) -> bool {
    use datafusion::arrow::error::ArrowError;
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_) => true,
        DataFusionError::ArrowError(it, _) => matches!(
            it.as_ref(),
            ArrowError::DivideByZero
                | ArrowError::ArithmeticOverflow(_)
                | ArrowError::CastError(_)
                | ArrowError::ComputeError(_)
                | ArrowError::ParseError(_)
                | ArrowError::InvalidArgumentError(_)
                | ArrowError::NotYetImplemented(_)
        ),
        _ => false,
    }
}

/// The engine's message without its wrapping, its backtrace and its appeal to report a bug.
pub(crate) fn plain(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = text.split("\n\nbacktrace").next().unwrap_or_default();
    let mut text = text.split("\nThis issue was likely caused by").next().unwrap_or_default();
    const WRAPPING: [&str; 8] = [
        "Error during planning: ",
        "Execution error: ",
        "External error: ",
        "Arrow error: ",
        "SQL error: ",
        "Schema error: ",
        "This feature is not implemented: ",
        "Shared error: ",
    ];
    while let Some(rest) = WRAPPING.iter().find_map(|it| text.strip_prefix(it)) {
        text = rest;
    }
    text.trim().trim_end_matches('.').to_owned()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
