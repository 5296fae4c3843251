//! Strangers without end: each with a new name, address and browser. What they leave behind has bounds.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::other_system::{accept, hotgo_token, shop};
use crate::harness::{TestApp, TestSocket};

/// Connections that the flood comes on; a proxy keeps them.
const PIPES: usize = 4;

/// One request on a kept connection; the status of its answer.
async fn ask(stream: &mut TcpStream, request: &str) -> u16 {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let head = loop {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed instead of answered");
        if let Some(end) = answer.windows(4).position(|end| end == b"\r\n\r\n") {
            break String::from_utf8(answer.drain(..end + 4).collect()).unwrap().to_lowercase();
        }
    };
    let length: usize =
        head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap().parse().unwrap();
    while answer.len() < length {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed instead of answered");
    }
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// What a proxy says of a stranger nobody has seen before.
fn stranger(number: usize) -> String {
    let address = std::net::Ipv4Addr::from_bits(0x2000_0000 + number as u32);
    format!("Host: x\r\nX-Forwarded-For: {address}\r\nUser-Agent: Browser{number}/{number} ({})\r\n", "x".repeat(100))
}

/// So many strangers, each of whom tries a password, a token and an API key; every second one tries the password again.
async fn flood(address: SocketAddr, numbers: std::ops::Range<usize>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for number in numbers {
        let stranger = stranger(number);
        let body = format!(r#"{{"username":"stranger-{number}","password":"a long enough password"}}"#);
        let login = format!(
            "POST /api/v1/auth/login HTTP/1.1\r\n{stranger}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        for _ in 0..=number % 2 {
            let status = ask(&mut stream, &login).await;
            assert!(matches!(status, 401 | 403 | 429), "{status}");
        }
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let handshake = format!("GET /socket HTTP/1.1\r\n{stranger}{upgrade}Authorization: Bearer x{number}\r\n\r\n");
        assert_eq!(ask(&mut stream, &handshake).await, 401);
        let key = format!("rk_{number:0>40}");
        let call = format!("GET /api/v1/online/clients HTTP/1.1\r\n{stranger}Authorization: Bearer {key}\r\n\r\n");
        assert_eq!(ask(&mut stream, &call).await, 401);
    }
}

async fn flood_with(app: &TestApp, strangers: std::ops::Range<usize>) {
    let (share, mut pipes) = (strangers.len() / PIPES, JoinSet::new());
    for pipe in 0..PIPES {
        let begin = strangers.start + pipe * share;
        pipes.spawn(flood(app.address, begin..begin + share));
    }
    while let Some(ended) = pipes.join_next().await {
        ended.unwrap();
    }
}

async fn entries(app: &TestApp) -> BTreeMap<&'static str, usize> {
    app.services.entries().await.into_iter().collect()
}

#[tokio::test]
async fn strangers_without_end_leave_no_more_behind_than_the_settings_allow() {
    const MOST: usize = 100;
    let app = TestApp::with(|config| {
        accept(config, &shop(""));
        config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.server.insecure_http = true;
        config.auth.logins_per_address = 20;
        config.auth.failures_per_name = 2;
        config.auth.max_failure_entries = MOST;
        config.auth.max_tickets = MOST;
        config.limits.clients = MOST;
        config.online.max_leaves = MOST;
        config.database.log_queue = MOST;
        config.presence.grace = std::time::Duration::ZERO;
    })
    .await;
    flood_with(&app, 0..6_000).await;
    // Those who come in: each a new user of another system, with a new browser, from a new address.
    let now = app.services.clock().now().timestamp();
    for number in 0..MOST + 50 {
        let token = hotgo_token(number as i64, &format!("clerk-{number}"), "clerk", now);
        let (address, browser) = (format!("198.51.100.{}", number % 200), format!("Inside{number}/1"));
        let headers = [("x-forwarded-for", address.as_str()), ("user-agent", browser.as_str())];
        TestSocket::open(&app, &headers, &format!("?authorization={token}")).await.unwrap().close().await;
        assert_eq!(app.foreign(token).post("/api/v1/auth/ticket", serde_json::json!({})).await.status, 200);
    }
    crate::harness::eventually("everybody has left", || async { app.services.manager().is_empty() }).await;
    let left = entries(&app).await;
    for full in [
        "failed_names",
        "locked_names",
        "login_addresses",
        "failed_handshake_addresses",
        "failed_key_addresses",
        "handshake_users",
        "remembered_sessions",
        "tickets",
    ] {
        // A name that was locked last has left the counted ones.
        assert!((MOST - PIPES..=MOST).contains(&left[full]), "{full} of {left:?}");
    }
    assert_eq!(left["user_agents"], 1_000);
    for (table, entries) in &left {
        assert!(*entries <= MOST || *table == "user_agents", "{entries} {table}");
    }
    app.shutdown().await;
}
