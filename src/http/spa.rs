//! The admin page, embedded in the binary: hashed assets for ever, everything else asked for again, and `index.html` for
//! every path that is a page of the SPA.

use std::sync::LazyLock;

use poem::http::{HeaderValue, StatusCode, header};
use poem::web::Data;
use poem::{Request, Response, handler};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::error::Problem;
use super::place::{base_path, is_insecure};
use crate::services::Services;

/// Identifies the page inside this binary, as its build wrote it. An open page compares it with its own, and offers to
/// load anew when they differ.
pub(crate) fn build_id() -> &'static str {
    static BUILD: LazyLock<String> = LazyLock::new(|| {
        let written = Page::get("build.txt").map(|file| String::from_utf8_lossy(&file.data).trim().to_owned());
        written.unwrap_or_else(|| "dev".to_owned())
    });
    &BUILD
}

/// Replaced in `index.html` by a fresh value for each answer: styles that the page's library adds carry it.
const NONCE: &str = "__CSP_NONCE__";
/// In `index.html`; the base path takes the slash's place.
const BASE: &str = r#"<base href="/">"#;
/// In `index.html`; what a password could be read through says `insecure`.
const LOGIN: &str = r#"<meta name="rollcall-login" content="open">"#;

/// The built page. `allow_missing`: the server builds and runs without Node; it only has no page then.
#[derive(RustEmbed)]
#[folder = "frontend/dist"]
#[allow_missing = true]
struct Page;

#[handler]
pub(super) fn page(request: &Request, Data(services): Data<&Services>) -> poem::Result<Response> {
    let path = request.uri().path().trim_start_matches('/');
    if let Some(file) = Page::get(path).filter(|_| !path.is_empty() && path != "index.html" && !path.ends_with(".br")) {
        return Ok(asset(request, path, file));
    }
    // A missing script must not become a page: a stale tab would run HTML.
    let is_page = !path.starts_with("assets/") && !path.starts_with("api/") && !last(path).contains('.');
    match Page::get("index.html") {
        Some(index) if is_page => Ok(index_html(&index, &base_path(services), is_insecure(request, services))),
        None if is_page => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "page_not_built",
            "This server was built without its page; run make run, or npm run build in frontend, and build again.",
        )
        .into()),
        _ => Err(Problem::not_found("file").into()),
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn asset(request: &Request, path: &str, file: EmbeddedFile) -> Response {
    let tag = format!("\"{}\"", hex(&file.metadata.sha256_hash()[..12]));
    let hashed = path.starts_with("assets/");
    let mut response = Response::builder()
        .header(header::CACHE_CONTROL, if hashed { "public, max-age=31536000, immutable" } else { "no-cache" })
        .header(header::VARY, "Accept-Encoding")
        .header(header::ETAG, &tag);
    if request.header(header::IF_NONE_MATCH).is_some_and(|known| known.contains(&tag)) {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    response = response.header(header::CONTENT_TYPE, content_type(path));
    let takes_brotli =
        request.header(header::ACCEPT_ENCODING).is_some_and(|names| names.split(',').any(|name| name.trim() == "br"));
    match takes_brotli.then(|| Page::get(&format!("{path}.br"))).flatten() {
        Some(compressed) => response.header(header::CONTENT_ENCODING, "br").body(compressed.data.into_owned()),
        None => response.body(file.data.into_owned()),
    }
}

/// `index.html` with what its page must know before it asks: where it stands, and whether one may log in from there.
fn index_html(index: &EmbeddedFile, base: &str, insecure: bool) -> Response {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let html = String::from_utf8_lossy(&index.data).replace(NONCE, &nonce);
    let mut html = html.replace(BASE, &BASE.replace('/', base));
    if insecure {
        html = html.replace(LOGIN, &LOGIN.replace("open", "insecure"));
    }
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    );
    let mut response = Response::builder().content_type("text/html; charset=utf-8").body(html);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
