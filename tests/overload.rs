//! At the limit: newcomers are told when to come back, who is in stays, and operators still log in, look and kick.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rollcall::config::ByteSize;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::harness::{PASSWORD, Served, TestApp, TestSocket, eventually, http_client};

async fn told(app: &TestApp, token: &str) -> (u16, Value) {
    let offer = format!("rollcall.v1, bearer.{token}");
    let ended = TestSocket::dial(app, &[("sec-websocket-protocol", &offer)], "").await.unwrap().ended().await;
    (ended.code, ended.reason)
}

/// Refused as 503 and as 4013, and told to come back at different times.
async fn assert_full(app: &TestApp, token: &str) {
    assert_eq!(TestSocket::dial(app, &[("authorization", token)], "").await.err(), Some(503));
    let mut times = BTreeSet::new();
    for _ in 0..5 {
        let (code, reason) = told(app, token).await;
        assert_eq!((code, &reason["reason"]), (4013, &json!("overload")));
        times.insert(reason["retryAfterMs"].as_u64().unwrap());
    }
    assert!(times.len() > 1 && times.iter().all(|ms| (500..=20_000).contains(ms)), "{times:?}");
}

#[tokio::test]
async fn beyond_the_limit_of_clients_newcomers_are_told_when_to_come_back() {
    let app = TestApp::with(|config| config.limits.clients = 2).await;
    let bob = app.user("bob", "member").await;
    let (mut first, second) = (bob.connect(&app).await, bob.connect(&app).await);
    assert_full(&app, &bob.token).await;
    let ticket = bob.ticket().await;
    assert_eq!(TestSocket::dial(&app, &[], &format!("?ticket={ticket}")).await.err(), Some(503));
    second.close().await;
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(first.ask("ping", json!({})).await["code"], 0);
    eventually("there is a place again", || async { app.services.manager().len() == 1 }).await;
    let spent = TestSocket::dial(&app, &[], &format!("?ticket={ticket}")).await;
    assert_eq!(spent.err(), Some(401), "a ticket that was shown is spent");
    let third = bob.connect(&app).await;
    drop((first, third));
    app.shutdown().await;
}

#[tokio::test]
async fn beyond_the_limit_of_memory_newcomers_are_told_when_to_come_back_and_who_is_in_stays() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut inside = bob.connect(&app).await;
    let mut config = (*app.services.config()).clone();
    config.limits.memory = ByteSize(1 << 20);
    app.services.set_config(config.clone());
    eventually("memory is over its limit", || async { app.services.is_full() }).await;
    assert_full(&app, &bob.token).await;
    assert_eq!(inside.ask("ping", json!({})).await["code"], 0);
    assert_eq!(app.try_login("root", PASSWORD).await.status, 200);
    assert_eq!(admin.get("/api/v1/online/clients").await.body["totalCount"], 1);
    config.limits.memory = ByteSize(0);
    app.services.set_config(config);
    eventually("there is no limit any more", || async { !app.services.is_full() }).await;
    drop((bob.connect(&app).await, inside));
    app.shutdown().await;
}

/// A handshake on a connection of its own; the answer's head, or none where the connection broke.
async fn handshake(address: SocketAddr, source: Ipv4Addr, token: &str) -> Option<(TcpStream, String)> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::from((source, 0))).ok()?;
    let mut stream = socket.connect(address).await.ok()?;
    let request = format!(
        "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if timeout(Duration::from_secs(10), stream.read_buf(&mut head)).await.ok()?.ok()? == 0 {
            return None;
        }
    }
    Some((stream, String::from_utf8_lossy(&head).into_owned()))
}

/// The stream, once it is greeted; none for who is refused, before the upgrade or right after it.
async fn stays((mut stream, said): (TcpStream, String)) -> Option<TcpStream> {
    let mut said = said.into_bytes();
    loop {
        let text = String::from_utf8_lossy(&said);
        if text.contains(" 503 ") || text.contains("overload") {
            return None;
        }
        if text.contains("\"connected\"") {
            return Some(stream);
        }
        let read = timeout(Duration::from_secs(10), stream.read_buf(&mut said)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&said));
    }
}

/// A call as an operator's page or script makes it when the door is crowded: on a connection of its own, and again when that one
/// was closed.
async fn call(method: &str, url: &str, token: Option<&str>, body: Value) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut request = http_client().request(method.parse().unwrap(), url).json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return answer.json().await.unwrap(),
            other => assert!(Instant::now() < deadline, "{method} {url}: {other:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn login(server: &Served, name: &str) -> String {
    let body = json!({"username": name, "password": PASSWORD});
    let answer = call("POST", &format!("{}/api/v1/auth/login", server.url), None, body).await;
    answer["accessToken"].as_str().unwrap().to_owned()
}

/// The share of one processor that the server takes while nobody asks it for anything.
async fn share_of_a_processor(server: &Served) -> f64 {
    let (begun, before) = (Instant::now(), server.ticks());
    sleep(Duration::from_secs(1)).await;
    // Linux counts a hundred a second.
    (server.ticks() - before) as f64 / 100.0 / begun.elapsed().as_secs_f64()
}

#[tokio::test]
async fn at_the_limit_of_open_files_an_operator_still_logs_in_looks_and_kicks() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("ROLLCALL__SOCKET__PER_USER", "1000"),
        ("ROLLCALL__SOCKET__HANDSHAKES_PER_USER", "0"),
        ("ROLLCALL__AUTH__LOGINS_PER_ADDRESS", "0"),
        ("ROLLCALL__LOG__LEVEL", "warn"),
    ];
    let mut server = Served::start_under(256, folder.path(), &settings).await;
    let said = server.out.next_line().await.unwrap().unwrap();
    let most: usize =
        said.strip_prefix("open files 256: at most ").unwrap().split(' ').next().unwrap().parse().unwrap();
    let address: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    let admin = login(&server, "admin").await;
    let bob = json!({"username": "bob", "password": PASSWORD, "roles": ["member"]});
    call("POST", &format!("{}/api/v1/users", server.url), Some(&admin), bob).await;
    let token = login(&server, "bob").await;

    let mut inside = Vec::new();
    while let Some(stream) = stays(handshake(address, Ipv4Addr::LOCALHOST, &token).await.unwrap()).await {
        inside.push(stream);
    }
    let (_, refused) = handshake(address, Ipv4Addr::LOCALHOST, &token).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: "), "{refused}");
    assert_eq!(inside.len(), most, "{said}");

    // From now on there is no moment at which nobody wants in; some never say what they want.
    let mut storm = JoinSet::new();
    for number in 1..=4 {
        let (source, token) = (Ipv4Addr::new(127, 0, 1, number), token.clone());
        storm.spawn(async move {
            let mut silent = Vec::new();
            loop {
                assert!(handshake(address, source, &token).await.is_none_or(|(_, head)| !head.contains(" 101 ")));
                silent.push(TcpStream::connect(address).await);
                silent.drain(..silent.len().saturating_sub(100));
            }
        });
    }
    let admin = login(&server, "admin").await;
    let clients = format!("{}/api/v1/online/clients", server.url);
    let list = call("GET", &clients, Some(&admin), Value::Null).await;
    assert_eq!(list["totalCount"], most);
    let id = list["list"][0]["id"].as_str().unwrap();
    let kick = call("DELETE", &format!("{clients}/{id}"), Some(&admin), json!({"reason": "Room."})).await;
    assert_eq!(kick["closed"], most, "a kick ends the session, which is everybody's here");
    assert!(storm.try_join_next().is_none(), "the storm goes on");
    storm.shutdown().await;
    for stream in &mut inside {
        let mut heard = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut heard)).await.unwrap().unwrap();
        let close = heard.windows(2).position(|code| code == 4410_u16.to_be_bytes());
        assert!(close.is_some(), "{}", String::from_utf8_lossy(&heard));
    }
    drop(inside);
    eventually("it rests", || async { share_of_a_processor(&server).await < 0.5 }).await;
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log.contains("no connection can be accepted"), "it never ran out: {log}");
    assert_eq!(server.terminate().await, 0);
}

#[tokio::test]
async fn without_descriptors_it_says_so_once_and_rests_until_there_are_some() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(folder.path()).await;
    let address: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    let process = Pid::from_raw(server.child.id().unwrap() as i32);
    let few = Rlimit { current: Some(4), ..getrlimit(Resource::Nofile) };
    let before = prlimit(process, Resource::Nofile, few).unwrap();
    let said = |sentence: &str| {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains(sentence)).count()
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    eventually("it says so", || async { said("no connection can be accepted") > 0 }).await;
    assert!(share_of_a_processor(&server).await < 0.5, "it spins");
    prlimit(process, Resource::Nofile, before).unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!((said("no connection can be accepted"), said("connections are accepted again")), (1, 1));
    assert_eq!(server.terminate().await, 0);
}
