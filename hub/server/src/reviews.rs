//! Whom the cluster knows by a token, and what she may see: what the API server said of it lately.
//!
//! Rules are about `traffic` of the group [`cluster::GROUP`], in a namespace or in all: `get traffic` for rows,
//! `get traffic/payload` for what was said, `get traffic/packets` for packets as they were captured.

use crate::error::Error;
use cluster::{Access, AccessError, Cluster, User};
use futures::{
    FutureExt as _, StreamExt as _, TryStreamExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use query::{Grant, Rights};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// What the API server said of tokens lately. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reviews(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    access: Access,
    cluster: Cluster,
    /// How long an answer holds.
    good: Duration,
    known: Mutex<Tokens>,
    /// Places for tokens of which nothing is known: whoever tries tokens out waits for others who do, and does not flood
    /// the API server.
    strangers: Semaphore,
    /// Places for those that were somebody's a moment ago, so that she does not wait for strangers.
    renewals: Semaphore,
    namespaces: tokio::sync::Mutex<Option<(Instant, Arc<BTreeSet<String>>)>>,
}

/// Whose a token is, what she may see, and until when that holds.
#[derive(Clone, Debug)]
pub(crate) struct Whose {
    pub(crate) user: Arc<str>,
    pub(crate) rights: Arc<Rights>,
    pub(crate) until: Instant,
}

/// What is known of tokens, and what is being asked.
#[derive(Debug, Default)]
struct Tokens {
    known: HashMap<Box<str>, Known>,
    asked: HashMap<Box<str>, WeakShared<Asking>>,
}

/// An answer that all who wait for it get.
type Asking = BoxFuture<'static, Result<Option<Whose>, Arc<str>>>;

#[derive(Debug)]
struct Known {
    until: Instant,
    whose: Option<Whose>,
}

impl Reviews {
    pub(crate) fn new(access: Access, cluster: Cluster, good: Duration) -> Self {
        Self(Arc::new(Inner {
            access,
            cluster,
            good,
            known: Mutex::default(),
            strangers: Semaphore::new(ASKING),
            renewals: Semaphore::new(ASKING),
            namespaces: tokio::sync::Mutex::default(),
        }))
    }

    /// Whose token that is; nobody's if the cluster does not take it. An error if that can't be found out.
    pub(crate) async fn of(&self, token: &str) -> Result<Option<Whose>, Error> {
        if token.is_empty() || token.len() > TOKEN_BYTES {
            return Ok(None);
        }
        let asking = {
            let mut tokens = self.0.tokens();
            let known = tokens.known.get(token);
            if let Some(known) = known.filter(|it| it.until > Instant::now()) {
                return Ok(known.whose.clone());
            }
            let renewed = known.is_some_and(|it| it.whose.is_some());
            match tokens.asked.get(token).and_then(WeakShared::upgrade) {
                Some(asking) => asking,
                None => {
                    let asking = self.asking(token.into(), renewed);
                    // What nobody waited for to its end is not needed.
                    tokens.asked.retain(|_, it| it.upgrade().is_some());
                    tokens.asked.extend(asking.downgrade().map(|it| (token.into(), it)));
                    asking
                }
            }
        };
        asking.await.map_err(|reason| Error::Unreviewed(reason.to_string()))
    }

    /// How long an answer holds.
    pub(crate) fn good(&self) -> Duration {
        self.0.good
    }

    /// Asks, for all who come with that token meanwhile.
    fn asking(&self, token: Box<str>, renewed: bool) -> Shared<Asking> {
        let Self(inner) = self.clone();
        let asked = async move {
            let places = if renewed { &inner.renewals } else { &inner.strangers };
            let answer = async {
                let _place = places.acquire().await.map_err(|error| error.to_string())?;
                inner.ask(&token).await.map_err(|error| error.to_string())
            };
            let answer = match tokio::time::timeout(PATIENCE, answer).await {
                Ok(answer) => answer.map_err(Arc::from),
                Err(_) => Err(format!("no answer in {PATIENCE:?}").into()),
            };
            inner.keep(&token, answer.as_ref().ok());
            answer
        };
        asked.boxed().shared()
    }
}

impl Inner {
    fn tokens(&self) -> std::sync::MutexGuard<'_, Tokens> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an answer, if there is one, and that it is not asked for any more.
    fn keep(&self, token: &str, whose: Option<&Option<Whose>>) {
        let mut tokens = self.tokens();
        tokens.asked.remove(token);
        let Some(whose) = whose.cloned() else { return };
        let until = match &whose {
            Some(whose) => whose.until,
            None => Instant::now() + BAD,
        };
        let known = &mut tokens.known;
        if known.len() >= KEPT && !known.contains_key(token) {
            // Tokens that are none go first: anybody can send those.
            let oldest = known.iter().min_by_key(|it| (it.1.whose.is_some(), it.1.until));
            if let Some(oldest) = oldest.map(|it| it.0.clone()) {
                known.remove(&oldest);
            }
        }
        known.insert(token.into(), Known { until, whose });
    }

    async fn ask(&self, token: &str) -> Result<Option<Whose>, AccessError> {
        // From when it is asked: what changes meanwhile may be seen or not.
        let until = Instant::now() + self.good;
        let Some(user) = self.access.who(token).await? else { return Ok(None) };
        let everywhere = self.grant(&user, None).await?;
        let mut rights = Rights { everywhere, ..Rights::default() };
        if !rights.is_all() {
            let namespaces = self.namespaces().await?;
            if namespaces.len() > NAMESPACES {
                tracing::warn!(
                    namespaces = namespaces.len(),
                    "more namespaces than rights are asked of: who may not see all sees only those of the first"
                );
            }
            let user = &user;
            let names: Vec<_> = namespaces.iter().take(NAMESPACES).cloned().collect();
            let granted = futures::stream::iter(names)
                .map(|it| async move { Ok((self.grant(user, Some(&it)).await?, it)) })
                .buffer_unordered(AT_ONCE)
                .try_collect::<Vec<_>>()
                .await?;
            // What holds everywhere is said of each as well.
            let adds = |it: &Grant| {
                (it.rows && !everywhere.rows)
                    || (it.payload && !everywhere.payload)
                    || (it.packets && !everywhere.packets)
            };
            let granted = granted.into_iter().filter(|it| adds(&it.0));
            rights.namespaces = granted.map(|(grant, name)| (name, grant)).collect();
        }
        Ok(Some(Whose { user: user.name().into(), rights: Arc::new(rights), until }))
    }

    /// Every namespace there is. Rows may name one that has nothing in it any more, while its Roles still stand; one that
    /// is gone has none.
    async fn namespaces(&self) -> Result<Arc<BTreeSet<String>>, AccessError> {
        let mut kept = self.namespaces.lock().await;
        if let Some((_, names)) = kept.as_ref().filter(|it| it.0.elapsed() < LISTED) {
            return Ok(Arc::clone(names));
        }
        let mut names = self.cluster.namespaces();
        match self.access.namespaces(NAMESPACES).await? {
            Some(listed) => names.extend(listed),
            // Rights in part would be kept, and look like all.
            None if !self.cluster.state().ready => {
                let why = "its namespaces were not listed yet";
                return Err(AccessError::Undecided(why.to_owned()));
            }
            // It may not list them: those of what it saw are what it knows.
            None => {}
        }
        let names = Arc::new(names);
        *kept = Some((Instant::now(), Arc::clone(&names)));
        Ok(names)
    }

    async fn grant(&self, user: &User, namespace: Option<&str>) -> Result<Grant, AccessError> {
        let may = |sub| self.access.may(user, "get", ("traffic", sub), namespace);
        if !may(None).await? {
            return Ok(Grant::default());
        }
        Ok(Grant {
            rows: true,
            payload: may(Some("payload")).await?,
            packets: may(Some("packets")).await?,
        })
    }
}

/// How long a token that is nobody's is not asked about again.
const BAD: Duration = Duration::from_secs(10);
/// The longest that a caller waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tokens that are remembered; each with what may be seen is some kilobytes at most.
const KEPT: usize = 1024;
/// Callers that are asked about at a time, of either sort.
const ASKING: usize = 8;
/// Namespaces that are asked about at a time for one of them.
const AT_ONCE: usize = 16;
/// How long a list of namespaces holds: so long may a right in a new one be unknown.
const LISTED: Duration = Duration::from_secs(10);
/// As many as a cluster is told to have at most; of each, rights are asked once a minute for each caller.
const NAMESPACES: usize = 10_000;
/// Larger ones are no tokens: the API server itself takes no larger headers.
const TOKEN_BYTES: usize = 64 << 10;
