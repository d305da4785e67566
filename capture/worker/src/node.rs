//! The worker as its Hub sees it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use api::{ApiError, DissectionChange, Loss, NodeDissection, NodeHealth, Span, TailRequest};
use futures::stream;
use link::{Dialer, Hello, Node, Routes, Tail, Work};
use query::{
    Rights, Tables,
    filter::{self, FilterError},
};

use crate::{Error, Hub, Worker, worker::Shared};

/// Links the worker to a Hub, again whenever the link breaks, until dropped. Returns only if that makes no sense:
/// the address or the certificates are none, or the first Hub it reaches refuses the token.
pub async fn serve(worker: &Worker, hub: &Hub) -> Error {
    match Dialer::new(&hub.address, hub.token.as_deref(), hub.certificates.clone()) {
        Ok(dialer) => dialer.run(worker.node(), worker.engine()).await.into(),
        Err(error) => error.into(),
    }
}

impl Worker {
    /// What a Hub asks besides queries.
    pub fn node(&self) -> Arc<dyn Node> {
        Arc::new(Served(Arc::clone(&self.shared)))
    }

    /// What runs a Hub's queries.
    pub fn engine(&self) -> Routes {
        Routes::new(self.shared.engine.server())
    }
}

struct Served(Arc<Shared>);

impl Served {
    /// Those of this version in their order, then those that only an older version's segments have.
    fn tables(&self) -> Vec<schema::Table> {
        let declared = dissect::tables();
        let found = self.0.store.tables();
        let others =
            found.into_iter().filter(|it| declared.iter().all(|other| other.name != it.name));
        declared.iter().cloned().chain(others).collect()
    }
}

#[async_trait::async_trait]
impl Node for Served {
    async fn hello(&self) -> Hello {
        Hello { node: self.0.node.clone(), version: query::version(), tables: self.tables() }
    }

    async fn health(&self) -> NodeHealth {
        self.0.health()
    }

    async fn dissection(&self, change: DissectionChange) -> Result<NodeDissection, ApiError> {
        let refused = |error: Error| ApiError::new(error.to_string());
        if let Some(mode) = change.mode {
            self.0.modes.set(mode).map_err(refused)?;
        }
        if let Some(again) = change.again {
            self.0.demand.again(&again).map_err(refused)?;
        }
        Ok(self.0.demand.describe(&self.0.node))
    }

    async fn identity(&self, update: identity::Update) -> bool {
        self.0.names.update(update);
        true
    }

    async fn accounting(&self, query_id: &str) -> Option<Work> {
        let cost = self.0.engine.accounting(query_id).await?;
        let losses = cost.losses.into_iter();
        let losses = losses.map(|it| Loss { stage: it.stage, count: it.count, bytes: it.bytes });
        Some(Work {
            rows_scanned: cost.rows_scanned,
            bytes_scanned: cost.bytes_scanned,
            segments: cost.segments_scanned,
            elapsed_us: cost.elapsed_us,
            busy_us: cost.busy_us,
            oldest: cost.oldest,
            newest: cost.newest,
            losses: losses.collect(),
            losses_cut: cost.losses_cut,
            dissected_packets: cost.dissected_packets,
            lacks: cost.lacks,
            unfinished: u64::from(!cost.finished),
        })
    }

    async fn tail(&self, request: TailRequest, rights: &str) -> Result<Tail, ApiError> {
        let rights = Rights::from_text(rights).map(Arc::new);
        let rights =
            rights.ok_or_else(|| ApiError::new("the hub didn't say what the asker may see"))?;
        let tables = Tables::new(self.tables());
        let live = filter::parse(&request.filter, &tables).map_err(wrong)?;
        let live = live.live(&rights).map_err(|error| ApiError::new(error.to_string()))?;
        let subscription = self.0.tails.subscribe(live.tables());
        let schema = Arc::clone(live.schema());
        let counted = subscription.skipped();
        // How many rows there are is not for everybody: then it is said that some were left out, not how many.
        let some = (!rights.is_all()).then(Arc::<AtomicU64>::default);
        let skipped = some.clone().unwrap_or_else(|| Arc::clone(&counted));
        let state = Some((subscription, live, some.map(|it| (counted, it))));
        let rows = stream::unfold(state, async |state| {
            let (mut subscription, live, some) = state?;
            loop {
                let published = subscription.next().await?;
                if let Some((counted, some)) = &some {
                    some.store(counted.load(Relaxed).min(1), Relaxed);
                }
                match live.apply(published.table, &published.batch) {
                    Ok(Some(rows)) => return Some((Ok(rows), Some((subscription, live, some)))),
                    Ok(None) => {}
                    Err(error) => return Some((Err(ApiError::new(error.to_string())), None)),
                }
            }
        });
        Ok(Tail { schema, rows: Box::pin(rows), skipped })
    }
}

fn wrong(error: FilterError) -> ApiError {
    let FilterError { message, at, hint, instead } = error;
    ApiError { message, at: Some(Span { start: at.start, end: at.end }), hint, instead }
}
