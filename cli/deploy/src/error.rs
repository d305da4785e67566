//! Why something with a cluster did not work, in a sentence each.

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The values don't fit the chart; they can be changed.
    #[error("the values can't be used: {0}")]
    Values(String),
    /// The chart in this program is wrong.
    #[error("the chart is wrong: {0}")]
    Chart(String),
    /// There is no way to the cluster.
    #[error("no cluster: {0} (is there a kubeconfig, and does `kubectl version` answer?)")]
    NoCluster(String),
    /// The API server refuses us.
    #[error(
        "{what}: the API server does not permit it: {why} (`kubeshark check` lists what is needed)"
    )]
    Forbidden {
        /// What was tried.
        what: String,
        /// Its words.
        why: String,
    },
    /// The API server has another answer than was wanted.
    #[error("{what}: {why}")]
    Api {
        /// What was tried.
        what: String,
        /// What came.
        why: String,
    },
    /// Somebody else's tool looks after this installation.
    #[error("{what} is managed by {by}: use that to change it, or another namespace")]
    Managed {
        /// The object.
        what: String,
        /// Who.
        by: String,
    },
    /// It is not there.
    #[error(
        "there is no Kubeshark `{release}` in namespace {namespace} (`kubeshark tap --cluster` installs it)"
    )]
    NotInstalled {
        /// The installation's name.
        release: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// It did not become ready in time.
    #[error("it is not ready after {seconds} s: {why}")]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// What was missing at the end.
        why: String,
    },
    /// Something of this machine.
    #[error("{what}: {why}")]
    Here {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        why: std::io::Error,
    },
}

impl Error {
    /// Of a call of the API server.
    pub(crate) fn of(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |why| match why {
            kube::Error::Api(status) if status.code == 403 || status.code == 401 => {
                Self::Forbidden { what, why: status.message }
            }
            kube::Error::Api(status) => Self::Api { what, why: status.message },
            other => Self::Api { what, why: chain(&other) },
        }
    }
}

/// An error with its causes, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(why) = cause {
        let why_text = why.to_string();
        if !text.contains(&why_text) {
            text.push_str(": ");
            text.push_str(&why_text);
        }
        cause = why.source();
    }
    text
}
