//! The door: our own accept loop over hyper with poem's endpoint inside. poem's own server keeps more per socket, spins when
//! there are no descriptors left, has no time limit for a request's head, and does not know upgraded sockets when it stops.
//!
//! No connection stays for nothing: not while its request's head is awaited, the first or the next (`server.header_timeout`), not
//! while it reads no answer (`server.request_timeout`), and when it gets crowded not while it is idle ([`Gate`]).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Request, Response};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinError;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::gate::{Gate, Unwelcome, Visit};
use super::stream::{Plain, Standing, set_patience};
use super::tls::Tls;
use crate::realtime::Wire;

/// Pause after `accept` failed, usually for want of file descriptors: long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for the rest of an answer on a connection that has to leave. An idle one leaves at once.
const PARTING: Duration = Duration::from_secs(1);

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until a request's head is there.
    pub(crate) header: Duration,
    /// For a reader who has stopped.
    pub(crate) reader: Duration,
}

/// The raw stream that a successful upgrade will yield, in a request's extensions.
#[derive(Clone)]
pub(super) struct Upgrade {
    promised: Arc<Mutex<Option<OnUpgrade>>>,
    standing: Standing,
}

/// A connection that is HTTP's no more.
pub(super) struct Upgraded {
    pub(super) wire: Arc<Wire>,
    /// What has been read from it already.
    pub(super) early: Vec<u8>,
    /// What has to be written first.
    pub(super) answer: Bytes,
}

impl Upgrade {
    /// The future of the stream; `None` the second time. Whoever takes it answers with 101. It yields nothing when the
    /// connection broke before.
    pub(super) fn take(&self) -> Option<impl Future<Output = Option<Upgraded>> + use<>> {
        let upgrade = self.promised.lock().expect("nothing panics while holding it").take()?;
        self.standing.upgraded();
        Some(async { raw(upgrade.await.ok()?) })
    }
}

/// What all connections of a listener share.
struct House<E> {
    gate: Arc<Gate>,
    tls: Option<Arc<Tls>>,
    endpoint: E,
    patience: Patience,
    /// Where the listener is.
    local: LocalAddr,
    stop: CancellationToken,
}

/// Accepts until `stop`, then lets the requests at work finish. Returns when no connection is left; upgraded sockets are no
/// longer connections of this loop.
pub(crate) async fn serve<E>(
    listener: TcpListener,
    gate: Arc<Gate>,
    tls: Option<Arc<Tls>>,
    endpoint: E,
    patience: Patience,
    stop: CancellationToken,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let local = listener.local_addr().map_or_else(|_| LocalAddr::default(), |local| LocalAddr(poem::Addr::from(local)));
    let house = Arc::new(House { gate, tls, endpoint, patience, local, stop });
    let connections = TaskTracker::new();
    // On a worker: whoever accepts on the main thread pays for waking a worker with each connection.
    let accepting = connections.spawn(accept(listener, house, connections.clone()));
    if let Err(Ok(panic)) = accepting.await.map_err(JoinError::try_into_panic) {
        std::panic::resume_unwind(panic);
    }
    connections.close();
    connections.wait().await;
}

/// Accepts until the house stops; then the listener is closed.
async fn accept<E>(listener: TcpListener, house: Arc<House<E>>, connections: TaskTracker)
where
    E: Endpoint<Output = Response> + 'static,
{
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = house.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("connections are accepted again");
                }
                match house.gate.enter(peer.ip()) {
                    // Boxed: kilobytes that would be moved several times on their way into a task.
                    Ok(visit) => _ = connections.spawn(Box::pin(met(stream, peer, visit, house.clone()))),
                    Err(unwelcome) if house.tls.is_none() => refuse(&stream, unwelcome),
                    Err(_) => {}
                }
            }
            Err(error) if is_one_peers_fault(&error) => {}
            Err(error) => {
                // Said once, not ten times a second.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "no connection can be accepted; is the limit of open files reached?");
                }
                house.gate.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers a connection that nobody has time to read, as far as that can be done at once.
fn refuse(stream: &TcpStream, unwelcome: Unwelcome) {
    let (status, code, detail) = match unwelcome {
        Unwelcome::Full => ("503 Service Unavailable", "full", "This server has as many connections as it takes."),
        Unwelcome::TooManyOfAddress => {
            ("429 Too Many Requests", "rate_limited", "This address has as many connections as it may.")
        }
    };
    let (number, title) = status.split_once(' ').unwrap_or_default();
    let body = format!(
        r#"{{"type":"about:blank","title":"{title}","status":{number},"detail":"{detail}","code":"{code}","requestId":""}}"#
    );
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nretry-after: {}\r\nconnection: close\r\n\r\n{body}",
        body.len(),
        1 + rand::random::<u32>() % 10,
    );
    // What was not read would turn our answer into a reset.
    let _ = recv(stream, &mut [0; 16 * 1024][..], RecvFlags::DONTWAIT);
    let _ = send(stream, answer.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

async fn met<E>(stream: TcpStream, peer: SocketAddr, visit: Visit, house: Arc<House<E>>)
where
    E: Endpoint<Output = Response> + 'static,
{
    // Small frames must not wait for more (Nagle).
    let _ = stream.set_nodelay(true);
    let standing = Standing::default();
    let addresses = (house.local.clone(), RemoteAddr(poem::Addr::from(peer)));
    let Some(tls) = house.tls.clone() else {
        let stream = Plain::new(stream, standing.clone(), house.patience.reader);
        return connection(stream, Scheme::HTTP, standing, addresses, visit, house).await;
    };
    set_patience(&stream, house.patience.reader);
    let mut visit = visit;
    let encrypted = tokio::select! {
        accepted = tokio::time::timeout(house.patience.header, tls.accept(stream)) => accepted,
        () = house.stop.cancelled() => return,
        () = visit.unwanted() => return,
    };
    // Whoever speaks no TLS, or too slowly, is not worth a line in the log.
    if let Ok(Ok(stream)) = encrypted {
        connection(stream, Scheme::HTTPS, standing, addresses, visit, house).await;
    }
}

async fn connection<E>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    scheme: Scheme,
    standing: Standing,
    addresses: (LocalAddr, RemoteAddr),
    mut visit: Visit,
    house: Arc<House<E>>,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (house, scheme, (local, remote)) = (house.clone(), scheme.clone(), addresses.clone());
        let standing = standing.clone();
        async move {
            standing.at_work();
            let answer = respond(request, scheme, &standing, (local, remote), &house.endpoint).await;
            standing.answered();
            Ok::<_, Infallible>(answer)
        }
    });
    // hyper counts the time for a head from the connection's start, and from each answer's end: an idle connection ends as well.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(house.patience.header)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = house.stop.cancelled() => {}
        () = visit.unwanted() => {}
    }
    // An idle one ends with this.
    connection.as_mut().graceful_shutdown();
    if standing.is_at_work() {
        let _ = connection.await;
    } else if !standing.is_new() {
        let _ = tokio::time::timeout(PARTING, connection).await;
    }
}

async fn respond<E>(
    mut request: hyper::Request<Incoming>,
    scheme: Scheme,
    standing: &Standing,
    (local, remote): (LocalAddr, RemoteAddr),
    endpoint: &E,
) -> hyper::Response<impl hyper::body::Body<Data = Bytes, Error = io::Error> + use<E>>
where
    E: Endpoint<Output = Response>,
{
    // Taken before the conversion, which would hide it behind poem's own type.
    let promised = Arc::new(Mutex::new(Some(hyper::upgrade::on(&mut request))));
    let upgrade = Upgrade { promised, standing: standing.clone() };
    request.extensions_mut().insert(upgrade);
    let request = Request::from((request, local, remote, scheme));
    endpoint.get_response(request).await.into()
}

/// The stream without hyper and tokio-rustls around it, and a copy of what they have read: however little that is, theirs keeps a
/// buffer of kilobytes.
fn raw(upgraded: hyper::upgrade::Upgraded) -> Option<Upgraded> {
    let upgraded = match upgraded.downcast::<TokioIo<Plain>>() {
        Ok(parts) => {
            let (tcp, answer) = parts.io.into_inner().into_parts();
            return Some(Upgraded { wire: Arc::new(Wire::plain(tcp)), early: parts.read_buf.to_vec(), answer });
        }
        Err(upgraded) => upgraded,
    };
    let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
    let (tcp, connection) = parts.io.into_inner().into_inner();
    // A socket's queue has bounds of its own, and its heartbeat knows better whether anybody is there.
    set_patience(&tcp, Duration::ZERO);
    let (wire, early) = Wire::tls(tcp, connection);
    Some(Upgraded { wire: Arc::new(wire), early: [&parts.read_buf[..], &early].concat(), answer: Bytes::new() })
}

fn is_one_peers_fault(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
