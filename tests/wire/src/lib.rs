//! A wire between a server and what it talks to, which may be cut, choked and stretched.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Bytes read at once.
const PORTION: usize = 16 * 1024;
/// Portions on the wire in each direction, at most; whoever sends more waits.
const ON_THE_WIRE: usize = 256;

/// Forwards connections to one address until told otherwise. What is told holds when the call returns, for both directions; the
/// end of the value is the end of its connections.
pub struct Proxy {
    address: SocketAddr,
    wire: watch::Sender<Wire>,
    _ending: DropGuard,
}

/// The state of the wire.
#[derive(Clone, Copy, Default)]
struct Wire {
    /// Connections made before so many cuts are closed.
    cuts: u64,
    /// Whether new connections are closed at once.
    refuses: bool,
    /// Whether bytes are kept back.
    holds: bool,
    /// How much later bytes arrive.
    delay: Duration,
}

impl Proxy {
    /// In front of an address as `127.0.0.1:5432`. On a tokio runtime that goes on.
    ///
    /// # Panics
    /// When this machine has no port left.
    pub async fn to(target: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, wire, ending) =
            (listener.local_addr().unwrap(), watch::Sender::default(), CancellationToken::new());
        let forwarding = forward(listener, target.to_owned(), wire.clone());
        let ended = ending.clone();
        TaskTracker::new().spawn(async move { ended.run_until_cancelled(forwarding).await });
        Proxy { address, wire, _ending: ending.drop_guard() }
    }

    /// In front of the server of a URL; and the URL with which it is reached through it.
    ///
    /// # Panics
    /// When the URL has no host and port.
    pub async fn before(url: &str) -> (Proxy, String) {
        let mut parsed = url::Url::parse(url).unwrap();
        let port = parsed.port().expect("the URL has a port");
        let proxy = Proxy::to(&format!("{}:{port}", parsed.host_str().unwrap())).await;
        parsed.set_host(Some("127.0.0.1")).unwrap();
        parsed.set_port(Some(proxy.address.port())).unwrap();
        (proxy, parsed.into())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every connection is closed, and new ones at once: the other side is gone.
    pub fn cut(&self) {
        self.change(|wire| (wire.cuts, wire.refuses) = (wire.cuts + 1, true));
    }

    /// Every connection is closed; new ones are forwarded.
    pub fn cut_once(&self) {
        self.change(|wire| wire.cuts += 1);
    }

    /// Connections stay, new ones are closed at once.
    pub fn refuse(&self) {
        self.change(|wire| wire.refuses = true);
    }

    /// Connections stay and new ones are taken, but no byte arrives: the other side is paused, or the route is lost.
    pub fn hold(&self) {
        self.change(|wire| wire.holds = true);
    }

    /// Every byte arrives so much later, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.change(|wire| wire.delay = delay);
    }

    /// As at the beginning. What was held arrives.
    pub fn resume(&self) {
        self.change(|wire| *wire = Wire { cuts: wire.cuts, ..Wire::default() });
    }

    fn change(&self, change: impl FnOnce(&mut Wire)) {
        self.wire.send_modify(change);
    }
}

async fn forward(listener: TcpListener, target: String, wire: watch::Sender<Wire>) {
    let connections = TaskTracker::new();
    let ending = CancellationToken::new();
    let _ends = ending.clone().drop_guard();
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        let (target, wire, ending) = (target.clone(), wire.subscribe(), ending.clone());
        connections.spawn(async move { ending.run_until_cancelled(connect(near, &target, wire)).await });
    }
}

async fn connect(near: TcpStream, target: &str, wire: watch::Receiver<Wire>) {
    let Wire { cuts, refuses, .. } = *wire.borrow();
    // Closed with an error rather than an end, as by a machine that is not there.
    let _ = socket2::SockRef::from(&near).set_linger(Some(Duration::ZERO));
    if refuses {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    for stream in [&near, &far] {
        let _ = stream.set_nodelay(true);
    }
    let mut cut = wire.clone();
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        _ = cut.wait_for(|wire| wire.cuts > cuts) => {}
        _ = async { tokio::join!(carry(near_read, far_write, wire.clone()), carry(far_read, near_write, wire)) } => {}
    }
}

/// One direction. What is on the wire keeps its distance, so that a delay costs time and no throughput.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut wire: watch::Receiver<Wire>) {
    let (sender, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WIRE);
    let take = async move {
        let mut buffer = vec![0; PORTION];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now(), buffer[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let give = async move {
        while let Some((taken, bytes)) = queue.recv().await {
            let Ok(delay) = wire.wait_for(|wire| !wire.holds).await.map(|wire| wire.delay) else { break };
            sleep_until(taken + delay).await;
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    let ((), _given): ((), io::Result<()>) = tokio::join!(take, give);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wire_carries_is_held_stretched_cut_and_mended() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(&echo.local_addr().unwrap().to_string()).await;
        TaskTracker::new().spawn(async move {
            let tracker = TaskTracker::new();
            while let Ok((mut stream, _)) = echo.accept().await {
                tracker.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream).await.unwrap();
        proxy.delay(Duration::from_millis(100));
        let begun = Instant::now();
        say(&mut stream).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(200), "there and back");
        proxy.hold();
        assert!(tokio::time::timeout(Duration::from_millis(300), say(&mut stream)).await.is_err(), "it is held");
        proxy.resume();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        proxy.refuse();
        assert!(say(&mut TcpStream::connect(proxy.address()).await.unwrap()).await.is_err(), "it is refused");
        say(&mut stream).await.unwrap();
        proxy.cut();
        assert!(say(&mut stream).await.is_err(), "it is cut");
        proxy.resume();
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut again).await.unwrap();
        proxy.cut_once();
        assert!(say(&mut again).await.is_err(), "it is cut");
        say(&mut TcpStream::connect(proxy.address()).await.unwrap()).await.unwrap();
    }

    async fn say(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(b"hello").await?;
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await?;
        assert_eq!(&heard, b"hello");
        Ok(())
    }
}
