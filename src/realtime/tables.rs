//! What the client manager knows, under its one lock: who is here, by id, user, session, room and address, and how many.
//! Every change goes through `add`, `lose` and `remove`, so that the counts, the rooms and the stream of differences can
//! not disagree.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::client::Client;
use super::presence::{Cause, LastLeave, OnlineCounts};
use super::stream::Stream;
use crate::auth::{Rights, UserKey};

pub(super) struct Tables {
    /// All that are listed: connected ones, and the last client of a user in the grace.
    pub(super) clients: HashMap<Uuid, Arc<Client>>,
    pub(super) users: HashMap<UserKey, UserEntry>,
    pub(super) sessions: HashMap<Uuid, Vec<Arc<Client>>>,
    pub(super) rooms: HashMap<Arc<str>, HashMap<Uuid, Arc<Client>>>,
    /// Rooms by client, sorted as joined; only clients that joined any.
    pub(super) joined: HashMap<Uuid, Vec<Arc<str>>>,
    pub(super) stream: Stream,
    addresses: HashMap<IpAddr, usize>,
    by_role: BTreeMap<Arc<str>, usize>,
    by_app: BTreeMap<Arc<str>, usize>,
    leaving: VecDeque<Leaving>,
    leaves: LastLeaves,
    /// Sockets that ended, by cause, since the start.
    pub(super) ends: BTreeMap<Cause, u64>,
}

pub(super) struct UserEntry {
    pub(super) clients: Vec<Arc<Client>>,
    pub(super) since: DateTime<Utc>,
    /// Set while the only client left is a lost one.
    pub(super) leaving: Option<Grace>,
}

#[derive(Clone, Copy)]
pub(super) struct Grace {
    pub(super) until: Duration,
    pub(super) cause: Cause,
}

/// A grace that will end, in the order of the ends. Scoped to the client: a user who came back has another one.
struct Leaving {
    until: Duration,
    client: Uuid,
    user: UserKey,
}

/// How users went, the newest `cap` of them.
struct LastLeaves {
    cap: usize,
    by_user: HashMap<UserKey, LastLeave>,
    order: VecDeque<UserKey>,
}

impl Tables {
    pub(super) fn new(max_leaves: usize) -> Tables {
        Tables {
            clients: HashMap::new(),
            users: HashMap::new(),
            sessions: HashMap::new(),
            rooms: HashMap::new(),
            joined: HashMap::new(),
            stream: Stream::default(),
            addresses: HashMap::new(),
            by_role: BTreeMap::new(),
            by_app: BTreeMap::new(),
            leaving: VecDeque::new(),
            leaves: LastLeaves { cap: max_leaves, by_user: HashMap::new(), order: VecDeque::new() },
            ends: BTreeMap::new(),
        }
    }

    /// A new client. A lost one that kept its user online is gone now: the user came back.
    pub(super) fn add(&mut self, client: Arc<Client>, address: IpAddr) {
        let entry = self.users.entry(client.user.clone()).or_insert_with(|| UserEntry {
            clients: Vec::new(),
            since: client.connected_at,
            leaving: None,
        });
        let ghost = entry.leaving.take().and_then(|grace| Some((entry.clients.first()?.id, grace.cause)));
        entry.clients.push(client.clone());
        self.sessions.entry(client.session).or_default().push(client.clone());
        *self.addresses.entry(address).or_default() += 1;
        self.count_roles(&client.rights(), 1);
        count(&mut self.by_app, &client.app, 1);
        self.stream.joined(client.id);
        self.clients.insert(client.id, client);
        if let Some((id, cause)) = ghost {
            self.remove(id, cause);
        }
    }

    /// The socket is gone. The user's last one waits out the grace where the cause allows it.
    pub(super) fn lose(&mut self, client: &Client, address: IpAddr, cause: Cause, now: Duration, grace: Duration) {
        if let Some(sockets) = self.addresses.get_mut(&address) {
            *sockets -= 1;
            if *sockets == 0 {
                self.addresses.remove(&address);
            }
        }
        let Some(entry) = self.users.get_mut(&client.user) else { return };
        let last = entry.clients.iter().all(|other| other.id == client.id);
        if last && cause.waits() && !grace.is_zero() {
            let until = now + grace;
            entry.leaving = Some(Grace { until, cause });
            self.leaving.push_back(Leaving { until, client: client.id, user: client.user.clone() });
            self.stream.changed(client.id);
        } else {
            self.remove(client.id, cause);
        }
    }

    /// Takes a client out of every table. The only way out.
    pub(super) fn remove(&mut self, id: Uuid, cause: Cause) {
        let Some(client) = self.clients.remove(&id) else { return };
        for room in self.joined.remove(&id).unwrap_or_default() {
            self.leave_room(&room, id);
        }
        if let Some(clients) = self.sessions.get_mut(&client.session) {
            clients.retain(|other| other.id != id);
            if clients.is_empty() {
                self.sessions.remove(&client.session);
            }
        }
        if let Some(entry) = self.users.get_mut(&client.user) {
            entry.clients.retain(|other| other.id != id);
            if entry.clients.is_empty() {
                self.users.remove(&client.user);
            }
        }
        self.count_roles(&client.rights(), -1);
        count(&mut self.by_app, &client.app, -1);
        self.stream.left(id, cause);
    }

    /// Remembers how a user's client ended, for `why`.
    pub(super) fn remember(&mut self, user: &UserKey, leave: LastLeave) {
        self.leaves.insert(user, leave);
    }

    pub(super) fn last_leave(&self, user: &UserKey) -> Option<&LastLeave> {
        self.leaves.by_user.get(user)
    }

    /// Ends the graces that are over.
    pub(super) fn expire_leaving(&mut self, now: Duration) {
        while self.leaving.front().is_some_and(|leaving| leaving.until <= now) {
            let Leaving { client, user, .. } = self.leaving.pop_front().expect("it was there");
            let cause = self.users.get(&user).and_then(|entry| Some(entry.leaving?.cause));
            if let Some(cause) = cause.filter(|_| self.clients.get(&client).is_some_and(|client| client.is_shut())) {
                self.remove(client, cause);
            }
        }
    }

    /// Whether this client is only kept for the grace.
    pub(super) fn is_leaving(&self, client: &Client) -> bool {
        self.users.get(&client.user).is_some_and(|entry| entry.leaving.is_some())
    }

    pub(super) fn rooms_of(&self, id: Uuid) -> &[Arc<str>] {
        self.joined.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn leave_room(&mut self, room: &str, id: Uuid) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.remove(&id);
            if members.is_empty() {
                self.rooms.remove(room);
            }
        }
    }

    pub(super) fn sockets_of_address(&self, address: IpAddr) -> usize {
        self.addresses.get(&address).copied().unwrap_or(0)
    }

    /// Entries of everything here that a caller can make grow.
    pub(super) fn sizes(&self) -> Vec<(&'static str, usize)> {
        let waiting = self.clients.values().map(|client| client.out.waiting().0).sum();
        vec![
            ("clients", self.clients.len()),
            ("users", self.users.len()),
            ("sessions", self.sessions.len()),
            ("rooms", self.rooms.len()),
            ("room_members", self.rooms.values().map(HashMap::len).sum()),
            ("addresses", self.addresses.len()),
            ("leaving", self.leaving.len()),
            ("leaves", self.leaves.by_user.len()),
            ("online_subscribers", self.stream.subscribers()),
            ("queued_messages", waiting),
        ]
    }

    pub(super) fn count_roles(&mut self, rights: &Rights, by: isize) {
        for role in rights.roles.iter() {
            count(&mut self.by_role, role, by);
        }
    }

    pub(super) fn counts(&self) -> OnlineCounts {
        OnlineCounts {
            clients: self.clients.len(),
            sessions: self.sessions.len(),
            users: self.users.len(),
            by_role: self.by_role.clone(),
            by_app: self.by_app.clone(),
        }
    }
}

impl LastLeaves {
    fn insert(&mut self, user: &UserKey, leave: LastLeave) {
        if self.by_user.insert(user.clone(), leave).is_none() {
            self.order.push_back(user.clone());
        }
        if self.order.len() > self.cap
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_user.remove(&oldest);
        }
    }
}

/// Adds to a counter that exists only while it is not zero.
fn count(counts: &mut BTreeMap<Arc<str>, usize>, key: &Arc<str>, by: isize) {
    let count = counts.entry(key.clone()).or_default();
    *count = count.saturating_add_signed(by);
    if *count == 0 {
        counts.remove(key);
    }
}
