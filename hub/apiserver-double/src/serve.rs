//! Requests and their answers.
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Shares;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use futures::future::{Either, select};
use serde_json::{Value, json};

use crate::forward::forward;
use crate::kinds::{KINDS, Kind};
use crate::objects::{Key, Status, missing};
use crate::{Asked, Fault, Request, Shared, workloads};

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(answer).with_state(shared)
}

/// What a path names.
struct Target {
    kind: &'static Kind,
    namespace: String,
    name: String,
    /// Such as `status` or `log`.
    sub: String,
}

type Query = BTreeMap<String, String>;

async fn answer(
    Shares(shared): Shares<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    body: Bytes,
) -> Response<Body> {
    if shared.lock().away {
        return reply(&Status::new(503, "ServiceUnavailable", "the server is away").json(), 503);
    }
    let answered = match discovery(uri.path()) {
        Some(found) => Ok(reply(&found, 200)),
        None => resource(&shared, &method, &uri, &headers, upgrade.ok(), &body).await,
    };
    answered.unwrap_or_else(|status| reply(&status.json(), status.code))
}

fn reply(body: &Value, code: u16) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
    let json = axum::http::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    if code == 429 || code == 503 {
        response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("1"));
    }
    response
}

fn discovery(path: &str) -> Option<Value> {
    let parts = path.trim_matches('/').split('/').collect::<Vec<_>>();
    let list = |group: &str, version: &str| {
        let of = KINDS.iter().filter(|it| it.group == group && it.version == version);
        let resources = of.map(|it| {
            json!({"name": it.plural, "singularName": "", "namespaced": it.namespaced,
                "kind": it.kind, "verbs": VERBS})
        });
        let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name,
            "resources": resources.collect::<Vec<_>>()})
    };
    match parts.as_slice() {
        ["version"] => Some(json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0",
            "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z",
            "goVersion": "go1.24", "compiler": "gc", "platform": "linux/amd64"})),
        ["readyz" | "livez" | "healthz"] => Some(json!("ok")),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let mut groups = KINDS.iter().map(|it| (it.group, it.version)).collect::<Vec<_>>();
            groups.retain(|it| !it.0.is_empty());
            groups.dedup();
            let groups = groups.into_iter().map(|(group, version)| {
                let version =
                    json!({"groupVersion": format!("{group}/{version}"), "version": version});
                json!({"name": group, "versions": [version], "preferredVersion": version})
            });
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1",
                "groups": groups.collect::<Vec<_>>()}))
        }
        ["api", version] => Some(list("", version)),
        ["apis", group, version] => Some(list(group, version)),
        _ => None,
    }
}

fn target(path: &str) -> Option<Target> {
    let parts = path.trim_matches('/').split('/').collect::<Vec<_>>();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..]
            if rest.first().is_some_and(|it| !SUBS.contains(it)) =>
        {
            (*namespace, rest)
        }
        _ => ("", rest),
    };
    let (plural, name, sub) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, sub @ ..] => (*plural, *name, *sub.first()?),
        [] => return None,
    };
    let kind = Kind::find(group, version, plural)?;
    let [namespace, name, sub] = [namespace, name, sub].map(str::to_owned);
    Some(Target { kind, namespace, name, sub })
}

async fn resource(
    shared: &Arc<Shared>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    upgrade: Option<WebSocketUpgrade>,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let not_found =
        || Status::new(404, "NotFound", "the server could not find the requested resource");
    let target = target(uri.path()).ok_or_else(not_found)?;
    let text = uri.query().unwrap_or_default();
    let query = pairs(text);
    let flag = |it: &str| query.get(it).is_some_and(|it| it == "1" || it == "true" || it == "All");
    let verb = match method.as_str() {
        "GET" if flag("watch") => "watch",
        "GET" if target.name.is_empty() => "list",
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => return Err(Status::new(405, "MethodNotAllowed", "no such verb")),
    };
    let user = permit(shared, verb, &target, text, headers)?;
    let sent = || {
        serde_json::from_slice::<Value>(body)
            .map_err(|it| Status::new(400, "BadRequest", format!("the body is no JSON: {it}")))
    };
    if let Some(fault) = take_fault(shared, verb, target.kind.plural) {
        match fault {
            Fault::Status(code) => {
                return Err(Status::new(code, "InternalError", "it was told to fail"));
            }
            Fault::Stall => std::future::pending().await,
            Fault::CutMidLine | Fault::Gone if verb == "watch" => {
                return Ok(broken_watch(&fault));
            }
            Fault::CutMidLine | Fault::Gone => {}
        }
    }
    if target.kind.plural.ends_with("reviews") {
        return review(shared, target.kind, &sent()?, &user).map(|it| reply(&it, 201));
    }
    let accept = headers.get("accept").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let partial = accept.contains("as=PartialObjectMetadata");
    let key = Key::new(target.kind.group, target.kind.plural, &target.namespace, &target.name);
    let manager = query.get("fieldManager").map_or("unknown", String::as_str);
    let shown = |it: &Value| if partial { metadata(it) } else { it.clone() };
    match verb {
        "watch" => return watch(shared, target, &query, partial),
        "list" => return list(shared, &target, &query, partial).map(|it| reply(&it, 200)),
        "get" if target.sub == "portforward" => {
            let ports = query.get("ports").map_or("", String::as_str);
            return forward(shared, &key, ports, upgrade);
        }
        "get" if target.sub == "log" => return logs(shared, &key),
        "get" => {
            let state = shared.lock();
            let found = state.objects.get(&key).ok_or_else(|| missing(&key))?;
            return Ok(reply(&shown(found), 200));
        }
        _ => {}
    }
    let mut object = if verb == "delete" { Value::Null } else { sent()? };
    if object.is_object() {
        let of = target.kind;
        let fill = [("apiVersion", of.api_version()), ("kind", of.kind.to_owned())];
        for (field, value) in fill {
            if object[field].is_null() {
                object[field] = value.into();
            }
        }
        let placed = [("namespace", &target.namespace), ("name", &target.name)];
        for (field, value) in placed.into_iter().filter(|it| !it.1.is_empty() && verb != "patch") {
            object["metadata"][field] = value.clone().into();
        }
    }
    let dry = flag("dryRun");
    let answered = {
        let mut state = shared.lock();
        let there = state.objects.get(&key).is_some();
        match verb {
            "create" if dry => Ok((object, 201)),
            "create" => state.objects.create(object, manager).map(|it| (it, 201)),
            "update" if there || !target.sub.is_empty() => {
                state.objects.update(&key, object, manager).map(|it| (it, 200))
            }
            "update" => state.objects.put(object, manager).map(|it| (it, 201)),
            "patch" => {
                let kind = headers.get("content-type").and_then(|it| it.to_str().ok());
                match kind.unwrap_or_default() {
                    it if it.starts_with("application/apply-patch") => {
                        let place = [("namespace", &target.namespace), ("name", &target.name)];
                        for (field, value) in place.into_iter().filter(|it| !it.1.is_empty()) {
                            object["metadata"][field] = value.clone().into();
                        }
                        let code = if there { 200 } else { 201 };
                        let force = flag("force");
                        let applied = state.objects.apply(&key, &object, manager, force, dry);
                        applied.map(|it| (it, code))
                    }
                    it if it.contains("merge-patch") => {
                        // What was filled in is no part of the patch.
                        let patch = sent()?;
                        state.objects.patch(&key, &patch, manager).map(|it| (it, 200))
                    }
                    other => Err(Status::new(415, "UnsupportedMediaType", other)),
                }
            }
            _ if target.name.is_empty() => {
                let labels = query.get("labelSelector").map_or("", String::as_str);
                let of = state.objects.of(target.kind).filter(|(key, it)| {
                    (target.namespace.is_empty() || key.namespace == target.namespace)
                        && selected(it, labels)
                });
                let keys = of.map(|it| it.0.clone()).collect::<Vec<_>>();
                // One may have gone with another.
                keys.iter().for_each(|it| drop(state.objects.delete(it)));
                Ok((json!({"kind": "Status", "status": "Success"}), 200))
            }
            _ => state.objects.delete(&key).map(|it| (it, 200)),
        }
    };
    let (object, code) = answered?;
    shared.tell();
    if !dry {
        workloads::changed(shared, &key);
    }
    Ok(reply(&shown(&object), code))
}

/// Notes the request; says who asks, or why not.
fn permit(
    shared: &Arc<Shared>,
    verb: &'static str,
    target: &Target,
    query: &str,
    headers: &HeaderMap,
) -> Result<String, Status> {
    let token = headers.get("authorization").and_then(|it| it.to_str().ok());
    let token = token.and_then(|it| it.strip_prefix("Bearer "));
    let mut state = shared.lock();
    let user = token.and_then(|it| state.access.tokens.get(it)).map(|it| it.0.clone());
    let slash = if target.sub.is_empty() { "" } else { "/" };
    let resource = format!("{}{slash}{}", target.kind.plural, target.sub);
    state.requests.push(Request {
        verb,
        group: target.kind.group.to_owned(),
        resource: resource.clone(),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        query: query.to_owned(),
        user: user.clone(),
    });
    if user.is_none() && state.access.required {
        return Err(Status::new(401, "Unauthorized", "Unauthorized"));
    }
    let user = user.unwrap_or_default();
    let asked = Asked {
        user: &user,
        verb,
        group: target.kind.group,
        resource: &resource,
        namespace: &target.namespace,
    };
    // Everybody may ask what they may.
    if target.kind.kind != "SelfSubjectAccessReview" && !state.access.allows(&asked) {
        let message = format!(
            "{resource} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{}\"",
            target.kind.group
        );
        return Err(Status::new(403, "Forbidden", message));
    }
    Ok(user)
}

fn take_fault(shared: &Arc<Shared>, verb: &str, plural: &str) -> Option<Fault> {
    let faults = &mut shared.lock().faults;
    let of = |it: &str| it == plural || it == "*";
    let planned =
        faults.iter_mut().find(|it| it.verb == verb && of(&it.resource) && it.times > 0)?;
    planned.times -= 1;
    Some(planned.fault.clone())
}

/// The three kinds of reviews.
fn review(shared: &Arc<Shared>, kind: &Kind, asked: &Value, user: &str) -> Result<Value, Status> {
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let state = shared.lock();
    let mut answer = asked.clone();
    let spec = &asked["spec"];
    answer["status"] = match kind.kind {
        "TokenReview" => match state.access.tokens.get(&text(&spec["token"])) {
            Some((user, groups)) => json!({"authenticated": true,
                "user": {"username": user, "groups": groups}}),
            None => json!({"authenticated": false, "error": "invalid bearer token"}),
        },
        _ => {
            let of = &spec["resourceAttributes"];
            let (verb, group, namespace) =
                (text(&of["verb"]), text(&of["group"]), text(&of["namespace"]));
            let sub = text(&of["subresource"]);
            let slash = if sub.is_empty() { "" } else { "/" };
            let resource = format!("{}{slash}{sub}", text(&of["resource"]));
            let asker = text(&spec["user"]);
            let user = if kind.kind == "SubjectAccessReview" { &asker } else { user };
            let asked = Asked {
                user,
                verb: &verb,
                group: &group,
                resource: &resource,
                namespace: &namespace,
            };
            json!({"allowed": state.access.allows(&asked)})
        }
    };
    Ok(answer)
}

fn logs(shared: &Arc<Shared>, key: &Key) -> Result<Response<Body>, Status> {
    let state = shared.lock();
    state.objects.get(key).ok_or_else(|| missing(key))?;
    Ok(Response::new(Body::from(format!("{} says hello\n", key.name))))
}

/// What it is called and labelled, without what it is.
fn metadata(object: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": object["metadata"]})
}

fn list(
    shared: &Arc<Shared>,
    target: &Target,
    query: &Query,
    partial: bool,
) -> Result<Value, Status> {
    let state = shared.lock();
    let limit = query.get("limit").and_then(|it| it.parse::<usize>().ok()).filter(|it| *it > 0);
    let from = query.get("continue").and_then(|it| it.parse::<usize>().ok()).unwrap_or_default();
    let matching = state.objects.of(target.kind).filter(|it| matches(target, query, it.1));
    let all = matching.map(|it| it.1).collect::<Vec<_>>();
    let page = all.iter().skip(from).take(limit.unwrap_or(usize::MAX));
    let mut items =
        page.map(|it| if partial { metadata(it) } else { (*it).clone() }).collect::<Vec<_>>();
    // Items of a list do not say what they are.
    if !partial {
        for it in items.iter_mut().filter_map(Value::as_object_mut) {
            it.remove("kind");
            it.remove("apiVersion");
        }
    }
    let next = from + items.len();
    let mut meta = json!({"resourceVersion": state.objects.version().to_string()});
    if next < all.len() {
        meta["continue"] = next.to_string().into();
        meta["remainingItemCount"] = (all.len() - next).into();
    }
    let (version, kind) = if partial {
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
    } else {
        (target.kind.api_version(), format!("{}List", target.kind.kind))
    };
    Ok(json!({"apiVersion": version, "kind": kind, "metadata": meta, "items": items}))
}

fn matches(target: &Target, query: &Query, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let labels = query.get("labelSelector").map_or("", String::as_str);
    let fields = query.get("fieldSelector").map_or("", String::as_str);
    let field = |it: &str| {
        let Some((path, value)) = it.split_once('=') else { return it.is_empty() };
        let (path, value, equal) = match path.strip_suffix('!') {
            Some(path) => (path, value, false),
            None => (path, value.trim_start_matches('='), true),
        };
        let found = path.split('.').fold(object, |it, part| &it[part]);
        (found.as_str().unwrap_or_default() == value) == equal
    };
    (target.namespace.is_empty() || metadata["namespace"] == target.namespace.as_str())
        && (target.name.is_empty() || metadata["name"] == target.name.as_str())
        && selected(object, labels)
        && fields.split(',').all(field)
}

/// Whether an object has the labels: `a=b`, `a==b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`.
fn selected(object: &Value, selector: &str) -> bool {
    let labels = &object["metadata"]["labels"];
    let of = |key: &str| labels[key.trim()].as_str();
    let mut depth = 0;
    let parts = selector.split(|it: char| {
        depth += i32::from(it == '(') - i32::from(it == ')');
        it == ',' && depth == 0
    });
    parts.map(str::trim).all(|it| {
        let listed = |list: &str, key: &str| {
            let list = list.trim_matches(|it| "() ".contains(it));
            list.split(',').any(|it| of(key) == Some(it.trim()))
        };
        if it.is_empty() {
            true
        } else if let Some((key, list)) = it.split_once(" notin ") {
            !listed(list, key)
        } else if let Some((key, list)) = it.split_once(" in ") {
            listed(list, key)
        } else if let Some((key, value)) = it.split_once("!=") {
            of(key) != Some(value.trim())
        } else if let Some((key, value)) = it.split_once('=') {
            of(key) == Some(value.trim_start_matches('=').trim())
        } else if let Some(key) = it.strip_prefix('!') {
            of(key).is_none()
        } else {
            of(it).is_some()
        }
    })
}

fn event(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": kind, "object": object})))
}

fn broken_watch(fault: &Fault) -> Response<Body> {
    let bytes = match fault {
        Fault::Gone => {
            event("ERROR", &Status::new(410, "Expired", "too old resource version").json())
        }
        _ => Bytes::from_static(b"{\"type\":\"ADDED\",\"object\":{\"kind\":\"Po"),
    };
    Response::new(Body::from(bytes))
}

/// An open watch, counted.
struct Open {
    shared: Arc<Shared>,
    plural: &'static str,
}

impl Open {
    fn new(shared: &Arc<Shared>, plural: &'static str) -> Self {
        *shared.lock().watches.entry(plural.to_owned()).or_default() += 1;
        Self { shared: Arc::clone(shared), plural }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(open) = self.shared.lock().watches.get_mut(self.plural) {
            *open -= 1;
        }
    }
}

fn watch(
    shared: &Arc<Shared>,
    target: Target,
    query: &Query,
    partial: bool,
) -> Result<Response<Body>, Status> {
    let version = query.get("resourceVersion").and_then(|it| it.parse::<u64>().ok());
    let initial = query.get("sendInitialEvents").is_some_and(|it| it == "true");
    let bookmarks = query.get("allowWatchBookmarks").is_some_and(|it| it == "true");
    let (every, now) = {
        let state = shared.lock();
        (state.bookmarks.filter(|_| bookmarks), state.objects.version())
    };
    let seconds = query.get("timeoutSeconds").and_then(|it| it.parse::<u64>().ok());
    let ends = tokio::time::Instant::now() + Duration::from_secs(seconds.unwrap_or(3600));
    let open = Open::new(shared, target.kind.plural);
    let (changed, cut) = (shared.changed.subscribe(), shared.cut.subscribe());
    let mut first = Vec::new();
    if initial || version.is_none_or(|it| it == 0) {
        let state = shared.lock();
        let matching = state.objects.of(target.kind).filter(|it| matches(&target, query, it.1));
        first.extend(matching.map(|it| event("ADDED", &shown(it.1, partial))));
        if initial {
            let marks = json!({"k8s.io/initial-events-end": "true"});
            first.push(bookmark(target.kind, now, partial, &marks));
        }
    }
    let seen =
        if initial || version.is_none_or(|it| it == 0) { now } else { version.unwrap_or(now) };
    let follow = Follow { open, target, query: query.clone(), partial, seen, every, ends };
    let state = (first, Some((follow, changed, cut)));
    let stream = futures::stream::unfold(state, async |(first, rest)| {
        if !first.is_empty() {
            let bytes = Bytes::from(first.concat());
            return Some((Ok::<_, std::io::Error>(bytes), (Vec::new(), rest)));
        }
        let (mut follow, mut changed, mut cut) = rest?;
        let next = follow.next(&mut changed, &mut cut).await?;
        Some((Ok(next.0), (Vec::new(), next.1.then_some((follow, changed, cut)))))
    });
    let mut response = Response::new(Body::from_stream(stream));
    let json = axum::http::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    Ok(response)
}

fn shown(object: &Value, partial: bool) -> Value {
    if partial { metadata(object) } else { object.clone() }
}

fn bookmark(kind: &Kind, version: u64, partial: bool, annotations: &Value) -> Bytes {
    let version = json!({"resourceVersion": version.to_string(), "annotations": annotations,
        "creationTimestamp": null});
    let (of, kind) = if partial {
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata")
    } else {
        (kind.api_version(), kind.kind)
    };
    event("BOOKMARK", &json!({"apiVersion": of, "kind": kind, "metadata": version}))
}

struct Follow {
    open: Open,
    target: Target,
    query: Query,
    partial: bool,
    seen: u64,
    every: Option<Duration>,
    ends: tokio::time::Instant,
}

impl Follow {
    /// The next events, and whether more may come.
    async fn next(
        &mut self,
        changed: &mut tokio::sync::watch::Receiver<u64>,
        cut: &mut tokio::sync::watch::Receiver<u64>,
    ) -> Option<(Bytes, bool)> {
        loop {
            changed.mark_unchanged();
            let happened = {
                let state = self.open.shared.lock();
                state.objects.since(self.seen).map(|it| (it, state.objects.version()))
            };
            let Some((happened, version)) = happened else {
                let gone =
                    Status::new(410, "Expired", format!("too old resource version: {}", self.seen));
                return Some((event("ERROR", &gone.json()), false));
            };
            let mut bytes = Vec::new();
            for it in &happened {
                bytes.extend(self.say(it).unwrap_or_default());
            }
            self.seen = version.max(self.seen);
            if !bytes.is_empty() {
                return Some((bytes.into(), true));
            }
            let pause = self.every.map_or(self.ends, |it| tokio::time::Instant::now() + it);
            let end = pin!(cut.changed());
            let news = pin!(tokio::time::timeout_at(pause.min(self.ends), changed.changed()));
            match select(end, news).await {
                Either::Left(_) => return None,
                Either::Right((Ok(news), _)) => news.ok()?,
                Either::Right((Err(_), _)) if tokio::time::Instant::now() >= self.ends => {
                    return None;
                }
                Either::Right((Err(_), _)) => {
                    let none = json!({});
                    return Some((
                        bookmark(self.target.kind, self.seen, self.partial, &none),
                        true,
                    ));
                }
            }
        }
    }

    /// An event, as one who watches these objects is told of it.
    fn say(&self, it: &crate::objects::Event) -> Option<Bytes> {
        let Target { kind, .. } = self.target;
        if it.key.group != kind.group || it.key.plural != kind.plural {
            return None;
        }
        let of = |it: &Option<Value>| {
            it.as_ref().filter(|it| matches(&self.target, &self.query, it)).cloned()
        };
        let (kind, object) = match (of(&it.before), of(&it.after)) {
            (None, Some(after)) => ("ADDED", after),
            (Some(_), Some(after)) => ("MODIFIED", after),
            (Some(before), None) => ("DELETED", it.after.clone().unwrap_or(before)),
            (None, None) => return None,
        };
        Some(event(kind, &shown(&object, self.partial)))
    }
}

fn pairs(query: &str) -> Query {
    let decode = |it: &str| {
        let mut bytes = Vec::with_capacity(it.len());
        let mut rest = it.as_bytes();
        while let [first, tail @ ..] = rest {
            let hex = |it: &[u8]| u8::from_str_radix(std::str::from_utf8(it).ok()?, 16).ok();
            match (first, tail.get(..2).and_then(hex)) {
                (b'%', Some(byte)) => {
                    bytes.push(byte);
                    rest = tail.get(2..).unwrap_or_default();
                    continue;
                }
                (b'+', _) => bytes.push(b' '),
                _ => bytes.push(*first),
            }
            rest = tail;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let pairs = query.split('&').filter(|it| !it.is_empty());
    pairs
        .map(|it| it.split_once('=').unwrap_or((it, "")))
        .map(|it| (decode(it.0), decode(it.1)))
        .collect()
}

const VERBS: [&str; 7] = ["create", "delete", "get", "list", "patch", "update", "watch"];
/// What a namespace itself has below it.
const SUBS: [&str; 2] = ["status", "finalize"];
