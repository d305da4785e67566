//! Live tails: the rows of all Workers as one stream, which a slow reader cannot hold up.
//!
//! Each Worker runs the filter on its new rows; here their streams meet in one bounded queue per
//! reader. When the queue is full its oldest rows make room and are counted as skipped.

use crate::workers::{Member, Merged};
use api::{TailRequest, TailStatus};
use arrow_array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow_cast::cast;
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use futures::StreamExt as _;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

/// One reader's tail over all Workers.
pub(crate) struct Tail {
    shared: Arc<Shared>,
    follower: JoinHandle<()>,
}

/// What there is for the reader.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Rows that came, as one batch.
    pub(crate) rows: Option<RecordBatch>,
    /// What happened to nodes.
    pub(crate) status: Vec<TailStatus>,
}

#[derive(Debug)]
struct Shared {
    schema: SchemaRef,
    queue: Mutex<Queue>,
    wake: Notify,
    /// Rows that came in, and rows that were left out here or on the nodes.
    rows: AtomicU64,
    skipped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<RecordBatch>,
    rows: usize,
    bytes: usize,
    status: VecDeque<TailStatus>,
}

impl Tail {
    /// Asks every Worker, also those that come later.
    pub(crate) fn start(
        request: TailRequest,
        rights: &query::Rights,
        changes: watch::Receiver<Arc<Merged>>,
        schema: SchemaRef,
    ) -> Self {
        let shared = Arc::new(Shared {
            schema,
            queue: Mutex::default(),
            wake: Notify::new(),
            rows: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        });
        let follower =
            tokio::spawn(follow(Arc::clone(&shared), (request, rights.to_text()), changes));
        Self { shared, follower }
    }

    /// Waits until there is something.
    pub(crate) async fn ready(&self) {
        loop {
            let notified = self.shared.wake.notified();
            if !self.shared.queue().is_empty() {
                return;
            }
            notified.await;
        }
    }

    /// Takes all there is.
    pub(crate) fn take(&self) -> Result<News, ArrowError> {
        let (batches, status) = {
            let mut queue = self.shared.queue();
            (queue.rows, queue.bytes) = (0, 0);
            (std::mem::take(&mut queue.batches), std::mem::take(&mut queue.status))
        };
        let rows = match batches.len() {
            0 => None,
            _ => Some(link::compact(&concat_batches(&self.shared.schema, &batches)?)),
        };
        Ok(News { rows, status: status.into() })
    }

    /// Rows that matched, and rows of those left out, since the start.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let skipped = self.shared.skipped.load(Relaxed);
        (self.shared.rows.load(Relaxed) + skipped, skipped)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // The followers of single nodes are aborted with it.
        self.follower.abort();
    }
}

impl Shared {
    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, batch: RecordBatch) {
        let rows = batch.num_rows();
        let bytes = batch.get_array_memory_size();
        let mut left_out = 0;
        {
            let mut queue = self.queue();
            queue.rows += rows;
            queue.bytes += bytes;
            queue.batches.push_back(batch);
            while queue.batches.len() > 1 && (queue.rows > QUEUE_ROWS || queue.bytes > QUEUE_BYTES)
            {
                let Some(oldest) = queue.batches.pop_front() else { break };
                queue.rows -= oldest.num_rows();
                queue.bytes -= oldest.get_array_memory_size();
                left_out += oldest.num_rows();
            }
        }
        self.rows.fetch_add((rows as u64).wrapping_sub(left_out as u64), Relaxed);
        self.skipped.fetch_add(left_out as u64, Relaxed);
        self.wake.notify_one();
    }

    fn say(&self, status: TailStatus) {
        let mut queue = self.queue();
        // A node that comes and goes all the time is not worth more memory than this.
        if queue.status.len() >= QUEUE_STATUS {
            queue.status.pop_front();
        }
        queue.status.push_back(status);
        drop(queue);
        self.wake.notify_one();
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.status.is_empty()
    }
}

/// Follows whoever is linked.
async fn follow(shared: Arc<Shared>, request: Request, mut changes: watch::Receiver<Arc<Merged>>) {
    let mut nodes: HashMap<String, (u64, Follower)> = HashMap::new();
    let mut first = true;
    loop {
        let merged = Arc::clone(&changes.borrow_and_update());
        if first {
            let names = merged.members.iter().map(|member| member.node.clone()).collect();
            shared.say(TailStatus::Started { nodes: names });
        }
        for member in &merged.members {
            if nodes.get(&member.node).is_some_and(|(link, _)| *link == member.link) {
                continue;
            }
            if !first {
                shared.say(TailStatus::NodeJoined { node: member.node.clone() });
            }
            let follower =
                tokio::spawn(follow_node(Arc::clone(&shared), request.clone(), member.clone()));
            nodes.insert(member.node.clone(), (member.link, Follower(follower)));
        }
        // Those that went have said so themselves.
        nodes.retain(|_, (_, follower)| !follower.0.is_finished());
        first = false;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Stops with who holds it.
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is asked for, and what the reader may see.
type Request = (TailRequest, String);

async fn follow_node(shared: Arc<Shared>, (request, rights): Request, member: Member) {
    let node = member.node;
    let reason = match member.client.tail(&request, &rights).await {
        Err(error) => error.to_string(),
        Ok(mut tail) => {
            let mut counted = 0;
            loop {
                let next = tail.rows.next().await;
                let skipped = tail.skipped.load(Relaxed);
                shared.skipped.fetch_add(skipped.saturating_sub(counted), Relaxed);
                counted = counted.max(skipped);
                match next {
                    Some(Ok(batch)) => match adapt(&batch, &shared.schema) {
                        Ok(batch) => shared.push(batch),
                        Err(error) => break error.to_string(),
                    },
                    Some(Err(error)) => break error.to_string(),
                    None => break "its tail ended".to_owned(),
                }
            }
        }
    };
    // The link's own reason says more than that a stream broke off.
    let reason = member.client.has_ended().unwrap_or(reason);
    shared.say(TailStatus::NodeGone { node, reason });
}

/// The columns of `traffic`, each nullable: a node may not know all of them.
pub(crate) fn schema(tables: &query::Tables) -> Option<SchemaRef> {
    let schema = tables.traffic()?.arrow();
    let fields: Vec<Field> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Some(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

/// The batch with exactly these columns, by name.
fn adapt(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast(column, field.data_type()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// What waits for a reader: a second or more of a busy cluster.
const QUEUE_ROWS: usize = 50_000;
const QUEUE_BYTES: usize = 32 << 20;
const QUEUE_STATUS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::record_batch;

    fn shared(schema: SchemaRef) -> Shared {
        Shared {
            schema,
            queue: Mutex::default(),
            wake: Notify::new(),
            rows: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    #[test]
    fn a_full_queue_leaves_out_its_oldest_rows_and_counts_them() {
        let numbers = arrow_array::Int32Array::from(vec![1; 1000]);
        let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).unwrap();
        let shared = shared(batch.schema());
        for _ in 0..=QUEUE_ROWS / 1000 {
            shared.push(batch.clone());
        }
        assert_eq!(shared.queue().rows, QUEUE_ROWS);
        assert_eq!(shared.skipped.load(Relaxed), 1000);
        assert_eq!(shared.rows.load(Relaxed), QUEUE_ROWS as u64);
    }

    #[test]
    fn a_batch_of_another_version_fits() {
        let wanted = record_batch!(("a", Int64, [0]), ("b", Utf8, ["x"])).unwrap().schema();
        let fields: Vec<_> =
            wanted.fields().iter().map(|it| it.as_ref().clone().with_nullable(true)).collect();
        let wanted = Arc::new(Schema::new(fields));
        let batch = record_batch!(("c", Int32, [9, 9]), ("a", Int32, [1, 2])).unwrap();
        let adapted = adapt(&batch, &wanted).unwrap();
        assert_eq!(adapted.num_rows(), 2);
        assert_eq!(adapted.column(1).null_count(), 2);
    }
}
