//! Slow readers: they cost no memory, and nobody else notices them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rollcall::auth::UserKey;
use rollcall::protocol::Message;
use rollcall::realtime::{Payload, Publication, Target};
use rollcall::services::Services;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;

use crate::harness::{PATIENCE, RawSocket, TestApp, TestUser, eventually};

/// A connected socket whose kernel buffers are tiny, and that reads nothing by itself.
async fn narrow(app: &TestApp, user: &TestUser) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&app.address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(socket.into()).unwrap();
    let handshake = format!(
        "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: {}\r\n\r\n",
        user.token
    );
    stream.write_all(handshake.as_bytes()).await.unwrap();
    stream
}

/// Pushes to one user, as any backend's thousandth request would; whether it was taken.
async fn push(app: &TestApp, user: &TestUser, data: &Value) -> bool {
    push_to(&app.services, &user.id, data).await
}

async fn push_to(services: &Services, user: &str, data: &Value) -> bool {
    let message = Message::push("load", Some(data), 0);
    let target = Target::Users(vec![UserKey::from_wire(user)]);
    let publication = Publication { target, payload: Payload::Message(message) };
    services.broker().publish(publication).await.unwrap().delivered == 1
}

async fn row_of(admin: &TestUser, user: &TestUser) -> Value {
    admin.get(&format!("/api/v1/online/clients?userId={}", user.id)).await.body["list"][0].clone()
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_its_memory_bounded_and_others_get_everything_in_order() {
    let app = TestApp::with(|config| config.presence.grace = Duration::ZERO).await;
    let admin = app.user("root", "admin").await;
    let (slow, quick) = (app.user("slow", "member").await, app.user("quick", "member").await);
    let stuck = narrow(&app, &slow).await;
    let mut reader = quick.connect(&app).await;
    eventually("it is listed", || async { row_of(&admin, &slow).await.is_object() }).await;
    let filler = "x".repeat(1024);
    let mut most = 0;
    for number in 0..10_000 {
        push(&app, &slow, &json!({"number": number, "filler": filler})).await;
        if number % 10 == 0 {
            push(&app, &quick, &json!(number)).await;
            assert_eq!(reader.push("load").await, number, "the other one gets its own, in order");
        }
        if number % 50 == 0 {
            most = most.max(row_of(&admin, &slow).await["queueBytes"].as_u64().unwrap_or(0));
        }
    }
    assert!(most <= 262_144, "{most} bytes were waiting");
    eventually("it is gone", || async { row_of(&admin, &slow).await.is_null() }).await;
    let why = admin.get(&format!("/api/v1/online/users/{}/why", slow.id)).await.body;
    assert_eq!(why["lastLeave"]["cause"], "slow", "{why}");
    drop((stuck, reader));
    app.shutdown().await;
}

#[tokio::test]
async fn what_a_slow_reader_gets_is_whole_in_order_and_ends_with_why_it_was_closed() {
    let app = TestApp::start().await;
    let slow = app.user("slow", "member").await;
    let mut stream = narrow(&app, &slow).await;
    eventually("it is here", || async { app.services.manager().len() == 1 }).await;
    // More than the kernel's buffers and our queue take together. Then it reads at once: the last words wait for a second.
    let mut number = 0;
    while push(&app, &slow, &json!({"number": number, "filler": "x".repeat(1000)})).await {
        number += 1;
        assert!(number < 20_000, "nothing fills the queue");
    }
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let start = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut next, mut code) = (&bytes[start..], 0, None);
    while let [first, second, after @ ..] = rest {
        let (extended, length) = match second {
            126 => (2, usize::from(u16::from_be_bytes([after[0], after[1]]))),
            short => (0, usize::from(*short)),
        };
        let payload = &after[extended..extended + length];
        rest = &after[extended + length..];
        match first {
            0x81 => {
                let frame: Value = serde_json::from_slice(payload).expect("every frame is whole");
                if frame["event"] == "load" {
                    assert_eq!(frame["data"]["number"], next, "none is missing before the end");
                    next += 1;
                }
            }
            0x88 => code = Some(u16::from_be_bytes([payload[0], payload[1]])),
            other => panic!("unexpected frame {other:#x}"),
        }
    }
    assert!((1..=number).contains(&next), "{next} frames came of {number}");
    assert_eq!(code, Some(4008));
    drop(stream);
    app.shutdown().await;
}

#[tokio::test]
async fn a_kick_jumps_a_full_queue() {
    let app = TestApp::start().await;
    let (admin, slow) = (app.user("root", "admin").await, app.user("slow", "member").await);
    let mut stream = narrow(&app, &slow).await;
    eventually("it is here", || async { app.services.manager().len() == 1 }).await;
    let filled = || async {
        for _ in 0..50 {
            push(&app, &slow, &json!("x".repeat(2000))).await;
        }
        row_of(&admin, &slow).await["queueBytes"].as_u64() > Some(50_000)
    };
    eventually("messages are waiting", filled).await;
    let kick = async { admin.delete(&format!("/api/v1/online/users/{}", slow.id), json!({"reason": "Enough."})).await };
    let read = async {
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
        bytes
    };
    let (kick, bytes) = tokio::join!(kick, read);
    assert_eq!((kick.status, &kick.body["closed"]), (200, &json!(1)), "{}", kick.text);
    let text = String::from_utf8_lossy(&bytes);
    let (before, after) = text.split_once(r#"{"event":"kick","data":{"reason":"Enough.""#).expect("the kick came");
    assert!(before.contains("load") && !after.contains("\"load\""), "nothing of the queue comes after it");
    assert!(after.contains(r#"{"reason":"kicked","text":"Enough."}"#), "{after}");
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_to_a_narrow_reader_every_frame_arrives_whole_once_and_in_order_per_sender() {
    let app = TestApp::narrow(|_| {}).await;
    many_senders_to_a_narrow_reader(&app).await;
    app.shutdown().await;
}

/// Each sender waits now and then for the queue to run empty, so that it fills, drains and is passed by many times over while the
/// kernel stays full: that is where threads meet.
pub(crate) async fn many_senders_to_a_narrow_reader(app: &TestApp) {
    const SENDERS: usize = 8;
    const EACH: usize = 600;
    let user = app.user("bob", "member").await;
    let mut socket = RawSocket::narrow(app, &user).await;
    // It is registered after it has been answered.
    eventually("who has shaken hands is here", || async { app.services.manager().open() == 1 }).await;
    let client = app.services.manager().select(&Target::Everyone, false).pop().expect("it is here");
    let (tasks, filled) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
    for sender in 0..SENDERS {
        let (services, user, client, filled) = (app.services.clone(), user.id.clone(), client.clone(), filled.clone());
        tasks.spawn(async move {
            for number in 0..EACH {
                // Some larger than what TLS encrypts at once.
                let filler = if number % 97 == sender { 40_000 } else { number * 7919 % 3000 };
                push_to(&services, &user, &json!([sender, number, "x".repeat(filler)])).await;
                if number % 5 == 0 && client.waiting().0 > 0 {
                    filled.fetch_add(1, Relaxed);
                    while client.waiting().0 > 0 {
                        yield_now().await;
                    }
                }
            }
        });
    }
    tasks.close();
    let (mut next, mut total) = ([0; SENDERS], 0);
    while total < SENDERS * EACH {
        let (first, payload) = socket.frame().await;
        if first != 0x81 {
            continue;
        }
        let frame: Value = serde_json::from_slice(&payload).expect("every frame is whole");
        if frame["event"] == "load" {
            let sender = frame["data"][0].as_u64().unwrap() as usize;
            assert_eq!(frame["data"][1], next[sender], "sender {sender}");
            next[sender] += 1;
            total += 1;
        }
    }
    tasks.wait().await;
    assert_eq!(client.waiting(), (0, 0));
    let filled = filled.load(Relaxed);
    assert!(filled >= 20, "the queue was in use {filled} times only");
}
