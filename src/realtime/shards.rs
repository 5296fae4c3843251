//! The shards of the client manager and their locks. A user's shard follows from the user, a client's from its id, so nearly
//! everything takes one lock; what must be true of one instant takes all of them, in order.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use uuid::Uuid;

use super::presence::OnlineCounts;
use super::query::Listed;
use super::shard::{Gone, Shard, ShardLimits, UserEntry};
use super::stream::Stream;
use crate::auth::UserKey;

/// Enough that two cores seldom meet, few enough that all can be taken.
pub(super) const SHARDS: usize = 16;

pub(super) struct Shards {
    shards: [Mutex<Shard>; SHARDS],
    stream: Arc<Mutex<Stream>>,
    pub(super) gone: Arc<OnceLock<Gone>>,
    /// With keys of this process, so that nobody can choose ids that all fall into one shard.
    hasher: RandomState,
}

/// All shards and the stream at one instant.
pub(super) struct Whole<'a> {
    all: &'a Shards,
    shards: Vec<MutexGuard<'a, Shard>>,
    pub(super) stream: MutexGuard<'a, Stream>,
}

impl Shards {
    /// The limits are those of all shards together.
    pub(super) fn new(limits: ShardLimits) -> Shards {
        let (stream, gone) = (Arc::<Mutex<Stream>>::default(), Arc::<OnceLock<Gone>>::default());
        let share = |all: usize, place| all / SHARDS + usize::from(place < all % SHARDS);
        let shards = std::array::from_fn(|place| {
            let limits = ShardLimits { leaves: share(limits.leaves, place), leaving: share(limits.leaving, place) };
            Mutex::new(Shard::new(limits, stream.clone(), gone.clone()))
        });
        Shards { shards, stream, gone, hasher: RandomState::new() }
    }

    /// The shard with all that is known of this user.
    pub(super) fn of(&self, user: &UserKey) -> MutexGuard<'_, Shard> {
        self.at(self.place(user))
    }

    /// The shard of a client with an id that [`Shards::client_id`] made; any shard for another one.
    pub(super) fn of_client(&self, id: Uuid) -> MutexGuard<'_, Shard> {
        self.at(usize::from(id.as_bytes()[15]) % SHARDS)
    }

    /// A new UUIDv7, whose last byte, which is free to choose, says where the user's clients are.
    pub(super) fn client_id(&self, user: &UserKey) -> Uuid {
        let mut bytes = Uuid::now_v7().into_bytes();
        bytes[15] = self.place(user) as u8;
        Uuid::from_bytes(bytes)
    }

    /// A shard by its place.
    pub(super) fn at(&self, place: usize) -> MutexGuard<'_, Shard> {
        self.shards[place].lock().expect("nothing panics while holding a shard")
    }

    /// One shard after the other.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        (0..SHARDS).map(|place| self.at(place))
    }

    /// All of them at one instant.
    pub(super) fn whole(&self) -> Whole<'_> {
        let shards = self.each().collect();
        Whole { all: self, shards, stream: self.stream() }
    }

    /// The stream of differences alone. Nobody who holds it may ask for a shard.
    pub(super) fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().expect("nothing panics while holding the stream")
    }

    fn place(&self, user: &UserKey) -> usize {
        self.hasher.hash_one(user) as usize % SHARDS
    }
}

impl Whole<'_> {
    /// The shards.
    pub(super) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().map(Deref::deref)
    }

    /// A client, where it is listed.
    pub(super) fn listed(&self, id: Uuid) -> Option<Listed<'_>> {
        let shard = &*self.shards[usize::from(id.as_bytes()[15]) % SHARDS];
        let client = shard.clients.get(&id)?;
        Some((client, shard.users.get(&client.user)?, shard))
    }

    /// A user's entry and the shard it is in.
    pub(super) fn user(&self, user: &UserKey) -> Option<(&UserEntry, &Shard)> {
        let shard = &*self.shards[self.all.place(user)];
        Some((shard.users.get(user)?, shard))
    }

    /// Listed clients.
    pub(super) fn len(&self) -> usize {
        self.shards().map(|shard| shard.clients.len()).sum()
    }

    pub(super) fn counts(&self) -> OnlineCounts {
        let (mut by_role, mut by_app) = (BTreeMap::new(), BTreeMap::new());
        for shard in self.shards() {
            shard.by_role.iter().for_each(|(role, count)| *by_role.entry(role.clone()).or_default() += count);
            shard.by_app.iter().for_each(|(app, count)| *by_app.entry(app.clone()).or_default() += count);
        }
        let sessions = self.shards().map(|shard| shard.sessions.len()).sum();
        let users = self.shards().map(|shard| shard.users.len()).sum();
        OnlineCounts { clients: self.len(), sessions, users, by_role, by_app }
    }
}
