//! Many sockets of one process, on one epoll: they answer pings, count what they hear, and send frames that were made before.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send, socket_with,
};
use rustix::time::Timespec;

/// Handshakes at once.
const WINDOW: usize = 64;
/// Sockets of one source address, of which each has 28,232 ports by default.
const PER_ADDRESS: usize = 5_000;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Open sockets, each known by its place.
pub(crate) struct Swarm {
    epoll: OwnedFd,
    sockets: Vec<Socket>,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

struct Socket {
    stream: Option<OwnedFd>,
    /// An unfinished frame, or the unfinished handshake.
    rest: Vec<u8>,
    shaken: bool,
}

impl Swarm {
    pub(crate) fn new() -> io::Result<Swarm> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Swarm { epoll, sockets: Vec::new(), events: Vec::with_capacity(1024), buffer: vec![0; 64 * 1024] })
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Opens sockets until there are `count`; each shows its token.
    pub(crate) fn open(&mut self, server: SocketAddr, count: usize, tokens: &[String]) -> io::Result<()> {
        while self.sockets.len() < count {
            let first = self.sockets.len();
            for place in first..count.min(first + WINDOW) {
                let token = tokens.get(place / super::server::PER_USER).map_or("", String::as_str);
                let stream = dial(server, place, token)?;
                epoll::add(&self.epoll, &stream, EventData::new_u64(place as u64), EventFlags::IN)?;
                self.sockets.push(Socket { stream: Some(stream), rest: Vec::new(), shaken: false });
            }
            let deadline = Instant::now() + PATIENCE;
            while self.sockets[first..].iter().any(|socket| !socket.shaken) {
                self.poll(Some(Duration::from_millis(100)), |_, _| {})?;
                if Instant::now() > deadline || self.sockets[first..].iter().any(|socket| socket.stream.is_none()) {
                    return Err(io::Error::other("a handshake was refused"));
                }
            }
        }
        Ok(())
    }

    /// Sends a frame; what the kernel does not take is not worth measuring.
    pub(crate) fn send(&self, place: usize, frame: &[u8]) {
        if let Some(stream) = &self.sockets[place].stream {
            let _ = send(stream, frame, SendFlags::NOSIGNAL);
        }
    }

    /// Takes what has come and hands each text to `heard` with its socket's place; waits at most so long for the first.
    pub(crate) fn poll(&mut self, wait: Option<Duration>, mut heard: impl FnMut(usize, &[u8])) -> io::Result<()> {
        self.events.clear();
        let wait = wait.map(|wait| Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) });
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), wait.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            waited => waited?,
        };
        for event in &self.events {
            let place = event.data.u64() as usize;
            self.sockets[place].read(&mut self.buffer, |text| heard(place, text));
        }
        Ok(())
    }

    /// Polls until this is true of so many texts, or nothing more is to be expected; how many came.
    pub(crate) fn hear(&mut self, texts: usize) -> io::Result<usize> {
        let (mut count, deadline) = (0, Instant::now() + PATIENCE);
        while count < texts && Instant::now() < deadline {
            self.poll(Some(Duration::from_millis(100)), |_, _| count += 1)?;
        }
        Ok(count)
    }

    /// Takes what comes for a while: greetings, pings.
    pub(crate) fn rest(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.poll(Some(left), |_, _| {})?;
        }
        Ok(())
    }

    /// Closes the newest sockets until there are `count`, without a word.
    pub(crate) fn close(&mut self, count: usize) {
        self.sockets.truncate(count);
    }
}

impl Socket {
    fn read(&mut self, buffer: &mut [u8], mut heard: impl FnMut(&[u8])) {
        let Some(stream) = &self.stream else { return };
        let read = match recv(stream, &mut *buffer, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => return,
            Ok((_, read)) if read > 0 => read,
            _ => {
                self.stream = None;
                return;
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
            if !self.rest.starts_with(b"HTTP/1.1 101") {
                eprintln!("{}", String::from_utf8_lossy(&self.rest));
                self.stream = None;
                return;
            }
            self.shaken = true;
            self.rest.drain(..end + 4);
        }
        let used = frames(stream, &self.rest, &mut heard);
        self.rest.drain(..used);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
    }
}

/// Takes whole frames from a server; bytes used.
fn frames(stream: &OwnedFd, bytes: &[u8], heard: &mut impl FnMut(&[u8])) -> usize {
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
            0x1 => heard(payload),
            0x9 => _ = send(stream, &masked(0x8A, payload), SendFlags::NOSIGNAL),
            _ => {}
        }
        used += 2 + extended + length;
    }
    used
}

/// A frame of a client; the mask is zero, which RFC 6455 allows.
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

fn dial(server: SocketAddr, place: usize, token: &str) -> io::Result<OwnedFd> {
    let stream = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let source = Ipv4Addr::new(127, 0, 0, 2 + (place / PER_ADDRESS) as u8);
    bind(&stream, &SocketAddrV4::new(source, 0))?;
    connect(&stream, &server)?;
    set_tcp_nodelay(&stream, true)?;
    let head = format!(
        "GET /socket HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    send(&stream, head.as_bytes(), SendFlags::NOSIGNAL)?;
    Ok(stream)
}
