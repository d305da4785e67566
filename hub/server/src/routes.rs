//! Every route, and what stands before it.

mod dissection;
mod query;
mod state;
mod tail;
mod targeting;

use crate::{
    Server,
    auth::{self, Asker},
    error::Error,
    page,
};
use api::{AnswerLine, QueryRequest, RowKey, TailRequest, TailStatus, route};
use axum::{
    Json, Router,
    extract::{ConnectInfo, DefaultBodyLimit, Extension, Request, State, WebSocketUpgrade},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use http::HeaderValue;
use link::Heartbeat;
use std::net::SocketAddr;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Kubeshark",
        description = "Ask a cluster's traffic, live or back in time, in SQL."
    ),
    components(schemas(QueryRequest, TailRequest, TailStatus, AnswerLine, RowKey))
)]
struct Description;

/// The whole of it.
///
/// With `certified` Workers come by TLS and show a certificate; nobody else does.
pub(crate) fn router(server: Server, certified: bool) -> Router {
    let (routes, description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(query::get, query::post))
        .routes(routes!(query::accounting))
        .routes(routes!(tail::tail))
        .routes(routes!(dissection::get, dissection::put))
        .routes(routes!(targeting::get, targeting::put))
        .routes(routes!(state::tables))
        .routes(routes!(state::functions))
        .routes(routes!(state::workers))
        .routes(routes!(state::health))
        .routes(routes!(state::check))
        .routes(routes!(state::metrics))
        .split_for_parts();
    let guard = server.guard.clone();
    let guarded = routes
        .route(route::OPENAPI, get(move || std::future::ready(Json(description.clone()))))
        .route(route::WORKER, any(worker))
        .route("/api/{*rest}", any(nothing))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(guard.clone(), auth::guard))
        .with_state(server);
    let page = Router::new()
        .fallback(page::page)
        .layer(from_fn_with_state(guard.clone(), auth::guard_page))
        .with_state(guard);
    let doors = from_fn(move |request, next| sorted(certified, request, next));
    let mut router = guarded.merge(page).layer(doors);
    for (name, value) in page::security() {
        router =
            router.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)));
    }
    router
}

/// Lets to the link only who came by its door, and to nothing else who did: a certificate makes a Worker, no caller.
async fn sorted(certified: bool, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<link::Peer>>().map(|it| it.0);
    let shown = peer.is_some_and(|it| it.certified);
    let to_link = request.uri().path() == route::WORKER;
    if certified && to_link != shown {
        return if to_link { Error::Uncertified } else { Error::LinkOnly }.into_response();
    }
    if certified && shown {
        request.extensions_mut().insert(auth::Certified);
    }
    if let Some(peer) = peer {
        request.extensions_mut().insert(ConnectInfo(peer.address));
    }
    next.run(request).await
}

/// The link a worker dials.
async fn worker(
    State(server): State<Server>,
    from: Option<Extension<ConnectInfo<SocketAddr>>>,
    Extension(asker): Extension<Asker>,
    upgrade: WebSocketUpgrade,
) -> Response {
    // Who may see some traffic is no Worker, which is told all names and asked what all ask.
    if let Err(error) = asker.needs_owner() {
        return error.into_response();
    }
    let address = from.map(|Extension(ConnectInfo(address))| address);
    let workers = server.workers.clone();
    link::accept(upgrade, Heartbeat::HUB, move |client| workers.take(client, address))
}

async fn nothing() -> Response {
    Error::Absent(format!("there is no such route; {} lists them", route::OPENAPI)).into_response()
}

/// The longest question there is, with room for its other members.
const BODY_BYTES: usize = 256 << 10;
