//! Whom the cluster knows by a token, and what she may see: what the API server said of it lately.
//!
//! Rules are about `traffic` of the group [`cluster::GROUP`], in a namespace or in all: `get traffic` for rows,
//! `get traffic/payload` for what was said, `get traffic/packets` for packets as they were captured.

use crate::error::Error;
use cluster::{Access, AccessError, Cluster, User};
use futures::{StreamExt as _, TryStreamExt as _};
use query::{Grant, Rights};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// What the API server said of tokens lately.
#[derive(Debug)]
pub(crate) struct Reviews {
    access: Access,
    cluster: Cluster,
    known: Mutex<HashMap<Box<str>, Known>>,
    asking: Semaphore,
}

/// Whose a token is, and what she may see.
type Whose = (Arc<str>, Arc<Rights>);

#[derive(Debug)]
struct Known {
    until: Instant,
    whose: Option<Whose>,
}

impl Reviews {
    pub(crate) fn new(access: Access, cluster: Cluster) -> Self {
        let asking = Semaphore::new(ASKING);
        Self { access, cluster, known: Mutex::default(), asking }
    }

    /// Whose token that is; nobody's if the cluster does not take it. An error if that can't be found out.
    pub(crate) async fn of(&self, token: &str) -> Result<Option<Whose>, Error> {
        if token.is_empty() || token.len() > TOKEN_BYTES {
            return Ok(None);
        }
        if let Some(whose) = self.known(token) {
            return Ok(whose);
        }
        let away = |reason: String| Error::Unreviewed(reason);
        let asked = async {
            // Whoever tries tokens out waits for others who do, and does not flood the API server.
            let _place = self.asking.acquire().await.map_err(|error| away(error.to_string()))?;
            if let Some(whose) = self.known(token) {
                return Ok(whose);
            }
            let whose = self.ask(token).await.map_err(|error| away(error.to_string()))?;
            self.keep(token, whose.clone());
            Ok(whose)
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(whose) => whose,
            Err(_) => Err(away(format!("no answer in {PATIENCE:?}"))),
        }
    }

    fn known(&self, token: &str) -> Option<Option<Whose>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(token).filter(|it| it.until > Instant::now()).map(|it| it.whose.clone())
    }

    fn keep(&self, token: &str, whose: Option<Whose>) {
        let now = Instant::now();
        let until = now + if whose.is_some() { GOOD } else { BAD };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.retain(|_, it| it.until > now);
        }
        if known.len() >= KEPT {
            // Tokens that are none go first: anybody can send those.
            let oldest = known.iter().min_by_key(|it| (it.1.whose.is_some(), it.1.until));
            if let Some(oldest) = oldest.map(|it| it.0.clone()) {
                known.remove(&oldest);
            }
        }
        known.insert(token.into(), Known { until, whose });
    }

    async fn ask(&self, token: &str) -> Result<Option<Whose>, AccessError> {
        let Some(user) = self.access.who(token).await? else { return Ok(None) };
        let everywhere = self.grant(&user, None).await?;
        let mut rights = Rights { everywhere, ..Rights::default() };
        if !rights.is_all() {
            if !self.cluster.state().ready {
                // Rights in part would be kept, and look like all.
                let why = "its namespaces were not listed yet";
                return Err(AccessError::Undecided(why.to_owned()));
            }
            let mut namespaces = self.cluster.namespaces();
            if namespaces.len() > NAMESPACES {
                tracing::warn!(
                    namespaces = namespaces.len(),
                    "more namespaces than rights are asked of: who may not see all sees only those of the first"
                );
                namespaces = namespaces.into_iter().take(NAMESPACES).collect();
            }
            let user = &user;
            let granted = futures::stream::iter(namespaces)
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
        Ok(Some((user.name().into(), Arc::new(rights))))
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

/// How long an answer holds: so long may a right last that was taken away.
const GOOD: Duration = Duration::from_secs(60);
/// How long a token that is nobody's is not asked about again.
const BAD: Duration = Duration::from_secs(10);
/// The longest that a caller waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tokens that are remembered; each with what may be seen is some kilobytes at most.
const KEPT: usize = 1024;
/// Callers that are asked about at a time.
const ASKING: usize = 8;
/// Namespaces that are asked about at a time for one of them.
const AT_ONCE: usize = 16;
/// As many as a cluster is told to have at most; of each, rights are asked once a minute for each caller.
const NAMESPACES: usize = 10_000;
/// Larger ones are no tokens: the API server itself takes no larger headers.
const TOKEN_BYTES: usize = 64 << 10;
