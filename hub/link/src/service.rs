//! The Worker's side: a [`Node`] as an Arrow Flight service.

use crate::{HEADER_BYTES, Heartbeat, LINK_WINDOW, Node, Routes, STREAM_WINDOW, STREAMS, Tail};
use api::{ApiError, TailRequest};
use arrow_array::{ArrayRef, RecordBatch, cast::AsArray as _};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
    encode::FlightDataEncoderBuilder,
    error::FlightError,
    flight_service_server::{FlightService, FlightServiceServer},
};
use arrow_schema::DataType;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, atomic::Ordering::Relaxed};
use tokio::io::DuplexStream;
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};

pub(crate) const HELLO: &str = "hello";
pub(crate) const HEALTH: &str = "health";
pub(crate) const ACCOUNTING: &str = "accounting";
pub(crate) const DISSECTION: &str = "dissection";
pub(crate) const IDENTITY: &str = "identity";

/// Rides on a tail's batches, as JSON: rows left out since its start.
#[derive(Serialize, Deserialize)]
pub(crate) struct Skipped {
    pub(crate) skipped: u64,
}

/// A tail, and what its reader may see. A node of another version that looks for a tail here finds none.
#[derive(Serialize, Deserialize)]
pub(crate) struct TailOf {
    pub(crate) tail: TailRequest,
    pub(crate) rights: String,
}

/// Serves the node and its engine on one pipe, whose other end is a Hub's: see [`over`](crate::over).
/// Returns at once; what it serves ends with the pipe.
pub async fn serve(
    node: Arc<dyn Node>,
    engine: Routes,
    io: DuplexStream,
    heartbeat: Option<Heartbeat>,
) {
    let routes = engine.add_service(FlightServiceServer::new(Service { node }));
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(LINK_WINDOW)
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keepalive_interval(heartbeat.map(|heartbeat| heartbeat.every))
        .http2_keepalive_timeout(heartbeat.map(|heartbeat| heartbeat.patience))
        .add_routes(routes)
        .serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(io)))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "the link's server stopped");
    }
}

struct Service {
    node: Arc<dyn Node>,
}

type Answer<T> = Result<Response<T>, Status>;
type Items<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = Items<HandshakeResponse>;
    type ListFlightsStream = Items<FlightInfo>;
    type DoGetStream = Items<FlightData>;
    type DoPutStream = Items<PutResult>;
    type DoExchangeStream = Items<FlightData>;
    type DoActionStream = Items<arrow_flight::Result>;
    type ListActionsStream = Items<ActionType>;

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        let Action { r#type, body } = request.into_inner();
        let body = match r#type.as_str() {
            HELLO => json(&self.node.hello().await)?,
            HEALTH => json(&self.node.health().await)?,
            ACCOUNTING => {
                let query_id = str::from_utf8(&body)
                    .map_err(|_| Status::invalid_argument("a query id is text"))?;
                json(&self.node.accounting(query_id).await)?
            }
            DISSECTION => {
                let change = serde_json::from_slice(&body)
                    .map_err(|error| refuse(&ApiError::new(format!("not a change: {error}"))))?;
                json(&self.node.dissection(change).await.map_err(|error| refuse(&error))?)?
            }
            IDENTITY => {
                let update = serde_json::from_slice(&body)
                    .map_err(|error| refuse(&ApiError::new(format!("not an update: {error}"))))?;
                json(&self.node.identity(update).await)?
            }
            other => {
                return Err(Status::unimplemented(format!("no action {other:?} in this version")));
            }
        };
        let result = arrow_flight::Result { body: body.into() };
        Ok(Response::new(stream::iter([Ok(result)]).boxed()))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let asked: TailOf = serde_json::from_slice(&request.into_inner().ticket)
            .map_err(|error| refuse(&ApiError::new(format!("not a tail: {error}"))))?;
        let tail = self.node.tail(asked.tail, &asked.rights).await;
        let Tail { schema, rows, skipped } = tail.map_err(|error| refuse(&error))?;
        let rows = rows
            .map(|batch| batch.map(|batch| compact(&batch)))
            .map_err(|error| FlightError::Tonic(Box::new(refuse(&error))));
        let mut said = 0;
        let flight = FlightDataEncoderBuilder::new()
            // Sent ahead of the first row: nobody knows when that comes.
            .with_schema(schema)
            .build(rows)
            .map_ok(move |mut data| {
                let skipped = skipped.load(Relaxed);
                if skipped != said {
                    said = skipped;
                    data.app_metadata =
                        serde_json::to_vec(&Skipped { skipped }).unwrap_or_default().into();
                }
                data
            })
            .map_err(|error| match error {
                FlightError::Tonic(status) => *status,
                other => Status::internal(other.to_string()),
            });
        Ok(Response::new(flight.boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        let actions = [
            (HELLO, "the node's name, version and tables"),
            (HEALTH, "how it does"),
            (ACCOUNTING, "what it did for a query; the body is the query's id"),
            (DISSECTION, "changes when it dissects packets; the body is the change as JSON"),
            (IDENTITY, "takes what is known of the cluster; the body is an update as JSON"),
        ];
        let actions = actions.map(|(name, doc)| {
            Ok(ActionType { r#type: name.to_owned(), description: doc.to_owned() })
        });
        Ok(Response::new(stream::iter(actions).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Self::HandshakeStream> {
        Err(unused("Handshake"))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        Err(unused("ListFlights"))
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        Err(unused("GetFlightInfo"))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        Err(unused("PollFlightInfo"))
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        Err(unused("GetSchema"))
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        Err(unused("DoPut"))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Answer<Self::DoExchangeStream> {
        Err(unused("DoExchange"))
    }
}

fn unused(call: &str) -> Status {
    Status::unimplemented(format!("{call} has no use between a Hub and its Workers"))
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(value).map_err(|error| Status::internal(error.to_string()))
}

/// The error as a status that [`Client`](crate::Client) reads back.
fn refuse(error: &ApiError) -> Status {
    let details = serde_json::to_vec(error).unwrap_or_default();
    Status::with_details(Code::InvalidArgument, error.message.clone(), details.into())
}

/// The same rows in as few bytes as they need: a filtered or sliced view array still carries every byte
/// of the batch it came from, and would take them along on any wire.
pub fn compact(batch: &RecordBatch) -> RecordBatch {
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()) as ArrayRef,
            _ => Arc::clone(column),
        })
        .collect();
    RecordBatch::try_new(batch.schema(), columns).unwrap_or_else(|_| batch.clone())
}
