//! Asks a Hub.

use std::io::{self, Read};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::{
    Accounting, ApiError, DissectionRequest, Dissections, JsonAnswer, QueryRequest, Tables,
    Workers, header, media, route,
};
use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::SchemaRef;
use clap::Args;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, http::header::AUTHORIZATION};

use crate::place::{Answer, Place};

/// Which Hub, and with which right.
#[derive(Debug, Clone, Args)]
pub(crate) struct Hub {
    /// The Hub to ask; else the one on this machine, at http://127.0.0.1:8899.
    #[arg(long = "hub", env = "KUBESHARK_HUB", value_name = "URL")]
    url: Option<String>,
    /// The token the Hub wants, if it is not on this machine.
    #[arg(long, env = "KUBESHARK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
}

struct Rows<'a> {
    hub: &'a Hub,
    rows: StreamReader<Box<dyn Read + Send>>,
    /// Under which its accounting is kept.
    id: Option<String>,
}

impl Place for Hub {
    fn ask(&self, request: &QueryRequest) -> Result<Box<dyn Answer + '_>> {
        let address = self.address(route::QUERY)?;
        let post = self.authorized(agent().post(&address).header("accept", media::ARROW));
        let response = post.send_json(request).map_err(|why| self.unreachable(&why))?;
        let response =
            self.accepted(response, request.sql.as_deref().or(request.filter.as_deref()))?;
        let id = response.headers().get(header::QUERY_ID);
        let id = id.and_then(|it| it.to_str().ok()).map(str::to_owned);
        let body: Box<dyn Read + Send> = Box::new(response.into_body().into_reader());
        let rows = StreamReader::try_new(body, None)
            .with_context(|| format!("{} did not answer with rows", self.url()))?;
        Ok(Box::new(Rows { hub: self, rows, id }))
    }
}

impl Answer for Rows<'_> {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.rows.next() else { return Ok(None) };
        // The stream itself can only break off; why stands in the accounting.
        batch.map(Some).map_err(|why| match self.cost() {
            Ok(Some(Accounting { error: Some(error), .. })) => {
                anyhow::anyhow!("{}", sentence(&error, None))
            }
            _ => anyhow::Error::new(why).context("the answer broke off"),
        })
    }

    fn accounting(mut self: Box<Self>) -> Result<Option<Accounting>> {
        // The Hub writes the accounting down before it closes the answer, but after its last row.
        io::copy(self.rows.get_mut(), &mut io::sink()).context("the answer broke off")?;
        self.cost()
    }
}

impl Rows<'_> {
    fn cost(&self) -> Result<Option<Accounting>> {
        let Some(id) = &self.id else { return Ok(None) };
        let address = self.hub.address(&route::accounting(id))?;
        let request = self.hub.authorized(agent().get(&address));
        let response = request.call().map_err(|why| self.hub.unreachable(&why))?;
        if response.status() == 404 {
            return Ok(None);
        }
        let mut response = self.hub.accepted(response, None)?;
        let accounting = response.body_mut().read_json();
        Ok(Some(accounting.with_context(|| format!("{} answered something else", self.hub.url()))?))
    }
}

impl Hub {
    /// Whether one was named, or the one on this machine is meant.
    pub(crate) fn is_named(&self) -> bool {
        self.named().is_some()
    }

    /// The Hub at an address.
    pub(crate) fn at(url: String, token: Option<String>) -> Self {
        Self { url: Some(url), token }
    }

    /// A short answer, whole as far as the Hub has one.
    pub(crate) fn answer(&self, sql: &str) -> Result<JsonAnswer> {
        let address = self.address(route::QUERY)?;
        let post = self.authorized(agent().post(&address).header("accept", media::JSON));
        let response = post.send_json(QueryRequest::sql(sql));
        let response = response.map_err(|why| self.unreachable(&why))?;
        let mut response = self.accepted(response, Some(sql))?;
        let answer = response.body_mut().with_config().limit(TABLES_BYTES).read_json();
        let answer: JsonAnswer =
            answer.with_context(|| format!("{} answered something else", self.url()))?;
        match answer.error {
            Some(why) => bail!("{}", sentence(&why, Some(sql))),
            None => Ok(answer),
        }
    }

    /// Every Worker that it knows.
    pub(crate) fn workers(&self) -> Result<Workers> {
        let address = self.address(route::WORKERS)?;
        let response = self.authorized(agent().get(&address)).call();
        let response = response.map_err(|why| self.unreachable(&why))?;
        let mut response = self.accepted(response, None)?;
        let workers = response.body_mut().with_config().limit(TABLES_BYTES).read_json();
        workers.with_context(|| format!("{} answered something else", self.url()))
    }

    fn named(&self) -> Option<&str> {
        self.url.as_deref().filter(|it| !it.is_empty())
    }

    fn url(&self) -> &str {
        self.named().unwrap_or(DEFAULT_URL)
    }

    /// What can be asked.
    pub(crate) fn tables(&self) -> Result<Tables> {
        let address = self.address(route::TABLES)?;
        let response =
            self.authorized(agent().get(&address)).call().map_err(|why| self.unreachable(&why))?;
        let mut response = self.accepted(response, None)?;
        let tables = response.body_mut().with_config().limit(TABLES_BYTES).read_json();
        tables.with_context(|| format!("{} answered something else", self.url()))
    }

    /// How dissection stands, at one node or at all.
    pub(crate) fn dissection(&self, node: Option<&str>) -> Result<Dissections> {
        let address = self.address(route::DISSECTION)?;
        let mut get = agent().get(&address);
        if let Some(node) = node {
            get = get.query("node", node);
        }
        self.dissections(self.authorized(get).call())
    }

    /// Changes it.
    pub(crate) fn dissect(&self, request: &DissectionRequest) -> Result<Dissections> {
        let put = self.authorized(agent().put(&self.address(route::DISSECTION)?));
        self.dissections(put.send_json(request))
    }

    fn dissections(
        &self,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Dissections> {
        let response = response.map_err(|why| self.unreachable(&why))?;
        let mut response = self.accepted(response, None)?;
        let states = response.body_mut().with_config().limit(TABLES_BYTES).read_json();
        states.with_context(|| format!("{} answered something else", self.url()))
    }

    fn address(&self, route: &str) -> Result<String> {
        let url = self.url().trim_end_matches('/');
        if url.starts_with("https://") {
            bail!(
                "{url}: https is not there yet; ask the Hub by http, or through `kubectl port-forward`"
            );
        }
        let host = url.strip_prefix("http://").unwrap_or(url);
        if host.is_empty() || host.contains("://") {
            bail!("{url} is no address of a Hub: one looks like {DEFAULT_URL}");
        }
        Ok(format!("http://{host}{route}"))
    }

    /// What opens a WebSocket there.
    pub(crate) fn socket(&self, route: &str) -> Result<tungstenite::handshake::client::Request> {
        let address = self.address(route)?.replacen("http", "ws", 1);
        let mut request = address.into_client_request()?;
        if let Some(token) = &self.token {
            let bearer = format!("Bearer {token}").parse().context("the token is none")?;
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        Ok(request)
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn unreachable(&self, why: &ureq::Error) -> anyhow::Error {
        match why {
            ureq::Error::Io(why) => self.unanswered(why),
            ureq::Error::Timeout(_) => self.unanswered(&"it did not answer in time"),
            why => self.unanswered(why),
        }
    }

    /// That no Hub answers, and what to do.
    pub(crate) fn unanswered(&self, why: &dyn std::fmt::Display) -> anyhow::Error {
        anyhow::anyhow!(
            "no Hub answers at {}: {why} (start one with `kubeshark tap` or `kubeshark hub`, \
             name another with --hub, or read a file with --read)",
            self.url()
        )
    }

    /// The response, or the Hub's own words for why not. `asked` is the text that its places refer to.
    fn accepted(
        &self,
        mut response: ureq::http::Response<ureq::Body>,
        asked: Option<&str>,
    ) -> Result<ureq::http::Response<ureq::Body>> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        match response.body_mut().read_json::<ApiError>() {
            Ok(error) => bail!("{}", sentence(&error, asked)),
            Err(_) => bail!("{} answered {status}", self.url()),
        }
    }
}

/// An error of the API as one sentence, naming the words it is about.
pub(crate) fn sentence(error: &ApiError, asked: Option<&str>) -> String {
    let place = error.at.zip(asked).and_then(|(at, asked)| asked.get(at.start..at.end));
    let mut text = error.message.clone();
    if let Some(place) = place.map(str::trim).filter(|it| !it.is_empty() && !text.contains(it)) {
        text.push_str(&format!(", at `{place}`"));
    }
    match (&error.instead, &error.hint) {
        (Some(instead), _) => text.push_str(&format!(" (this is KFL; as a filter: {instead})")),
        (None, Some(hint)) => text.push_str(&format!(" ({hint})")),
        (None, None) => {}
    }
    text
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .user_agent(concat!("kubeshark/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Where `kubeshark tap` and `kubeshark hub` listen unless told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8899";
/// How long a Hub may take to accept a connection; how long an answer may take is the question's deadline.
const CONNECT: Duration = Duration::from_secs(5);
/// Tables of a thousand columns each with a paragraph of docs are far below this.
const TABLES_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use api::Span;

    use super::*;

    #[test]
    fn an_error_names_the_words_it_is_about() {
        let error = ApiError {
            message: "there is no such column".to_owned(),
            at: Some(Span { start: 0, end: 5 }),
            hint: Some("did you mean status?".to_owned()),
            instead: None,
        };
        assert_eq!(
            sentence(&error, Some("statu >= 500")),
            "there is no such column, at `statu` (did you mean status?)"
        );
        assert_eq!(sentence(&error, None), "there is no such column (did you mean status?)");
        let kfl = ApiError { instead: Some("http.status >= 500".to_owned()), ..error.clone() };
        assert_eq!(
            sentence(&kfl, None),
            "there is no such column (this is KFL; as a filter: http.status >= 500)"
        );
        // A place that is not one of this text is left out.
        assert_eq!(sentence(&error, Some("é")), "there is no such column (did you mean status?)");
    }
}
