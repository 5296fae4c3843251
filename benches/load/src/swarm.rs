//! Many sockets of one process, on one epoll: they answer pings, count what they hear, and send frames that were made before.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::server::{Member, PER_USER};
use crate::socket::{Heard, Socket, source};

/// Handshakes at once.
const WINDOW: usize = 64;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Open sockets, each known by its place.
pub(crate) struct Swarm {
    epoll: OwnedFd,
    sockets: Vec<Socket>,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

impl Swarm {
    pub(crate) fn new() -> io::Result<Swarm> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Swarm { epoll, sockets: Vec::new(), events: Vec::with_capacity(1024), buffer: vec![0; 64 * 1024] })
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Ready to be read when there is something to poll.
    pub(crate) fn epoll(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// From now on there are so many places at least; new ones are not open.
    pub(crate) fn places(&mut self, count: usize) {
        self.sockets.resize_with(count.max(self.sockets.len()), Socket::closed);
    }

    /// Whether the socket of this place is open, and was greeted.
    pub(crate) fn is_open(&self, place: usize) -> bool {
        let socket = &self.sockets[place];
        socket.stream.is_some() && socket.texts > 0
    }

    /// Texts that the socket of this place has heard.
    pub(crate) fn texts(&self, place: usize) -> usize {
        self.sockets[place].texts
    }

    /// Opens sockets until there are `count`; each shows the token of its place.
    pub(crate) fn open(&mut self, server: SocketAddr, count: usize, members: &[Member]) -> io::Result<()> {
        let first = self.sockets.len();
        self.places(count);
        self.again(server, first..count, members)
    }

    /// Opens the sockets of these places anew; whatever was there is closed first.
    pub(crate) fn again(&mut self, server: SocketAddr, places: Range<usize>, members: &[Member]) -> io::Result<()> {
        self.leave(places.clone());
        for first in places.clone().step_by(WINDOW) {
            let window = first..places.end.min(first + WINDOW);
            for place in window.clone() {
                let token = members.get(place / PER_USER).map_or("", |member| &member.token);
                self.put(place, Socket::dial(server, Some(source()), token)?)?;
            }
            self.shake(window)?;
        }
        Ok(())
    }

    /// Opens the sockets of these places, each at one of the servers, and waits until each was greeted or is gone; how many are.
    pub(crate) fn come(
        &mut self,
        servers: &[SocketAddr],
        places: &[usize],
        token: impl Fn(usize) -> String,
    ) -> io::Result<usize> {
        for &place in places {
            // Where nobody listens any more, the place stays closed.
            if let Ok(socket) = Socket::dial(servers[place % servers.len()], Some(source()), &token(place)) {
                self.put(place, socket)?;
            }
        }
        let deadline = Instant::now() + PATIENCE;
        let waits = |socket: &Socket| socket.stream.is_some() && socket.texts == 0;
        while places.iter().any(|place| waits(&self.sockets[*place])) && Instant::now() < deadline {
            self.poll(Some(Duration::from_millis(100)), |_, _| {})?;
        }
        Ok(places.iter().filter(|place| !self.is_open(**place)).count())
    }

    /// Opens so many more with this token. Those who are `deaf` never read, so that what is sent to them piles up.
    pub(crate) fn open_as(&mut self, server: SocketAddr, count: usize, token: &str, deaf: bool) -> io::Result<()> {
        let (first, dial) = (self.sockets.len(), if deaf { Socket::dial_narrow } else { Socket::dial });
        self.sockets.resize_with(first + count, Socket::closed);
        for place in first..first + count {
            self.put(place, dial(server, Some(source()), token)?)?;
        }
        self.shake(first..first + count)?;
        for socket in self.sockets[first..].iter().filter(|_| deaf) {
            epoll::delete(&self.epoll, socket.stream.as_ref().expect("it was just opened"))?;
        }
        Ok(())
    }

    fn put(&mut self, place: usize, socket: Socket) -> io::Result<()> {
        let stream = socket.stream.as_ref().expect("it was just dialed");
        epoll::add(&self.epoll, stream, EventData::new_u64(place as u64), EventFlags::IN)?;
        self.sockets[place] = socket;
        Ok(())
    }

    /// Waits for the handshakes of these places.
    fn shake(&mut self, places: Range<usize>) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.sockets[places.clone()].iter().any(|socket| !socket.shaken) {
            self.poll(Some(Duration::from_millis(100)), |_, _| {})?;
            if Instant::now() > deadline || self.sockets[places.clone()].iter().any(|socket| socket.stream.is_none()) {
                return Err(io::Error::other("a handshake was refused"));
            }
        }
        Ok(())
    }

    /// Sends a frame; what the kernel does not take is not worth measuring.
    pub(crate) fn send(&self, place: usize, frame: &[u8]) {
        self.sockets[place].send(frame);
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
            self.sockets[place].read(&mut self.buffer, |what| match what {
                Heard::Text(text) => heard(place, text),
                Heard::Refused(status) => eprintln!("a handshake was answered {status}"),
                _ => {}
            });
        }
        Ok(())
    }

    /// Polls until so many texts came, or nothing more is to be expected; how many came.
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

    /// Closes the sockets of these places, without a word.
    pub(crate) fn leave(&mut self, places: Range<usize>) {
        self.sockets[places].iter_mut().for_each(|socket| socket.stream = None);
    }

    /// Closes the newest sockets until there are `count`, without a word.
    pub(crate) fn close(&mut self, count: usize) {
        self.sockets.truncate(count);
    }
}
