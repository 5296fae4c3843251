//! Who comes by HTTP: the accept loop, the outermost layer every request passes, REST by resource, HotGo's routes, the page,
//! and the socket's handshake. Deliberately absent: SQL (rows become types of our own here) and the meaning of events.

mod api;
mod body;
mod cors;
mod docs;
mod error;
mod gate;
mod health;
mod hotgo;
mod key_rate;
mod memory;
mod methods;
mod metrics;
mod page;
mod place;
mod security;
mod serve;
mod socket;
mod spa;
mod stream;
mod tls;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::middleware::CookieJarManager;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, get, post};
use tracing::Instrument;

pub use docs::openapi_document;
pub(crate) use error::Problem;
pub(crate) use gate::{Gate, GateLimits};
pub(crate) use metrics::metrics_endpoint;
pub(crate) use serve::{Patience, serve};
pub(crate) use socket::SocketDoor;
pub(crate) use spa::build_id;
pub use tls::{Tls, TlsError};

use crate::jobs::Board;
use crate::services::{Fence, Services};
use cors::Cors;
use key_rate::KeyRate;
use methods::Methods;
use security::RequestId;

/// Everything that is answered.
pub(crate) fn endpoint(
    services: Services,
    gate: Arc<Gate>,
    door: SocketDoor,
    board: Arc<Board>,
) -> impl Endpoint<Output = Response> + 'static {
    let api = api::service(place::base_path(&services).as_str());
    let methods = Methods::of(&api.spec());
    let routes = Route::new()
        .at("/socket", get(socket::open_socket))
        .at("/socket/send/toTag", post(hotgo::send_to_tag))
        .at("/admin/monitor/userOnlineList", get(hotgo::user_online_list))
        .at("/admin/monitor/userOffline", post(hotgo::user_offline))
        .at("/health/live", get(health::live))
        .at("/health/ready", get(health::ready))
        .at("/docs", get(docs::page))
        .at("/api/v1/openapi.json", get(docs::openapi))
        .at("/api/v1/asyncapi.json", get(docs::asyncapi))
        .nest("/api/v1", api)
        .at("/*", get(spa::page));
    let routes = routes.with(CookieJarManager::new()).data(services.clone()).data(door).data(board);
    Outermost { services, gate, methods, routes: Arc::new(routes) }
}

/// What every request passes: an id, who may read the answer, its bounds, the log line, and one body for every failure.
struct Outermost<E> {
    services: Services,
    gate: Arc<Gate>,
    methods: Methods,
    routes: Arc<E>,
}

impl<E: Endpoint<Output: IntoResponse>> Endpoint for Outermost<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let id = uuid::Uuid::now_v7().simple().to_string();
        request.set_data(RequestId(id.clone()));
        let key_rate = KeyRate::default();
        request.set_data(key_rate.clone());
        // The path only: a query may hold a ticket or a token.
        let span = tracing::info_span!("request", id, method = %request.method(), path = request.uri().path());
        let started = self.services.clock().monotonic();
        let cors = Cors::of(&request, &self.services);
        let elsewhere = cors.preflight().or_else(|| place::arrive(&mut request, &self.services));
        let mut response = match elsewhere {
            Some(response) => response,
            None => self.answer(request, &id).instrument(span.clone()).await,
        };
        let took_ms = self.services.clock().monotonic().saturating_sub(started).as_millis() as u64;
        span.in_scope(|| tracing::info!(status = response.status().as_u16(), took_ms, "answered"));
        cors.mark(response.headers_mut());
        key_rate.mark(response.headers_mut());
        finish(response.headers_mut(), &id);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS && self.gate.is_crowded() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

impl<E: Endpoint<Output: IntoResponse>> Outermost<E> {
    async fn answer(&self, mut request: Request, id: &str) -> Response {
        if let Some(problem) = self.gate.turn_away(&request) {
            return problem.into_response(id);
        }
        if self.services.fence() != Fence::Open && asks_for_data(request.uri().path()) {
            return Problem::unavailable().into_response(id);
        }
        let server = &self.services.config().server;
        let body = match read_body(&mut request, server.max_body, server.request_timeout).await {
            Ok(body) => body,
            Err(problem) => return problem.into_response(id),
        };
        fill_in_body(&mut request, body);
        let uri = request.uri().clone();
        // Boxed, or all that stands around it would be kilobytes, moved from hand to hand with each request.
        let answering = AssertUnwindSafe(Box::pin(self.routes.call(request))).catch_unwind();
        match tokio::time::timeout(server.request_timeout, answering).await {
            Ok(Ok(Ok(response))) => response.into_response(),
            Ok(Ok(Err(error))) => self.refusal(error, uri.path(), id),
            // The panic's own message is in the log already; the connection and everybody else go on.
            Ok(Err(_)) => Problem::internal().into_response(id),
            Err(_) => Problem::unavailable().into_response(id),
        }
    }

    fn refusal(&self, error: poem::Error, path: &str, id: &str) -> Response {
        let mut response = problem_of(error).into_response(id);
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, self.methods.allowed(path));
        }
        response
    }
}

/// Whether the answer depends on who may see or do what. The page, the documents and the health of this node do not; a
/// handshake is told in its own way.
fn asks_for_data(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/admin/") || path.starts_with("/socket/")
}

/// Nobody sends a body with DELETE unless there is something to say; the framework wants one all the same.
fn fill_in_body(request: &mut Request, body: Bytes) {
    if body.is_empty() && request.method() == Method::DELETE {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.set_body("{}");
    } else {
        request.set_body(body);
    }
}

async fn read_body(request: &mut Request, max: usize, limit: Duration) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(limit, request.take_body().into_bytes_limit(max)).await;
    match read {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(poem::error::ReadBodyError::PayloadTooLarge)) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("The body is larger than the {max} bytes this server takes."),
        )),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request", "The body ended early.")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The body took too long.")),
    }
}

fn problem_of(error: poem::Error) -> Problem {
    match error.downcast::<Problem>() {
        Ok(problem) => problem,
        Err(error) => {
            let problem = Problem::of_framework(&error);
            if problem.status().is_server_error() {
                tracing::error!(%error, "a request failed");
            }
            problem
        }
    }
}

/// Headers of every answer. Nothing of ours belongs into a frame, is sniffed, or is kept by a proxy unless it says so.
fn finish(headers: &mut poem::http::HeaderMap, id: &str) {
    let mut set = |name: &'static str, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set("x-content-type-options", "nosniff");
    set("x-frame-options", "DENY");
    set("referrer-policy", "same-origin");
    set("cross-origin-opener-policy", "same-origin");
    set("permissions-policy", "camera=(), microphone=(), geolocation=()");
    set("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
    set(header::CACHE_CONTROL.as_str(), "no-store");
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", id);
    }
}
