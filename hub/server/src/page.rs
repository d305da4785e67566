//! The page: what `cargo xtask ui` laid in `page/` when this was compiled.

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
        ETAG, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use rust_embed::RustEmbed;
use std::borrow::Cow;

use crate::auth::Guard;

#[derive(RustEmbed)]
#[folder = "page/"]
struct Files;

struct File {
    bytes: Cow<'static, [u8]>,
    hash: [u8; 32],
}

impl File {
    fn find(name: &str) -> Option<Self> {
        let file = Files::get(name)?;
        Some(Self { hash: file.metadata.sha256_hash(), bytes: file.data })
    }
}

/// Any address that is no route: a file of the page, or the page itself, which reads the address.
pub(crate) async fn page(State(guard): State<Guard>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let query = request.uri().query().unwrap_or_default();
    let token = url::form_urlencoded::parse(query.as_bytes())
        .find_map(|(name, value)| (name == "token").then_some(value));
    if let Some(token) = token
        && let Some(response) = guard.login(&token).await
    {
        return response;
    }
    answer(request.uri().path(), request.headers(), File::find)
}

fn answer(path: &str, headers: &HeaderMap, files: impl Fn(&str) -> Option<File>) -> Response {
    let path = path.trim_start_matches('/');
    let hidden = path.ends_with(".br") || path.split('/').any(|part| part.starts_with('.'));
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    let name = if path.is_empty() || !is_file { INDEX } else { path };
    let Some(file) = (!hidden).then(|| files(name)).flatten() else {
        if name == INDEX && !hidden {
            return (StatusCode::NOT_FOUND, NO_PAGE).into_response();
        }
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };

    let etag: String = file.hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let etag = format!("\"{etag}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = known.is_some_and(|known| {
        known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag)
    });

    let packed = accepts_brotli(headers).then(|| files(&format!("{name}.br"))).flatten();
    let mut response = Response::new(if unchanged {
        Body::empty()
    } else {
        match packed.as_ref().unwrap_or(&file).bytes.clone() {
            Cow::Borrowed(bytes) => Body::from(bytes),
            Cow::Owned(bytes) => Body::from(bytes),
        }
    });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(mime(name)));
    out.insert(VARY, HeaderValue::from_static("accept-encoding"));
    // Always asked, and answered with 304 as long as the program is the same.
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        out.insert(ETAG, etag);
    }
    if packed.is_some() {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    response
}

/// What every answer carries: nothing from elsewhere is loaded, run, or may frame this.
pub(crate) fn security() -> [(HeaderName, &'static str); 4] {
    [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; style-src-attr 'unsafe-inline'; \
         img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ]
}

fn accepts_brotli(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|coding| coding.trim().replace(' ', ""))
        .any(|coding| {
            coding == "br"
                || coding.starts_with("br;q=") && !["br;q=0", "br;q=0.0"].contains(&coding.as_str())
        })
}

/// What the page consists of; a guess from the name would also cover what it doesn't.
fn mime(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

const INDEX: &str = "index.html";
const NO_PAGE: &str = "This hub was built without its page: run `cargo xtask ui` and build it again. The API is at /api, described at /api/openapi.json.\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn files(name: &str) -> Option<File> {
        let bytes: &'static [u8] = match name {
            "index.html" => b"<!doctype html>",
            "ui.wasm" => b"\0asm",
            "ui.wasm.br" => b"packed",
            _ => return None,
        };
        Some(File { bytes: bytes.into(), hash: [7; 32] })
    }

    fn get(path: &str, headers: &[(HeaderName, &'static str)]) -> Response {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        answer(path, &headers, files)
    }

    #[test]
    fn packed_only_for_who_unpacks() {
        let packed = get("/ui.wasm", &[(ACCEPT_ENCODING, "gzip, deflate, br, zstd")]);
        assert_eq!(packed.headers()[CONTENT_ENCODING], "br");
        assert_eq!(packed.headers()[CONTENT_TYPE], "application/wasm");
        let plain = get("/ui.wasm", &[(ACCEPT_ENCODING, "gzip, br;q=0")]);
        assert!(!plain.headers().contains_key(CONTENT_ENCODING));
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let first = get("/ui.wasm", &[]);
        let etag: &'static str = first.headers()[ETAG].to_str().unwrap().to_owned().leak();
        assert_eq!(get("/ui.wasm", &[(IF_NONE_MATCH, etag)]).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(get("/ui.wasm", &[(IF_NONE_MATCH, "\"other\"")]).status(), StatusCode::OK);
    }

    #[test]
    fn an_address_of_the_page_is_the_page_and_a_missing_file_is_missing() {
        assert_eq!(get("/sql", &[]).headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        for missing in ["/nothing.js", "/ui.wasm.br", "/.gitignore", "/.x/index.html"] {
            assert_eq!(get(missing, &[]).status(), StatusCode::NOT_FOUND, "{missing}");
        }
    }

    #[test]
    fn without_a_page_the_root_says_how_to_get_one() {
        assert_eq!(answer("/", &HeaderMap::new(), |_| None).status(), StatusCode::NOT_FOUND);
    }
}
