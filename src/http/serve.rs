//! The door: our own accept loop over hyper with poem's endpoint inside. poem's own server keeps more per socket, spins when
//! there are no descriptors left, has no time limit for a request's head, and does not know upgraded sockets when it stops.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls::Tls;
use crate::realtime::Wire;

/// Pause after `accept` failed, usually for want of file descriptors: long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The raw stream that a successful upgrade will yield, in a request's extensions.
#[derive(Clone)]
pub(super) struct Upgrade(Arc<Mutex<Option<OnUpgrade>>>);

impl Upgrade {
    /// The future of the stream and of what has been read from it already; `None` the second time. It yields nothing when the
    /// connection broke before.
    pub(super) fn take(&self) -> Option<impl Future<Output = Option<(Arc<Wire>, Vec<u8>)>> + use<>> {
        let upgrade = self.0.lock().expect("nothing panics while holding it").take()?;
        Some(async { raw(upgrade.await.ok()?) })
    }
}

/// Accepts until `stop`, then lets the requests at work finish. Returns when no connection is left; upgraded sockets are no
/// longer connections of this loop.
pub(crate) async fn serve<E>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    endpoint: E,
    header_timeout: Duration,
    stop: CancellationToken,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let endpoint = Arc::new(endpoint);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = met(stream, peer, tls.clone(), endpoint.clone(), header_timeout, stop.clone());
                connections.spawn(connection);
            }
            Err(error) if is_one_peers_fault(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; is the limit of open files reached?");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn met<E>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Tls>>,
    endpoint: Arc<E>,
    header_timeout: Duration,
    stop: CancellationToken,
) where
    E: Endpoint<Output = Response> + 'static,
{
    // Small frames must not wait for more (Nagle).
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().unwrap_or(peer);
    let addresses = (LocalAddr(poem::Addr::from(local)), RemoteAddr(poem::Addr::from(peer)));
    let Some(tls) = tls else {
        return connection(stream, Scheme::HTTP, addresses, endpoint, header_timeout, stop).await;
    };
    // Whoever speaks no TLS, or too slowly, is not worth a line in the log.
    if let Ok(Ok(stream)) = tokio::time::timeout(header_timeout, tls.accept(stream)).await {
        connection(stream, Scheme::HTTPS, addresses, endpoint, header_timeout, stop).await;
    }
}

async fn connection<E>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    scheme: Scheme,
    addresses: (LocalAddr, RemoteAddr),
    endpoint: Arc<E>,
    header_timeout: Duration,
    stop: CancellationToken,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (endpoint, scheme, (local, remote)) = (endpoint.clone(), scheme.clone(), addresses.clone());
        async move { Ok::<_, Infallible>(respond(request, scheme, local, remote, &*endpoint).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn respond<E>(
    mut request: hyper::Request<Incoming>,
    scheme: Scheme,
    local: LocalAddr,
    remote: RemoteAddr,
    endpoint: &E,
) -> hyper::Response<impl hyper::body::Body<Data = Bytes, Error = io::Error> + use<E>>
where
    E: Endpoint<Output = Response>,
{
    // Taken before the conversion, which would hide it behind poem's own type.
    let upgrade = Upgrade(Arc::new(Mutex::new(Some(hyper::upgrade::on(&mut request)))));
    request.extensions_mut().insert(upgrade);
    let request = Request::from((request, local, remote, scheme));
    endpoint.get_response(request).await.into()
}

/// The stream without hyper and tokio-rustls around it, and a copy of what they have read: however little that is, theirs keeps a
/// buffer of kilobytes.
fn raw(upgraded: Upgraded) -> Option<(Arc<Wire>, Vec<u8>)> {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return Some((Arc::new(Wire::plain(parts.io.into_inner())), parts.read_buf.to_vec())),
        Err(upgraded) => upgraded,
    };
    let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
    let (tcp, connection) = parts.io.into_inner().into_inner();
    let (wire, early) = Wire::tls(tcp, connection);
    Some((Arc::new(wire), [&parts.read_buf[..], &early].concat()))
}

fn is_one_peers_fault(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
