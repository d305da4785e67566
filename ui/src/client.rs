//! Questions to the Hub.

use api::{
    Accounting, ApiError, Format, Functions, Health, QueryRequest, Tables, TargetingRequest,
    Targets, Workers, media, route,
};
use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::SchemaRef;
use dioxus::prelude::*;
use serde::de::DeserializeOwned;

use crate::browser::{self, Abort, Request, Response};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The Hub wants a token, or another one.
    Token,
    /// The Hub said no, and why.
    Refused(ApiError),
    /// The Hub could not be reached, or what came back was not an answer.
    Unreachable(String),
}

impl Failure {
    /// As the Hub would say it.
    pub(crate) fn error(&self) -> ApiError {
        match self {
            Self::Token => ApiError::new("the Hub asks for a token"),
            Self::Refused(error) => error.clone(),
            Self::Unreachable(why) => ApiError::new(format!("the Hub did not answer: {why}"))
                .with_hint("it may be restarting; try again"),
        }
    }
}

/// Rows and what they cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) schema: Option<SchemaRef>,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) rows: usize,
    /// Bytes of the answer.
    pub(crate) bytes: usize,
    pub(crate) accounting: Option<Accounting>,
    /// Why the rows break off, if they do.
    pub(crate) broken: Option<String>,
}

/// Whether the Hub knows this browser. The browser keeps the token itself, in a cookie no script reads.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Session {
    wanted: Signal<bool>,
    logins: Signal<u64>,
}

impl Session {
    pub(crate) fn provide() -> Self {
        let wanted = use_signal(|| false);
        let logins = use_signal(|| 0);
        use_context_provider(|| Self { wanted, logins })
    }

    /// Grows when a token was accepted: what was refused before may be asked again.
    pub(crate) fn logins(self) -> u64 {
        *self.logins.peek()
    }

    /// Whether a person must be asked for a token.
    pub(crate) fn is_wanted(self) -> bool {
        *self.wanted.read()
    }

    pub(crate) fn want(mut self) {
        if !*self.wanted.peek() {
            self.wanted.set(true);
        }
    }

    /// Shows the Hub a token; it answers with a cookie if it is the right one.
    pub(crate) async fn give(mut self, token: &str) -> Result<(), Failure> {
        let path = format!("/?token={}", percent(token));
        let request = Request { path, accept: "text/html", ..Request::default() };
        self.send(request, &Abort::new()).await?;
        self.health().await?;
        self.wanted.set(false);
        self.logins += 1;
        Ok(())
    }

    async fn send(self, request: Request, abort: &Abort) -> Result<Response, Failure> {
        let mut response =
            browser::fetch(request.clone(), abort).await.map_err(Failure::Unreachable)?;
        for _ in 0..TRIES {
            if response.status != TOO_MANY {
                break;
            }
            // the caller's other queries end soon; only then is this one refused for good
            browser::sleep(AGAIN_MS).await;
            response =
                browser::fetch(request.clone(), abort).await.map_err(Failure::Unreachable)?;
        }
        match response.status {
            200..300 => Ok(response),
            401 => {
                self.want();
                Err(Failure::Token)
            }
            status => Err(match serde_json::from_slice::<ApiError>(&response.body) {
                Ok(error) if !error.message.is_empty() => Failure::Refused(error),
                _ => Failure::Unreachable(format!("status {status}")),
            }),
        }
    }

    async fn get<T: DeserializeOwned>(self, path: &str) -> Result<T, Failure> {
        let request = Request { path: path.to_owned(), accept: media::JSON, ..Request::default() };
        let response = self.send(request, &Abort::new()).await?;
        serde_json::from_slice(&response.body)
            .map_err(|error| Failure::Unreachable(error.to_string()))
    }

    pub(crate) async fn tables(self) -> Result<Tables, Failure> {
        self.get(route::TABLES).await
    }

    pub(crate) async fn functions(self) -> Result<Functions, Failure> {
        self.get(route::FUNCTIONS).await
    }

    pub(crate) async fn workers(self) -> Result<Workers, Failure> {
        self.get(route::WORKERS).await
    }

    pub(crate) async fn health(self) -> Result<Health, Failure> {
        self.get(route::HEALTH).await
    }

    /// Whose traffic is kept.
    pub(crate) async fn targets(self) -> Result<Targets, Failure> {
        self.get(route::TARGETING).await
    }

    /// Changes that, or says what it would mean.
    pub(crate) async fn target(self, change: &TargetingRequest) -> Result<Targets, Failure> {
        let unreachable = |error: serde_json::Error| Failure::Unreachable(error.to_string());
        let json = Some(serde_json::to_string(change).map_err(unreachable)?);
        let path = route::TARGETING.to_owned();
        let request = Request { path, json, accept: media::JSON, is_put: true };
        let response = self.send(request, &Abort::new()).await?;
        serde_json::from_slice(&response.body).map_err(unreachable)
    }

    /// Is this a filter?
    pub(crate) async fn check(self, filter: &str) -> Result<(), Failure> {
        let path = format!("{}?filter={}", route::CHECK, percent(filter));
        let request = Request { path, accept: media::JSON, ..Request::default() };
        self.send(request, &Abort::new()).await.map(drop)
    }

    /// The rows that answer a question.
    pub(crate) async fn ask(
        self,
        question: QueryRequest,
        abort: &Abort,
    ) -> Result<Answer, Failure> {
        let question = QueryRequest { format: Some(Format::Arrow), ..question };
        let json = serde_json::to_string(&question)
            .map_err(|error| Failure::Unreachable(error.to_string()))?;
        let path = route::QUERY.to_owned();
        let request =
            Request { path, json: Some(json), accept: media::ARROW, ..Request::default() };
        let response = self.send(request, abort).await?;
        let mut answer = decode(response.body);
        if let Some(id) = response.query_id {
            answer.accounting = self.get(&route::accounting(&id)).await.ok();
        }
        Ok(answer)
    }

    /// An answer as a file, for the browser's downloads.
    pub(crate) async fn export(
        self,
        sql: String,
        format: Format,
        name: &str,
    ) -> Result<(), Failure> {
        let question = QueryRequest { format: Some(format), ..QueryRequest::sql(sql) };
        let json = serde_json::to_string(&question)
            .map_err(|error| Failure::Unreachable(error.to_string()))?;
        let path = route::QUERY.to_owned();
        let request =
            Request { path, json: Some(json), accept: format.media(), ..Request::default() };
        let response = self.send(request, &Abort::new()).await?;
        browser::save(name, format.media(), &response.body);
        Ok(())
    }
}

/// Reads an Arrow stream as far as it goes: rows before a break are good.
fn decode(body: Vec<u8>) -> Answer {
    let mut answer = Answer { bytes: body.len(), ..Answer::default() };
    let mut decoder = StreamDecoder::new();
    let mut buffer = Buffer::from_vec(body);
    while !buffer.is_empty() {
        match decoder.decode(&mut buffer) {
            Ok(Some(batch)) => {
                answer.rows += batch.num_rows();
                answer.batches.push(batch);
            }
            Ok(None) => {}
            Err(error) => {
                answer.broken = Some(error.to_string());
                break;
            }
        }
    }
    if let (Err(error), None) = (decoder.finish(), &answer.broken) {
        answer.broken = Some(error.to_string());
    }
    answer.schema = decoder.schema();
    answer
}

const TOO_MANY: u16 = 429;
const TRIES: u32 = 8;
const AGAIN_MS: u32 = 700;

/// Text as it may stand in an address.
pub(crate) fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn an_answer_is_read_as_far_as_it_goes() {
        let whole = fixture::stream(&[fixture::traffic(3), fixture::traffic(4)]);
        let answer = decode(whole.clone());
        assert_eq!((answer.rows, answer.batches.len(), answer.broken), (7, 2, None));
        assert!(answer.schema.is_some());

        let torn = decode(whole.get(..whole.len() - 200).expect("it is longer").to_vec());
        assert_eq!(torn.rows, 3);
        assert!(torn.broken.is_some());

        let none = decode(b"<html>not arrow".to_vec());
        assert_eq!((none.rows, none.broken.is_some()), (0, true));
    }

    #[test]
    fn addresses_hold_any_text() {
        assert_eq!(percent("a = 'ü&'"), "a%20%3D%20%27%C3%BC%26%27");
    }
}
