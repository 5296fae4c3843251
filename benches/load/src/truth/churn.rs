//! Everything that clients, operators and backends do to a server, at random and all at once.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::calls::{Call, Calls, Then};
use super::crowd::{Crowd, Person};
use super::doors::Doors;
use super::misbehaviour::{break_off, forbidden};
use super::random::Random;
use crate::server::{Member, PASSWORD, text};
use crate::socket::{TEXT, masked};

/// Between two acts.
const PACE: Duration = Duration::from_millis(1);
/// Logins of each member.
const LOGINS: usize = 3;
/// Calls that wait before no more are made.
const MAX_WAITING: usize = 50;
/// Of 60 KB each, to one who does not read.
const SLOW_PUSHES: usize = 100;
/// No login has this number: for sockets whose token is bad by intent.
const NOBODY: usize = usize::MAX;

/// A member's login.
struct Login {
    member: usize,
    /// `None` while it is ended and not made anew.
    token: Option<String>,
}

pub(crate) struct Churn<'a> {
    pub(crate) crowd: Crowd,
    pub(crate) calls: Calls,
    doors: &'a Doors,
    admin: String,
    members: Vec<Member>,
    logins: Vec<Login>,
    most: usize,
    random: Random,
    kick_waits: bool,
    /// Calls that were refused, by the problem's code.
    pub(crate) failed: BTreeMap<String, usize>,
    /// What was done how often.
    pub(crate) done: BTreeMap<&'static str, usize>,
}

impl Churn<'_> {
    /// At most so many sockets at once.
    pub(crate) fn new<'a>(
        doors: &'a Doors,
        admin: &str,
        members: Vec<Member>,
        calls: Calls,
        most: usize,
    ) -> io::Result<Churn<'a>> {
        let logins = (0..members.len() * LOGINS).map(|login| Login { member: login / LOGINS, token: None }).collect();
        let mut churn = Churn {
            crowd: Crowd::new()?,
            calls,
            doors,
            admin: admin.to_owned(),
            members,
            logins,
            most,
            random: Random::new(),
            kick_waits: false,
            failed: BTreeMap::new(),
            done: BTreeMap::new(),
        };
        (0..churn.logins.len()).for_each(|login| churn.log_in(login));
        Ok(churn)
    }

    /// Does all of it for so long.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.hear()?;
            self.act()?;
            self.crowd.poll(PACE)?;
        }
        Ok(())
    }

    /// Takes the answers of calls, and logs in again who was logged out.
    pub(crate) fn hear(&mut self) -> io::Result<()> {
        for (then, answer) in self.calls.answers() {
            if let Some(code) = answer["code"].as_str() {
                *self.failed.entry(code.to_owned()).or_default() += 1;
            }
            match then {
                Then::Token(login) => {
                    self.logins[login].token = Some(text(&answer["accessToken"])).filter(|token| !token.is_empty());
                    if self.logins[login].token.is_none() {
                        // Its node died.
                        self.log_in(login);
                    }
                }
                Then::NextKick(at) => {
                    self.kick_waits = false;
                    if answer["matched"].is_null() {
                        // Refused, or not answered: then nobody has to go.
                        self.crowd.pardon(at);
                    }
                }
                Then::Nothing => {}
            }
        }
        self.crowd.gone.clear();
        for login in std::mem::take(&mut self.crowd.expired) {
            if self.logins.get_mut(login).is_some_and(|login| login.token.take().is_some()) {
                self.log_in(login);
            }
        }
        Ok(())
    }

    /// A page comes that watches the list, through a socket of its own.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        let admin = self.admin.clone();
        self.count("page that watches");
        self.crowd.look_away();
        let number = self.crowd.open(self.doors.one(), NOBODY, &admin, false)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.crowd.people.get(&number).is_some_and(|person| person.is_held()) && Instant::now() < deadline {
            self.crowd.poll(PACE)?;
        }
        self.crowd.watch(number);
        while !self.crowd.live.is_subscribed() && Instant::now() < deadline {
            self.crowd.poll(PACE)?;
        }
        if let Some(door) = self.crowd.watched_at() {
            self.crowd.live.begin(&self.doors.get(door, "/online/clients?all=true", &self.admin));
        }
        Ok(())
    }

    /// Everybody goes, each in one of four ways.
    pub(crate) fn close_all(&mut self) {
        let numbers: Vec<u64> = self.crowd.people.keys().copied().collect();
        for number in numbers {
            match number % 4 {
                0 => self.crowd.leave(number, 1000),
                1 => self.crowd.leave(number, 1001),
                kind => self.crowd.drop_out(number, kind == 2),
            }
        }
    }

    fn act(&mut self) -> io::Result<()> {
        let somebody = || io::Result::Ok(());
        let kind = self.below(1000);
        if kind < 450 || self.crowd.people.len() < self.most * 3 / 4 {
            return self.open(false);
        }
        if kind < 470 {
            return self.fail();
        }
        let any = self.below(1 << 20);
        let Some(number) = self.crowd.anybody(any) else { return somebody() };
        match kind {
            470..550 => self.say("closed with 1000", |crowd| crowd.leave(number, 1000)),
            550..610 => self.say("reloaded, 1001", |crowd| crowd.leave(number, 1001)),
            610..670 => self.say("reset", |crowd| crowd.drop_out(number, true)),
            670..710 => self.say("gone with a FIN only", |crowd| crowd.drop_out(number, false)),
            710..790 => self.room(number, "join"),
            790..830 => self.room(number, "quit"),
            830..870 => self.send(number, "ping", br#"{"event":"ping","id":1}"#),
            870..900 => self.push("push to a user", |churn| json!({"users": [churn.member_of(number)]}), 200),
            900..920 => self.push("push to a room", |churn| json!({"rooms": [room(churn.below(40))]}), 500),
            920..923 => self.push("push to everyone", |_| json!({"everyone": true}), 300),
            923..985 => self.kick(number),
            985..990 => self.end_login(number),
            990..993 => return self.open(true),
            _ => self.break_rules(number),
        }
        Ok(())
    }

    fn open(&mut self, narrow: bool) -> io::Result<()> {
        let login = self.below(self.logins.len() as u64) as usize;
        let Some(token) = self.logins[login].token.clone().filter(|_| self.crowd.people.len() < self.most) else {
            return Ok(());
        };
        let number = self.crowd.open(self.doors.one(), login, &token, narrow)?;
        self.count("opened");
        if narrow {
            self.be_slow(number)?;
        }
        Ok(())
    }

    /// It stops reading while more is sent to it than the kernel and its queue hold.
    fn be_slow(&mut self, number: u64) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.crowd.people.get(&number).is_some_and(|person| person.id.is_empty()) && Instant::now() < deadline {
            self.crowd.poll(PACE)?;
        }
        let Some(id) = self.crowd.people.get(&number).map(|person| person.id.clone()) else { return Ok(()) };
        self.crowd.deafen(number);
        let body = json!({"target": {"clients": [id]}, "event": "load", "data": "x".repeat(60_000)});
        for _ in 0..SLOW_PUSHES {
            self.count("push to one who does not read");
            self.call("POST", "/push".to_owned(), body.clone(), Then::Nothing);
        }
        Ok(())
    }

    /// Handshakes that cannot succeed.
    fn fail(&mut self) -> io::Result<()> {
        self.count("failed handshake");
        match self.below(3) {
            0 => _ = self.crowd.open(self.doors.one(), NOBODY, "no.such.token", false)?,
            kind => break_off(self.doors.one(), kind)?,
        }
        Ok(())
    }

    fn room(&mut self, number: u64, event: &'static str) {
        let room = room(self.below(40));
        self.send(number, event, json!({"event": event, "id": 1, "data": {"id": room}}).to_string().as_bytes());
    }

    fn send(&mut self, number: u64, what: &'static str, text: &[u8]) {
        self.count(what);
        self.crowd.people[&number].socket.send(&masked(TEXT, text));
    }

    fn push(&mut self, what: &'static str, target: impl FnOnce(&mut Self) -> Value, bytes: usize) {
        if self.calls.waiting > MAX_WAITING {
            return;
        }
        let target = target(self);
        self.count(what);
        let body = json!({"target": target, "event": "load", "data": "x".repeat(bytes)});
        self.call("POST", "/push".to_owned(), body, Then::Nothing);
    }

    /// One client, or sometimes its whole session, or its user.
    fn kick(&mut self, number: u64) {
        if self.kick_waits {
            return;
        }
        let kind = self.below(60);
        let person = &self.crowd.people[&number];
        let (session, login) = (person.session_id.clone(), person.session);
        let (what, path, body) = match kind {
            0 => ("kick of a session", format!("/online/sessions/{session}"), json!({"reason": "Truth."})),
            1 => ("kick of a user", format!("/online/users/{}", self.member_of(number)), json!({"reason": "Truth."})),
            _ => ("kick of a client", format!("/online/clients/{}", person.id), json!({"revoke": false})),
        };
        self.count(what);
        let member = self.logins[login].member;
        let ended = |other: usize| match kind {
            0 => other == login,
            1 => other < NOBODY && other / LOGINS == member,
            _ => false,
        };
        let now = Instant::now();
        let meant = |person: &Person| match kind {
            0 => person.session_id == session,
            _ => ended(person.session),
        };
        let people = self.crowd.people.iter().filter(|(other, person)| {
            **other == number || (kind < 2 && meant(person) && person.is_held() && !person.deaf)
        });
        let kicked: Vec<u64> = people.map(|(number, _)| *number).collect();
        kicked.into_iter().for_each(|number| self.crowd.kicked(number, now));
        self.kick_waits = true;
        self.call("DELETE", path, body, Then::NextKick(now));
        (0..self.logins.len()).filter(|login| ended(*login)).for_each(|login| self.log_in(login));
    }

    /// The client itself logs out; all its tabs end.
    fn end_login(&mut self, number: u64) {
        let login = self.crowd.people[&number].session;
        if let Some(token) = self.logins[login].token.take() {
            self.count("logout");
            self.calls.make(Call {
                method: "POST",
                path: "/auth/logout".to_owned(),
                token,
                body: Value::Null,
                then: Then::Nothing,
            });
            self.log_in(login);
        }
    }

    /// What RFC 6455 or our protocol forbids; the server ends it.
    fn break_rules(&mut self, number: u64) {
        self.count("broken rules");
        let frame = forbidden(self.below(6));
        self.crowd.people[&number].socket.send(&frame);
    }

    fn log_in(&mut self, login: usize) {
        self.logins[login].token = None;
        let body = json!({"username": format!("member{}", self.logins[login].member), "password": PASSWORD});
        self.count("login");
        self.call("POST", "/auth/login".to_owned(), body, Then::Token(login));
    }

    fn call(&mut self, method: &'static str, path: String, body: Value, then: Then) {
        self.calls.make(Call { method, path, token: self.admin.clone(), body, then });
    }

    fn member_of(&self, number: u64) -> String {
        let member = self.crowd.people.get(&number).and_then(|person| self.logins.get(person.session));
        member.map_or_else(String::new, |login| self.members[login.member].id.clone())
    }

    fn say(&mut self, what: &'static str, act: impl FnOnce(&mut Crowd)) {
        self.count(what);
        act(&mut self.crowd);
    }

    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }
}

fn room(number: u64) -> String {
    format!("room{number}")
}
