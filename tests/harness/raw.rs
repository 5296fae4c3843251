//! A socket by hand, without TLS or with it: what a library would not send, and a peer that reads as slowly as a test wants.

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{PATIENCE, TestApp, TestUser};

#[path = "../fuzz/frame.rs"]
mod frame;

pub(crate) use frame::frame;

/// An open socket.
pub(crate) struct RawSocket {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
    /// The handshake's answer.
    pub(crate) head: String,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl RawSocket {
    /// Shakes hands, and sends `first` in the same packet.
    pub(crate) async fn open(app: &TestApp, user: &TestUser, first: &[u8]) -> RawSocket {
        RawSocket::over(TcpStream::connect(app.address).await.unwrap(), app, user, "", first).await
    }

    /// With a line more in the handshake.
    pub(crate) async fn open_with(app: &TestApp, user: &TestUser, header: &str) -> RawSocket {
        RawSocket::over(TcpStream::connect(app.address).await.unwrap(), app, user, &format!("{header}\r\n"), b"").await
    }

    /// With a kernel that holds little for us.
    pub(crate) async fn narrow(app: &TestApp, user: &TestUser) -> RawSocket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&app.address.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        RawSocket::over(TcpStream::from_std(socket.into()).unwrap(), app, user, "", b"").await
    }

    async fn over(tcp: TcpStream, app: &TestApp, user: &TestUser, header: &str, first: &[u8]) -> RawSocket {
        let mut stream: Box<dyn Stream> = match app.tls.clone() {
            Some(tls) => Box::new(TlsConnector::from(tls).connect("localhost".try_into().unwrap(), tcp).await.unwrap()),
            None => Box::new(tcp),
        };
        let handshake = format!(
            "GET /socket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n{header}\r\n",
            app.address, user.token
        );
        stream.write_all(&[handshake.as_bytes(), first].concat()).await.unwrap();
        stream.flush().await.unwrap();
        let mut socket = RawSocket { stream, read: Vec::new(), head: String::new() };
        socket.head = String::from_utf8(socket.until(b"\r\n\r\n").await).unwrap().to_lowercase();
        assert!(socket.head.starts_with("http/1.1 101"), "{}", socket.head);
        // RFC 6455 section 1.3 gives this answer to this key.
        assert!(socket.head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{}", socket.head);
        socket
    }

    async fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(place) = self.read.windows(mark.len()).position(|window| window == mark) {
                return self.read.drain(..place + mark.len()).collect();
            }
            assert!(self.more().await > 0, "the connection ended without a word");
        }
    }

    /// Reads as much as a packet holds; zero is the end.
    async fn more(&mut self) -> usize {
        let mut buffer = [0; 1500];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        let length = read.expect("bytes in time: no wake-up is lost").unwrap();
        self.read.extend_from_slice(&buffer[..length]);
        length
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next frame from the server: its first byte and its payload.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let [first, second, rest @ ..] = &self.read[..] {
                let (extended, length) = match second {
                    126 if rest.len() >= 2 => (2, usize::from(u16::from_be_bytes([rest[0], rest[1]]))),
                    126 => (2, usize::MAX / 2),
                    127 => panic!("a frame of 64 KiB"),
                    short => (0, usize::from(*short)),
                };
                if rest.len() >= extended + length {
                    let (first, payload) = (*first, rest[extended..extended + length].to_vec());
                    self.read.drain(..2 + extended + length);
                    return (first, payload);
                }
            }
            assert!(self.more().await > 0, "the connection ended without a word");
        }
    }

    /// The code of the close frame, after whatever comes before it.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            if let (0x88, payload) = self.frame().await {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    /// What comes after: nothing, and the end.
    pub(crate) async fn ends(&mut self) -> bool {
        self.read.is_empty() && self.more().await == 0
    }
}
