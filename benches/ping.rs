//! What a ping costs: a round trip through the whole server against a bare echo of the same bytes, in turn, in one process.
//! Only the ratio means anything; the microseconds are for scale. `make bench`

use std::sync::Arc;
use std::time::{Duration, Instant};

use rollcall::app::App;
use rollcall::auth::{Cost, UserKey};
use rollcall::clock::SystemClock;
use rollcall::config::{Config, Secret};
use rollcall::store::{Actor, NewSession, NewUser, SessionKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Rounds of ours and of the echo, in turn.
const ROUNDS: usize = 7;
/// Time of one measurement.
const SLICE: Duration = Duration::from_millis(400);
/// A masked `{"event":"ping"}`; the mask is zero, which RFC 6455 allows.
const PING: &[u8] = b"\x81\x90\0\0\0\0{\"event\":\"ping\"}";
/// Bytes of the reply: header and `{"event":"ping","code":0,"timestamp":1715670733}`.
const REPLY: usize = 2 + 48;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (mut ours, mut bare) = (server().await, echo().await);
    let mut ratios = Vec::new();
    println!("round   ours µs   echo µs   ratio");
    for round in 1..=ROUNDS {
        let (a, b) = (round_trip(&mut ours).await, round_trip(&mut bare).await);
        println!("{round:>5} {:>9.1} {:>9.1} {:>7.2}", a * 1e6, b * 1e6, a / b);
        ratios.push(a / b);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "ping round trip, ours ÷ bare echo: median {:.2}, from {:.2} to {:.2}",
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1]
    );
}

/// Seconds of a round trip, on average.
async fn round_trip(stream: &mut TcpStream) -> f64 {
    let (mut buffer, mut trips, started) = ([0; REPLY], 0_u32, Instant::now());
    while started.elapsed() < SLICE {
        stream.write_all(PING).await.expect("the other side is there");
        stream.read_exact(&mut buffer).await.expect("a reply of the known length");
        trips += 1;
    }
    started.elapsed().as_secs_f64() / f64::from(trips)
}

/// A socket of the whole server, shaken hands with and greeted.
async fn server() -> TcpStream {
    let folder = std::env::temp_dir().join(format!("rollcall-bench-{}", std::process::id()));
    let mut config = Config::defaults();
    config.database.url = Secret::new("sqlite::memory:");
    config.data.dir = folder.clone();
    config.socket.frames_per_second = 1_000_000;
    config.socket.frame_burst = 1_000_000;
    let clock = Arc::new(SystemClock::new());
    let app = App::build(config, clock, Cost::MINIMAL, CancellationToken::new()).await.expect("a server");
    let token = token(&app).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    TaskTracker::new().spawn(app.serve(listener));
    let mut stream = connect(address).await;
    let handshake = format!(
        "GET /socket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: {token}\r\n\r\n"
    );
    stream.write_all(handshake.as_bytes()).await.expect("a handshake");
    // The greeting ends with its timestamp and a brace.
    let mut seen = Vec::new();
    while !(seen.ends_with(b"}") && seen.windows(9).any(|window| window == b"connected")) {
        seen.push(stream.read_u8().await.expect("a greeting"));
    }
    let _ = std::fs::remove_dir_all(folder);
    stream
}

async fn token(app: &App) -> String {
    let (services, now) = (app.services(), app.services().clock().now());
    let new = NewUser { username: "bench".into(), roles: vec!["member".into()], ..NewUser::default() };
    let user: UserKey = services.store().create_user(new, &Actor::system(), now).await.expect("a user").key;
    let end = now + chrono::Duration::days(1);
    let session = NewSession {
        id: uuid::Uuid::now_v7(),
        user: user.clone(),
        app: String::new(),
        kind: SessionKind::Login,
        scopes: None,
        ip: String::new(),
        device: String::new(),
        os: String::new(),
        browser: String::new(),
        user_agent: String::new(),
        expires_at: end,
        external_id: None,
        refresh_expires_at: end,
    };
    let id = session.id;
    services.store().create_session(session, None, now).await.expect("a session");
    services.tokens().issue(&user, id, now).0
}

/// The limit: reads what comes, writes as many bytes as a reply has, and knows nothing.
async fn echo() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    TaskTracker::new().spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the one that comes");
        stream.set_nodelay(true).expect("a TCP stream");
        let mut buffer = [0; PING.len()];
        while stream.read_exact(&mut buffer).await.is_ok() && stream.write_all(&[b'x'; REPLY]).await.is_ok() {}
    });
    connect(address).await
}

async fn connect(address: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a TCP stream");
    stream
}
