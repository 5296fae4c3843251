//! Opening a socket: every way to bring a credential, and everything that is refused before anything is registered.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rollcall::auth::UserKey;
use rollcall::config::ConnectionPolicy;
use serde_json::json;

use crate::harness::{TestApp, TestSocket, TestUser};

/// Handshakes with these headers and this query: the HTTP status, 101 for success.
async fn status(app: &TestApp, headers: &[(&str, &str)], query: &str) -> u16 {
    match TestSocket::dial(app, headers, query).await {
        Ok(socket) => {
            drop(socket);
            101
        }
        Err(status) => status,
    }
}

/// What a browser is told that offers `rollcall.v1`: the close code and the reason.
async fn told(app: &TestApp, credential: &str) -> (u16, serde_json::Value) {
    let offer = format!("rollcall.v1, {credential}");
    let socket = TestSocket::dial(app, &[("sec-websocket-protocol", &offer)], "").await.unwrap();
    assert_eq!(socket.response.headers()["sec-websocket-protocol"], "rollcall.v1");
    let ended = socket.ended().await;
    assert!(ended.frames.is_empty(), "nothing is said before the close: {:?}", ended.frames);
    (ended.code, ended.reason)
}

/// A token that an attacker made, or our own with other claims.
fn forged(user: &TestUser, change: &[(&str, serde_json::Value)], algorithm: Algorithm, key: &[u8]) -> String {
    let mut claims = json!({"iss": "rollcall", "aud": "rollcall", "sub": user.id, "sid": user.session,
        "jti": "x", "iat": 1_700_000_000, "exp": 4_000_000_000_u64});
    for (name, value) in change {
        claims[*name] = value.clone();
    }
    encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(key)).unwrap()
}

#[tokio::test]
async fn every_way_to_bring_a_credential_opens_a_socket() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let token = &bob.token;
    let bearer = format!("rollcall.v1, bearer.{token}");
    let socket = TestSocket::open(&app, &[("sec-websocket-protocol", &bearer)], "").await.unwrap();
    assert_eq!(socket.response.headers()["sec-websocket-protocol"], "rollcall.v1");
    assert_eq!(socket.connected["userId"], bob.id.as_str());
    assert_eq!(socket.connected["limits"], json!({"maxFrameBytes": 65536, "maxRooms": 64}));
    drop(socket);
    assert_eq!(status(&app, &[("authorization", &format!("Bearer {token}"))], "").await, 101);
    assert_eq!(status(&app, &[("authorization", token)], "").await, 101, "the bare token, as HotGo sends it");
    assert_eq!(status(&app, &[], &format!("?authorization={token}")).await, 101);
    let ticket = format!("rollcall.v1, ticket.{}", bob.ticket().await);
    assert_eq!(status(&app, &[("sec-websocket-protocol", &ticket)], "").await, 101);
    assert_eq!(status(&app, &[], &format!("?ticket={}", bob.ticket().await)).await, 101);
    app.shutdown().await;
}

#[tokio::test]
async fn the_first_credential_counts_and_a_bad_one_is_never_passed_over_for_a_good_one() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let (good, header) = (format!("?authorization={}", bob.token), format!("Bearer {}", bob.token));
    assert_eq!(status(&app, &[("authorization", "Bearer nonsense")], &good).await, 401);
    assert_eq!(
        status(&app, &[("sec-websocket-protocol", "bearer.nonsense"), ("authorization", &header)], "").await,
        401
    );
    assert_eq!(status(&app, &[], &format!("?ticket=nonsense&authorization={}", bob.token)).await, 401);
    // The header stands before the ticket, so the ticket is not even tried.
    let ticket = bob.ticket().await;
    assert_eq!(status(&app, &[("authorization", "nonsense")], &format!("?ticket={ticket}")).await, 401);
    assert_eq!(status(&app, &[], &format!("?ticket={ticket}")).await, 101);
    app.shutdown().await;
}

#[tokio::test]
async fn a_ticket_opens_one_socket_within_its_time() {
    // Where several nodes share tickets, Redis says when they are too old.
    let app = TestApp::alone(|_| {}).await;
    let bob = app.user("bob", "member").await;
    let ticket = bob.ticket().await;
    let query = format!("?ticket={ticket}");
    let foreign = [("origin", "https://evil.example")];
    assert_eq!(status(&app, &foreign, &query).await, 403);
    assert_eq!(status(&app, &[], &query).await, 401, "it is spent even though that handshake failed");
    let query = format!("?ticket={}", bob.ticket().await);
    assert_eq!(status(&app, &[], &query).await, 101);
    assert_eq!(status(&app, &[], &query).await, 401, "a second use");
    let late = format!("?ticket={}", bob.ticket().await);
    app.clock.advance(Duration::from_secs(31));
    assert_eq!(status(&app, &[], &late).await, 401, "too late");
    let (code, reason) = told(&app, &format!("ticket.{ticket}")).await;
    assert_eq!((code, &reason["reason"]), (4401, &json!("unauthorized")));
    app.shutdown().await;
}

#[tokio::test]
async fn a_bad_token_is_401_and_registers_nothing() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let none = {
        use base64::Engine;
        let part = |json: serde_json::Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string());
        let claims = json!({"iss": "rollcall", "aud": "rollcall", "sub": bob.id, "sid": bob.session, "jti": "x", "iat": 1, "exp": 4_000_000_000_u64});
        format!("{}.{}.", part(json!({"alg": "none", "typ": "JWT"})), part(claims))
    };
    let other_key = forged(&bob, &[], Algorithm::HS256, b"another key of at least 32 characters");
    let user = UserKey::from_wire(&bob.id);
    let session = bob.session.parse().unwrap();
    let now = app.services.clock().now();
    let (expired, _) =
        app.services.tokens().issue_for(&user, session, now - chrono::Duration::hours(1), Duration::from_secs(60));
    let (orphan, _) = app.services.tokens().issue(&user, uuid::Uuid::now_v7(), now);
    for (token, what) in [
        ("", "empty"),
        ("nonsense", "malformed"),
        ("a.b.c", "not base64"),
        (&none, "alg none"),
        (&other_key, "another key"),
        (&expired, "expired"),
        (&orphan, "a session that never was"),
        (&"x".repeat(7000), "far too long"),
    ] {
        assert_eq!(status(&app, &[("authorization", &format!("Bearer {token}"))], "").await, 401, "{what}");
        let rest = app.http.get(app.url("/api/v1/auth/me")).bearer_auth(token).send().await.unwrap();
        assert_eq!(rest.status(), 401, "{what}");
        assert_eq!(rest.headers()["content-type"], "application/problem+json", "{what}");
    }
    assert_eq!(status(&app, &[], "").await, 401);
    assert_eq!(told(&app, &format!("bearer.{expired}")).await, (4401, json!({"reason": "tokenExpired"})));
    assert_eq!(told(&app, "bearer.nonsense").await.0, 4401);
    assert!(app.services.manager().is_empty());
    app.shutdown().await;
}

#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let key = "a signing key that two servers share by mistake";
    let other = TestApp::with(|config| {
        config.auth.signing_key = rollcall::config::Secret::new(key);
        config.auth.audience = "shop".to_owned();
    })
    .await;
    let app = TestApp::with(|config| config.auth.signing_key = rollcall::config::Secret::new(key)).await;
    let (bob, theirs) = (app.user("bob", "member").await, other.user("bob", "member").await);
    assert_eq!(status(&app, &[("authorization", &bob.token)], "").await, 101);
    assert_eq!(status(&app, &[("authorization", &theirs.token)], "").await, 401);
    other.shutdown().await;
    app.shutdown().await;
}

#[tokio::test]
async fn a_revoked_session_a_disabled_and_a_locked_account_are_told_so() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let (bob, eve, dan) =
        (app.user("bob", "member").await, app.user("eve", "member").await, app.user("dan", "member").await);
    let bearer = |user: &TestUser| format!("bearer.{}", user.token);
    admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({"reason": "Come back tomorrow."})).await;
    let (code, reason) = told(&app, &bearer(&bob)).await;
    assert_eq!((code, &reason["text"]), (4401, &json!("Come back tomorrow.")));
    admin.patch(&format!("/api/v1/users/{}", eve.id), json!({"disabled": true})).await;
    assert_eq!(told(&app, &bearer(&eve)).await.0, 4403);
    assert_eq!(status(&app, &[("authorization", &eve.token)], "").await, 403);
    admin
        .delete(&format!("/api/v1/online/users/{}", dan.id), json!({"reason": "Enough.", "lockoutSeconds": 600}))
        .await;
    let (code, reason) = told(&app, &bearer(&dan)).await;
    assert_eq!((code, &reason["reason"], &reason["text"]), (4429, &json!("locked"), &json!("Enough.")));
    assert!(reason["until"].as_str().unwrap().ends_with('Z'), "{reason}");
    assert_eq!(status(&app, &[("authorization", &dan.token)], "").await, 403);
    assert!(app.services.manager().is_empty());
    app.shutdown().await;
}

#[tokio::test]
async fn only_our_own_pages_and_listed_ones_may_open_sockets() {
    let app = TestApp::with(|config| config.server.allowed_origins = vec!["https://admin.example".to_owned()]).await;
    let bob = app.user("bob", "member").await;
    let node = app.one_node();
    let own = node.url("");
    for (origin, expected) in [
        (own.as_str(), 101),
        ("https://admin.example", 101),
        ("https://admin.example.evil.example", 403),
        ("http://admin.example", 403),
        ("null", 403),
    ] {
        assert_eq!(status(node, &[("authorization", &bob.token), ("origin", origin)], "").await, expected, "{origin}");
        // Also a client that could read a close frame: 403 it is.
        let offer = format!("rollcall.v1, bearer.{}", bob.token);
        let headers = [("sec-websocket-protocol", offer.as_str()), ("origin", origin)];
        assert_eq!(status(node, &headers, "").await, expected, "{origin}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn the_cookie_counts_only_when_configured_and_from_an_allowed_page() {
    let app = TestApp::with(|config| config.auth.access_cookie = true).await;
    let off = TestApp::start().await;
    for (app, expected) in [(&app, 101), (&off, 401)] {
        let bob = app.user("bob", "member").await;
        let app = app.one_node();
        let (cookie, own) = (format!("rollcall_access={}", bob.token), app.url(""));
        assert_eq!(status(app, &[("cookie", &cookie), ("origin", &own)], "").await, expected);
        assert_eq!(status(app, &[("cookie", &cookie)], "").await, 401, "without an origin");
        assert_eq!(status(app, &[("cookie", &cookie), ("origin", "https://evil.example")], "").await, 403);
    }
    app.shutdown().await;
    off.shutdown().await;
}

#[tokio::test]
async fn the_token_in_the_query_can_be_switched_off_and_lives_as_long_as_its_session() {
    let off = TestApp::with(|config| config.socket.token_in_query = false).await;
    let bob = off.user("bob", "member").await;
    assert_eq!(status(&off, &[], &format!("?authorization={}", bob.token)).await, 401);
    off.shutdown().await;
    let app = TestApp::with(|config| config.socket.ping_interval = Duration::from_secs(100_000)).await;
    let bob = app.user("bob", "member").await;
    let mut socket = TestSocket::open(&app, &[], &format!("?authorization={}", bob.token)).await.unwrap();
    // Longer than a token lives.
    app.clock.advance(Duration::from_secs(24 * 60));
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn one_socket_too_many_of_a_user_is_refused_or_replaces_the_oldest() {
    let app = TestApp::with(|config| config.socket.per_user = 2).await;
    let bob = app.user("bob", "member").await;
    let sockets = (bob.connect(&app).await, bob.connect(&app).await);
    assert_eq!(status(&app, &[("authorization", &bob.token)], "").await, 409);
    assert_eq!(told(&app, &format!("bearer.{}", bob.token)).await.0, 4409);
    drop(sockets);
    app.shutdown().await;

    let app = TestApp::with(|config| {
        config.socket.per_user = 2;
        config.socket.per_user_policy = ConnectionPolicy::Replace;
    })
    .await;
    let bob = app.user("bob", "member").await;
    let (oldest, mut second) = (bob.connect(&app).await, bob.connect(&app).await);
    let mut third = bob.connect(&app).await;
    let ended = oldest.ended().await;
    assert_eq!((ended.code, &ended.reason["reason"]), (4409, &json!("replaced")));
    assert_eq!(second.ask("ping", json!({})).await["code"], 0);
    assert_eq!(third.ask("ping", json!({})).await["code"], 0);
    drop((second, third));
    app.shutdown().await;
}

#[tokio::test]
async fn a_valid_token_is_never_refused_for_its_neighbours_failures() {
    let app = TestApp::alone(|config| config.socket.failed_handshakes = 5).await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(status(&app, &[("authorization", "nonsense")], "").await);
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert_eq!(statuses[6..], [429; 2]);
    let (code, reason) = told(&app, "bearer.nonsense").await;
    assert!(code == 4013 && reason["retryAfterMs"].as_u64() > Some(0), "{code} {reason}");
    for number in 0..200 {
        let user = app.user(&format!("user{number}"), "member").await;
        assert_eq!(status(&app, &[("authorization", &user.token)], "").await, 101, "user{number}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn one_user_opens_sockets_only_so_often() {
    let app = TestApp::alone(|config| config.socket.handshakes_per_user = 3).await;
    let (bob, eve) = (app.user("bob", "member").await, app.user("eve", "member").await);
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(status(&app, &[("authorization", &bob.token)], "").await);
    }
    assert_eq!((&statuses[..3], statuses[4]), (&[101; 3][..], 429));
    assert_eq!(status(&app, &[("authorization", &eve.token)], "").await, 101);
    app.shutdown().await;
}

#[tokio::test]
async fn what_is_no_websocket_handshake_is_answered_in_http() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    assert_eq!(bob.get("/socket").await.status, 426);
    let half = app.http.get(app.url("/socket")).header("connection", "upgrade").header("upgrade", "websocket");
    assert_eq!(half.send().await.unwrap().status(), 400);
    app.shutdown().await;
}
