//! Who may ask.
//!
//! On loopback nobody logs in, so a web page elsewhere must not be able to use a visitor's browser to
//! ask: the request's `Host` must be a name of this machine (a rebound DNS name is not) and its
//! `Origin`, if any, must be that same host. Anywhere else a bearer token is needed, which a browser
//! keeps in a cookie that other sites' requests do not carry. The Hub's own token is that of whoever runs it: it admits
//! to everything, and it is what Workers show. Any other is the cluster's: the API server says whose it is, and
//! what she may see ([`crate::reviews`]).

use crate::{
    error::Error,
    reviews::{Reviews, Whose},
};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{AUTHORIZATION, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE},
    uri::Authority,
};
use query::Rights;
use std::{fmt, sync::Arc, time::Instant};

/// The rule of one server.
#[derive(Clone)]
pub(crate) struct Guard {
    token: Option<Arc<str>>,
    loopback: bool,
    reviews: Option<Reviews>,
}

/// Whoever asks, and what she may see.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// Her name, if the cluster knows her.
    pub(crate) user: Option<Arc<str>>,
    pub(crate) rights: Arc<Rights>,
    /// To ask about her again.
    token: Option<Token>,
    /// Until when that holds; of whoever runs the Hub, always.
    until: Option<Instant>,
}

/// A token that does not show in a log.
#[derive(Clone)]
struct Token(Arc<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Asker {
    /// Whoever runs the Hub.
    fn owner() -> Self {
        Self { user: None, rights: Arc::new(Rights::all()), token: None, until: None }
    }

    /// Refuses what is about everybody, or changes something.
    pub(crate) fn needs_all(&self) -> Result<(), Error> {
        if self.rights.is_all() { Ok(()) } else { Err(Error::NotAll) }
    }

    /// Refuses what is no user's business.
    pub(crate) fn needs_owner(&self) -> Result<(), Error> {
        if self.user.is_none() { Ok(()) } else { Err(Error::NotOwner) }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Guard").field("token", &token).field("loopback", &self.loopback).finish()
    }
}

impl Guard {
    pub(crate) fn new(token: Option<&str>, loopback: bool, reviews: Option<Reviews>) -> Self {
        Self { token: token.map(Arc::from), loopback, reviews }
    }

    /// Is this the browser's own page, or no browser at all?
    fn same_site(&self, headers: &HeaderMap) -> Result<(), Error> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = host.parse::<Authority>().ok();
        let name = name.as_ref().map(Authority::host).unwrap_or_default();
        if self.loopback && !is_loopback(name) {
            return Err(Error::Host(host.to_owned()));
        }
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let same = origin
                .split_once("://")
                .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
            if !same {
                return Err(Error::Origin(origin.to_owned()));
            }
        }
        // Browsers send this where they send no origin, as for an image's address.
        match headers.get(&FETCH_SITE).map(|site| site.as_bytes()) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(Error::Origin("another site".to_owned())),
        }
    }

    /// Who asks.
    async fn asker(&self, headers: &HeaderMap) -> Result<Asker, Error> {
        let Some(token) = &self.token else { return Ok(Asker::owner()) };
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let cookie = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == COOKIE_NAME).then_some(value));
        let owner = bearer.is_some_and(|given| same(given, token))
            || cookie.is_some_and(|given| same(given, &hex(token)));
        if owner {
            return Ok(Asker::owner());
        }
        let theirs = bearer.or_else(|| cookie.and_then(|it| it.strip_prefix(THEIRS)));
        self.known(theirs.ok_or(Error::Token)?).await
    }

    /// Whom the cluster knows by that token.
    async fn known(&self, token: &str) -> Result<Asker, Error> {
        let reviews = self.reviews.as_ref().ok_or(Error::Token)?;
        let Whose { user, rights, until } = reviews.of(token).await?.ok_or(Error::Token)?;
        if *rights == Rights::default() {
            return Err(Error::NoRights(user.to_string()));
        }
        Ok(Asker { user: Some(user), rights, token: Some(Token(token.into())), until: Some(until) })
    }

    /// Whether what was true of an asker still is, and until when that holds; of whoever runs the Hub, always.
    pub(crate) async fn still(&self, asker: &Asker) -> Result<Option<Instant>, Error> {
        let Some(Token(token)) = &asker.token else { return Ok(None) };
        let now = self.known(token).await?;
        match now.rights == asker.rights {
            true => Ok(now.until),
            false => Err(Error::Changed),
        }
    }

    /// Returns when an asker must not see more of what she sees, and why. What was said of her is asked again when it no
    /// longer holds. While that can't be found out she goes on for half as long again: a hiccup of the API server cuts
    /// nobody off, and there is an end to what was taken away.
    pub(crate) async fn lapses(&self, asker: &Asker) -> Error {
        let mut until = asker.until;
        loop {
            let Some((last, reviews)) = until.zip(self.reviews.as_ref()) else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(last.into()).await;
            let good = reviews.good();
            let end = tokio::time::Instant::from_std(last + good / 2);
            let mut why = Error::Unreviewed("no answer yet".to_owned());
            let renewed = async {
                loop {
                    match self.still(asker).await {
                        Ok(again) => return Ok(again),
                        Err(error @ Error::Unreviewed(_)) => {
                            tracing::warn!(%error, "what a tail may show is asked again");
                            why = error;
                        }
                        Err(error) => return Err(error),
                    }
                    tokio::time::sleep(good / RETRIES).await;
                }
            };
            match tokio::time::timeout_at(end, renewed).await {
                Ok(Ok(again)) => until = again,
                Ok(Err(error)) => return error,
                Err(_) => return why,
            }
        }
    }

    /// A visit with the token in the address, as people get it in the terminal: the browser is to keep
    /// it and to forget the address.
    pub(crate) async fn login(&self, given: &str) -> Option<Response> {
        let own = self.token.as_deref()?;
        let kept = if same(given, own) {
            hex(own)
        } else {
            let plain = |it: u8| it.is_ascii_alphanumeric() || b"-_.~+/=".contains(&it);
            let fits = given.len() <= COOKIE_BYTES && given.bytes().all(plain);
            (fits && self.known(given).await.is_ok()).then(|| format!("{THEIRS}{given}"))?
        };
        let cookie = format!("{COOKIE_NAME}={kept}; HttpOnly; SameSite=Strict; Path=/");
        Some(
            (StatusCode::SEE_OTHER, [(LOCATION, "/".to_owned()), (SET_COOKIE, cookie)])
                .into_response(),
        )
    }
}

/// Marks a request of a Worker that showed its certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Certified;

/// For everything that tells or takes something: a known caller from no other site, who stands beside the request as an
/// [`Asker`].
pub(crate) async fn guard(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    // No browser has a Worker's certificate.
    let certified = request.extensions().get::<Certified>().is_some();
    if let (false, Err(error)) = (certified, guard.same_site(request.headers())) {
        return error.into_response();
    }
    match guard.asker(request.headers()).await {
        Ok(asker) => {
            request.extensions_mut().insert(asker);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

/// For the page's files, which tell nothing: only the name must be right.
pub(crate) async fn guard_page(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    let mut headers = HeaderMap::new();
    headers.extend(request.headers().get(HOST).map(|host| (HOST, host.clone())));
    match guard.same_site(&headers) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn is_loopback(name: &str) -> bool {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Compares without telling by its duration how much of the secret was right.
fn same(given: &str, secret: &str) -> bool {
    let (given, secret) = (given.as_bytes(), secret.as_bytes());
    let mut differ = u8::from(given.len() != secret.len());
    for (at, byte) in given.iter().enumerate() {
        differ |= byte ^ secret.get(at % secret.len().max(1)).copied().unwrap_or_default();
    }
    std::hint::black_box(differ) == 0 && !secret.is_empty()
}

/// A token may hold what a cookie may not.
fn hex(token: &str) -> String {
    token.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// How often the API server is asked again while an answer would hold.
const RETRIES: u32 = 30;
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const COOKIE_NAME: &str = "kubeshark-token";
/// Before a token of the cluster in the cookie, which is no hexadecimal digit.
const THEIRS: &str = "t:";
/// What browsers keep in one cookie is about 4 KiB.
const COOKIE_BYTES: usize = 3800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_is_the_same() {
        assert!(same("secret", "secret"));
        for wrong in ["", "s", "secre", "secret2", "secretsecret", "Secret"] {
            assert!(!same(wrong, "secret"), "{wrong}");
        }
        assert!(!same("", ""), "an empty secret admits nobody");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for name in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]", "x.localhost"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in
            ["", "evil.example", "localhost.evil.example", "10.0.0.1", "[::]", "127.0.0.1.nip.io"]
        {
            assert!(!is_loopback(name), "{name}");
        }
    }
}
