//! What the Hub can ask a node.

use crate::{
    Hello, Tail, Work,
    pipe::State,
    service::{ACCOUNTING, DISSECTION, HEALTH, HELLO, IDENTITY, Skipped, TailOf},
};
use api::{ApiError, DissectionChange, NodeDissection, NodeHealth, TailRequest};
use arrow_flight::{
    Action, Ticket,
    decode::{DecodedFlightData, DecodedPayload, FlightDataDecoder, FlightRecordBatchStream},
    error::FlightError,
    flight_service_client::FlightServiceClient,
};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::de::DeserializeOwned;
use std::{
    sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed},
    time::Duration,
};
use tonic::{Code, Status, transport::Channel};

/// A node, as the Hub reaches it. Cheap to clone; the link ends when the last clone is dropped, the
/// node leaves, or its heartbeat stops.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    state: Arc<State>,
}

/// Why a node did not do as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The link ended.
    #[error("the link ended: {0}")]
    Gone(String),
    /// Nothing came back in time.
    #[error("no answer in {0:?}")]
    Late(Duration),
    /// The node says no, as to a wrong filter.
    #[error("{0}")]
    Refused(ApiError),
    /// The node answered something this version does not understand.
    #[error("not understood: {0}")]
    Odd(String),
}

/// What a link carried, as the Hub counts it, HTTP/2 framing included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the node.
    pub received_bytes: u64,
    /// Bytes to the node.
    pub sent_bytes: u64,
    /// How long ago the last byte came.
    pub silent: Duration,
}

impl Client {
    pub(crate) const fn new(channel: Channel, state: Arc<State>) -> Self {
        Self { channel, state }
    }

    /// The connection, for the query engine.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What the link carried so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.state.traffic()
    }

    /// Ends the link and tells the node why.
    pub fn end(&self, reason: impl Into<String>) {
        self.state.end(reason);
    }

    /// Waits for the link's end and says why it ended.
    pub async fn ended(&self) -> String {
        self.state.ended().await
    }

    /// Why the link ended, if it has.
    #[must_use]
    pub fn has_ended(&self) -> Option<String> {
        self.state.has_ended()
    }

    /// Who is there?
    pub async fn hello(&self) -> Result<Hello, CallError> {
        self.call(HELLO, String::new()).await
    }

    /// How does it do?
    pub async fn health(&self) -> Result<NodeHealth, CallError> {
        self.call(HEALTH, String::new()).await
    }

    /// What did it do for this query? Nothing if it does not know of it.
    pub async fn accounting(&self, query_id: &str) -> Result<Option<Work>, CallError> {
        self.call(ACCOUNTING, query_id.to_owned()).await
    }

    /// Changes when it dissects packets; without a change, how does that stand?
    pub async fn dissection(&self, change: &DissectionChange) -> Result<NodeDissection, CallError> {
        let change =
            serde_json::to_string(change).map_err(|error| CallError::Odd(error.to_string()))?;
        self.call(DISSECTION, change).await
    }

    /// Tells it what is known of the cluster. False if it has no use for that.
    pub async fn identity(&self, update: &identity::Update) -> Result<bool, CallError> {
        let update =
            serde_json::to_string(update).map_err(|error| CallError::Odd(error.to_string()))?;
        self.call(IDENTITY, update).await
    }

    /// Rows from now on that match, and that somebody with these rights may see. Dropping the tail ends it on the node
    /// too.
    pub async fn tail(&self, request: &TailRequest, rights: &str) -> Result<Tail, CallError> {
        let asked = TailOf { tail: request.clone(), rights: rights.to_owned() };
        let ticket =
            serde_json::to_vec(&asked).map_err(|error| CallError::Odd(error.to_string()))?;
        let mut client =
            FlightServiceClient::new(self.channel()).max_decoding_message_size(TAIL_BYTES);
        let flight =
            self.within(client.do_get(Ticket { ticket: ticket.into() })).await?.into_inner();

        let skipped = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&skipped);
        let flight = flight.map_err(FlightError::from).inspect_ok(move |data| {
            if let Ok(Skipped { skipped }) = serde_json::from_slice(&data.app_metadata) {
                count.store(skipped, Relaxed);
            }
        });
        // The node says the schema at once, however long the first row takes.
        let mut decoder = FlightDataDecoder::new(flight);
        let schema = match tokio::time::timeout(CALL, decoder.next()).await {
            Err(_) => return Err(CallError::Late(CALL)),
            Ok(Some(Ok(DecodedFlightData { payload: DecodedPayload::Schema(schema), .. }))) => {
                schema
            }
            Ok(Some(Ok(_))) => {
                return Err(CallError::Odd("a tail whose rows come before their schema".into()));
            }
            Ok(Some(Err(error))) => return Err(CallError::Odd(error.to_string())),
            Ok(None) => return Err(CallError::Gone("the tail ended before it began".into())),
        };
        let rows = FlightRecordBatchStream::new(decoder)
            .try_filter(|batch| std::future::ready(batch.num_rows() > 0))
            .map_err(|error| match error {
                FlightError::Tonic(status) => refusal(&status),
                other => ApiError::new(other.to_string()),
            })
            .boxed();
        Ok(Tail { schema, rows, skipped })
    }

    async fn call<T: DeserializeOwned>(&self, action: &str, body: String) -> Result<T, CallError> {
        let mut client = FlightServiceClient::new(self.channel());
        let action = Action { r#type: action.to_owned(), body: body.into() };
        let answer = async {
            let mut results = client.do_action(action).await?.into_inner();
            results.message().await
        };
        let answer = self.within(answer).await?;
        let answer = answer.ok_or_else(|| CallError::Odd("an empty answer".into()))?;
        serde_json::from_slice(&answer.body).map_err(|error| CallError::Odd(error.to_string()))
    }

    /// Whichever comes first: the answer, the link's end, or the end of patience.
    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, CallError> {
        tokio::select! {
            answer = answer => answer.map_err(|status| match status.code() {
                Code::InvalidArgument => CallError::Refused(refusal(&status)),
                Code::Unimplemented => CallError::Odd(status.message().to_owned()),
                _ => CallError::Gone(self.has_ended().unwrap_or_else(|| status.message().to_owned())),
            }),
            reason = self.ended() => Err(CallError::Gone(reason)),
            () = tokio::time::sleep(CALL) => Err(CallError::Late(CALL)),
        }
    }
}

/// The error a node put into a status.
fn refusal(status: &Status) -> ApiError {
    serde_json::from_slice(status.details()).unwrap_or_else(|_| ApiError::new(status.message()))
}

/// The largest piece of a tail: a row's target may be as long as a dissector lets it be.
const TAIL_BYTES: usize = 16 << 20;
/// The longest a node may take for a call that is not a query.
const CALL: Duration = Duration::from_secs(5);
