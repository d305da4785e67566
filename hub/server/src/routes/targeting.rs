//! `/api/targeting`: whose traffic is kept.

use crate::{
    Server,
    audit::Asked,
    auth::Asker,
    error::Error,
    routes::{
        dissection::change_of,
        query::{Peer, caller},
    },
};
use api::{ApiError, TargetedPod, TargetingRequest, Targets};
use axum::{
    Json,
    extract::{Extension, State},
};
use bytes::Bytes;
use cluster::{Cluster, NotChanged, Targeting, Unclear};
use http::HeaderMap;

/// Whose traffic is kept, and which pods that are.
#[utoipa::path(
    get, path = "/api/targeting", tag = "state",
    responses((status = 200, body = Targets), (status = "4XX", description = "Why not", body = ApiError))
)]
pub(crate) async fn get(
    State(server): State<Server>,
    Extension(asker): Extension<Asker>,
) -> Result<Json<Targets>, Error> {
    asker.needs_all()?;
    let cluster = cluster(&server)?;
    let (targeting, _) = cluster.targeting();
    let mut targets = targets(cluster, &targeting)?;
    if let Err(why) = asker.needs_owner() {
        targets.fixed = Some(why.to_string());
    }
    Ok(Json(targets))
}

/// Changes whose traffic is kept, in the settings that Workers follow; or says what a change would mean.
#[utoipa::path(
    put, path = "/api/targeting", tag = "state",
    request_body = TargetingRequest,
    responses(
        (status = 200, description = "As it is now, or would be", body = Targets),
        (status = 409, description = "Somebody else changed the settings meanwhile", body = ApiError),
        (status = "4XX", description = "Why not", body = ApiError),
    )
)]
pub(crate) async fn put(
    State(server): State<Server>,
    peer: Peer,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Targets>, Error> {
    asker.needs_owner()?;
    let TargetingRequest { targeting, version, preview } = change_of(&headers, &body)?;
    let cluster = cluster(&server)?;
    let api::Targeting { pods, namespaces, exclude_namespaces, selector, nodes } = targeting;
    let targeting = Targeting { pods, namespaces, exclude_namespaces, selector, nodes };
    if !preview {
        let mut asked =
            Asked::new("targeting", caller(&asker, peer), &String::from_utf8_lossy(&body), "");
        let changed = cluster.retarget(&targeting, version.as_deref()).await;
        asked.ended(if changed.is_ok() { "complete" } else { "failed" }, 0);
        changed?;
    }
    Ok(Json(targets(cluster, &targeting)?))
}

fn cluster(server: &Server) -> Result<&Cluster, Error> {
    server.workers.watched().ok_or_else(|| {
        Error::Absent("no Kubernetes cluster is watched: start the hub with --cluster".to_owned())
    })
}

fn targets(cluster: &Cluster, targeting: &Targeting) -> Result<Targets, Error> {
    let mut pods = cluster.meant(targeting)?;
    let tapped = pods.iter().filter(|it| it.against.is_empty()).count();
    let left_out = pods.len() - tapped;
    pods.sort_by_key(|it| !it.against.is_empty());
    let pods = pods.into_iter().take(PODS).map(|it| TargetedPod {
        namespace: it.namespace,
        name: it.name,
        node: it.node,
        against: it.against,
    });
    let Targeting { pods: names, namespaces, exclude_namespaces, selector, nodes } =
        targeting.clone();
    Ok(Targets {
        targeting: api::Targeting { pods: names, namespaces, exclude_namespaces, selector, nodes },
        version: cluster.targeting().1,
        fixed: cluster.is_fixed().map(|it| it.to_string()),
        wrong: cluster.state().settings,
        tapped,
        left_out,
        pods: pods.collect(),
    })
}

impl From<Unclear> for Error {
    fn from(why: Unclear) -> Self {
        Self::Request(why.to_string())
    }
}

impl From<NotChanged> for Error {
    fn from(why: NotChanged) -> Self {
        let text = why.to_string();
        match why {
            NotChanged::Unclear(_) => Self::Request(text),
            NotChanged::Nowhere | NotChanged::Absent(_) => Self::Absent(text),
            NotChanged::Conflict => Self::Conflict(text),
            NotChanged::Failed(_) => Self::Upstream(text),
        }
    }
}

/// More than anybody reads.
const PODS: usize = 500;
