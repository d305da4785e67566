//! A double of a Kubernetes API server over HTTP, for tests.
//!
//! It speaks what Kubeshark's Hub and CLI say: discovery, get, list (paged, by labels and fields),
//! watch (from a version on, with bookmarks and expiry), create, replace, patch, server-side apply,
//! delete with what belongs to it, TokenReview and the two access reviews. It can be told to fail.
//! A DaemonSet or Deployment gets pods, which come up by and by as on a cluster: pending, then with an
//! address, then ready.
mod apply;
mod forward;
mod kinds;
mod objects;
mod serve;
mod workloads;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::kinds::{KINDS, Kind};
pub use self::objects::Key;

use self::objects::Objects;

/// A running double. It ends with the last clone.
#[derive(Clone, Debug)]
pub struct Double {
    shared: Arc<Shared>,
    _server: Arc<Server>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The version of the last change.
    changed: watch::Sender<u64>,
    /// Grows when every watch is to be cut.
    cut: watch::Sender<u64>,
    address: SocketAddr,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) objects: Objects,
    pub(crate) faults: Vec<Planned>,
    pub(crate) requests: Vec<Request>,
    pub(crate) watches: std::collections::BTreeMap<String, usize>,
    pub(crate) access: Access,
    pub(crate) away: bool,
    pub(crate) broken: workloads::Broken,
    pub(crate) bookmarks: Option<Duration>,
    pub(crate) forward_to: Option<SocketAddr>,
}

/// A request that was served, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// The API group.
    pub group: String,
    /// The plural, with the subresource behind a slash.
    pub resource: String,
    /// Empty for all, or for what is in none.
    pub namespace: String,
    /// Empty for all.
    pub name: String,
    /// What came behind the question mark.
    pub query: String,
    /// The user, if a known token came with it.
    pub user: Option<String>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is answered with that status; 429 and 503 say when to come again (seconds).
    Status(u16),
    /// The watch breaks off in the middle of its next event.
    CutMidLine,
    /// The watch says that its version is too old.
    Gone,
    /// Nothing comes, and the connection stays.
    Stall,
}

#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) verb: &'static str,
    pub(crate) resource: String,
    pub(crate) fault: Fault,
    pub(crate) times: usize,
}

/// Who may what.
#[derive(Clone, Default)]
pub(crate) struct Access {
    /// User and groups by token.
    pub(crate) tokens: std::collections::BTreeMap<String, (String, Vec<String>)>,
    /// Whether a request needs one of them.
    pub(crate) required: bool,
    /// What nobody may: verb, group, resource; `*` is all.
    pub(crate) denied: Vec<[String; 3]>,
    pub(crate) rule: Option<Rule>,
}

/// Whether `user` may `verb` `resource` of `group` in `namespace` (empty: in all).
type Rule = Arc<dyn Fn(&Asked<'_>) -> bool + Send + Sync>;

/// What an access review asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who; empty if nobody was named.
    pub user: &'a str,
    /// What to do.
    pub verb: &'a str,
    /// The API group.
    pub group: &'a str,
    /// The plural, with the subresource behind a slash.
    pub resource: &'a str,
    /// Empty: in all.
    pub namespace: &'a str,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("denied", &self.denied).finish_non_exhaustive()
    }
}

impl Access {
    pub(crate) fn allows(&self, asked: &Asked<'_>) -> bool {
        let is = |pattern: &str, it: &str| pattern == "*" || pattern == it;
        let denied = self.denied.iter().any(|[verb, group, resource]| {
            is(verb, asked.verb) && is(group, asked.group) && is(resource, asked.resource)
        });
        !denied && self.rule.as_ref().is_none_or(|it| it(asked))
    }
}

#[derive(Debug)]
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells watches what was changed.
    pub(crate) fn tell(&self) {
        let version = self.lock().objects.version();
        self.changed.send_replace(version);
    }
}

impl Double {
    /// Starts one on a port of loopback that nobody uses, with the namespaces every cluster has.
    pub async fn start() -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            cut: watch::Sender::new(0),
            address: listener.local_addr()?,
        });
        let router = serve::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                panic!("the double of the API server ended: {error}");
            }
        });
        let double = Self { shared, _server: Arc::new(Server(server)) };
        for name in ["default", "kube-system"] {
            double
                .put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        }
        Ok(double)
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// A kubeconfig for it, with a token if one is given.
    pub fn kubeconfig(&self, token: Option<&str>) -> String {
        let user = token.map_or_else(|| json!({}), |it| json!({"token": it}));
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "double",
            "clusters": [{"name": "double", "cluster": {"server": self.url()}}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "double", "context": {
                "cluster": "double", "user": "user", "namespace": "default"}}],
        })
        .to_string()
    }

    /// Creates or replaces an object, as a controller would. Its kind must be one of [`KINDS`].
    pub fn put(&self, object: Value) {
        let put = self.shared.lock().objects.put(object, "controller");
        if let Err(status) = put {
            panic!("{status}");
        }
        self.shared.tell();
    }

    /// Changes an object by a merge patch, as `manager`.
    pub fn patch(&self, key: &Key, patch: &Value, manager: &str) {
        let patched = self.shared.lock().objects.patch(key, patch, manager);
        if let Err(status) = patched {
            panic!("{status}");
        }
        self.shared.tell();
    }

    /// Deletes an object and what belongs to it. False if it is not there.
    pub fn delete(&self, key: &Key) -> bool {
        let deleted = self.shared.lock().objects.delete(key);
        self.shared.tell();
        deleted.is_ok()
    }

    /// An object, if it is there.
    pub fn get(&self, key: &Key) -> Option<Value> {
        self.shared.lock().objects.get(key).cloned()
    }

    /// All objects, by kind, namespace and name.
    pub fn all(&self) -> Vec<(Key, Value)> {
        self.shared.lock().objects.all()
    }

    /// The next `times` requests of that verb for that resource (a plural; `*` is all) go wrong.
    pub fn fail(&self, verb: &'static str, resource: &str, fault: Fault, times: usize) {
        let resource = resource.to_owned();
        self.shared.lock().faults.push(Planned { verb, resource, fault, times });
    }

    /// Nothing is answered from now on, and every watch ends; or all is well again.
    pub fn away(&self, away: bool) {
        self.shared.lock().away = away;
        if away {
            self.cut();
        }
    }

    /// Ends every watch, and what is forwarded.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|it| *it += 1);
    }

    /// Forgets what happened before: watches from an earlier version get 410.
    pub fn expire(&self) {
        self.shared.lock().objects.expire();
    }

    /// How often watches get a bookmark.
    pub fn bookmarks(&self, every: Duration) {
        self.shared.lock().bookmarks = Some(every);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// How many watches of a resource are open.
    pub fn watches(&self, resource: &str) -> usize {
        self.shared.lock().watches.get(resource).copied().unwrap_or_default()
    }

    /// A token and whose it is.
    pub fn token(&self, token: &str, user: &str, groups: &[&str]) {
        let groups = groups.iter().map(|it| (*it).to_owned()).collect();
        self.shared.lock().access.tokens.insert(token.to_owned(), (user.to_owned(), groups));
    }

    /// From now on every request needs a token.
    pub fn require_token(&self) {
        self.shared.lock().access.required = true;
    }

    /// Nobody may; `*` is all verbs, groups, resources.
    pub fn deny(&self, verb: &str, group: &str, resource: &str) {
        let denied = [verb, group, resource].map(str::to_owned);
        self.shared.lock().access.denied.push(denied);
    }

    /// Who may what, for requests and for access reviews.
    pub fn allow(&self, rule: impl Fn(&Asked<'_>) -> bool + Send + Sync + 'static) {
        self.shared.lock().access.rule = Some(Arc::new(rule));
    }

    /// Connections to ports of pods go there; without an address, they are refused.
    pub fn forward_to(&self, address: Option<SocketAddr>) {
        self.shared.lock().forward_to = address;
    }

    /// A node joins: every DaemonSet gets a pod on it.
    pub fn add_node(&self, name: &str, address: &str) {
        workloads::add_node(&self.shared, name, address);
    }

    /// A node leaves, with its pods.
    pub fn remove_node(&self, name: &str) {
        workloads::remove_node(&self.shared, name);
    }

    /// Images whose name contains this can't be pulled.
    pub fn break_image(&self, part: &str) {
        self.shared.lock().broken.images.push(part.to_owned());
    }

    /// No pod is scheduled on that node, for this reason.
    pub fn break_node(&self, name: &str, reason: &str) {
        self.shared.lock().broken.nodes.insert(name.to_owned(), reason.to_owned());
    }
}
