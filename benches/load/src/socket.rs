//! One socket of a client: the handshake, whole frames, masks of zeros, which RFC 6455 allows. It answers pings by itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size, set_socket_reuseaddr, set_tcp_nodelay};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send, socket_with,
};

/// A text of the server begins so.
pub(crate) const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8A;

/// Source ports of one address: below those that the kernel chooses itself.
const PORTS: u32 = 2_500;
const FIRST_PORT: u16 = 20_000;

/// Which of many processes this is, so that no two have an address in common.
static PROCESS: OnceLock<u32> = OnceLock::new();

/// From now on the addresses of the process of this number are ours, instead of those that go by its id.
pub(crate) fn sources_of(process: u32) {
    let _ = PROCESS.set(process);
}

/// An address and port of ours that nobody has used for millions of connections. The kernel's own choice gets slower with
/// each connection that lingers (TIME_WAIT); then clients come one by one, and the server, woken for each, seems to cost more.
pub(crate) fn source() -> SocketAddrV4 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Another process begins elsewhere. 127.1.0.2 to 127.250.254.254.
    let process = *PROCESS.get_or_init(std::process::id);
    let place = (process % 250 * 16_000 + number / PORTS) % (250 * 255 * 253);
    let [second, third, fourth] = [1 + place / 253 / 255, place / 253 % 255, 2 + place % 253].map(|part| part as u8);
    SocketAddrV4::new(Ipv4Addr::new(127, second, third, fourth), FIRST_PORT + (number % PORTS) as u16)
}

/// What a socket hears.
pub(crate) enum Heard<'a> {
    /// The handshake was taken.
    Open,
    /// It was not; the status.
    Refused(u16),
    Text(&'a [u8]),
    /// The server's close frame; 1005 without a code.
    Close(u16),
    /// The end of the stream, or an error.
    Gone,
}

/// An open one, or one whose handshake is on its way.
pub(crate) struct Socket {
    pub(crate) stream: Option<OwnedFd>,
    /// An unfinished frame, or the unfinished handshake.
    rest: Vec<u8>,
    pub(crate) shaken: bool,
    /// Texts heard so far.
    pub(crate) texts: usize,
}

impl Socket {
    /// Connects from an address of ours and asks for the upgrade.
    pub(crate) fn dial(server: SocketAddr, from: Option<SocketAddrV4>, token: &str) -> io::Result<Socket> {
        let stream = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Socket::ask(stream, server, from, token)
    }

    /// The same with the smallest buffer the kernel gives: for those who will not read.
    pub(crate) fn dial_narrow(server: SocketAddr, from: Option<SocketAddrV4>, token: &str) -> io::Result<Socket> {
        let stream = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_recv_buffer_size(&stream, 4096)?;
        Socket::ask(stream, server, from, token)
    }

    fn ask(stream: OwnedFd, server: SocketAddr, from: Option<SocketAddrV4>, token: &str) -> io::Result<Socket> {
        if let Some(from) = from {
            // A connection that lingers from an earlier turn does not keep it from us.
            set_socket_reuseaddr(&stream, true)?;
            bind(&stream, &from)?;
        }
        connect(&stream, &server)?;
        set_tcp_nodelay(&stream, true)?;
        let head = format!(
            "GET /socket HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        send(&stream, head.as_bytes(), SendFlags::NOSIGNAL)?;
        Ok(Socket { stream: Some(stream), rest: Vec::new(), shaken: false, texts: 0 })
    }

    /// One that was never open.
    pub(crate) fn closed() -> Socket {
        Socket { stream: None, rest: Vec::new(), shaken: false, texts: 0 }
    }

    /// Sends bytes as they are; what the kernel does not take is lost.
    pub(crate) fn send(&self, bytes: &[u8]) {
        if let Some(stream) = &self.stream {
            let _ = send(stream, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }

    /// Ends with a reset instead of a FIN, as a process does that dies with unread bytes.
    pub(crate) fn reset(self) {
        if let Some(stream) = &self.stream {
            let _ = set_socket_linger(stream, Some(Duration::ZERO));
        }
    }

    /// Reads once.
    pub(crate) fn read(&mut self, buffer: &mut [u8], mut heard: impl FnMut(Heard<'_>)) {
        let Some(stream) = &self.stream else { return };
        let texts = &mut self.texts;
        let mut heard = |what: Heard<'_>| {
            *texts += usize::from(matches!(what, Heard::Text(_)));
            heard(what);
        };
        let read = match recv(stream, &mut *buffer, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => return,
            Ok((_, read)) if read > 0 => read,
            _ => {
                self.stream = None;
                return heard(Heard::Gone);
            }
        };
        if self.shaken && self.rest.is_empty() {
            let used = frames(stream, &buffer[..read], &mut heard);
            self.rest.extend_from_slice(&buffer[used..read]);
            return;
        }
        self.rest.extend_from_slice(&buffer[..read]);
        if !self.shaken {
            let Some(end) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            let status = self.rest.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            if status != Some(101) {
                self.stream = None;
                return heard(Heard::Refused(status.unwrap_or(0)));
            }
            self.shaken = true;
            self.rest.drain(..end + 4);
            heard(Heard::Open);
        }
        let used = frames(stream, &self.rest, &mut heard);
        self.rest.drain(..used);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
    }
}

/// Takes whole frames from a server; bytes used.
fn frames(stream: &OwnedFd, bytes: &[u8], heard: &mut impl FnMut(Heard<'_>)) -> usize {
    let mut used = 0;
    while let [first, short, rest @ ..] = &bytes[used..] {
        let (extended, length) = match (short, rest) {
            (126, [a, b, ..]) => (2, usize::from(u16::from_be_bytes([*a, *b]))),
            (127, [_, _, _, _, a, b, c, d, ..]) => (8, u32::from_be_bytes([*a, *b, *c, *d]) as usize),
            (126 | 127, _) => break,
            (short, _) => (0, usize::from(*short)),
        };
        let Some(payload) = rest.get(extended..extended + length) else { break };
        match first & 0x0F {
            0x1 => heard(Heard::Text(payload)),
            0x8 => heard(Heard::Close(payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code)))),
            0x9 => _ = send(stream, &masked(PONG, payload), SendFlags::NOSIGNAL | SendFlags::DONTWAIT),
            _ => {}
        }
        used += 2 + extended + length;
    }
    used
}

/// A frame of a client.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A close frame of a client.
pub(crate) fn goodbye(code: u16) -> Vec<u8> {
    masked(CLOSE, &code.to_be_bytes())
}
