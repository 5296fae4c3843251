//! What this node knows of who is on which node: hashes of users and of logins, and how many. A replica, told by numbered deltas and
//! mended by snapshots; pure, so that a test can lose every message.

mod edges;
mod hashes;
mod replica;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(in crate::realtime) use edges::{Edges, UserEdge};
pub(super) use replica::{Digest, Replica, Snapshot};

use crate::auth::UserKey;
use crate::cluster::hash;
use crate::realtime::OnlineCounts;

/// Hashes of a snapshot's part, at most: 64 KiB where eight bytes are eight bytes.
const PART: usize = 8_192;

/// The stable hash that stands for a user between nodes. Two users of one node with the same would be counted as one.
pub(in crate::realtime) fn user_hash(user: &UserKey) -> u64 {
    hash(user.as_str())
}

/// The same of a login.
pub(in crate::realtime) fn session_hash(session: Uuid) -> u64 {
    hash(&session.simple().to_string())
}

/// What a node counts of its own clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) clients: usize,
    pub(super) by_role: BTreeMap<Arc<str>, usize>,
    pub(super) by_app: BTreeMap<Arc<str>, usize>,
}

/// What changed on a node since the delta before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Delta {
    /// One more than that of the delta before; the first is 1.
    pub(super) number: u64,
    /// Users with a client that can be reached.
    pub(super) here: Vec<u64>,
    /// Users in the grace.
    pub(super) leaving: Vec<u64>,
    /// Users who are gone.
    pub(super) gone: Vec<u64>,
    /// Logins that came.
    pub(super) begun: Vec<u64>,
    /// Logins that went.
    pub(super) ended: Vec<u64>,
    pub(super) tally: Tally,
}

/// What a delta turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    /// Whether one before it was lost.
    pub(super) missed: bool,
    /// Whether a snapshot is needed, and was not asked for since the last announcement.
    pub(super) ask: bool,
}

/// All nodes' users and logins, and how many are distinct.
pub(super) struct Directory {
    own: Uuid,
    nodes: HashMap<Uuid, Replica>,
    users: usize,
    sessions: usize,
    lost: Lost,
}

/// Users of dead nodes, the newest `cap` of them.
struct Lost {
    cap: usize,
    at: HashMap<u64, DateTime<Utc>>,
    order: VecDeque<u64>,
}

impl Directory {
    /// This node's own generation alone; `max_lost` users of dead nodes are remembered.
    pub(super) fn new(own: Uuid, max_lost: usize) -> Directory {
        let lost = Lost { cap: max_lost, at: HashMap::new(), order: VecDeque::new() };
        Directory { own, nodes: HashMap::from([(own, Replica::default())]), users: 0, sessions: 0, lost }
    }

    /// Takes over what happened here; the delta that tells the others.
    pub(super) fn own_changes(&mut self, edges: Edges, tally: Tally) -> Delta {
        let number = self.own().number + 1;
        let delta = edges.into_delta(number, tally);
        self.take(self.own, &delta);
        delta
    }

    /// Another node lives. Nothing is known of it yet; of others than these nothing is heard.
    pub(super) fn admit(&mut self, node: Uuid) {
        self.nodes.entry(node).or_default();
    }

    /// Takes over another node's delta; none for one that is known, and for a node that does not live.
    pub(super) fn apply(&mut self, node: Uuid, delta: &Delta) -> Option<Applied> {
        let replica = self.nodes.get_mut(&node).filter(|replica| delta.number > replica.number)?;
        let missed = delta.number != replica.number + 1;
        // The first delta of all is the whole of a node.
        let ask = (missed || !(replica.in_step || delta.number == 1)) && replica.lose_step();
        replica.in_step |= delta.number == 1;
        // Nearer to the truth than without, also when something is missing.
        self.take(node, delta);
        Some(Applied { missed, ask })
    }

    /// Holds the replica against what the node says of itself; whether a snapshot is to be asked for.
    pub(super) fn check(&mut self, node: Uuid, digest: &Digest) -> bool {
        let Some(replica) = self.nodes.get_mut(&node).filter(|replica| replica.number <= digest.number) else {
            return false;
        };
        replica.asked = false;
        replica.in_step = replica.digest() == *digest;
        !replica.in_step && replica.lose_step()
    }

    /// Whether the replica is what the node is, as far as is known.
    pub(super) fn in_step(&self, node: Uuid) -> bool {
        self.nodes.get(&node).is_some_and(|replica| replica.in_step)
    }

    /// What this node says of itself with every announcement.
    pub(super) fn digest(&self) -> Digest {
        self.own().digest()
    }

    /// The whole of this node, in parts.
    pub(super) fn snapshot(&self) -> Vec<Snapshot> {
        self.own().snapshot(PART)
    }

    /// Takes a part of a snapshot; whether it was the last one and the replica is whole again.
    pub(super) fn install(&mut self, node: Uuid, part: Snapshot) -> bool {
        let Some(replica) = self.nodes.get_mut(&node) else { return false };
        let Some(snapshot) = replica.assemble(part).filter(|whole| whole.number >= replica.number) else {
            return false;
        };
        replica.in_step = true;
        let delta = replica.difference(&snapshot);
        self.take(node, &delta);
        true
    }

    /// A node is gone. With a time it died then, and its users, as far as they are on no other node, were lost.
    pub(super) fn forget(&mut self, node: Uuid, died: Option<DateTime<Utc>>) {
        let Some(replica) = self.nodes.remove(&node) else { return };
        for user in replica.users() {
            if !self.has_user(user) {
                self.users -= 1;
                if let Some(at) = died {
                    self.lost.insert(user, at);
                }
            }
        }
        self.sessions -= replica.sessions().filter(|session| !self.has_session(*session)).count();
    }

    /// When the user was lost with a node, as far as that is remembered.
    pub(super) fn lost_at(&self, user: u64) -> Option<DateTime<Utc>> {
        self.lost.at.get(&user).copied()
    }

    /// Other nodes that have the user, in the grace or not.
    pub(super) fn others_with(&self, user: u64) -> impl Iterator<Item = Uuid> {
        self.others().filter(move |(_, replica)| replica.has_user(user)).map(|(node, _)| node)
    }

    /// Whether the user has a client on another node that can be reached.
    pub(super) fn is_elsewhere(&self, user: u64) -> bool {
        self.others().any(|(_, replica)| replica.has_user(user) && !replica.is_leaving(user))
    }

    /// How many of these logins each of the other nodes has; none that has none.
    pub(super) fn others_with_sessions(&self, sessions: &[Uuid]) -> Vec<(Uuid, usize)> {
        let hashes: Vec<u64> = sessions.iter().map(|session| session_hash(*session)).collect();
        let here = |replica: &Replica| hashes.iter().filter(|session| replica.has_session(**session)).count();
        self.others().map(|(node, replica)| (node, here(replica))).filter(|(_, sessions)| *sessions > 0).collect()
    }

    /// Clients of all nodes.
    pub(super) fn clients(&self) -> usize {
        self.nodes.values().map(|replica| replica.tally.clients).sum()
    }

    /// How many, on all nodes.
    pub(super) fn counts(&self) -> OnlineCounts {
        self.sum(self.nodes.values(), self.users, self.sessions)
    }

    /// How many, on this node and on these: distinct ones are looked for, which takes a while.
    pub(super) fn counts_of(&self, others: &[Uuid]) -> OnlineCounts {
        let asked: Vec<&Replica> = [self.own].iter().chain(others).filter_map(|node| self.nodes.get(node)).collect();
        if asked.len() == self.nodes.len() {
            return self.counts();
        }
        let (mut users, mut sessions) = (0, 0);
        for (place, replica) in asked.iter().enumerate() {
            let before = &asked[..place];
            users += replica.users().filter(|user| !before.iter().any(|other| other.has_user(*user))).count();
            sessions +=
                replica.sessions().filter(|session| !before.iter().any(|other| other.has_session(*session))).count();
        }
        self.sum(asked.iter().copied(), users, sessions)
    }

    /// Entries of everything here that a caller can make grow, by name.
    pub(super) fn sizes(&self) -> [(&'static str, usize); 3] {
        let all = |size: fn(&Replica) -> usize| self.nodes.values().map(size).sum();
        [
            ("directory_users", all(|replica| replica.digest().users())),
            ("directory_sessions", all(|replica| replica.digest().sessions())),
            ("lost_users", self.lost.at.len()),
        ]
    }

    fn sum<'a>(&self, replicas: impl Iterator<Item = &'a Replica>, users: usize, sessions: usize) -> OnlineCounts {
        let mut counts = OnlineCounts { users, sessions, ..OnlineCounts::default() };
        for Replica { tally, .. } in replicas {
            counts.clients += tally.clients;
            tally.by_role.iter().for_each(|(role, count)| *counts.by_role.entry(role.clone()).or_default() += count);
            tally.by_app.iter().for_each(|(app, count)| *counts.by_app.entry(app.clone()).or_default() += count);
        }
        counts
    }

    fn take(&mut self, node: Uuid, delta: &Delta) {
        for user in delta.here.iter().chain(&delta.leaving) {
            let known = self.has_user(*user);
            self.users += usize::from(!known);
        }
        for session in &delta.begun {
            let known = self.has_session(*session);
            self.sessions += usize::from(!known);
        }
        let Some(replica) = self.nodes.get_mut(&node) else { return };
        let gone: Vec<u64> = delta.gone.iter().copied().filter(|user| replica.has_user(*user)).collect();
        let ended: Vec<u64> = delta.ended.iter().copied().filter(|session| replica.has_session(*session)).collect();
        replica.take(delta);
        self.users -= gone.iter().filter(|user| !self.has_user(**user)).count();
        self.sessions -= ended.iter().filter(|session| !self.has_session(**session)).count();
    }

    fn has_user(&self, user: u64) -> bool {
        self.nodes.values().any(|replica| replica.has_user(user))
    }

    fn has_session(&self, session: u64) -> bool {
        self.nodes.values().any(|replica| replica.has_session(session))
    }

    fn others(&self) -> impl Iterator<Item = (Uuid, &Replica)> {
        self.nodes.iter().filter(|(node, _)| **node != self.own).map(|(node, replica)| (*node, replica))
    }

    fn own(&self) -> &Replica {
        &self.nodes[&self.own]
    }
}

impl Lost {
    fn insert(&mut self, user: u64, at: DateTime<Utc>) {
        if self.at.insert(user, at).is_none() {
            self.order.push_back(user);
        }
        if self.order.len() > self.cap
            && let Some(oldest) = self.order.pop_front()
        {
            self.at.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
