//! What there is to ask, and how everybody does.

use crate::{Server, auth::Asker, error::Error};
use api::{ApiError, Function, Functions, Health, NodeHealth, Tables, WorkerStatus, Workers};
use axum::{
    Json,
    extract::{Extension, Query, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;

/// The tables and their columns, with docs.
#[utoipa::path(get, path = "/api/tables", tag = "state", responses((status = 200, body = Tables)))]
pub(crate) async fn tables(State(server): State<Server>) -> Json<Tables> {
    let merged = server.workers.merged();
    Json(Tables { tables: merged.tables.all(), refused: merged.refused.clone() })
}

/// The functions that a statement may call.
#[utoipa::path(get, path = "/api/functions", tag = "state", responses((status = 200, body = Functions)))]
pub(crate) async fn functions() -> Json<Functions> {
    let functions = query::all_functions().into_iter().map(|it| Function {
        name: it.name,
        kind: it.kind.to_owned(),
        syntax: it.syntax,
        doc: it.doc,
    });
    Json(Functions { functions: functions.collect() })
}

/// Every worker and how it does.
#[utoipa::path(get, path = "/api/workers", tag = "state", responses((status = 200, body = Workers)))]
pub(crate) async fn workers(
    State(server): State<Server>,
    Extension(asker): Extension<Asker>,
) -> Json<Workers> {
    let mut workers = server.workers.workers();
    if asker.needs_all().is_err() {
        // What a node captures, keeps and loses is of everybody.
        for worker in &mut workers.workers {
            let capturing = worker.health.capturing;
            worker.health = NodeHealth { capturing, ..NodeHealth::default() };
            (worker.link_received_bytes, worker.link_sent_bytes) = (0, 0);
        }
    }
    Json(workers)
}

/// How the hub does.
#[utoipa::path(get, path = "/api/health", tag = "state", responses((status = 200, body = Health)))]
pub(crate) async fn health(
    State(server): State<Server>,
    Extension(asker): Extension<Asker>,
) -> Json<Health> {
    let workers = server.workers.workers().workers;
    let connected: Vec<_> =
        workers.iter().filter(|worker| worker.status == WorkerStatus::Connected).collect();
    let empty_because = if connected.is_empty() {
        Some(match workers.as_slice() {
            [] => "no worker has dialled yet: start one with `kubeshark worker`".to_owned(),
            [gone, ..] => {
                let reason = gone.reason.as_deref().unwrap_or("its link ended");
                format!("no worker is linked; {} is gone: {reason}", gone.node)
            }
        })
    } else if connected.iter().all(|worker| worker.health.empty_because.is_some()) {
        connected.first().and_then(|worker| worker.health.empty_because.clone())
    } else {
        None
    };
    Json(Health {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: server.started_ms,
        workers_connected: connected.len(),
        workers_gone: workers.len() - connected.len(),
        workers_capturing: connected.iter().filter(|worker| worker.health.capturing).count(),
        queries_running: server.limits.queries - server.queries.available_permits(),
        tails_open: server.limits.tails - server.tails.available_permits(),
        // What is captured, and how much there is in the cluster, is of everybody.
        empty_because: empty_because.filter(|_| asker.needs_all().is_ok()),
        cluster: server.workers.cluster().filter(|_| asker.needs_all().is_ok()),
    })
}

#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    #[serde(default)]
    filter: String,
}

/// Whether a text is a filter.
#[utoipa::path(
    get, path = "/api/check", tag = "query",
    params(("filter" = String, Query, description = "The text")),
    responses(
        (status = 204, description = "It is"),
        (status = 400, description = "It is not; this is where and why", body = ApiError),
    )
)]
pub(crate) async fn check(
    State(server): State<Server>,
    Query(check): Query<Check>,
) -> Result<StatusCode, Error> {
    let merged = server.workers.merged();
    query::filter::parse(&check.filter, &merged.tables)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What Prometheus asks for.
#[utoipa::path(get, path = "/metrics", tag = "state", responses((status = 200, body = String)))]
pub(crate) async fn metrics(
    State(server): State<Server>,
    Extension(asker): Extension<Asker>,
) -> Result<Response, Error> {
    asker.needs_all()?;
    let text = server.meters.text().map_err(|_| Error::Metrics)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}
