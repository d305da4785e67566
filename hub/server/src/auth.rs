//! Who may ask.
//!
//! On loopback nobody logs in, so a web page elsewhere must not be able to use a visitor's browser to
//! ask: the request's `Host` must be a name of this machine (a rebound DNS name is not) and its
//! `Origin`, if any, must be that same host. Anywhere else a bearer token is needed, which a browser
//! keeps in a cookie that other sites' requests do not carry.

use crate::error::Error;
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
use std::{fmt, sync::Arc};

/// The rule of one server.
#[derive(Clone)]
pub(crate) struct Guard {
    token: Option<Arc<str>>,
    loopback: bool,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Guard").field("token", &token).field("loopback", &self.loopback).finish()
    }
}

impl Guard {
    pub(crate) fn new(token: Option<&str>, loopback: bool) -> Self {
        Self { token: token.map(Arc::from), loopback }
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

    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
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
        bearer.is_some_and(|given| same(given, token))
            || cookie.is_some_and(|given| same(given, &hex(token)))
    }

    /// A visit with the token in the address, as people get it in the terminal: the browser is to keep
    /// it and to forget the address.
    pub(crate) fn login(&self, given: &str) -> Option<Response> {
        let token = self.token.as_deref().filter(|token| same(given, token))?;
        let cookie = format!("{COOKIE_NAME}={}; HttpOnly; SameSite=Strict; Path=/", hex(token));
        Some(
            (StatusCode::SEE_OTHER, [(LOCATION, "/".to_owned()), (SET_COOKIE, cookie)])
                .into_response(),
        )
    }
}

/// For everything that tells or takes something: a known caller from no other site.
pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if let Err(error) = guard.same_site(request.headers()) {
        return error.into_response();
    }
    if !guard.knows(request.headers()) {
        return Error::Token.into_response();
    }
    next.run(request).await
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

static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const COOKIE_NAME: &str = "kubeshark-token";

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
