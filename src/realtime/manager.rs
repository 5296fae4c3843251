//! The client manager: which clients are connected to this node, their heartbeat timestamps, their rooms. Registration is a
//! guard whose drop is the only way out, and it removes only itself, never a newer connection of the same user.
//!
//! One lock holds all tables. It is held for a few map operations and never while a socket is written to a receiver, so
//! first-in and last-out of a user are decided in one place, and no two counts can disagree.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;

use super::broker::Target;
use super::client::{Client, NewClient};
use super::outbound::QueueLimits;
use super::presence::{Cause, LastLeave};
use super::tables::Tables;
use super::wire::Wire;
use crate::auth::{Permission, Permissions, Rights, UserKey, limit_key};
use crate::clock::Clock;
use crate::protocol::{CloseCode, CloseReason, Message};

/// Bounds of this node.
#[derive(Clone, Debug)]
pub struct ManagerLimits {
    /// Clients, at most.
    pub max_clients: usize,
    /// Clients of one user, at most.
    pub per_user: usize,
    /// Whether one beyond closes the user's oldest instead of being refused.
    pub replace_oldest: bool,
    /// Clients of one address (IPv6: per /64), at most.
    pub per_address: usize,
    /// Rooms of a client, at most.
    pub max_rooms: usize,
    /// Of each client's queue.
    pub queue: QueueLimits,
    /// Time a user stays online after the last socket was lost; zero means none.
    pub grace: Duration,
    /// Users whose last leave is remembered.
    pub max_leaves: usize,
}

/// Why a client is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This node has as many as it may.
    Full,
    /// The user has as many as allowed.
    TooManyOfUser,
    /// The address has as many as allowed.
    TooManyOfAddress,
}

/// A room could not be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRooms;

/// Who is connected to this node.
pub struct ClientManager {
    clock: Arc<dyn Clock>,
    limits: ManagerLimits,
    tables: Mutex<Tables>,
    delivered: AtomicU64,
    dropped: AtomicU64,
}

/// The socket's side of a registration. Dropping it takes the client out of the manager.
pub struct Registration {
    manager: Arc<ClientManager>,
    client: Arc<Client>,
}

#[derive(Serialize)]
struct AuthChanged {
    gained: Vec<&'static str>,
    lost: Vec<&'static str>,
}

impl ClientManager {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>, limits: ManagerLimits) -> ClientManager {
        let tables = Mutex::new(Tables::new(limits.max_leaves));
        ClientManager { clock, limits, tables, delivered: AtomicU64::new(0), dropped: AtomicU64::new(0) }
    }

    /// Whether such a client would be taken now: asked before the upgrade, where an HTTP status can still be answered.
    pub fn admits(&self, user: &UserKey, ip: IpAddr) -> Result<(), Refused> {
        self.check(&self.tables(), user, ip)
    }

    /// Takes a client in. Its guard takes it out again.
    pub fn register(self: &Arc<Self>, new: NewClient, stream: Arc<Wire>) -> Result<Registration, Refused> {
        let mut tables = self.tables();
        self.check(&tables, &new.user, new.ip)?;
        let replaced = self.oldest_beyond(&tables, &new.user);
        let client = Client::new(new, stream, self.limits.queue, self.clock.now(), self.clock.monotonic());
        let client = Arc::new(client);
        tables.add(client.clone(), limit_key(client.ip));
        drop(tables);
        if let Some(oldest) = replaced {
            let reason = CloseReason::new(CloseCode::Replaced).text("a newer connection took its place");
            oldest.close_now(None, &reason, Cause::Replaced);
        }
        Ok(Registration { manager: self.clone(), client })
    }

    fn check(&self, tables: &Tables, user: &UserKey, ip: IpAddr) -> Result<(), Refused> {
        if tables.clients.len() >= self.limits.max_clients {
            return Err(Refused::Full);
        }
        if tables.sockets_of_address(limit_key(ip)) >= self.limits.per_address {
            return Err(Refused::TooManyOfAddress);
        }
        if !self.limits.replace_oldest && open_of(tables, user).count() >= self.limits.per_user {
            return Err(Refused::TooManyOfUser);
        }
        Ok(())
    }

    fn oldest_beyond(&self, tables: &Tables, user: &UserKey) -> Option<Arc<Client>> {
        (open_of(tables, user).count() >= self.limits.per_user).then(|| open_of(tables, user).next().cloned()).flatten()
    }

    /// Makes the client a member; the rooms it is in now. Joining twice is joining once.
    pub fn join(&self, client: &Client, room: &str) -> Result<Vec<Arc<str>>, TooManyRooms> {
        let mut tables = self.tables();
        let Some(handle) = tables.clients.get(&client.id).cloned() else { return Ok(Vec::new()) };
        let joined = tables.joined.entry(client.id).or_default();
        if joined.iter().all(|other| **other != *room) {
            if joined.len() >= self.limits.max_rooms {
                return Err(TooManyRooms);
            }
            let room: Arc<str> = room.into();
            joined.push(room.clone());
            let room = tables.rooms.get_key_value(&room).map_or(room, |(shared, _)| shared.clone());
            tables.rooms.entry(room).or_default().insert(client.id, handle);
            tables.stream.changed(client.id);
        }
        Ok(tables.rooms_of(client.id).to_vec())
    }

    /// Ends the membership; the rooms it is in now. Quitting a room one is not in changes nothing.
    pub fn quit(&self, client: &Client, room: &str) -> Vec<Arc<str>> {
        let mut tables = self.tables();
        if let Some(joined) = tables.joined.get_mut(&client.id) {
            let before = joined.len();
            joined.retain(|other| **other != *room);
            if joined.len() < before {
                tables.leave_room(room, client.id);
                tables.stream.changed(client.id);
            }
            if tables.rooms_of(client.id).is_empty() {
                tables.joined.remove(&client.id);
            }
        }
        tables.rooms_of(client.id).to_vec()
    }

    /// The clients a target means, each once. With `leaving`, those that wait out a grace as well.
    pub fn select(&self, target: &Target, leaving: bool) -> Vec<Arc<Client>> {
        let tables = self.tables();
        let mut found: Vec<Arc<Client>> = match target {
            Target::Everyone => tables.clients.values().cloned().collect(),
            Target::Users(users) => {
                users.iter().filter_map(|user| tables.users.get(user)).flat_map(|entry| entry.clients.clone()).collect()
            }
            Target::Roles(roles) => {
                let has = |client: &&Arc<Client>| client.rights().roles.iter().any(|role| roles.contains(role));
                tables.clients.values().filter(has).cloned().collect()
            }
            Target::Rooms(rooms) => rooms
                .iter()
                .filter_map(|room| tables.rooms.get(room))
                .flat_map(|members| members.values().cloned())
                .collect(),
            Target::Clients(ids) => ids.iter().filter_map(|id| tables.clients.get(id).cloned()).collect(),
            Target::Sessions(ids) => ids.iter().filter_map(|id| tables.sessions.get(id)).flatten().cloned().collect(),
        };
        if matches!(target, Target::Rooms(_) | Target::Clients(_) | Target::Users(_) | Target::Sessions(_)) {
            found.sort_unstable_by_key(|client| client.id);
            found.dedup_by_key(|client| client.id);
        }
        if !leaving {
            found.retain(|client| !client.is_closing());
        }
        found
    }

    /// Takes out a client that only waits out its grace. Nothing happens to a connected one: its task does that.
    pub fn dismiss(&self, client: &Client, cause: Cause) {
        let mut tables = self.tables();
        if client.is_shut() && tables.is_leaving(client) {
            tables.remove(client.id, cause);
            tables.remember(&client.user, LastLeave { cause, at: self.clock.now(), client: client.id });
        }
    }

    /// Gives all clients of a user new rights, and tells those whose permissions changed.
    pub fn set_rights(&self, user: &UserKey, rights: &Arc<Rights>) {
        let mut tables = self.tables();
        let clients = tables.users.get(user).map(|entry| entry.clients.clone()).unwrap_or_default();
        for client in clients {
            let (before, after) = (client.set_rights(rights), client.rights());
            if before == after {
                continue;
            }
            tables.count_roles(&before, -1);
            tables.count_roles(&after, 1);
            tables.stream.changed(client.id);
            if !after.permissions.contains(Permission::OnlineRead) {
                tables.stream.unsubscribe(client.id);
            }
            self.tell_change(&client, before.permissions, after.permissions);
        }
    }

    fn tell_change(&self, client: &Client, before: Permissions, after: Permissions) {
        let data = AuthChanged { gained: after.difference(before).words(), lost: before.difference(after).words() };
        client.send(&Message::push("auth/changed", Some(&data), self.clock.now().timestamp()));
    }

    /// Clients without a frame for `idle`: closes them with 4001 and says how many.
    pub fn evict_stale(&self, idle: Duration) -> usize {
        let now = self.clock.monotonic();
        let clients = self.select(&Target::Everyone, false);
        let stale = clients.iter().filter(|client| now.saturating_sub(client.last_frame()) > idle);
        stale.map(|client| client.close_now(None, &CloseReason::new(CloseCode::Stale), Cause::Timeout)).count()
    }

    /// Sockets that ended since the start, by cause.
    pub fn ends(&self) -> BTreeMap<Cause, u64> {
        self.tables().ends.clone()
    }

    /// Messages handed to sockets or their queues since the start, and messages that found a full queue or none.
    pub fn deliveries(&self) -> (u64, u64) {
        (self.delivered.load(Relaxed), self.dropped.load(Relaxed))
    }

    /// Entries of everything here that a caller can make grow, by name.
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        self.tables().sizes()
    }

    pub(super) fn count_deliveries(&self, delivered: usize, dropped: usize) {
        self.delivered.fetch_add(delivered as u64, Relaxed);
        self.dropped.fetch_add(dropped as u64, Relaxed);
    }

    /// Listed clients, those in the grace included.
    pub fn len(&self) -> usize {
        self.tables().clients.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Distinct users among some clients.
    pub fn users_among(clients: &[Arc<Client>]) -> usize {
        let mut users: Vec<&UserKey> = clients.iter().map(|client| &client.user).collect();
        users.sort_unstable();
        users.dedup();
        users.len()
    }

    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().expect("nothing panics while holding the tables")
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

impl Registration {
    /// The client that is registered.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.manager.clock()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let client = &self.client;
        client.ended(Cause::Lost);
        client.set_shut();
        let (cause, clock) = (client.end().unwrap_or(Cause::Lost), &self.manager.clock);
        let mut tables = self.manager.tables();
        tables.stream.unsubscribe(client.id);
        *tables.ends.entry(cause).or_default() += 1;
        tables.lose(client, limit_key(client.ip), cause, clock.monotonic(), self.manager.limits.grace);
        tables.remember(&client.user, LastLeave { cause, at: clock.now(), client: client.id });
    }
}

/// The user's clients that can still be reached, oldest first.
fn open_of<'a>(tables: &'a Tables, user: &UserKey) -> impl Iterator<Item = &'a Arc<Client>> {
    tables.users.get(user).into_iter().flat_map(|entry| &entry.clients).filter(|client| !client.is_closing())
}
