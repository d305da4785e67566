//! Every way to say no, and the status it has. No other file chooses a status.

use api::{ApiError, Span};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use std::ops::Range;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request itself is wrong.
    #[error("{0}")]
    Request(String),
    /// The filter is wrong.
    #[error(transparent)]
    Filter(#[from] query::filter::FilterError),
    /// The engine says no.
    #[error(transparent)]
    Query(#[from] query::Error),
    /// A token is needed, or it is another one.
    #[error("this hub needs a token")]
    Token,
    /// Whose a token is can't be found out: nobody is admitted on a guess.
    #[error("the cluster's API server can't be asked whose this token is: {0}")]
    Unreviewed(String),
    /// The caller is known and may see nothing.
    #[error("{0} may see no namespace's traffic")]
    NoRights(String),
    /// It is about everybody's traffic.
    #[error("this takes the right to all traffic")]
    NotAll,
    /// A Worker that shows no certificate.
    #[error("this hub takes workers by TLS only, with a certificate")]
    Uncertified,
    /// A Worker's certificate, for what is no Worker's business.
    #[error("only workers' links come by TLS")]
    LinkOnly,
    /// It changes something for everybody.
    #[error("this takes the hub's own token")]
    NotOwner,
    /// What the caller may see is not what it was.
    #[error("what you may see has changed")]
    Changed,
    /// The browser was led here under a foreign name.
    #[error("this hub is not called {0:?}")]
    Host(String),
    /// Another site's page asks through a visitor's browser.
    #[error("requests from {0} are not taken")]
    Origin(String),
    /// The client takes no form there is.
    #[error("an answer comes as one of {0}")]
    Unacceptable(String),
    /// There is nothing at that address.
    #[error("{0}")]
    Absent(String),
    /// Somebody else changed it meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// Who would have to do it did not.
    #[error("{0}")]
    Upstream(String),
    /// As many as may run already do.
    #[error("{0} queries run already, which is as many as may")]
    Busy(usize),
    /// The caller has as many running as it may.
    #[error("you have {0} queries running already, which is as many as one caller may")]
    BusyCaller(usize),
    /// As many as may be open already are.
    #[error("{0} live tails are open already, which is as many as may")]
    Tails(usize),
    /// The caller has as many open as it may.
    #[error("you have {0} live tails open already, which is as many as one caller may")]
    TailsOfOne(usize),
    /// Nobody is there to ask.
    #[error("no worker is connected")]
    NoWorkers,
    /// The metrics cannot be written.
    #[error("the metrics cannot be written")]
    Metrics,
    /// The rows have no form in the format asked for.
    #[error("the rows cannot be written: {0}")]
    Rows(#[from] arrow_schema::ArrowError),
}

impl Error {
    fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) | Self::Filter(_) => StatusCode::BAD_REQUEST,
            Self::Query(error) => match error {
                query::Error::Invalid { .. } | query::Error::Filter(_) => StatusCode::BAD_REQUEST,
                query::Error::Refused(_) => StatusCode::FORBIDDEN,
                query::Error::Memory(_) => StatusCode::UNPROCESSABLE_ENTITY,
                query::Error::Deadline { .. } => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            },
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Unreviewed(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Host(_) | Self::Origin(_) => StatusCode::FORBIDDEN,
            Self::NoRights(_) | Self::NotAll | Self::NotOwner | Self::Changed => {
                StatusCode::FORBIDDEN
            }
            Self::Uncertified => StatusCode::UPGRADE_REQUIRED,
            Self::LinkOnly => StatusCode::FORBIDDEN,
            Self::Unacceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Self::Absent(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
            Self::Busy(_) | Self::BusyCaller(_) | Self::Tails(_) | Self::TailsOfOne(_) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::NoWorkers => StatusCode::SERVICE_UNAVAILABLE,
            Self::Rows(_) | Self::Metrics => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the caller is told.
    pub(crate) fn told(&self) -> ApiError {
        match self {
            Self::Filter(error) => filter(error),
            Self::Query(error) => told(error),
            Self::Token => ApiError::new(self.to_string()).with_hint(
                "send it as `Authorization: Bearer …`, or open /?token=… once in the browser",
            ),
            Self::NoRights(_) | Self::NotAll => ApiError::new(self.to_string()).with_hint(
                "a Role with the verb get on traffic of the group kubeshark.io gives rows of its namespace, on \
                 traffic/payload what was said, on traffic/packets the packets; a ClusterRole with all three, everything",
            ),
            Self::Changed => ApiError::new(self.to_string()).with_hint("open the tail again"),
            Self::Busy(_) | Self::BusyCaller(_) => {
                ApiError::new(self.to_string()).with_hint("ask again when one has ended")
            }
            Self::Tails(_) | Self::TailsOfOne(_) => ApiError::new(self.to_string()).with_hint("close one"),
            Self::NoWorkers => ApiError::new(self.to_string()).with_hint(
                "start one with `kubeshark worker --hub …`; /api/workers says which were here",
            ),
            other => ApiError::new(other.to_string()),
        }
    }
}

/// Why a question has no answer, as the API tells it.
#[must_use]
pub fn told(error: &query::Error) -> ApiError {
    match error {
        query::Error::Filter(error) => filter(error),
        query::Error::Invalid { message, at } => {
            ApiError { at: at.as_ref().map(span), ..ApiError::new(message) }
        }
        other => ApiError::new(other.to_string()),
    }
}

/// A wrong filter, with its place.
pub(crate) fn filter(error: &query::filter::FilterError) -> ApiError {
    ApiError {
        message: error.message.clone(),
        at: Some(span(&error.at)),
        hint: error.hint.clone(),
        instead: error.instead.clone(),
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.told())).into_response();
        match self {
            Self::Token => {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Busy(_) | Self::BusyCaller(_) | Self::Unreviewed(_) => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

fn span(range: &Range<usize>) -> Span {
    Span { start: range.start, end: range.end }
}
