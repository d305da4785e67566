//! `/api/tail`: see [`TailRequest`] for what goes over the socket.

use crate::{
    Server,
    audit::Asked,
    auth::Asker,
    callers::Caller,
    error,
    error::Error,
    live::{self, Tail},
    routes::query::{Peer, caller},
};
use api::{ApiError, TailRequest, TailStatus};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use axum::{
    extract::{
        Extension, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use futures::{SinkExt as _, StreamExt as _, stream::SplitSink};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// Rows as they come.
#[utoipa::path(
    get, path = "/api/tail", tag = "tail",
    description = "A WebSocket. The client sends one `TailRequest` as text. The hub sends binary messages, the parts \
                   of one Arrow IPC stream of rows of `traffic`, and text messages, each a `TailStatus`.",
    responses(
        (status = 101, description = "The tail begins", body = TailStatus),
        (status = "4XX", description = "Why not", body = ApiError),
    )
)]
pub(crate) async fn tail(
    State(server): State<Server>,
    peer: Peer,
    Extension(asker): Extension<Asker>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Error> {
    let caller = caller(&asker, peer);
    let most = server.limits.tails_of_one;
    let open = server.watchers.admit(caller.clone(), most).ok_or(Error::TailsOfOne(most))?;
    let permit = Arc::clone(&server.tails)
        .try_acquire_owned()
        .map_err(|_| Error::Tails(server.limits.tails))?;
    let upgrade = upgrade.max_message_size(REQUEST_BYTES).max_frame_size(REQUEST_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        server.meters.tails_open.inc();
        let (mut sink, stream) = socket.split();
        if let Err(End::Told(error)) = run(&server, &asker, caller, &mut sink, stream).await {
            // It may have gone already.
            let _sent = say(&mut sink, &TailStatus::Error(error)).await.is_ok();
        }
        let _closed = timeout(CLOSE, sink.close()).await.is_ok();
        server.meters.tails_open.dec();
        drop((open, permit));
    }))
}

type Sink = SplitSink<WebSocket, Message>;

/// Why a tail ends.
enum End {
    /// The client is to know.
    Told(ApiError),
    /// The client is gone.
    Gone,
}

impl From<ArrowError> for End {
    fn from(error: ArrowError) -> Self {
        Self::Told(ApiError::new(format!("the rows cannot be sent: {error}")))
    }
}

async fn run(
    server: &Server,
    asker: &Asker,
    caller: Caller,
    sink: &mut Sink,
    mut stream: futures::stream::SplitStream<WebSocket>,
) -> Result<(), End> {
    let request = request(&mut stream).await?;
    let mut asked = Asked::new("tail", caller, &request.filter, "");
    let mut changes = server.workers.changes();
    // A page may well be open before the first worker is there.
    let schema = {
        let known = changes.wait_for(|merged| live::schema(&merged.tables).is_some());
        let merged = tokio::select! {
            merged = known => merged.map_err(|_| End::Gone)?.clone(),
            gone = closed(&mut stream) => return gone,
        };
        query::filter::parse(&request.filter, &merged.tables)
            .map_err(|wrong| End::Told(error::filter(&wrong)))?;
        live::schema(&merged.tables).ok_or(End::Gone)?
    };
    // That may have been long.
    server.guard.still(asker).await.map_err(|error| End::Told(error.told()))?;
    let mut lapses = std::pin::pin!(server.guard.lapses(asker));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    let tail = Tail::start(request, &asker.rights, server.workers.changes(), schema);
    send(sink, Message::Binary(std::mem::take(writer.get_mut()).into())).await?;

    let mut seconds = interval_at(Instant::now() + RATE_EVERY, RATE_EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut told_rows) = ((0, 0), 0);
    let mut next = Instant::now();
    loop {
        tokio::select! {
            gone = closed(&mut stream) => return gone,
            () = async { tokio::time::sleep_until(next).await; tail.ready().await } => {
                let news = tail.take()?;
                for status in &news.status {
                    say(sink, status).await?;
                }
                if let Some(rows) = news.rows {
                    writer.write(&rows)?;
                    server.meters.tail_rows.inc_by(rows.num_rows() as u64);
                    told_rows += rows.num_rows() as u64;
                    asked.ended("watched", told_rows);
                    send(sink, Message::Binary(std::mem::take(writer.get_mut()).into())).await?;
                }
                next = Instant::now() + BATCH_EVERY;
            }
            why = &mut lapses => return Err(End::Told(why.told())),
            _ = seconds.tick() => {
                let (rows, skipped) = tail.counts();
                let rate = TailStatus::Rate {
                    rows_per_s: rows.saturating_sub(told.0) as f64 / RATE_EVERY.as_secs_f64(),
                    rows,
                    skipped,
                };
                server.meters.tail_skipped.inc_by(skipped.saturating_sub(told.1));
                told = (rows, skipped);
                say(sink, &rate).await?;
            }
        }
    }
}

async fn request(stream: &mut futures::stream::SplitStream<WebSocket>) -> Result<TailRequest, End> {
    let text = async {
        loop {
            match stream.next().await {
                Some(Ok(Message::Text(text))) => return Some(text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    };
    match timeout(REQUEST, text).await {
        Err(_) => Err(End::Told(ApiError::new("send a TailRequest as the first message"))),
        Ok(None) => Err(End::Gone),
        Ok(Some(text)) => serde_json::from_str(&text)
            .map_err(|error| End::Told(ApiError::new(format!("not a TailRequest: {error}")))),
    }
}

/// Waits for the client to leave; what else it says is not for us.
async fn closed(stream: &mut futures::stream::SplitStream<WebSocket>) -> Result<(), End> {
    while let Some(Ok(message)) = stream.next().await {
        if matches!(message, Message::Close(_)) {
            break;
        }
    }
    Err(End::Gone)
}

async fn say(sink: &mut Sink, status: &TailStatus) -> Result<(), End> {
    let text = serde_json::to_string(status).map_err(|_| End::Gone)?;
    send(sink, Message::Text(text.into())).await
}

/// A client that takes nothing for so long is gone, and its tail would run for nobody.
async fn send(sink: &mut Sink, message: Message) -> Result<(), End> {
    match timeout(STUCK, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(End::Gone),
    }
}

/// Rows go out at most this often: a person sees no difference, the page works a tenth as much.
const BATCH_EVERY: Duration = Duration::from_millis(50);
const RATE_EVERY: Duration = Duration::from_secs(1);
const REQUEST: Duration = Duration::from_secs(10);
const REQUEST_BYTES: usize = 64 << 10;
/// A tab in the background may be held back for a minute.
const STUCK: Duration = Duration::from_secs(90);
const CLOSE: Duration = Duration::from_secs(1);
