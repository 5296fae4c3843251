//! Connections as the accept loop sees them: nobody keeps one for nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::harness::{TestApp, eventually};

const ALIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

async fn dial(app: &TestApp) -> TcpStream {
    dial_from(app, Ipv4Addr::LOCALHOST).await
}

async fn dial_from(app: &TestApp, source: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    socket.connect(app.address).await.unwrap()
}

/// Asks whether the server lives, and leaves the connection open. Whether it was answered.
async fn alive(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    if stream.write_all(ALIVE).await.is_err() {
        return false;
    }
    while !answer.ends_with(br#"{"status":"live"}"#) {
        match timeout(PATIENCE, stream.read_buf(&mut answer)).await.expect("an answer in time") {
            Ok(1..) => {}
            _ => return false,
        }
    }
    true
}

/// Everything until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes in time");
    String::from_utf8(bytes).unwrap()
}

/// Sends this, then a byte now and then until the server has enough of it; what it said.
async fn drip(app: &TestApp, begin: &str) -> String {
    let (mut reader, mut writer) = dial(app).await.into_split();
    writer.write_all(begin.as_bytes()).await.unwrap();
    let dripping = async {
        while writer.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await
    };
    let mut said = Vec::new();
    tokio::select! {
        _ = timeout(PATIENCE, reader.read_to_end(&mut said)) => {}
        () = dripping => {}
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn who_drips_a_head_is_cut_off_and_others_are_served_meanwhile() {
    let app = TestApp::with(|config| config.server.header_timeout = Duration::from_millis(300)).await;
    let mut other = dial(&app).await;
    let (said, served) = tokio::join!(drip(&app, "GET /health/live HTTP/1.1\r\nx-a: "), alive(&mut other));
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(served);
    app.shutdown().await;
}

#[tokio::test]
async fn who_drips_a_body_is_told_408_and_cut_off() {
    let app = TestApp::with(|config| config.server.request_timeout = Duration::from_millis(300)).await;
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n";
    let said = drip(&app, head).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    app.shutdown().await;
}

#[tokio::test]
async fn who_reads_no_answer_is_cut_off() {
    let app = TestApp::with(|config| {
        config.server.request_timeout = Duration::from_secs(1);
        config.server.header_timeout = Duration::from_secs(3600);
        config.metrics.listen = "127.0.0.1:0".to_owned();
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(app.address).await.unwrap();
    // More than the kernel's buffers hold; the writes end when the server reads no more.
    let asking = async {
        while stream.write_all(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok() {}
        std::future::pending::<()>().await
    };
    // The one that asks for the figures counts as well.
    let connections = || async {
        let url = format!("http://{}/metrics", app.metrics.unwrap());
        let figures = app.http.get(url).header("connection", "close").send().await.unwrap().text().await.unwrap();
        let line = figures.lines().find_map(|line| line.strip_prefix("rollcall_entries{table=\"http_connections\"} "));
        line.unwrap().to_owned()
    };
    let left = async {
        eventually("it is there", || async { connections().await == "2.0" }).await;
        eventually("it is gone", || async { connections().await == "1.0" }).await;
    };
    tokio::select! { () = asking => {}, () = left => {} }
    app.shutdown().await;
}

#[tokio::test]
async fn a_kept_connection_serves_request_after_request_and_ends_when_it_is_idle() {
    let app = TestApp::with(|config| config.server.header_timeout = Duration::from_millis(500)).await;
    let mut stream = dial(&app).await;
    for _ in 0..3 {
        assert!(alive(&mut stream).await);
    }
    assert_eq!(rest(&mut stream).await, "");
    app.shutdown().await;
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once_and_lets_requests_at_work_finish() {
    let app = TestApp::with(|config| config.server.header_timeout = Duration::from_secs(3600)).await;
    let (mut idle, mut fresh, mut halfway, mut busy) =
        (dial(&app).await, dial(&app).await, dial(&app).await, dial(&app).await);
    assert!(alive(&mut idle).await);
    halfway.write_all(&ALIVE[..20]).await.unwrap();
    let body = r#"{"username":"nobody","password":"a long enough password"}"#;
    let head = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    // Asked for the body, it is at work.
    let mut asked = [0; 25];
    busy.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    app.stop();
    for stream in [&mut idle, &mut fresh, &mut halfway] {
        assert_eq!(rest(stream).await, "");
    }
    busy.write_all(body.as_bytes()).await.unwrap();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    app.shutdown().await;
}

#[tokio::test]
async fn one_address_has_only_so_many_connections_and_its_neighbours_have_theirs() {
    let app = TestApp::with(|config| config.limits.connections_per_address = 3).await;
    let bob = app.user("bob", "member").await;
    // The client of the test's own keeps connections, too.
    let source = Ipv4Addr::new(127, 0, 0, 5);
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut stream = dial_from(&app, source).await;
        assert!(alive(&mut stream).await);
        kept.push(stream);
    }
    let mut beyond = dial_from(&app, source).await;
    let refused = rest(&mut beyond).await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: "), "{refused}");
    assert!(alive(&mut dial_from(&app, Ipv4Addr::new(127, 0, 0, 6)).await).await);
    drop(kept.pop());
    eventually("there is room for another", || async { alive(&mut dial_from(&app, source).await).await }).await;

    // Sockets are none of them.
    drop(kept);
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut stream = dial_from(&app, source).await;
        let handshake = format!(
            "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: {}\r\n\r\n",
            bob.token
        );
        stream.write_all(handshake.as_bytes()).await.unwrap();
        sockets.push(stream);
        let open = sockets.len();
        eventually("the socket is open", || async { app.services.manager().len() == open }).await;
    }
    drop(sockets);
    app.shutdown().await;
}

#[tokio::test]
async fn a_trusted_proxy_has_as_many_connections_as_it_needs() {
    let app = TestApp::with(|config| {
        config.limits.connections_per_address = 3;
        config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut stream = dial(&app).await;
        assert!(alive(&mut stream).await);
        kept.push(stream);
    }
    drop(kept);
    app.shutdown().await;
}
