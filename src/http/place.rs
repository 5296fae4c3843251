//! Where we stand as people see us: scheme, host and base path, by `server.public_url` or else by the request; and whether a
//! password may travel there.

use std::net::IpAddr;

use poem::http::uri::{PathAndQuery, Scheme, Uri};
use poem::http::{StatusCode, header};
use poem::{Request, Response};

use super::error::Problem;
use super::security::peer;
use crate::services::Services;

/// Takes the base path off a request that still has it; a proxy may have stripped it before. An answer instead where only
/// the last slash is missing.
pub(super) fn arrive(request: &mut Request, services: &Services) -> Option<Response> {
    let config = services.config();
    let base = config.server.public_url.base_path();
    if base == "/" {
        return None;
    }
    let path = request.uri().path();
    if path == base.trim_end_matches('/') {
        let there = Response::builder().status(StatusCode::PERMANENT_REDIRECT);
        return Some(there.header(header::LOCATION, base).finish());
    }
    let rest = path.strip_prefix(base)?;
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    // What remains of a path is one: it begins with a slash and holds what was valid before.
    if let Ok(inner) = format!("/{rest}{query}").parse::<PathAndQuery>() {
        *request.uri_mut() = Uri::from(inner);
    }
    None
}

/// As `/rollcall/`.
pub(crate) fn base_path(services: &Services) -> String {
    services.config().server.public_url.base_path().to_owned()
}

/// The scheme and the host that our own pages have.
pub(crate) fn own_origin(request: &Request, services: &Services) -> (&'static str, String) {
    let host = match services.config().server.public_url.origin() {
        Some((_, host)) => host,
        None => request.header(header::HOST).unwrap_or_default().to_owned(),
    };
    (scheme(request, services), host)
}

/// `https` where `server.public_url` says so; without it, where the request came over TLS or a trusted proxy says so.
pub(crate) fn scheme(request: &Request, services: &Services) -> &'static str {
    let config = services.config();
    let https = match config.server.public_url.origin() {
        Some((scheme, _)) => scheme == "https",
        None => came_over_tls(request, services).unwrap_or(false),
    };
    if https { "https" } else { "http" }
}

/// Whether a request came over TLS; nothing where that is not known: a proxy that is not listed may speak it, or one that is
/// does not say.
fn came_over_tls(request: &Request, services: &Services) -> Option<bool> {
    if *request.scheme() == Scheme::HTTPS {
        return Some(true);
    }
    let config = services.config();
    let peer = request.remote_addr().as_socket_addr().map(|address| address.ip().to_canonical());
    let trusted = peer.is_some_and(|peer| config.server.trusted_proxies.iter().any(|net| net.contains(&peer)));
    if trusted {
        return request.header("x-forwarded-proto").map(|scheme| scheme.eq_ignore_ascii_case("https"));
    }
    // Past the proxies there are.
    (!config.server.trusted_proxies.is_empty()).then_some(false)
}

/// Whether a password would travel where others can read it. What is known of the request counts more than
/// `server.public_url`: the same server may be reached in the clear as well.
pub(crate) fn is_insecure(request: &Request, services: &Services) -> bool {
    let allowed = services.config().server.insecure_http;
    let came = match came_over_tls(request, services) {
        Some(true) => "https",
        Some(false) => "http",
        None => scheme(request, services),
    };
    !allowed && is_readable(came, peer(request, services))
}

/// 403 where [`is_insecure`].
pub(crate) fn secure_only(request: &Request, services: &Services) -> Result<(), Problem> {
    if !is_insecure(request, services) {
        return Ok(());
    }
    let detail = "Over plain http others can read your password. Come by https: set server.public_url to that address, or \
                  server.trusted_proxies to the proxy that speaks TLS and says X-Forwarded-Proto: https; or set \
                  server.insecure_http = true.";
    Err(Problem::new(StatusCode::FORBIDDEN, "insecure_http", detail))
}

/// Only what stays on one machine is nobody else's to read.
fn is_readable(scheme: &str, client: IpAddr) -> bool {
    scheme != "https" && !client.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::is_readable;

    #[test]
    fn only_plain_http_from_another_machine_can_be_read() {
        for (scheme, client, readable) in [
            ("http", "127.0.0.1", false),
            ("http", "127.8.0.1", false),
            ("http", "::1", false),
            ("http", "::ffff:127.0.0.1", false),
            ("http", "192.0.2.1", true),
            ("http", "10.0.0.1", true),
            ("http", "2001:db8::1", true),
            ("https", "192.0.2.1", false),
        ] {
            assert_eq!(is_readable(scheme, client.parse().unwrap()), readable, "{scheme} {client}");
        }
    }
}
