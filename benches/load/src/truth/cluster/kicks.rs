//! Kicks while Redis, the database and the wires to them are cut at random. A kick is lost when it was answered 200 or 202 and its
//! session is still in, or gets in, when all is well again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Size;
use super::site::Site;
use crate::interrupt;
use crate::nodes::{Signer, user};
use crate::truth::crowd::Crowd;
use crate::truth::doors::Doors;
use crate::truth::random::Random;

/// Sessions that are in, or on their way out, at once.
const AT_ONCE: usize = 1_000;
/// Of each, at any doors.
const SOCKETS: usize = 2;
/// Who ask for kicks at once: one whose node has no database waits for seconds.
const KICKERS: usize = 64;
/// Sessions of a kick that names many.
const MANY: usize = 20;
/// Before a socket that was closed or refused comes again, and before a kick that was refused is asked for again.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest wait for the last one to go when all is well again.
const SETTLE: Duration = Duration::from_secs(30);

/// What was seen.
#[derive(Default)]
pub(super) struct Kicks {
    /// Sessions whose kick was answered 200 or 202.
    pub(super) kept: usize,
    /// Answers to all requests, by status; 0 is none.
    pub(super) answers: BTreeMap<u16, usize>,
    /// Seconds from the answer to the end of the session's last socket.
    pub(super) closed: Vec<f64>,
    /// Of those kept: with an open socket when all was well again.
    pub(super) still_in: usize,
    /// Handshakes that let one in then, of how many.
    pub(super) let_in: usize,
    pub(super) tried: usize,
    /// Sockets that came back before they were refused.
    pub(super) came_back: usize,
    /// What was cut how often.
    pub(super) cuts: BTreeMap<&'static str, usize>,
}

/// A session, by its number.
#[derive(Default)]
struct Victim {
    /// From a greeting; empty before the first.
    session: String,
    /// No kick is asked for before; none while an answer is awaited.
    ask_from: Option<Instant>,
    /// When the kick was answered.
    kept: Option<Instant>,
    /// Open ones, and those that will be.
    sockets: usize,
    /// Refused with 401: nobody tries again.
    out: bool,
}

struct Order {
    victims: Vec<usize>,
    method: &'static str,
    path: String,
    body: Value,
}

/// Kicks as many as the size says, while this thread cuts. Redis is started again by this thread, with which it dies.
pub(super) fn kicks(size: &Size, site: &mut Site, doors: &Doors, admin: &str) -> io::Result<Kicks> {
    let (done, well) = (AtomicBool::new(false), AtomicBool::new(false));
    let (mut kicks, cuts) = thread::scope(|scope| {
        let kicking =
            scope.spawn(|| Kicking::new(scope, doors, admin).and_then(|kicking| kicking.run(size, &done, &well)));
        let mut cuts = BTreeMap::new();
        let mut random = Random::new();
        let mut shaken = Ok(());
        while shaken.is_ok() && !done.load(Relaxed) && !kicking.is_finished() {
            shaken = site.shake(&mut random).map(|what| *cuts.entry(what).or_default() += 1);
        }
        let whole = shaken.and_then(|()| site.whole(doors, admin));
        well.store(true, Relaxed);
        let kicks = kicking.join().map_err(|_| io::Error::other("a thread died"))?;
        whole.and(kicks).map(|kicks| (kicks, cuts))
    })?;
    kicks.cuts = cuts;
    Ok(kicks)
}

struct Kicking<'a> {
    doors: &'a Doors,
    crowd: Crowd,
    signer: Signer,
    random: Random,
    victims: Vec<Victim>,
    orders: Sender<Order>,
    answers: Receiver<(Vec<usize>, u16)>,
    /// Sockets that come again then.
    later: VecDeque<(Instant, usize)>,
    /// Sessions to be kicked that wait for others to be named with.
    gathered: Vec<usize>,
    seen: Kicks,
}

impl<'a> Kicking<'a> {
    fn new<'scope>(scope: &'scope Scope<'scope, '_>, doors: &'a Doors, admin: &'a str) -> io::Result<Kicking<'a>>
    where
        'a: 'scope,
    {
        let ((orders, waiting), (answer, answers)) = (channel::<Order>(), channel());
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..KICKERS {
            let (waiting, answer) = (waiting.clone(), answer.clone());
            scope.spawn(move || {
                let next = || waiting.lock().expect("nobody panics while waiting").recv().ok();
                while let Some(Order { victims, method, path, body }) = next() {
                    let (status, _) = doors.ask(doors.one(), method, &path, admin, Some(&body));
                    let _ = answer.send((victims, status));
                }
            });
        }
        Ok(Kicking {
            doors,
            crowd: Crowd::new()?,
            signer: Signer::new(),
            random: Random::new(),
            victims: Vec::new(),
            orders,
            answers,
            later: VecDeque::new(),
            gathered: Vec::new(),
            seen: Kicks::default(),
        })
    }

    fn run(mut self, size: &Size, done: &AtomicBool, well: &AtomicBool) -> io::Result<Kicks> {
        let begun = Instant::now();
        while self.seen.kept < size.kicks && begun.elapsed() < size.kicking {
            let inside = self.victims.iter().filter(|victim| victim.kept.is_none()).count();
            for _ in inside..AT_ONCE.min(size.kicks - self.seen.kept) {
                self.victims.push(Victim { sockets: SOCKETS, ask_from: Some(begun), ..Victim::default() });
                (0..SOCKETS).try_for_each(|_| self.dial(self.victims.len() - 1))?;
            }
            self.step()?;
            self.order();
        }
        done.store(true, Relaxed);
        while !well.load(Relaxed) {
            self.step()?;
        }
        let settled = Instant::now();
        while self.inside().count() > 0 && settled.elapsed() < SETTLE {
            self.step()?;
        }
        self.seen.still_in = self.inside().count();
        self.knock()?;
        Ok(self.seen)
    }

    /// Kept kicks whose session has a socket.
    fn inside(&self) -> impl Iterator<Item = usize> {
        let has = |number: usize| self.crowd.people.values().any(move |person| person.session == number);
        let kept = (0..self.victims.len()).filter(|number| self.victims[*number].kept.is_some());
        kept.filter(move |number| self.victims[*number].sockets > 0 && has(*number))
    }

    fn dial(&mut self, number: usize) -> io::Result<()> {
        let token = self.signer.token(number, 0);
        self.crowd.open(self.doors.one(), number, &token, false).map(|_| ())
    }

    /// Takes what came, and lets those come again whose turn it is.
    fn step(&mut self) -> io::Result<()> {
        interrupt::check()?;
        self.crowd.poll(Duration::from_millis(2))?;
        for number in std::mem::take(&mut self.crowd.expired) {
            self.victims[number].out = true;
        }
        for number in std::mem::take(&mut self.crowd.gone) {
            let victim = &mut self.victims[number];
            if victim.out {
                victim.sockets -= 1;
                if let Some(kept) = victim.kept.filter(|_| victim.sockets == 0) {
                    self.seen.closed.push(kept.elapsed().as_secs_f64());
                }
            } else {
                self.seen.came_back += 1;
                self.later.push_back((Instant::now() + PAUSE, number));
            }
        }
        while self.later.front().is_some_and(|(at, _)| *at <= Instant::now()) {
            let (_, number) = self.later.pop_front().expect("it was just looked at");
            self.dial(number)?;
        }
        for (victims, status) in self.answers.try_iter() {
            *self.seen.answers.entry(status).or_default() += 1;
            for number in victims {
                let victim = &mut self.victims[number];
                if status == 200 || status == 202 {
                    victim.kept = Some(Instant::now());
                    self.seen.kept += 1;
                } else {
                    // Perhaps it was done all the same, so somebody else is asked until it is promised.
                    victim.ask_from = Some(Instant::now() + PAUSE);
                }
            }
        }
        Ok(())
    }

    /// Asks for the kick of everybody who has been greeted.
    fn order(&mut self) {
        let now = Instant::now();
        for person in self.crowd.people.values().filter(|person| !person.session_id.is_empty()) {
            let victim = &mut self.victims[person.session];
            if victim.session.is_empty() {
                victim.session.clone_from(&person.session_id);
            }
        }
        for number in 0..self.victims.len() {
            let victim = &mut self.victims[number];
            if victim.session.is_empty() || victim.ask_from.is_none_or(|from| from > now) {
                continue;
            }
            victim.ask_from = None;
            let (path, session) = (|path: &str| format!("/online/{path}"), &victim.session);
            let path = match self.random.below(4) {
                0 => path(&format!("users/{}", user(number))),
                1 => path(&format!("sessions/{session}")),
                _ => {
                    self.gathered.push(number);
                    continue;
                }
            };
            let order = Order { victims: vec![number], method: "DELETE", path, body: json!({"reason": "Truth."}) };
            let _ = self.orders.send(order);
        }
        // The last ones are fewer.
        while self.gathered.len() >= MANY
            || (!self.gathered.is_empty() && self.victims.len() - self.seen.kept < AT_ONCE)
        {
            let victims: Vec<usize> = self.gathered.drain(..self.gathered.len().min(MANY)).collect();
            let sessions: Vec<&str> = victims.iter().map(|one| self.victims[*one].session.as_str()).collect();
            let body = json!({"sessions": sessions, "reason": "Truth."});
            let _ = self.orders.send(Order { victims, method: "POST", path: "/online/kick".to_owned(), body });
        }
    }

    /// Everybody whose kick was kept tries every door once more.
    fn knock(&mut self) -> io::Result<()> {
        let kept: Vec<usize> = (0..self.victims.len()).filter(|number| self.victims[*number].kept.is_some()).collect();
        self.crowd = Crowd::new()?;
        for door in self.doors.all() {
            for some in kept.chunks(64) {
                interrupt::check()?;
                for &number in some {
                    let token = self.signer.token(number, 0);
                    self.crowd.open(door, number, &token, false)?;
                }
                let deadline = Instant::now() + SETTLE;
                while self.crowd.people.values().any(|person| person.id.is_empty()) && Instant::now() < deadline {
                    self.crowd.poll(Duration::from_millis(20))?;
                }
                self.seen.tried += some.len();
                // Whoever was not refused as one who is out.
                self.seen.let_in += some.len() - self.crowd.expired.len();
                self.crowd.expired.clear();
                self.crowd.people.clear();
            }
        }
        Ok(())
    }
}
