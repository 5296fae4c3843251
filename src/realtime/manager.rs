//! The client manager: which clients are connected to this node, their heartbeat timestamps, their rooms. Registration is a
//! guard whose drop is the only way out, and it removes only itself, never a newer connection of the same user.
//!
//! The tables are sharded by user. A shard's lock is held for a few map operations and never while a message is sent, so
//! connecting, leaving, joining and quitting cost the same among ten thousand as among ten.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;

use super::broker::{Interest, Target};
use super::client::{Client, NewClient};
use super::outbound::QueueLimits;
use super::presence::{Cause, LastLeave};
use super::shard::{Changed, Shard, ShardLimits};
use super::shards::Shards;
use super::wire::Wire;
use crate::auth::{Permissions, Rights, UserKey, limit_key};
use crate::clock::Clock;
use crate::protocol::{CloseCode, CloseReason, Message};

/// Bounds of this node.
#[derive(Clone, Debug)]
pub struct ManagerLimits {
    /// Open sockets, at most, and as many users in the grace.
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
    shards: Shards,
    /// Open sockets.
    open: AtomicUsize,
    /// Open sockets by address.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    delivered: AtomicU64,
    dropped: AtomicU64,
}

/// Clients that a target means, in portions that are taken under one lock each and used outside of it.
pub(super) struct Selected {
    /// Each client once.
    pub(super) clients: Vec<Arc<Client>>,
    /// Distinct users among them; none of another portion.
    pub(super) users: usize,
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
    /// Subscriptions that need what is lost, by the event that began them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ended: Vec<&'static str>,
}

impl ClientManager {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>, limits: ManagerLimits) -> ClientManager {
        ClientManager {
            clock,
            shards: Shards::new(ShardLimits { leaves: limits.max_leaves, leaving: limits.max_clients }),
            limits,
            open: AtomicUsize::new(0),
            addresses: Mutex::default(),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Whether such a client would be taken now: asked before the upgrade, where an HTTP status can still be answered.
    pub fn admits(&self, user: &UserKey, ip: IpAddr) -> Result<(), Refused> {
        if self.open.load(Relaxed) >= self.limits.max_clients {
            return Err(Refused::Full);
        }
        if self.addresses().get(&limit_key(ip)).is_some_and(|open| *open >= self.limits.per_address) {
            return Err(Refused::TooManyOfAddress);
        }
        self.admits_of_user(&self.shards.of(user), user)
    }

    /// Takes a client in. Its guard takes it out again.
    pub fn register(self: &Arc<Self>, new: NewClient, stream: Arc<Wire>) -> Result<Registration, Refused> {
        let address = self.take_address(new.ip)?;
        if self.open.fetch_add(1, Relaxed) >= self.limits.max_clients {
            self.give_back(address);
            return Err(Refused::Full);
        }
        let (client, replaced) = match self.add(new, stream) {
            Ok(added) => added,
            Err(refused) => {
                self.give_back(address);
                return Err(refused);
            }
        };
        if let Some(oldest) = replaced {
            let reason = CloseReason::new(CloseCode::Replaced).text("a newer connection took its place");
            oldest.close_now(None, &reason, Cause::Replaced);
        }
        Ok(Registration { manager: self.clone(), client })
    }

    /// The new client, and the one whose place it takes.
    fn add(&self, new: NewClient, stream: Arc<Wire>) -> Result<(Arc<Client>, Option<Arc<Client>>), Refused> {
        let id = self.shards.client_id(&new.user);
        let mut shard = self.shards.of(&new.user);
        self.admits_of_user(&shard, &new.user)?;
        let beyond = self.is_full(&shard, &new.user);
        let replaced = beyond.then(|| shard.open_of(&new.user).next().cloned()).flatten();
        let client = Client::new(id, new, stream, self.limits.queue, self.clock.now(), self.clock.monotonic());
        let client = Arc::new(client);
        shard.add(client.clone());
        Ok((client, replaced))
    }

    fn admits_of_user(&self, shard: &Shard, user: &UserKey) -> Result<(), Refused> {
        let full = !self.limits.replace_oldest && self.is_full(shard, user);
        if full { Err(Refused::TooManyOfUser) } else { Ok(()) }
    }

    /// Counts the open ones only where the listed ones reach the limit.
    fn is_full(&self, shard: &Shard, user: &UserKey) -> bool {
        let listed = shard.users.get(user).map_or(0, |entry| entry.clients.len());
        listed >= self.limits.per_user && shard.open_of(user).count() >= self.limits.per_user
    }

    fn take_address(&self, ip: IpAddr) -> Result<IpAddr, Refused> {
        let address = limit_key(ip);
        let mut addresses = self.addresses();
        let open = addresses.entry(address).or_default();
        if *open >= self.limits.per_address {
            return Err(Refused::TooManyOfAddress);
        }
        *open += 1;
        Ok(address)
    }

    fn give_back(&self, address: IpAddr) {
        self.open.fetch_sub(1, Relaxed);
        let mut addresses = self.addresses();
        if let Some(open) = addresses.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                addresses.remove(&address);
            }
        }
    }

    /// Calls `gone` when the last client of a user, or the last member of a room, has left this node. It must be quick and take nothing
    /// of the manager: a shard is locked meanwhile. Once.
    pub(super) fn on_gone(&self, gone: impl Fn(Interest) + Send + Sync + 'static) {
        let _ = self.shards.gone.set(Box::new(gone));
    }

    /// Whether a client of the user, or a member of the room, is here.
    pub(super) fn has(&self, interest: &Interest) -> bool {
        match interest {
            Interest::User(user) => self.shards.of(user).users.contains_key(user),
            Interest::Room(room) => self.shards.each().any(|shard| shard.rooms.contains_key(room)),
        }
    }

    /// Every user with a client here, and every room with a member.
    pub(super) fn each_interest(&self, mut tell: impl FnMut(&str, bool)) {
        for shard in self.shards.each() {
            shard.users.keys().for_each(|user| tell(user.as_str(), true));
            shard.rooms.keys().for_each(|room| tell(room, false));
        }
    }

    /// Makes the client a member; the rooms it is in now. Joining twice is joining once.
    pub fn join(&self, client: &Client, room: &str) -> Result<Vec<Arc<str>>, TooManyRooms> {
        let mut shard = self.shards.of_client(client.id);
        let Some(handle) = shard.clients.get(&client.id).cloned() else { return Ok(Vec::new()) };
        let joined = shard.rooms_of(client.id);
        if joined.iter().all(|other| **other != *room) {
            if joined.len() >= self.limits.max_rooms {
                return Err(TooManyRooms);
            }
            shard.enter_room(room, handle);
        }
        Ok(shard.rooms_of(client.id).to_vec())
    }

    /// Ends the membership; the rooms it is in now. Quitting a room one is not in changes nothing.
    pub fn quit(&self, client: &Client, room: &str) -> Vec<Arc<str>> {
        let mut shard = self.shards.of_client(client.id);
        shard.quit_room(room, client.id);
        shard.rooms_of(client.id).to_vec()
    }

    /// The clients a target means, each once. With `leaving`, those that wait out a grace as well.
    pub fn select(&self, target: &Target, leaving: bool) -> Vec<Arc<Client>> {
        self.portions(target, leaving).flat_map(|portion| portion.clients).collect()
    }

    /// The same, portion by portion.
    pub(super) fn portions(&self, target: &Target, leaving: bool) -> impl Iterator<Item = Selected> {
        self.shards
            .each()
            .map(move |shard| Selected::of(&shard, target, leaving))
            .filter(|some| !some.clients.is_empty())
    }

    /// Takes out a client that only waits out its grace. Nothing happens to a connected one: its task does that.
    pub fn dismiss(&self, client: &Client, cause: Cause) {
        let mut shard = self.shards.of_client(client.id);
        if client.is_shut() && shard.is_leaving(client) {
            shard.remove(client.id, cause);
            shard.remember(&client.user, LastLeave { cause, at: self.clock.now(), client: Some(client.id) });
        }
    }

    /// Gives all clients of a user new rights, and tells those whose permissions changed.
    pub fn set_rights(&self, user: &UserKey, rights: &Arc<Rights>) {
        let changed = self.shards.of(user).set_rights(user, rights);
        for Changed { client, before, unsubscribed } in changed {
            self.tell_change(&client, before.permissions, unsubscribed);
        }
    }

    fn tell_change(&self, client: &Client, before: Permissions, unsubscribed: bool) {
        let after = client.rights().permissions;
        let data = AuthChanged {
            gained: after.difference(before).words(),
            lost: before.difference(after).words(),
            ended: unsubscribed.then_some("online/subscribe").into_iter().collect(),
        };
        client.send(&Message::push("auth/changed", Some(&data), self.clock.now().timestamp()));
    }

    /// Clients without a frame for `idle`: closes them with 4001 and says how many.
    pub fn evict_stale(&self, idle: Duration) -> usize {
        let now = self.clock.monotonic();
        let is_stale = |client: &&Arc<Client>| now.saturating_sub(client.last_frame()) > idle && !client.is_closing();
        let mut evicted = 0;
        for shard in self.shards.each() {
            let stale: Vec<_> = shard.everyone().filter(is_stale).cloned().collect();
            drop(shard);
            evicted += stale.len();
            stale.iter().for_each(|client| client.close_now(None, &CloseReason::new(CloseCode::Stale), Cause::Timeout));
        }
        evicted
    }

    /// Sockets that ended since the start, by cause.
    pub fn ends(&self) -> BTreeMap<Cause, u64> {
        let mut ends = BTreeMap::new();
        for shard in self.shards.each() {
            shard.ends.iter().for_each(|(cause, count)| *ends.entry(*cause).or_default() += count);
        }
        ends
    }

    /// Messages handed to sockets or their queues since the start, and messages that found a full queue or none.
    pub fn deliveries(&self) -> (u64, u64) {
        (self.delivered.load(Relaxed), self.dropped.load(Relaxed))
    }

    /// Entries of everything here that a caller can make grow, by name.
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        let mut sizes = BTreeMap::new();
        for shard in self.shards.each() {
            shard.sizes().into_iter().for_each(|(name, entries)| *sizes.entry(name).or_default() += entries);
        }
        let others =
            [("addresses", self.addresses().len()), ("online_subscribers", self.shards.stream().subscribers())];
        sizes.into_iter().chain(others).collect()
    }

    pub(super) fn count_deliveries(&self, delivered: usize, dropped: usize) {
        self.delivered.fetch_add(delivered as u64, Relaxed);
        self.dropped.fetch_add(dropped as u64, Relaxed);
    }

    /// Open sockets. Who waits out a grace has none, and shall find a place on coming back.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Listed clients, those in the grace included.
    pub fn len(&self) -> usize {
        self.shards.each().map(|shard| shard.clients.len()).sum()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn shards(&self) -> &Shards {
        &self.shards
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock().expect("nothing panics while holding the addresses")
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
        let (client, manager) = (&self.client, &self.manager);
        client.ended(Cause::Lost);
        client.set_shut();
        let (cause, now) = (client.end().unwrap_or(Cause::Lost), manager.clock.monotonic());
        let mut shard = manager.shards.of_client(client.id);
        shard.stream().unsubscribe(client.id);
        shard.lose(client, cause, now, manager.limits.grace);
        shard.remember(&client.user, LastLeave { cause, at: manager.clock.now(), client: Some(client.id) });
        drop(shard);
        manager.give_back(limit_key(client.ip));
    }
}

impl Selected {
    fn of(shard: &Shard, target: &Target, leaving: bool) -> Selected {
        // One that is shut and not in the grace is on its way out of the tables.
        let stays = |client: &Client| leaving && (!client.is_shut() || shard.is_leaving(client));
        let wanted = |client: &&Arc<Client>| !client.is_closing() || stays(client);
        let by_user = |may: &dyn Fn(&Client) -> bool| {
            let mut selected = Selected { clients: Vec::new(), users: 0 };
            for entry in shard.users.values() {
                let before = selected.clients.len();
                selected.clients.extend(entry.clients.iter().filter(wanted).filter(|client| may(client)).cloned());
                selected.users += usize::from(selected.clients.len() > before);
            }
            selected
        };
        match target {
            Target::Everyone => by_user(&|_| true),
            Target::Roles(roles) => by_user(&|client| client.rights().roles.iter().any(|role| roles.contains(role))),
            Target::Users(users) => {
                let entries = users.iter().filter_map(|user| shard.users.get(user));
                Selected::each_once(entries.flat_map(|entry| &entry.clients).filter(wanted))
            }
            Target::OtherSessions(users, session) => {
                let clients = users.iter().filter_map(|user| shard.users.get(user)).flat_map(|entry| &entry.clients);
                Selected::each_once(clients.filter(|client| client.session != *session).filter(wanted))
            }
            Target::Rooms(rooms) => {
                let members = rooms.iter().filter_map(|room| shard.rooms.get(room)).flat_map(HashMap::values);
                Selected::each_once(members.filter(wanted))
            }
            Target::Clients(ids) => {
                Selected::each_once(ids.iter().filter_map(|id| shard.clients.get(id)).filter(wanted))
            }
            Target::Sessions(ids) => {
                Selected::each_once(ids.iter().flat_map(|id| shard.of_session(*id)).filter(wanted))
            }
        }
    }

    fn each_once<'a>(clients: impl Iterator<Item = &'a Arc<Client>>) -> Selected {
        let mut clients: Vec<Arc<Client>> = clients.cloned().collect();
        clients.sort_unstable_by_key(|client| client.id);
        clients.dedup_by_key(|client| client.id);
        let mut users: Vec<&UserKey> = clients.iter().map(|client| &client.user).collect();
        users.sort_unstable();
        users.dedup();
        let users = users.len();
        Selected { clients, users }
    }
}
