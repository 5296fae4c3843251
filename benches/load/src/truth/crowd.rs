//! Sockets that come and go, and what the program knows of each by itself: the oracle's side of every comparison. A socket is
//! held when the server greeted it and neither side has said goodbye.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;
use serde_json::Value;

use super::live::Live;
use crate::server::text;
use crate::socket::{Heard, Socket, goodbye, source};

/// One socket.
pub(crate) struct Person {
    pub(crate) socket: Socket,
    /// Where it came in.
    pub(crate) door: SocketAddr,
    /// Of the login it came with.
    pub(crate) session: usize,
    /// From the greeting; empty before.
    pub(crate) id: String,
    /// The id of its session, from the greeting too.
    pub(crate) session_id: String,
    pub(crate) rooms: BTreeSet<String>,
    /// Either side has said goodbye, or will.
    pub(crate) leaving: bool,
    /// Does not read.
    pub(crate) deaf: bool,
    kicked: Option<Instant>,
}

/// All of them, by a number that is never used again.
pub(crate) struct Crowd {
    epoll: OwnedFd,
    pub(crate) people: HashMap<u64, Person>,
    next: u64,
    events: Vec<Event>,
    buffer: Vec<u8>,
    /// ms from the kick's request to the end of the stream.
    pub(crate) kicks: Vec<f64>,
    /// How the server ended sockets, by close code; 0 is an end without one.
    pub(crate) ends: BTreeMap<u16, usize>,
    /// Handshakes that were refused, by status.
    pub(crate) refused: BTreeMap<u16, usize>,
    /// Logins whose token was refused, because they have ended.
    pub(crate) expired: Vec<usize>,
    /// The list as its differences tell it.
    pub(crate) live: Live,
    /// Logins of sockets that were open and are gone, or never came to be.
    pub(crate) gone: Vec<usize>,
    viewer: Option<u64>,
}

impl Crowd {
    pub(crate) fn new() -> io::Result<Crowd> {
        Ok(Crowd {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            people: HashMap::new(),
            next: 0,
            events: Vec::with_capacity(1024),
            buffer: vec![0; 64 * 1024],
            kicks: Vec::new(),
            ends: BTreeMap::new(),
            refused: BTreeMap::new(),
            expired: Vec::new(),
            live: Live::default(),
            gone: Vec::new(),
            viewer: None,
        })
    }

    /// Dials with the token of a login.
    pub(crate) fn open(&mut self, door: SocketAddr, session: usize, token: &str, narrow: bool) -> io::Result<u64> {
        let (number, dial) = (self.next, if narrow { Socket::dial_narrow } else { Socket::dial });
        let socket = dial(door, Some(source()), token)?;
        let stream = socket.stream.as_ref().expect("it was just dialed");
        epoll::add(&self.epoll, stream, EventData::new_u64(number), EventFlags::IN)?;
        self.next += 1;
        self.people.insert(
            number,
            Person {
                socket,
                door,
                session,
                id: String::new(),
                session_id: String::new(),
                rooms: BTreeSet::new(),
                leaving: false,
                deaf: false,
                kicked: None,
            },
        );
        Ok(number)
    }

    /// The one through whom the list is watched.
    pub(crate) fn watch(&mut self, number: u64) {
        self.viewer = Some(number);
        self.live = Live::default();
        if let Some(person) = self.people.get(&number) {
            person.socket.send(&Live::subscribe());
        }
    }

    /// The one who watched goes: nobody else may act for it, since it is of no member's login.
    pub(crate) fn look_away(&mut self) {
        if let Some(viewer) = self.viewer.take() {
            self.drop_out(viewer, false);
        }
    }

    /// The door through which the list is watched; none when nobody does any more.
    pub(crate) fn watched_at(&self) -> Option<SocketAddr> {
        self.viewer.and_then(|viewer| self.people.get(&viewer)).map(|viewer| viewer.door)
    }

    /// Somebody who is held and reads, by any number.
    pub(crate) fn anybody(&self, any: u64) -> Option<u64> {
        let start = self.people.len().checked_sub(1)? as u64;
        let choose = |(number, person): (&u64, &Person)| {
            (person.is_held() && !person.deaf && Some(*number) != self.viewer).then_some(*number)
        };
        self.people.iter().skip((any % (start + 1)) as usize).find_map(choose)
    }

    /// Says goodbye with a code, and stays until the server has.
    pub(crate) fn leave(&mut self, number: u64, code: u16) {
        if let Some(person) = self.people.get_mut(&number) {
            person.leaving = true;
            person.socket.send(&goodbye(code));
        }
    }

    /// Ends without a word: a reset, or only the kernel's FIN.
    pub(crate) fn drop_out(&mut self, number: u64, reset: bool) {
        if let Some(person) = self.people.remove(&number).filter(|_| reset) {
            person.socket.reset();
        }
    }

    /// From now on this one does not read.
    pub(crate) fn deafen(&mut self, number: u64) {
        let Some(person) = self.people.get_mut(&number) else { return };
        if let Some(stream) = &person.socket.stream {
            person.deaf = epoll::delete(&self.epoll, stream).is_ok();
        }
    }

    /// Those who did not read do so again.
    pub(crate) fn undeafen(&mut self) {
        for (number, person) in self.people.iter_mut().filter(|(_, person)| person.deaf) {
            if let Some(stream) = &person.socket.stream {
                person.deaf = epoll::add(&self.epoll, stream, EventData::new_u64(*number), EventFlags::IN).is_err();
            }
        }
    }

    /// A kick of it was asked for.
    pub(crate) fn kicked(&mut self, number: u64, at: Instant) {
        if let Some(person) = self.people.get_mut(&number) {
            (person.leaving, person.kicked) = (true, Some(at));
        }
    }

    /// The kick that was asked for then will not happen.
    pub(crate) fn pardon(&mut self, at: Instant) {
        for person in self.people.values_mut().filter(|person| person.kicked == Some(at)) {
            (person.leaving, person.kicked) = (false, None);
        }
    }

    /// Whether something that was begun has not ended yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.people.values().any(|person| person.id.is_empty() || person.leaving)
    }

    /// Takes what has come; waits at most so long for the first. How many sockets had something.
    pub(crate) fn poll(&mut self, wait: Duration) -> io::Result<usize> {
        self.events.clear();
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&wait)) {
            Err(Errno::INTR) => return Ok(0),
            waited => waited?,
        };
        let events = std::mem::take(&mut self.events);
        for event in &events {
            self.read(event.data.u64());
        }
        let count = events.len();
        self.events = events;
        Ok(count)
    }

    fn read(&mut self, number: u64) {
        let Some(person) = self.people.get_mut(&number) else { return };
        let Person { socket, id, session_id, rooms, leaving, .. } = person;
        let (mut gone, mut code, mut refused) = (false, None, None);
        let live = (self.viewer == Some(number)).then_some(&mut self.live);
        let mut hear = Hearing { id, session_id, rooms, live };
        socket.read(&mut self.buffer, |what| match what {
            Heard::Open => {}
            Heard::Text(text) => hear.text(text),
            Heard::Close(with) => code = Some(with),
            Heard::Refused(status) => refused = Some(status),
            Heard::Gone => gone = true,
        });
        if let Some(code) = code {
            if !*leaving || person.kicked.is_some() {
                *self.ends.entry(code).or_default() += 1;
            }
            *leaving = true;
            person.socket.send(&goodbye(code));
        }
        if let Some(status) = refused {
            *self.refused.entry(status).or_default() += 1;
            let session = self.people.remove(&number).expect("it was there").session;
            self.expired.extend((status == 401).then_some(session));
            self.gone.push(session);
            return;
        }
        if gone {
            let person = self.people.remove(&number).expect("it was there");
            self.gone.push(person.session);
            self.kicks.extend(person.kicked.map(|at| at.elapsed().as_secs_f64() * 1e3));
            if !person.leaving {
                *self.ends.entry(0).or_default() += 1;
            }
        }
    }
}

impl Person {
    /// Whether the online list must have it.
    pub(crate) fn is_held(&self) -> bool {
        !self.leaving && !self.id.is_empty()
    }
}

/// Where texts go.
struct Hearing<'a> {
    id: &'a mut String,
    session_id: &'a mut String,
    rooms: &'a mut BTreeSet<String>,
    live: Option<&'a mut Live>,
}

impl Hearing<'_> {
    fn text(&mut self, bytes: &[u8]) {
        // Most are pushes that nobody needs to parse.
        let begins =
            |event: &str| bytes.strip_prefix(br#"{"event":""#).is_some_and(|rest| rest.starts_with(event.as_bytes()));
        if !["connected\"", "join\"", "quit\"", "online/"].into_iter().any(begins) {
            return;
        }
        let Ok(frame) = serde_json::from_slice::<Value>(bytes) else { return };
        match &frame["event"] {
            event if event == "connected" => {
                (*self.id, *self.session_id) = (text(&frame["data"]["clientId"]), text(&frame["data"]["sessionId"]));
            }
            event if event == "join" || event == "quit" => {
                if frame["code"] == 0 {
                    *self.rooms = frame["data"].as_array().into_iter().flatten().map(text).collect();
                }
            }
            _ => _ = self.live.as_mut().map(|live| live.take(&frame)),
        }
    }
}
