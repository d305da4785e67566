//! The Hub's metrics. Every name is here.

use crate::workers::Registry;
use api::{Accounting, WorkerStatus};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry as Metrics, Unit},
};
use std::{fmt, sync::Arc};

/// Counted as it happens.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    registry: Arc<Metrics>,
    queries: Family<Outcome, Counter>,
    query_seconds: Histogram,
    query_rows: Counter,
    query_bytes: Counter,
    /// Live tails open now.
    pub(crate) tails_open: Gauge,
    /// Rows sent to tails.
    pub(crate) tail_rows: Counter,
    /// Rows left out for slow tails.
    pub(crate) tail_skipped: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Meters {
    pub(crate) fn new(workers: Registry) -> Self {
        let queries = Family::default();
        let query_seconds =
            Histogram::new([0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
        let (query_rows, query_bytes) = (Counter::default(), Counter::default());
        let tails_open = Gauge::default();
        let (tail_rows, tail_skipped) = (Counter::default(), Counter::default());

        let mut registry = Metrics::with_prefix("kubeshark");
        registry.register("queries", "Queries that ended, by how", queries.clone());
        registry.register_with_unit(
            "query",
            "How long queries took, to their last row",
            Unit::Seconds,
            query_seconds.clone(),
        );
        registry.register("query_rows", "Rows returned", query_rows.clone());
        registry.register_with_unit(
            "query_moved",
            "Bytes that came from nodes",
            Unit::Bytes,
            query_bytes.clone(),
        );
        registry.register("tails_open", "Live tails open now", tails_open.clone());
        registry.register("tail_rows", "Rows sent to live tails", tail_rows.clone());
        registry.register(
            "tail_skipped",
            "Rows left out because a live tail was too slow",
            tail_skipped.clone(),
        );
        registry.register_collector(Box::new(OfWorkers(workers)));
        let registry = Arc::new(registry);
        Self {
            registry,
            queries,
            query_seconds,
            query_rows,
            query_bytes,
            tails_open,
            tail_rows,
            tail_skipped,
        }
    }

    /// A query ended.
    pub(crate) fn ended(&self, accounting: &Accounting, outcome: &'static str) {
        self.queries.get_or_create(&Outcome { outcome }).inc();
        self.query_seconds.observe(accounting.elapsed_ms as f64 / 1_000.0);
        self.query_rows.inc_by(accounting.rows);
        self.query_bytes.inc_by(accounting.bytes_moved);
    }

    /// All of it, as Prometheus reads it.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// What Workers said last, read at each scrape.
#[derive(Debug)]
struct OfWorkers(Registry);

impl Collector for OfWorkers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let workers = self.0.workers().workers;
        let connected = |status| i64::from(status == WorkerStatus::Connected);

        let mut gauge = |name: &'static str,
                         help: &str,
                         value: &dyn Fn(&api::WorkerState) -> i64|
         -> fmt::Result {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for worker in &workers {
                let labels = [("node", worker.node.as_str())];
                ConstGauge::new(value(worker)).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        gauge("worker_up", "1 if the worker is linked", &|it| connected(it.status))?;
        gauge("worker_capturing", "1 if packets can arrive", &|it| i64::from(it.health.capturing))?;
        gauge("worker_disk_bytes", "Bytes of segments on the node", &|it| {
            signed(it.health.disk_bytes)
        })?;
        gauge("worker_memory_bytes", "Memory the worker uses", &|it| {
            signed(it.health.memory_bytes)
        })?;
        gauge("worker_flows", "Conversations open on the node", &|it| signed(it.health.flows))?;

        let mut counter = |name: &'static str,
                           help: &str,
                           value: &dyn Fn(&api::WorkerState) -> u64|
         -> fmt::Result {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for worker in &workers {
                let labels = [("node", worker.node.as_str())];
                ConstCounter::new(value(worker)).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        counter("worker_packets", "Packets read on the node", &|it| it.health.packets)?;
        counter("worker_packet_bytes", "Bytes of those packets", &|it| it.health.bytes)?;
        counter("worker_dropped_kernel", "Packets the node's kernel dropped", &|it| {
            it.health.dropped_kernel
        })?;
        counter("worker_copies", "Packets captured before, elsewhere on the node", &|it| {
            it.health.copies
        })?;
        counter("worker_left_out", "Packets that are nobody's whose traffic is kept", &|it| {
            it.health.left_out
        })?;
        counter("worker_dropped_interface", "Packets the node's interface dropped", &|it| {
            it.health.dropped_interface
        })?;
        counter("worker_link_received_bytes", "Bytes the link carried to the hub", &|it| {
            it.link_received_bytes
        })?;
        counter("worker_link_sent_bytes", "Bytes the link carried to the worker", &|it| {
            it.link_sent_bytes
        })?;

        if let Some(cluster) = self.0.cluster() {
            let stale = cluster.stale_since_ms.map_or(0, |it| crate::workers::now_ms() - it);
            for (name, help, value) in [
                ("cluster_pods", "Pods that have an address", signed(cluster.pods)),
                ("cluster_services", "Services", signed(cluster.services)),
                ("cluster_endpoints", "Addresses behind Services", signed(cluster.endpoints)),
                ("cluster_nodes", "Nodes of the cluster", signed(cluster.nodes)),
                ("cluster_events", "Events that are known", signed(cluster.events)),
                (
                    "cluster_forgotten",
                    "Objects and events that are gone and not known any more",
                    signed(cluster.forgotten),
                ),
                ("cluster_ready", "1 once all was listed", i64::from(cluster.ready)),
                (
                    "cluster_stale_milliseconds",
                    "How long the API server has not told what changes; 0 if it does",
                    stale,
                ),
            ] {
                let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(family)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "worker_losses",
            "What was not seen or not kept, by stage",
            None,
            MetricType::Counter,
        )?;
        for worker in &workers {
            for (stage, lost) in &worker.health.losses {
                let labels = [("node", worker.node.as_str()), ("stage", stage.as_str())];
                ConstCounter::new(*lost).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "worker_rows",
            "Rows a node holds, by table",
            None,
            MetricType::Gauge,
        )?;
        for worker in &workers {
            for table in &worker.health.tables {
                let labels = [("node", worker.node.as_str()), ("table", table.name.as_str())];
                ConstGauge::new(signed(table.rows)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
