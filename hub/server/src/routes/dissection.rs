//! `/api/dissection`: when the Workers dissect packets.

use crate::{
    Server,
    audit::Asked,
    auth::Asker,
    engine::moment,
    error::Error,
    routes::query::{Peer, caller},
};
use api::{Again, ApiError, DissectionChange, DissectionRequest, Dissections, NodeDissection};
use axum::{
    Json,
    extract::{Extension, Query, State},
};
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, header::CONTENT_TYPE};
use serde::{Deserialize, de::DeserializeOwned};

#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    node: Option<String>,
}

/// When each Worker dissects packets, and what it has not dissected.
#[utoipa::path(
    get, path = "/api/dissection", tag = "state",
    params(("node" = Option<String>, Query, description = "One node; all that are linked if none is named")),
    responses((status = 200, body = Dissections), (status = "4XX", description = "Why not", body = ApiError))
)]
pub(crate) async fn get(
    State(server): State<Server>,
    Extension(asker): Extension<Asker>,
    Query(Which { node }): Query<Which>,
) -> Result<Json<Dissections>, Error> {
    asker.needs_all()?;
    change(&server, node.as_deref(), DissectionChange::default()).await
}

/// Changes when Workers dissect packets, or has packets dissected again.
#[utoipa::path(
    put, path = "/api/dissection", tag = "state",
    request_body = DissectionRequest,
    responses((status = 200, body = Dissections), (status = "4XX", description = "Why not", body = ApiError))
)]
pub(crate) async fn put(
    State(server): State<Server>,
    peer: Peer,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Dissections>, Error> {
    asker.needs_owner()?;
    let request: DissectionRequest = change_of(&headers, &body)?;
    let DissectionRequest { node, mode, again, since, until, all } = request;
    if !again && (since.is_some() || until.is_some() || all) {
        return Err(Error::Request("`since`, `until` and `all` go with `again`".to_owned()));
    }
    if !again && mode.is_none() {
        return Err(Error::Request("a change needs `mode` or `again`".to_owned()));
    }
    let from = since.as_deref().map(moment).transpose()?;
    let to = until.as_deref().map(moment).transpose()?;
    let again = again.then_some(Again { from, to, all });
    let caller = caller(&asker, peer);
    let mut asked = Asked::new("dissection", caller, &String::from_utf8_lossy(&body), "");
    let changed = change(&server, node.as_deref(), DissectionChange { mode, again }).await;
    asked.ended(if changed.is_ok() { "complete" } else { "failed" }, 0);
    changed
}

/// A change that was sent as JSON.
pub(crate) fn change_of<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Error> {
    // A form on another site can send any text, but not under this name.
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some(api::media::JSON) {
        return Err(Error::Request(format!("send the change as {}", api::media::JSON)));
    }
    serde_json::from_slice(body).map_err(|error| Error::Request(error.to_string()))
}

async fn change(
    server: &Server,
    node: Option<&str>,
    change: DissectionChange,
) -> Result<Json<Dissections>, Error> {
    let merged = server.workers.merged();
    let members = merged.members.iter().filter(|it| node.is_none_or(|node| it.node == node));
    let members: Vec<_> = members.collect();
    match node {
        Some(node) if members.is_empty() => {
            return Err(Error::Absent(format!("no worker named {node:?} is linked")));
        }
        None if members.is_empty() => return Err(Error::NoWorkers),
        _ => {}
    }
    let asked = members.into_iter().map(|member| async move {
        let told = member.client.dissection(&change).await;
        let said = told.unwrap_or_else(|error| NodeDissection {
            error: Some(error.to_string()),
            ..NodeDissection::default()
        });
        NodeDissection { node: member.node.clone(), ..said }
    });
    Ok(Json(Dissections { nodes: join_all(asked).await }))
}
