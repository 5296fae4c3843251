//! Pages of other origins that may read our answers: those of `server.allowed_origins`, never `*`. poem's own layer refuses
//! every request of an origin that is not listed, our own page's too, and allows credentials for all paths or none.
//!
//! The Fetch standard, section 3.3 "HTTP-CORS protocol".

use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};

use super::security::page_allowed;
use crate::services::Services;

/// Seconds a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PATCH, DELETE");
/// `X-Rollcall` is the refresh's.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, x-rollcall");
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static("retry-after, x-request-id");
/// Where the refresh cookie travels; everything else is called with a token, which a page must have on purpose.
const WITH_COOKIE: [&str; 3] = ["/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/logout"];

/// What the page that sends a request may do with the answer.
pub(super) struct Cors {
    /// The page's origin, when it is one of those allowed.
    origin: Option<HeaderValue>,
    credentials: bool,
    preflight: bool,
}

impl Cors {
    pub(super) fn of(request: &Request, services: &Services) -> Cors {
        let origin = request.headers().get(header::ORIGIN).filter(|_| page_allowed(request, services)).cloned();
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Cors {
            preflight: origin.is_some() && asks && request.method() == Method::OPTIONS,
            credentials: WITH_COOKIE.iter().any(|path| request.uri().path().ends_with(path)),
            origin,
        }
    }

    /// The answer to a browser that asks before it calls. None for a call, and for pages that may not.
    pub(super) fn preflight(&self) -> Option<Response> {
        if !self.preflight {
            return None;
        }
        let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(response)
    }

    /// Marks an answer with who may read it.
    pub(super) fn mark(self, headers: &mut HeaderMap) {
        // Also where nobody may: a cache must not give this answer to somebody who may.
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(origin) = self.origin else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}
