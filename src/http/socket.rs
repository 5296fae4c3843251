//! The other door: `GET /socket`. Credential, session, origin and limits are checked before the upgrade and before anything
//! is registered; then the raw stream goes to `realtime`, and nothing of HTTP stays with it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::SecondsFormat;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::Data;
use poem::{Request, Response, handler};
use serde::Serialize;
use sha1::{Digest, Sha1};
use tokio_util::task::TaskTracker;

use super::error::Problem;
use super::gate::full;
use super::security::{header_token, origin, page_allowed};
use super::serve::{Upgrade, Upgraded};
use crate::auth::{Identity, Permissions, limit_key, looks_like_api_key};
use crate::events::Registry;
use crate::protocol::{CloseCode, CloseReason, Message};
use crate::realtime::{ConnectionLimits, Interest, NewClient, Refused, Registration, Wire, run, send_away};
use crate::services::{Denied, Door, Fence, KeyDenied, Origin, Services, ended_words};

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The subprotocol of clients that read close codes and reasons.
const SUBPROTOCOL: &str = "rollcall.v1";

/// What a handshake shows, and whether the client knows `auth/refresh`.
enum Credential {
    Token { token: String, as_session: bool },
    Ticket(String),
}

/// A handshake that passed every check.
struct Admitted {
    identity: Identity,
    scopes: Permissions,
    /// Whether the socket lives as long as its session: HotGo's clients know no refresh.
    as_session: bool,
    /// `Services::changes` before anything was looked up.
    changes: u64,
}

/// Why a handshake is refused: the HTTP answer, and what a browser, which cannot read that, is told by a close frame.
struct Refusal {
    problem: Problem,
    close: CloseReason,
}

/// The door's own state.
#[derive(Clone)]
pub(crate) struct SocketDoor {
    pub(crate) registry: Arc<Registry>,
    pub(crate) tasks: TaskTracker,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connected<'a> {
    client_id: uuid::Uuid,
    session_id: uuid::Uuid,
    user_id: &'a str,
    username: &'a str,
    node: &'a str,
    build: &'static str,
    ping_interval_seconds: u64,
    idle_timeout_seconds: u64,
    expires_at: String,
    limits: ConnectedLimits,
    reconnect: Reconnect,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectedLimits {
    max_frame_bytes: usize,
    max_rooms: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reconnect {
    min_ms: u64,
    max_ms: u64,
}

/// Opens a socket.
#[handler]
pub(crate) async fn open_socket(
    request: &Request,
    Data(services): Data<&Services>,
    Data(door): Data<&SocketDoor>,
) -> poem::Result<Response> {
    let key = websocket_key(request)?;
    if !page_allowed(request, services) {
        if let Some(Credential::Ticket(ticket)) = credential(request, services) {
            // A ticket that was shown to us is spent, whatever becomes of the handshake.
            let _ = services.take_ticket(&ticket).await;
        }
        services.handshakes().count("origin_not_allowed");
        let detail = "This origin may not open sockets here; add it to server.allowed_origins.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail).into());
    }
    let from = origin(request, services);
    let offers_v1 = subprotocols(request).any(|name| name == SUBPROTOCOL);
    let admitted = admit(request, services, &from).await;
    services.handshakes().count(admitted.as_ref().map_or_else(|refusal| refusal.problem.word(), |_| "accepted"));
    let admitted = match admitted {
        Ok(admitted) => Ok(admitted),
        // A browser cannot read the status of a failed upgrade: it is let in, told, and sent away.
        Err(refusal) if offers_v1 => Err(refusal.close),
        Err(refusal) => return Err(refusal.problem.into()),
    };
    let Some(upgrade) = request.data::<Upgrade>().and_then(Upgrade::take) else {
        return Err(
            Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "This path speaks WebSocket.").into()
        );
    };
    let (services, registry, tasks) = (services.clone(), door.registry.clone(), door.tasks.clone());
    door.tasks.spawn(async move {
        let Some(Upgraded { wire, early, answer }) = upgrade.await else { return };
        let opened = match admitted {
            Ok(admitted) => open(&services, admitted, from, wire.clone(), answer.clone()).await,
            Err(reason) => Err(reason),
        };
        match opened {
            // A task of its own, which is as large as it needs and lives as long as the socket; this one ends.
            Ok(registration) => _ = tasks.spawn(stay(services, registry, registration, wire, early)),
            Err(reason) => send_away(wire, answer, &reason).await,
        }
    });
    Ok(switching_protocols(&key, offers_v1))
}

/// RFC 6455 section 4.2.1.
fn websocket_key(request: &Request) -> Result<String, Problem> {
    let has = |name, value: &str| {
        let words = request.headers().get_all(name).iter().filter_map(|line| line.to_str().ok());
        words.flat_map(|line| line.split(',')).any(|word| word.trim().eq_ignore_ascii_case(value))
    };
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "This path speaks WebSocket."));
    }
    if request.header(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request", "Sec-WebSocket-Version must be 13."));
    }
    match request.header(header::SEC_WEBSOCKET_KEY) {
        Some(key) if STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) => Ok(key.to_owned()),
        _ => Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request", "Sec-WebSocket-Key must be 16 bytes in base64.")),
    }
}

fn switching_protocols(key: &str, offers_v1: bool) -> Response {
    let accept = STANDARD.encode(Sha1::digest(format!("{key}{ACCEPT_GUID}")));
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .finish();
    if offers_v1 {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    response
}

fn subprotocols(request: &Request) -> impl Iterator<Item = &str> {
    let lines = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// The first credential found wins; a bad one is never passed over for the next.
fn credential(request: &Request, services: &Services) -> Option<Credential> {
    let token = |token: &str, as_session| Credential::Token { token: token.to_owned(), as_session };
    let offered = |prefix| subprotocols(request).find_map(move |name| name.strip_prefix(prefix));
    let config = services.config();
    if let Some(bearer) = offered("bearer.") {
        return Some(token(bearer, false));
    }
    if let Some(bearer) = header_token(request.headers()) {
        return Some(token(bearer, false));
    }
    if let Some(ticket) = offered("ticket.").map(str::to_owned).or_else(|| query(request, "ticket")) {
        return Some(Credential::Ticket(ticket));
    }
    // A cookie travels by itself: only with an origin, which has been checked, is it a page's own wish.
    if config.auth.access_cookie && request.headers().contains_key(header::ORIGIN) {
        let cookie = request.cookie().get("rollcall_access").map(|cookie| cookie.value_str().to_owned());
        if let Some(cookie) = cookie {
            return Some(token(&cookie, false));
        }
    }
    config.socket.token_in_query.then(|| query(request, "authorization")).flatten().map(|bearer| token(&bearer, true))
}

fn query(request: &Request, key: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(request.uri().query()?.as_bytes());
    pairs.into_iter().find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
}

async fn admit(request: &Request, services: &Services, from: &Origin) -> Result<Admitted, Refusal> {
    let (credential, changes) = (credential(request, services), services.changes());
    if services.is_full() {
        if let Some(Credential::Ticket(ticket)) = credential {
            let _ = services.take_ticket(&ticket).await;
        }
        return Err(too_busy(services, "This server has as many sockets as it takes."));
    }
    if services.fence() != Fence::Open {
        let close = CloseReason { retry_after_ms: Some(1000), ..CloseReason::new(CloseCode::Overload) };
        return Err(Refusal { problem: Problem::unavailable(), close });
    }
    let identified = match credential {
        None => Err(Denied::Missing),
        Some(Credential::Token { token, as_session }) => {
            let bare = token.strip_prefix("Bearer ").unwrap_or(&token);
            let identified = services.identify_at(Door::Handshake, bare, Some(from)).await;
            identified.map(|(identity, scopes)| Admitted { identity, scopes, as_session, changes })
        }
        Some(Credential::Ticket(ticket)) if looks_like_api_key(&ticket) => Err(Denied::Key(KeyDenied::NoSocket)),
        Some(Credential::Ticket(ticket)) => match services.take_ticket(&ticket).await {
            Err(denied) => Err(denied),
            Ok(ticket) => services
                .standing(Door::Handshake, ticket.session, ticket.expires_at)
                .await
                .map(|(identity, scopes)| Admitted { identity, scopes, as_session: false, changes }),
        },
    };
    let admitted = identified.map_err(|denied| refusal(denied, services, from))?;
    let user = &admitted.identity.user;
    if let Err(wait) = services.limits().handshakes.check(user) {
        return Err(too_many("This user opens sockets too often.", wait.as_secs() + 1));
    }
    services.manager().admits(user, from.ip).map_err(|refused| not_taken(refused, services))?;
    if services.is_draining() {
        return Err(elsewhere(services));
    }
    if !services.has_place_elsewhere(user).await {
        return Err(not_taken(Refused::TooManyOfUser, services));
    }
    Ok(admitted)
}

/// A failed credential counts against its address; only then is the address's limit asked.
fn refusal(denied: Denied, services: &Services, from: &Origin) -> Refusal {
    if denied.status() == 401
        && let Err(wait) = services.limits().failed_handshakes.check(&limit_key(from.ip))
    {
        return too_many("Too many failed handshakes from this address.", wait.as_secs() + 1);
    }
    tracing::debug!(request.id = from.request_id, reason = denied.word(), "handshake refused");
    let unauthorized = |sentence: String| CloseReason::new(CloseCode::Unauthorized).text(sentence);
    let close = match &denied {
        Denied::Token(crate::auth::TokenError::Expired) => CloseReason::token_expired(),
        Denied::Disabled => ended_words(Some(crate::store::Kind::Disable), "", None).0,
        Denied::PasswordChange => CloseReason::new(CloseCode::Forbidden).text(denied.sentence()),
        Denied::Locked { until, reason, .. } => ended_words(Some(crate::store::Kind::Kick), reason, Some(*until)).0,
        Denied::Unavailable => CloseReason { retry_after_ms: Some(1000), ..CloseReason::new(CloseCode::Overload) },
        denied => unauthorized(denied.sentence()),
    };
    Refusal { problem: denied.into(), close }
}

fn too_many(detail: &str, seconds: u64) -> Refusal {
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(seconds);
    // Not 4429: that is a lockout, after which a client stays away. This one shall come back later.
    let close = CloseReason { retry_after_ms: Some(seconds * 1000), ..CloseReason::new(CloseCode::Overload) };
    Refusal { problem, close: close.text(detail) }
}

fn not_taken(refused: Refused, services: &Services) -> Refusal {
    let per_user = services.config().socket.per_user;
    match refused {
        Refused::Full => too_busy(services, "This server has as many sockets as it takes."),
        Refused::TooManyOfAddress => too_busy(services, "This address has as many sockets as it may."),
        Refused::TooManyOfUser => {
            let detail = format!("This user has {} sockets already, which is the limit.", per_user);
            Refusal {
                close: CloseReason::new(CloseCode::Replaced).text(detail.clone()),
                problem: Problem::new(StatusCode::CONFLICT, "too_many_sockets", detail),
            }
        }
    }
}

/// Another node may take the client at once; where there is none, this one is back in a moment.
fn elsewhere(services: &Services) -> Refusal {
    let detail = "This server takes nobody in at the moment; come back in a moment.";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail).retry_after(1);
    let retry_after_ms = Some(services.retry_elsewhere().as_millis() as u64);
    let close = CloseReason { retry_after_ms, ..CloseReason::new(CloseCode::Overload) };
    Refusal { problem, close: close.text(detail) }
}

fn too_busy(services: &Services, detail: &str) -> Refusal {
    let retry_after_ms = Some(services.retry_after().as_millis() as u64);
    let close = CloseReason { retry_after_ms, ..CloseReason::new(CloseCode::Overload) };
    Refusal { problem: full(services, detail), close: close.text(detail) }
}

/// Registers the client and greets it; or why it may not stay.
async fn open(
    services: &Services,
    admitted: Admitted,
    from: Origin,
    wire: Arc<Wire>,
    answer: Bytes,
) -> Result<Registration, CloseReason> {
    let Admitted { identity, scopes, as_session, changes } = admitted;
    let session = identity.session;
    let expires_at = if as_session { identity.session_expires_at } else { identity.expires_at };
    let new = NewClient {
        user: identity.user.clone(),
        session,
        app: identity.app.clone(),
        rights: identity.rights.clone(),
        scopes,
        avatar: identity.avatar.clone(),
        ip: from.ip,
        agent: from.agent,
        logged_in_at: identity.logged_in_at,
        expires_at,
        answer,
    };
    // What another node publishes once the client has read `connected` shall reach it.
    let _expected = match services.broker().expect(Interest::User(identity.user.clone())) {
        Some(expecting) => Some(expecting.await),
        None => None,
    };
    let registration = services.manager().register(new, wire).map_err(|refused| not_taken(refused, services).close)?;
    let client = registration.client();
    tracing::info!(client.id = %client.id, user.id = %client.user, request.id = from.request_id, "socket opened");
    services.arrived(&client.user);
    client.greet(&greeting(services, client));
    // From here on a kick finds the client. Whatever was taken away since the look-up may have missed it, so that one more look
    // closes the gap.
    if services.changes() != changes {
        match services.standing(Door::Handshake, session, expires_at).await {
            Ok((identity, _)) if identity.rights != client.rights() => services.renew_rights_here(&client.user).await,
            Ok(_) | Err(Denied::Unavailable) => {}
            Err(denied) => {
                let (reason, cause) = ended_words(None, &denied.sentence(), None);
                client.close(&reason, cause);
            }
        }
    }
    Ok(registration)
}

/// Stays with a client to its end.
fn stay(
    services: Services,
    registry: Arc<Registry>,
    registration: Registration,
    wire: Arc<Wire>,
    early: Vec<u8>,
) -> impl Future<Output = ()> + Send {
    let client = registration.client().clone();
    let limits = {
        let socket = &services.config().socket;
        let (max_frame, frames_per_second) = (socket.max_frame, socket.frames_per_second);
        ConnectionLimits { max_frame, frames_per_second, frame_burst: socket.frame_burst }
    };
    let running = run(registration, wire, early, registry, limits);
    async move {
        running.await;
        tracing::info!(client.id = %client.id, user.id = %client.user, cause = ?client.end(), "socket closed");
        services.writer().write(crate::store::Entry::SessionSeen { id: client.session, at: services.clock().now() });
    }
}

fn greeting(services: &Services, client: &crate::realtime::Client) -> Message {
    let socket = &services.config().socket;
    let connected = Connected {
        client_id: client.id,
        session_id: client.session,
        user_id: client.user.as_str(),
        username: &client.rights().username,
        node: services.node(),
        build: super::build_id(),
        ping_interval_seconds: socket.ping_interval.as_secs(),
        idle_timeout_seconds: socket.idle_timeout.as_secs(),
        expires_at: client.expires_at().to_rfc3339_opts(SecondsFormat::Secs, true),
        limits: ConnectedLimits { max_frame_bytes: socket.max_frame, max_rooms: socket.max_rooms },
        reconnect: Reconnect {
            min_ms: socket.reconnect_min.as_millis() as u64,
            max_ms: socket.reconnect_max.as_millis() as u64,
        },
    };
    Message::push("connected", Some(&connected), services.clock().now().timestamp())
}
