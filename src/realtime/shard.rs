//! What the client manager knows of a share of the users, under one lock: their clients, sessions and rooms, and how many.
//! Every change goes through `add`, `lose` and `remove`, so that the counts, the rooms and the stream of differences can
//! not disagree. All clients of a user are in one shard, so its first one in and its last one out are decided in one place.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use indexmap::IndexMap;
use smallvec::SmallVec;
use uuid::Uuid;

use super::broker::Interest;
use super::client::Client;
use super::cluster::UserEdge;
use super::presence::{Cause, LastLeave};
use super::stream::Stream;
use crate::auth::{Permission, Rights, UserKey};

pub(super) struct Shard {
    /// All that are listed: connected ones, and the last client of a user in the grace.
    pub(super) clients: HashMap<Uuid, Arc<Client>>,
    /// Dense, so that a broadcast, a list and a tick walk memory in order.
    pub(super) users: IndexMap<UserKey, UserEntry>,
    pub(super) sessions: HashMap<Uuid, SessionEntry>,
    pub(super) rooms: HashMap<Arc<str>, HashMap<Uuid, Arc<Client>>>,
    /// Rooms by client, in the order of joining; only clients that joined any.
    pub(super) joined: HashMap<Uuid, Vec<Arc<str>>>,
    pub(super) by_role: BTreeMap<Arc<str>, usize>,
    pub(super) by_app: BTreeMap<Arc<str>, usize>,
    /// Sockets that ended, by cause, since the start.
    pub(super) ends: BTreeMap<Cause, u64>,
    leaving: VecDeque<Leaving>,
    max_leaving: usize,
    leaves: LastLeaves,
    stream: Arc<Mutex<Stream>>,
    /// Told of users and rooms that nobody here is of any more.
    gone: Arc<OnceLock<Gone>>,
}

pub(super) type Gone = Box<dyn Fn(Interest) + Send + Sync>;

/// Bounds of one shard, or of all.
#[derive(Clone, Copy)]
pub(super) struct ShardLimits {
    /// Users whose last leave is remembered.
    pub(super) leaves: usize,
    /// Users in the grace; one beyond is gone at once.
    pub(super) leaving: usize,
}

pub(super) struct UserEntry {
    /// As the user's newest client, or the last change of rights, has it: here, so that a list looks into no client for it.
    pub(super) name: Arc<str>,
    /// Oldest first. Most users have one or two.
    pub(super) clients: SmallVec<[Arc<Client>; 2]>,
    pub(super) since: DateTime<Utc>,
    /// Set while the only client left is a lost one.
    pub(super) leaving: Option<Grace>,
}

/// A session with clients; they are among its user's.
pub(super) struct SessionEntry {
    user: UserKey,
    clients: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Grace {
    pub(super) until: Duration,
    pub(super) cause: Cause,
}

/// A grace that will end, in the order of the ends. Scoped to the client: a user who came back has another one.
/// A client whose rights are others now.
pub(super) struct Changed {
    pub(super) client: Arc<Client>,
    pub(super) before: Arc<Rights>,
    /// Whether it was told of the online list until now, and may not be any more.
    pub(super) unsubscribed: bool,
}

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

impl Shard {
    pub(super) fn new(limits: ShardLimits, stream: Arc<Mutex<Stream>>, gone: Arc<OnceLock<Gone>>) -> Shard {
        Shard {
            clients: HashMap::new(),
            users: IndexMap::new(),
            sessions: HashMap::new(),
            rooms: HashMap::new(),
            joined: HashMap::new(),
            by_role: BTreeMap::new(),
            by_app: BTreeMap::new(),
            ends: BTreeMap::new(),
            leaving: VecDeque::new(),
            max_leaving: limits.leaving,
            leaves: LastLeaves { cap: limits.leaves, by_user: HashMap::new(), order: VecDeque::new() },
            stream,
            gone,
        }
    }

    /// A new client. A lost one that kept its user online is gone now: the user came back.
    pub(super) fn add(&mut self, client: Arc<Client>) {
        let name = client.rights().username.clone();
        let entry = self.users.entry(client.user.clone()).or_insert_with(|| UserEntry {
            name: name.clone(),
            clients: SmallVec::new(),
            since: client.connected_at,
            leaving: None,
        });
        entry.name = name;
        let ghost = entry.leaving.take().and_then(|grace| Some((entry.clients.first()?.id, grace.cause)));
        let first = entry.clients.is_empty() || ghost.is_some();
        entry.clients.push(client.clone());
        let session = || SessionEntry { user: client.user.clone(), clients: 0 };
        let session = self.sessions.entry(client.session).or_insert_with(session);
        session.clients += 1;
        let begun = session.clients == 1;
        self.count_roles(&client.rights(), 1);
        count(&mut self.by_app, &client.app, 1);
        let mut stream = self.stream();
        stream.joined(client.id);
        if first {
            stream.user(&client.user, UserEdge::Here);
        }
        if begun {
            stream.session(client.session, true);
        }
        drop(stream);
        self.clients.insert(client.id, client);
        if let Some((id, cause)) = ghost {
            self.remove(id, cause);
        }
    }

    /// The socket is gone. The user's last one waits out the grace where the cause allows it.
    pub(super) fn lose(&mut self, client: &Client, cause: Cause, now: Duration, grace: Duration) {
        *self.ends.entry(cause).or_default() += 1;
        let Some(entry) = self.users.get_mut(&client.user) else { return };
        let last = entry.clients.iter().all(|other| other.id == client.id);
        if last && cause.waits() && !grace.is_zero() && self.leaving.len() < self.max_leaving {
            let until = now + grace;
            entry.leaving = Some(Grace { until, cause });
            self.leaving.push_back(Leaving { until, client: client.id, user: client.user.clone() });
            let mut stream = self.stream();
            stream.changed(client.id);
            stream.user(&client.user, UserEdge::Leaving(client.user.clone()));
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
        let (mut ended, mut gone) = (false, false);
        if let Some(session) = self.sessions.get_mut(&client.session) {
            session.clients -= 1;
            ended = session.clients == 0;
        }
        if ended {
            self.sessions.remove(&client.session);
        }
        if let Some(entry) = self.users.get_mut(&client.user) {
            // By address: to look into each of them would touch as many places in memory.
            entry.clients.retain(|other| !Arc::ptr_eq(other, &client));
            gone = entry.clients.is_empty();
        }
        if gone {
            self.users.swap_remove(&client.user);
            self.tell_gone(|| Interest::User(client.user.clone()));
        }
        self.count_roles(&client.rights(), -1);
        count(&mut self.by_app, &client.app, -1);
        let mut stream = self.stream();
        stream.left(id, cause);
        if ended {
            stream.session(client.session, false);
        }
        if gone {
            stream.user(&client.user, UserEdge::Gone);
        }
    }

    /// Gives all clients of a user new rights; those whose rights changed. Who may no longer see the list is no longer told of its
    /// differences.
    pub(super) fn set_rights(&mut self, user: &UserKey, rights: &Arc<Rights>) -> Vec<Changed> {
        let Some(entry) = self.users.get_mut(user) else { return Vec::new() };
        entry.name = rights.username.clone();
        let clients = entry.clients.clone();
        let mut changed = Vec::new();
        for client in clients {
            let (before, after) = (client.set_rights(rights), client.rights());
            if before != after {
                self.count_roles(&before, -1);
                self.count_roles(&after, 1);
                let mut stream = self.stream();
                stream.changed(client.id);
                let barred = !after.permissions.contains(Permission::OnlineRead);
                let unsubscribed = barred && stream.unsubscribe(client.id);
                drop(stream);
                changed.push(Changed { client, before, unsubscribed });
            }
        }
        changed
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
        if self.leaving.is_empty() {
            self.leaving = VecDeque::new();
        }
    }

    /// Ends a user's grace before its time.
    pub(super) fn end_grace(&mut self, user: &UserKey) {
        let Some(entry) = self.users.get(user) else { return };
        if let (Some(grace), Some(client)) = (entry.leaving, entry.clients.first()) {
            self.remove(client.id, grace.cause);
        }
    }

    /// Whether this client is only kept for the grace.
    pub(super) fn is_leaving(&self, client: &Client) -> bool {
        self.users.get(&client.user).is_some_and(|entry| entry.leaving.is_some())
    }

    /// The user's clients that can still be reached, oldest first.
    pub(super) fn open_of(&self, user: &UserKey) -> impl Iterator<Item = &Arc<Client>> {
        self.users.get(user).into_iter().flat_map(|entry| &entry.clients).filter(|client| !client.is_closing())
    }

    /// Everybody in the order of the dense table.
    pub(super) fn everyone(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.users.values().flat_map(|entry| &entry.clients)
    }

    pub(super) fn of_session(&self, id: Uuid) -> impl Iterator<Item = &Arc<Client>> {
        let user = self.sessions.get(&id).and_then(|session| self.users.get(&session.user));
        user.into_iter().flat_map(|entry| &entry.clients).filter(move |client| client.session == id)
    }

    pub(super) fn rooms_of(&self, id: Uuid) -> &[Arc<str>] {
        self.joined.get(&id).map_or(&[], Vec::as_slice)
    }

    /// A membership that the client's own list does not name yet.
    pub(super) fn enter_room(&mut self, room: &str, client: Arc<Client>) {
        let room = self.rooms.get_key_value(room).map_or_else(|| room.into(), |(shared, _)| shared.clone());
        self.joined.entry(client.id).or_default().push(room.clone());
        self.stream().changed(client.id);
        self.rooms.entry(room).or_default().insert(client.id, client);
    }

    /// Ends the membership in both directions; whether there was one.
    pub(super) fn quit_room(&mut self, room: &str, id: Uuid) {
        let Some(joined) = self.joined.get_mut(&id) else { return };
        let before = joined.len();
        joined.retain(|other| **other != *room);
        let (left, none) = (joined.len() < before, joined.is_empty());
        if none {
            self.joined.remove(&id);
        }
        if left {
            self.leave_room(room, id);
            self.stream().changed(id);
        }
    }

    fn leave_room(&mut self, room: &str, id: Uuid) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.remove(&id);
            if members.is_empty() {
                self.rooms.remove(room);
                self.tell_gone(|| Interest::Room(room.into()));
            }
        }
    }

    fn tell_gone(&self, interest: impl FnOnce() -> Interest) {
        if let Some(gone) = self.gone.get() {
            gone(interest());
        }
    }

    /// Entries of everything here that a caller can make grow.
    pub(super) fn sizes(&self) -> [(&'static str, usize); 8] {
        [
            ("clients", self.clients.len()),
            ("users", self.users.len()),
            ("sessions", self.sessions.len()),
            ("rooms", self.rooms.len()),
            ("room_members", self.rooms.values().map(HashMap::len).sum()),
            ("leaving", self.leaving.len()),
            ("leaves", self.leaves.by_user.len()),
            ("queued_messages", self.clients.values().map(|client| client.out.waiting().0).sum()),
        ]
    }

    /// Taken after the shard's own lock, never before it.
    pub(super) fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().expect("nothing panics while holding the stream")
    }

    fn count_roles(&mut self, rights: &Rights, by: isize) {
        for role in rights.roles.iter() {
            count(&mut self.by_role, role, by);
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
