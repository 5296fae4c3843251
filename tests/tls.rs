//! TLS by ourselves: everything works as without it, sockets and slow readers too, and a certificate is replaced while they
//! are open.

use std::time::Duration;

use futures_util::StreamExt;
use rollcall::config::Config;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Authority, PATIENCE, TestApp, TestSocket, TestUser, eventually};
use crate::slow::many_senders_to_a_narrow_reader;

/// What a server needs to speak TLS.
fn certified() -> (TempDir, impl FnOnce(&mut Config)) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = Authority::new(folder.path()).certify();
    let change = |config: &mut Config| {
        config.server.tls.cert = cert;
        config.server.tls.key = key;
        config.presence.grace = Duration::ZERO;
    };
    (folder, change)
}

async fn with_tls() -> (TestApp, TempDir) {
    let (folder, change) = certified();
    (TestApp::with(change).await, folder)
}

async fn push(admin: &TestUser, to: &TestUser, data: Value) {
    let answer = admin.post("/api/v1/push", json!({"target": {"users": [to.id]}, "event": "load", "data": data})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn rest_cookies_sockets_and_kicks_work_over_tls() {
    let (app, _folder) = with_tls().await;
    let admin = app.user("root", "admin").await;
    let bob = app.user("bob", "member").await;
    let login = app.try_login("bob", crate::harness::PASSWORD).await;
    let cookie = login.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-") && cookie.contains("Secure"), "{cookie}");
    let mut socket = bob.connect(&app).await;
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    let large = "x".repeat(60_000);
    let answer = socket.ask("join", json!({"id": large})).await;
    assert_eq!(answer["code"], 422, "{answer}");
    for number in 0..50 {
        push(&admin, &bob, json!({"number": number, "filler": "x".repeat(40_000)})).await;
    }
    for number in 0..50 {
        assert_eq!(socket.push("load").await["number"], number, "whole and in order");
    }
    let kick = admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({"reason": "lunch"})).await;
    assert_eq!(kick.status, 200, "{}", kick.text);
    let ended = socket.ended().await;
    assert_eq!((ended.code, &ended.reason["text"]), (4410, &json!("lunch")), "{ended:?}");
    let offer = [("sec-websocket-protocol", "rollcall.v1, ticket.x")];
    let refused = TestSocket::dial(&app, &offer, "").await.unwrap();
    assert_eq!(refused.ended().await.code, 4401, "who may not stay is told so");
    app.shutdown().await;
}

/// A record holds 16 KiB: the rest of such a message is decrypted together with it, and nothing else comes that would tell of it.
#[tokio::test]
async fn a_message_a_little_larger_than_a_record_is_answered_at_once() {
    let (app, _folder) = with_tls().await;
    let mut socket = app.user("bob", "member").await.connect(&app).await;
    for more in (0..2_100).step_by(50) {
        let message = format!(r#"{{"event":"ping"{}}}"#, " ".repeat(16_384 - 16 + more));
        assert_eq!(socket.answer_to(&message).await["code"], 0, "16 KiB and {more}");
    }
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn who_reads_slowly_gets_everything_whole_in_order_or_is_closed() {
    let (app, _folder) = with_tls().await;
    let (admin, slow) = (app.user("root", "admin").await, app.user("slow", "member").await);
    let mut socket = slow.connect(&app).await;
    // More than the kernel's buffers take, less than the queue's bound on top of them: nothing may be lost.
    let mut sent = 0;
    while row_of(&admin, &slow).await["queueBytes"].as_u64() == Some(0) {
        push(&admin, &slow, json!({"number": sent, "filler": "x".repeat(30_000)})).await;
        sent += 1;
    }
    for number in 0..sent {
        assert_eq!(socket.push("load").await["number"], number);
    }
    // And now for ever.
    for number in 0..1_000 {
        push(&admin, &slow, json!({"number": number, "filler": "x".repeat(30_000)})).await;
        if app.services.manager().is_empty() {
            break;
        }
    }
    eventually("it is gone", || async { app.services.manager().is_empty() }).await;
    let why = admin.get(&format!("/api/v1/online/users/{}/why", slow.id)).await.body;
    assert_eq!(why["lastLeave"]["cause"], "slow", "{why}");
    while let Some(Ok(_)) = socket.stream.next().await {}
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_to_a_narrow_reader_every_frame_arrives_whole_once_and_in_order_per_sender() {
    let (_folder, change) = certified();
    let app = TestApp::narrow(change).await;
    many_senders_to_a_narrow_reader(&app).await;
    app.shutdown().await;
}

async fn row_of(admin: &TestUser, user: &TestUser) -> Value {
    admin.get(&format!("/api/v1/online/clients?userId={}", user.id)).await.body["list"][0].clone()
}

#[tokio::test]
async fn who_speaks_no_tls_is_closed_and_holds_nobody_up() {
    let (app, _folder) = with_tls().await;
    let mut silent = TcpStream::connect(app.address).await.unwrap();
    let mut plain = TcpStream::connect(app.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(app.anonymous("GET", "/health/live", Value::Null).await.status, 200);
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await.expect("it is closed");
    assert!(!answer.starts_with(b"HTTP"), "no answer in the clear");
    app.stop();
    app.shutdown().await;
    let _ = silent.read(&mut [0; 1]).await;
}
