//! The limit: one epoll loop that answers the same handshake, the same ping and the same fan-out with no meaning at all.
//!
//! One `recv` and one `send` a message; nothing is batched, parsed, unmasked, counted or checked. A payload that begins with
//! `F` goes out to every socket, `S` is answered with the number of system calls so far, everything else with a reply as
//! long as ours to a ping. Frames come with a mask of zeros, whole, and shorter than 126 bytes: the load sends no others.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

use base64::Engine;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_reuseaddr, set_tcp_nodelay};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, getsockname};
use rustix::net::{listen, recv, send, socket_with};
use sha1::{Digest, Sha1};

/// The id of the listener; every other one is a place in the table.
const LISTENER: u64 = u64::MAX;
/// Bytes of a fan-out's frame, its header included.
const BROADCAST: usize = 135;
/// Bytes of a reply to a ping, its header included: as long as `{"event":"ping","id":1,"code":0,"timestamp":1715670733}`.
const REPLY: usize = 57;

struct Limit {
    epoll: OwnedFd,
    listener: OwnedFd,
    sockets: Vec<Option<Socket>>,
    free: Vec<usize>,
    /// Of `recv`, `send` and `epoll_wait`.
    calls: u64,
    buffer: Vec<u8>,
}

struct Socket {
    stream: OwnedFd,
    /// What of the handshake has come; `None` after it.
    head: Option<Vec<u8>>,
}

fn main() -> io::Result<()> {
    let mut limit = Limit::new()?;
    let address = SocketAddrV4::try_from(getsockname(&limit.listener)?).map_err(|_| Errno::AFNOSUPPORT)?;
    println!("http://{address}");
    let mut events: Vec<Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&limit.epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        limit.calls += 1;
        for event in &events {
            match event.data.u64() {
                LISTENER => limit.accept()?,
                place => limit.readable(place as usize),
            }
        }
    }
}

impl Limit {
    fn new() -> io::Result<Limit> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        set_socket_reuseaddr(&listener, true)?;
        bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        listen(&listener, 4096)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Limit { epoll, listener, sockets: Vec::new(), free: Vec::new(), calls: 0, buffer: vec![0; 16 * 1024] })
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(stream) => stream,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            set_tcp_nodelay(&stream, true)?;
            let place = self.free.pop().unwrap_or_else(|| {
                self.sockets.push(None);
                self.sockets.len() - 1
            });
            // Edge-triggered, as ours.
            epoll::add(&self.epoll, &stream, EventData::new_u64(place as u64), EventFlags::IN | EventFlags::ET)?;
            self.sockets[place] = Some(Socket { stream, head: Some(Vec::new()) });
        }
    }

    fn readable(&mut self, place: usize) {
        let Some(socket) = &mut self.sockets[place] else { return };
        self.calls += 1;
        let read = match recv(&socket.stream, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((_, 0)) | Err(_) => 0,
            Ok((_, read)) => read,
        };
        if read == 0 {
            self.sockets[place] = None;
            self.free.push(place);
            return;
        }
        if let Some(head) = &mut socket.head {
            head.extend_from_slice(&self.buffer[..read]);
            if head.ends_with(b"\r\n\r\n") {
                let answer = switching_protocols(head);
                socket.head = None;
                self.calls += 1;
                let _ = send(&socket.stream, answer.as_bytes(), SendFlags::NOSIGNAL);
            }
            return;
        }
        let mut used = 0;
        while used + 6 <= read {
            let length = usize::from(self.buffer[used + 1] & 0x7F);
            let first = self.buffer[used + 6.min(5 + length)];
            used += 6 + length;
            self.answer(place, first);
        }
    }

    fn answer(&mut self, place: usize, first: u8) {
        match first {
            b'F' => {
                let frame = text_frame(BROADCAST);
                for socket in self.sockets.iter().flatten() {
                    self.calls += 1;
                    let _ = send(socket.stream.as_fd(), &frame, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
                }
            }
            b'S' => {
                let text = self.calls.to_string();
                let frame = [&[0x81, text.len() as u8], text.as_bytes()].concat();
                self.send(place, &frame);
            }
            _ => self.send(place, &text_frame(REPLY)),
        }
    }

    fn send(&mut self, place: usize, frame: &[u8]) {
        self.calls += 1;
        if let Some(socket) = &self.sockets[place] {
            let _ = send(&socket.stream, frame, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }
}

/// A text frame of so many bytes, its header included.
fn text_frame(bytes: usize) -> Vec<u8> {
    let header: Vec<u8> = match bytes {
        ..=127 => vec![0x81, (bytes - 2) as u8],
        _ => [&[0x81, 126][..], &((bytes - 4) as u16).to_be_bytes()].concat(),
    };
    let mut frame = header;
    frame.resize(bytes, b'x');
    frame
}

/// RFC 6455 section 4.2.2.
fn switching_protocols(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
    let mut digest = Sha1::new();
    digest.update(key);
    digest.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64::engine::general_purpose::STANDARD.encode(digest.finalize());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}
