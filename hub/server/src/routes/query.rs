//! `/api/query`: rows of any question, in any form, as they come.

use crate::{
    Server,
    accounts::Accounts,
    audit::Asked,
    auth::Asker,
    callers::{Caller, Running},
    engine,
    error::Error,
    format::{Writer, broken},
    metrics::Meters,
    workers::{Member, Merged},
};
use api::{Accounting, ApiError, Conversations, Format, QueryRequest};
use arrow_array::{RecordBatch, cast::AsArray as _};
use arrow_schema::{DataType, Schema, SchemaRef};
use axum::{
    body::Body,
    extract::{ConnectInfo, Extension, Path, RawQuery, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY},
};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

/// Answers a question given as parameters.
#[utoipa::path(
    get, path = "/api/query", tag = "query",
    params(
        ("sql" = Option<String>, Query, description = "A read-only SQL statement"),
        ("filter" = Option<String>, Query, description = "A filter; either this or `sql`"),
        ("columns" = Option<String>, Query, description = "With `filter`: columns to return, separated by commas"),
        ("limit" = Option<u64>, Query, description = "With `filter`: how many rows, newest first"),
        ("since" = Option<String>, Query, description = "With `filter`: an RFC 3339 time or an age such as `15m`"),
        ("until" = Option<String>, Query, description = "With `filter`: an RFC 3339 time or an age such as `5m`"),
        ("deadline_ms" = Option<u64>, Query, description = "When to stop"),
        ("max_rows" = Option<u64>, Query, description = "After how many rows to stop"),
        ("format" = Option<Format>, Query, description = "The form of the answer; overrides `Accept`"),
        ("accounting" = Option<bool>, Query, description = "With `ndjson`: end with a line of accounting"),
    ),
    responses(
        (status = 200, description = "The rows", content(
            (api::JsonAnswer = "application/json"), (String = "application/x-ndjson"),
            (String = "text/csv"), (String = "application/vnd.apache.arrow.stream"),
            (String = "application/vnd.apache.parquet"), (String = "application/x-pcapng"),
        ), headers(("kubeshark-query-id" = String, description = "Under which `/api/queries/{id}` has the accounting"))),
        (status = "4XX", description = "Why not, and where in the text", body = ApiError),
        (status = "5XX", description = "Why not", body = ApiError),
    )
)]
pub(crate) async fn get(
    State(server): State<Server>,
    peer: Peer,
    Extension(asker): Extension<Asker>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let mut request = serde_json::Map::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        request.insert(name.into_owned(), value.into_owned().into());
    }
    let request = serde_json::from_value(request.into())
        .map_err(|error| Error::Request(error.to_string()))?;
    run(server, request, (asker, peer), &headers).await
}

/// Answers a question given as JSON.
#[utoipa::path(
    post, path = "/api/query", tag = "query",
    request_body = QueryRequest,
    responses(
        (status = 200, description = "The rows", content(
            (api::JsonAnswer = "application/json"), (String = "application/x-ndjson"),
            (String = "text/csv"), (String = "application/vnd.apache.arrow.stream"),
            (String = "application/vnd.apache.parquet"), (String = "application/x-pcapng"),
        ), headers(("kubeshark-query-id" = String, description = "Under which `/api/queries/{id}` has the accounting"))),
        (status = "4XX", description = "Why not, and where in the text", body = ApiError),
        (status = "5XX", description = "Why not", body = ApiError),
    )
)]
pub(crate) async fn post(
    State(server): State<Server>,
    peer: Peer,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Error> {
    // A form on another site can send any text, but not under this name.
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some(api::media::JSON) {
        return Err(Error::Request(format!("send the query as {}", api::media::JSON)));
    }
    let request =
        serde_json::from_slice(&body).map_err(|error| Error::Request(error.to_string()))?;
    run(server, request, (asker, peer), &headers).await
}

/// What a finished query cost.
#[utoipa::path(
    get, path = "/api/queries/{id}", tag = "query",
    params(("id" = String, Path, description = "From the header `kubeshark-query-id`")),
    responses(
        (status = 200, body = Accounting),
        (status = 404, description = "It still runs, or was long ago", body = ApiError),
    )
)]
pub(crate) async fn accounting(
    State(server): State<Server>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
) -> Result<axum::Json<Accounting>, Error> {
    let found = server.accounts.find(asker.user.as_deref(), &id);
    found.map(axum::Json).ok_or_else(|| Error::Absent(format!("no query {id:?} has ended lately")))
}

/// Where a request comes from, if over a socket.
pub(super) type Peer = Option<Extension<ConnectInfo<SocketAddr>>>;

/// Who asks from there.
pub(super) fn caller(asker: &Asker, peer: Peer) -> Caller {
    let address = peer.map(|Extension(ConnectInfo(address))| address.ip());
    Caller::new(asker.user.clone(), address)
}

async fn run(
    server: Server,
    request: QueryRequest,
    (asker, peer): (Asker, Peer),
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let format = request.format.map_or_else(|| accepted(headers), Ok)?;
    let id = engine::query_id();
    let span = tracing::info_span!("query", id);
    let query = engine::question(id.clone(), &request, &server.bounds)?;
    let caller = caller(&asker, peer);
    let kind = if format == Format::Pcapng { "packets" } else { "query" };
    let asked = request.sql.as_deref().or(request.filter.as_deref()).unwrap_or_default();
    let asked = Asked::new(kind, caller.clone(), asked, &id);
    let most = server.limits.queries_of_one;
    let running = server.callers.admit(caller, most).ok_or(Error::BusyCaller(most))?;
    let permit = Arc::clone(&server.queries)
        .try_acquire_owned()
        .map_err(|_| Error::Busy(server.limits.queries))?;
    let merged = server.workers.merged();
    let mut ending = Ending {
        accounts: server.accounts.clone(),
        meters: server.meters.clone(),
        accounting: Some(Accounting { query_id: id.clone(), ..Accounting::default() }),
        begun: Instant::now(),
        outcome: "cancelled",
        members: merged.members.clone(),
        user: asker.user.clone(),
        asked,
        _places: (running, permit),
    };

    let limits = query.limits;
    let answered = engine::ask(&merged, query, &asker.rights).instrument(span.clone()).await;
    let answered = match answered {
        Ok(answer) if format == Format::Pcapng => {
            packets(answer, (&merged, &asker.rights), &id, limits).instrument(span.clone()).await
        }
        answered => answered,
    };
    let mut answer = match answered {
        Ok(answer) => answer,
        Err(error) => {
            ending.refused(&error);
            return Err(error);
        }
    };
    let (schema, columns) =
        chosen(&answer.schema, &request.columns).inspect_err(|error| ending.refused(error))?;
    // As long as there is no row, the status can still say that it failed.
    let first = match answer.rows.next().instrument(span).await {
        None => None,
        Some(Ok(batch)) => Some(batch),
        Some(Err(error)) => {
            let accounting = answer.accounting.await;
            let error = Error::Query(error);
            ending.accounting = Some(engine::accounting_with(accounting, &merged));
            ending.refused(&error);
            return Ok(with_id(error.into_response(), &id));
        }
    };

    let mut writer = Writer::new(format, &schema, request.accounting)?;
    let mut pending: VecDeque<Bytes> = [writer.begin()?].into();
    if let Some(batch) = first {
        pending.extend(writer.rows(&project(&batch, columns.as_deref())?)?);
    }
    let stream =
        Stream { pending, writer, columns, answer: Some(answer), merged, ending, error: None };
    let body = Body::from_stream(futures::stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        match stream.next().await? {
            Ok(bytes) => Some((Ok(bytes), Some(stream))),
            Err(error) => Some((Err(error), None)),
        }
    }));
    let mut response = Response::new(body);
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(format.media()));
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    out.insert(VARY, HeaderValue::from_static("accept"));
    Ok(with_id(response, &id))
}

/// The packets that the rows are, or those of the conversations that they name.
async fn packets(
    mut answer: query::Answer,
    (merged, rights): (&Merged, &Arc<query::Rights>),
    id: &str,
    limits: query::Limits,
) -> Result<query::Answer, Error> {
    if pcapng::are_packets(&answer.schema) {
        return Ok(answer);
    }
    let column = answer.schema.index_of(FLOW).map_err(|_| {
        let columns = pcapng::COLUMNS.join(", ");
        Error::Request(format!(
            "packets are rows of the table packets with its columns {columns}, or any rows with a {FLOW}"
        ))
    })?;
    let mut conversations = Conversations::default();
    while let Some(batch) = answer.rows.next().await {
        let flows = arrow_cast::cast(batch?.column(column), &DataType::Utf8View)?;
        for flow in flows.as_string_view().iter().flatten() {
            if !conversations.insert(flow) {
                return Err(Error::Request(format!(
                    "the rows name more than {} conversations: narrow the question",
                    Conversations::MOST
                )));
            }
        }
    }
    let whole = answer.accounting.await;
    let query = query::Query {
        id: format!("{id}.packets"),
        ask: query::Ask::Sql(conversations.sql()),
        limits,
    };
    let mut packets = engine::ask(merged, query, rights).await?;
    packets.accounting = packets.accounting.after(whole);
    Ok(packets)
}

/// An answer on its way to the client. Dropping it, as when the client goes away, cancels the query.
struct Stream {
    pending: VecDeque<Bytes>,
    writer: Writer,
    columns: Option<Vec<usize>>,
    answer: Option<query::Answer>,
    merged: Arc<Merged>,
    ending: Ending,
    error: Option<ApiError>,
}

impl Stream {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            while let Some(bytes) = self.pending.pop_front() {
                if !bytes.is_empty() {
                    return Some(Ok(bytes));
                }
            }
            let answer = self.answer.as_mut()?;
            match answer.rows.next().await {
                Some(Ok(batch)) => {
                    let pieces = project(&batch, self.columns.as_deref())
                        .and_then(|batch| self.writer.rows(&batch));
                    match pieces {
                        Ok(pieces) => self.pending.extend(pieces),
                        Err(error) => {
                            self.answer = None;
                            return Some(Err(broken(&Error::Rows(error).told())));
                        }
                    }
                }
                // The rows end with an error: what comes after it is their end.
                Some(Err(error)) => self.error = Some(Error::Query(error).told()),
                None => {
                    let answer = self.answer.take()?;
                    let mut accounting =
                        engine::accounting_with(answer.accounting.await, &self.merged);
                    drop(answer.rows);
                    accounting.error = self.error.take();
                    let failed = accounting.error.clone();
                    // Kept before the last byte is sent, so that whoever has read it can ask for it.
                    self.ending.ended(accounting.clone());
                    match failed {
                        Some(error) if !self.writer.tells_errors() => {
                            return Some(Err(broken(&error)));
                        }
                        _ => {}
                    }
                    match self.writer.end(&accounting) {
                        Ok(bytes) => self.pending.push_back(bytes),
                        Err(error) => return Some(Err(broken(&Error::Rows(error).told()))),
                    }
                }
            }
        }
    }
}

/// Accounts for a query, however it ends.
struct Ending {
    accounts: Accounts,
    meters: Meters,
    /// Until it has ended.
    accounting: Option<Accounting>,
    begun: Instant,
    outcome: &'static str,
    /// The nodes that are asked.
    members: Vec<Member>,
    user: Option<Arc<str>>,
    asked: Asked,
    /// Let go when it has ended.
    _places: (Running, OwnedSemaphorePermit),
}

impl Ending {
    fn ended(&mut self, accounting: Accounting) {
        self.outcome = match (&accounting.error, accounting.complete) {
            (Some(_), _) => "failed",
            (None, true) => "complete",
            (None, false) => "partial",
        };
        tracing::debug!(query = %accounting.query_id, outcome = self.outcome, ms = accounting.elapsed_ms, "a query ended");
        self.asked.ended(self.outcome, accounting.rows);
        self.meters.ended(&accounting, self.outcome);
        self.accounts.keep(self.user.clone(), accounting);
        self.accounting = None;
    }

    fn refused(&mut self, error: &Error) {
        if let Some(mut accounting) = self.accounting.take() {
            accounting.error = Some(error.told());
            accounting.complete = false;
            accounting.elapsed_ms = elapsed_ms(self.begun);
            self.ended(accounting);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(mut accounting) = self.accounting.take() else { return };
        accounting.error = Some(ApiError::new("the asker went away"));
        accounting.elapsed_ms = elapsed_ms(self.begun);
        self.meters.ended(&accounting, self.outcome);
        self.accounts.keep(self.user.clone(), accounting.clone());
        let (members, accounts) = (std::mem::take(&mut self.members), self.accounts.clone());
        let user = self.user.clone();
        // Outside of a runtime the Hub itself is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { accounts.keep(user, stopped(accounting, members).await) });
        }
    }
}

/// What the nodes did for a query that was given up, once they have stopped; those that haven't in
/// time are named.
async fn stopped(mut accounting: Accounting, members: Vec<Member>) -> Accounting {
    let begun = Instant::now();
    let id = accounting.query_id.clone();
    let nodes = members.into_iter().map(|member| {
        let id = &id;
        async move {
            loop {
                let (work, reason) = match member.client.accounting(id).await {
                    Ok(work) => (work.unwrap_or_default(), "it has stopped"),
                    Err(_) => (link::Work::default(), "whether it has stopped is not known"),
                };
                if work.unfinished == 0 {
                    return engine::given_up(member.node, work, reason);
                }
                if begun.elapsed() > STOPPING {
                    return engine::given_up(member.node, work, "it has not stopped yet");
                }
                tokio::time::sleep(STOP_CHECK).await;
            }
        }
    });
    accounting.nodes = futures::future::join_all(nodes).await;
    accounting.rows_scanned = accounting.nodes.iter().map(|node| node.rows_scanned).sum();
    accounting.bytes_scanned = accounting.nodes.iter().map(|node| node.bytes_scanned).sum();
    accounting
}

/// How long nodes have to stop before they are said not to have.
const STOPPING: Duration = Duration::from_secs(5);
const STOP_CHECK: Duration = Duration::from_millis(50);

fn elapsed_ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The form that `Accept` likes best of those there are.
fn accepted(headers: &HeaderMap) -> Result<Format, Error> {
    let mut best: Option<(f32, Format)> = None;
    let mut asked = false;
    for value in headers.get_all(ACCEPT) {
        for part in value.to_str().unwrap_or_default().split(',') {
            let mut part = part.split(';').map(str::trim);
            let Some(media) = part.next().filter(|media| !media.is_empty()) else { continue };
            asked = true;
            let weight =
                part.find_map(|option| option.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            let format = match media {
                "*/*" | "application/*" => Some(Format::Json),
                "text/*" => Some(Format::Csv),
                media => Format::of_media(media),
            };
            if let Some(format) = format
                && weight > best.map_or(0.0, |(weight, _)| weight)
            {
                best = Some((weight, format));
            }
        }
    }
    match best {
        Some((_, format)) => Ok(format),
        None if !asked => Ok(Format::default()),
        None => {
            let all: Vec<_> = Format::ALL.iter().map(|format| format.media()).collect();
            Err(Error::Unacceptable(all.join(", ")))
        }
    }
}

/// The schema with those columns only, and where they are; all of them if none is named.
fn chosen(
    schema: &SchemaRef,
    columns: &[String],
) -> Result<(SchemaRef, Option<Vec<usize>>), Error> {
    if columns.is_empty() {
        return Ok((Arc::clone(schema), None));
    }
    let places = columns
        .iter()
        .map(|name| {
            schema
                .index_of(name)
                .map_err(|_| Error::Request(format!("traffic has no column {name:?}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let schema: Schema = schema.project(&places)?;
    Ok((Arc::new(schema), Some(places)))
}

fn project(
    batch: &RecordBatch,
    columns: Option<&[usize]>,
) -> Result<RecordBatch, arrow_schema::ArrowError> {
    columns.map_or_else(|| Ok(batch.clone()), |columns| batch.project(columns))
}

fn with_id(mut response: Response, id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(HeaderName::from_static(api::header::QUERY_ID), value);
    }
    response
}

/// Names a row's conversation.
const FLOW: &str = "flow_id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_read_by_weight() {
        let check = |accept: &'static str| {
            let headers = [(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            accepted(&headers).ok()
        };
        assert_eq!(accepted(&HeaderMap::new()).ok(), Some(Format::Json));
        assert_eq!(check("*/*"), Some(Format::Json));
        assert_eq!(check("text/csv"), Some(Format::Csv));
        assert_eq!(check("application/json;q=0.5, application/x-ndjson"), Some(Format::Ndjson));
        assert_eq!(
            check("text/html, application/vnd.apache.arrow.stream;q=0.1"),
            Some(Format::Arrow)
        );
        assert_eq!(check("text/html"), None);
        assert_eq!(check("application/json;q=0"), None);
    }
}
