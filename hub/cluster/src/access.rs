//! Who calls, and what she may do: the API server is asked, which knows tokens of every kind that the cluster takes (of
//! ServiceAccounts, of an OIDC provider, of a webhook) and every rule.

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Namespace,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use std::{fmt, time::Duration};

/// Asks a cluster's API server about callers.
#[derive(Clone)]
pub struct Access {
    tokens: Api<TokenReview>,
    rights: Api<SubjectAccessReview>,
    namespaces: Api<Namespace>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

/// Whose a token is.
#[derive(Clone, Debug, PartialEq)]
pub struct User(UserInfo);

impl User {
    /// Her name, such as `system:serviceaccount:shop:ci`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.username.as_deref().unwrap_or_default()
    }
}

/// Why that can't be said.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It said no, or something odd, or could not be reached.
    #[error("{0}")]
    Failed(Box<kube::Error>),
    /// It did not answer.
    #[error("no answer in {0:?}")]
    Silent(Duration),
    /// It could not decide.
    #[error("{0}")]
    Undecided(String),
}

impl Access {
    /// The API server that this client reaches.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self {
            tokens: Api::all(client.clone()),
            rights: Api::all(client.clone()),
            namespaces: Api::all(client.clone()),
        }
    }

    /// Whose token that is; nobody's if the server does not take it.
    pub async fn who(&self, token: &str) -> Result<Option<User>, AccessError> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = in_time(self.tokens.create(&PostParams::default(), &review)).await?.status;
        let status = status.unwrap_or_default();
        let user = status.user.filter(|it| it.username.as_ref().is_some_and(|it| !it.is_empty()));
        Ok(user.filter(|_| status.authenticated == Some(true)).map(User))
    }

    /// The names of all namespaces, of no more than so many by far; nothing if this may not list them.
    pub async fn namespaces(&self, most: usize) -> Result<Option<Vec<String>>, AccessError> {
        let mut names = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = match in_time(self.namespaces.list_metadata(&page)).await {
                Err(AccessError::Failed(error)) if matches!(&*error, kube::Error::Api(status) if status.code == 403) =>
                {
                    return Ok(None);
                }
                list => list?,
            };
            names.extend(list.items.into_iter().filter_map(|it| it.metadata.name));
            match list.metadata.continue_.filter(|it| !it.is_empty()) {
                Some(next) if names.len() < most => page = page.continue_token(&next),
                _ => return Ok(Some(names)),
            }
        }
    }

    /// Whether the user may do that with a resource of [`GROUP`], in one namespace or in all.
    pub async fn may(
        &self,
        user: &User,
        verb: &str,
        (resource, subresource): (&str, Option<&str>),
        namespace: Option<&str>,
    ) -> Result<bool, AccessError> {
        let UserInfo { username, uid, groups, extra } = user.0.clone();
        let attributes = ResourceAttributes {
            group: Some(GROUP.to_owned()),
            // Not an object's version: rules name none.
            version: Some("*".to_owned()),
            resource: Some(resource.to_owned()),
            subresource: subresource.map(str::to_owned),
            verb: Some(verb.to_owned()),
            namespace: namespace.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: username,
            uid,
            groups,
            extra,
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let status = in_time(self.rights.create(&PostParams::default(), &review)).await?.status;
        let status = status.unwrap_or_default();
        match status.evaluation_error {
            // It may have found a rule that allows it all the same.
            Some(error) if !status.allowed => Err(AccessError::Undecided(error)),
            _ => Ok(status.allowed && status.denied != Some(true)),
        }
    }
}

async fn in_time<T>(
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, AccessError> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(|error| AccessError::Failed(Box::new(error))),
        Err(_) => Err(AccessError::Silent(ANSWER)),
    }
}

/// The API group of what rules are about. There are no such objects: it is a name for rules.
pub const GROUP: &str = "kubeshark.io";
/// Namespaces that are listed at a time.
const PAGE: u32 = 500;
/// The longest that the server may take for one answer.
const ANSWER: Duration = Duration::from_secs(5);
