//! Live tails: every published batch goes to whoever listens, and nobody who listens can hold capture up.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use arrow_array::RecordBatch;
use tokio::sync::mpsc;

/// Those who listen.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    listeners: Mutex<Vec<Listener>>,
    /// How many there are, readable without the lock: mostly none.
    count: AtomicUsize,
    skipped: AtomicU64,
}

/// A batch, and the table it is of.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) table: &'static str,
    pub(crate) batch: RecordBatch,
    bytes: usize,
}

/// One listener's end.
#[derive(Debug)]
pub(crate) struct Subscription {
    published: mpsc::Receiver<Published>,
    queue: Arc<Queue>,
}

impl Tails {
    /// Everything published from now on of some tables.
    pub(crate) fn subscribe<'a>(&self, tables: impl Iterator<Item = &'a str>) -> Subscription {
        let tables = tables.map(str::to_owned).collect();
        let (sender, published) = mpsc::channel(QUEUED_BATCHES);
        let queue = Arc::new(Queue::default());
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Listener { tables, sender, queue: Arc::clone(&queue) });
        self.count.store(listeners.len(), Ordering::Release);
        Subscription { published, queue }
    }

    /// Gives a batch to every listener that has room for it; for the others its rows are counted as skipped.
    pub(crate) fn publish(&self, table: &'static str, batch: &RecordBatch) {
        if self.is_empty() {
            return;
        }
        let bytes = batch.get_array_memory_size();
        let rows = batch.num_rows() as u64;
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| {
            if !listener.tables.iter().any(|it| it == table) {
                return true;
            }
            let queue = &listener.queue;
            let waiting = queue.bytes.load(Ordering::Acquire);
            // A batch larger than the bound passes if nothing waits before it.
            let room = waiting == 0 || waiting + bytes <= QUEUED_BYTES;
            let published = Published { table, batch: batch.clone(), bytes };
            if room {
                queue.bytes.fetch_add(bytes, Ordering::AcqRel);
                match listener.sender.try_send(published) {
                    Ok(()) => return true,
                    Err(mpsc::error::TrySendError::Closed(_)) => return false,
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        queue.bytes.fetch_sub(bytes, Ordering::AcqRel);
                    }
                }
            }
            queue.skipped.fetch_add(rows, Ordering::Relaxed);
            self.skipped.fetch_add(rows, Ordering::Relaxed);
            !listener.sender.is_closed()
        });
        self.count.store(listeners.len(), Ordering::Release);
    }

    /// Whether nobody listens; someone may have left since.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Listeners there are.
    pub(crate) fn count(&self) -> usize {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| !listener.sender.is_closed());
        self.count.store(listeners.len(), Ordering::Release);
        listeners.len()
    }

    /// Rows that some listener had no room for, since the start.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }
}

impl Subscription {
    /// The next batch; `None` once the worker has stopped.
    pub(crate) async fn next(&mut self) -> Option<Published> {
        let published = self.published.recv().await?;
        self.queue.bytes.fetch_sub(published.bytes, Ordering::AcqRel);
        Some(published)
    }

    /// Rows there was no room for; it goes on counting.
    pub(crate) fn skipped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.queue.skipped)
    }
}

#[derive(Debug)]
struct Listener {
    tables: Vec<String>,
    sender: mpsc::Sender<Published>,
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: AtomicUsize,
    skipped: Arc<AtomicU64>,
}

/// What waits for one listener. A batch of a busy second is some megabytes.
const QUEUED_BYTES: usize = 8 << 20;
/// Batches come ten times a second and table: several seconds of them.
const QUEUED_BATCHES: usize = 256;

#[cfg(test)]
mod tests {
    use arrow_array::Int32Array;

    use super::*;

    fn batch(rows: usize) -> RecordBatch {
        let numbers = Int32Array::from(vec![7; rows]);
        RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).unwrap()
    }

    fn count(subscription: &Subscription) -> u64 {
        subscription.skipped().load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn what_is_published_arrives_in_order() {
        let tails = Tails::default();
        tails.publish("early", &batch(1));
        let mut subscription = tails.subscribe(["http", "dns"].into_iter());
        let small = batch(3);
        tails.publish("http", &small);
        tails.publish("packets", &batch(2));
        tails.publish("dns", &batch(2));
        let first = subscription.next().await.unwrap();
        assert_eq!((first.table, first.batch), ("http", small));
        assert_eq!(subscription.next().await.unwrap().table, "dns");
        assert_eq!((count(&subscription), tails.skipped()), (0, 0));
    }

    #[tokio::test]
    async fn a_slow_listener_loses_rows_and_holds_no_one_up() {
        let tails = Tails::default();
        let mut slow = tails.subscribe(["http", "dns"].into_iter());
        let mut quick = tails.subscribe(["http", "dns"].into_iter());
        // Each a quarter of the bound.
        let large = batch(QUEUED_BYTES / 16);
        let rows = large.num_rows() as u64;
        for _ in 0..10 {
            tails.publish("http", &large);
            assert!(quick.next().await.is_some());
        }
        assert_eq!(count(&quick), 0);
        let skipped = count(&slow);
        assert!(skipped >= 6 * rows && skipped <= 7 * rows, "{skipped}");
        assert_eq!(tails.skipped(), skipped);
        // It gets what it has room for, then what comes after.
        let mut got = 0;
        while let Ok(batch) =
            tokio::time::timeout(std::time::Duration::from_millis(10), slow.next()).await
        {
            got += batch.unwrap().batch.num_rows() as u64;
        }
        assert_eq!(got + skipped, 10 * rows);
        tails.publish("http", &large);
        assert!(slow.next().await.is_some());
    }

    #[test]
    fn whoever_left_is_forgotten() {
        let tails = Tails::default();
        let one = tails.subscribe(["http", "dns"].into_iter());
        assert_eq!(tails.count(), 1);
        drop(one);
        tails.publish("http", &batch(1));
        assert_eq!(tails.count(), 0);
    }
}
