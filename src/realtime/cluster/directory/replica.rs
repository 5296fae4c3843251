//! One node's part of the directory.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::hashes::Hashes;
use super::{Delta, Tally};

/// Who is on one node.
#[derive(Debug, Default)]
pub(in crate::realtime::cluster) struct Replica {
    /// Of the last delta.
    pub(super) number: u64,
    users: Hashes,
    /// Those of `users` that are in the grace.
    leaving: Hashes,
    sessions: Hashes,
    pub(super) tally: Tally,
    /// Whether nothing is missing.
    pub(super) in_step: bool,
    /// Whether a snapshot was asked for since the last announcement.
    pub(super) asked: bool,
    /// The parts of a snapshot so far.
    parts: Option<Snapshot>,
}

/// What a node says of its own part: whoever has the same, has all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::realtime::cluster) struct Digest {
    /// Of the last delta.
    pub(super) number: u64,
    users: (usize, u64),
    leaving: (usize, u64),
    sessions: (usize, u64),
}

/// All of a node, or a part of that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::realtime::cluster) struct Snapshot {
    /// Of the last delta that is in it.
    pub(super) number: u64,
    part: usize,
    parts: usize,
    users: Vec<u64>,
    leaving: Vec<u64>,
    sessions: Vec<u64>,
    tally: Tally,
}

impl Digest {
    /// How many.
    pub(super) fn users(&self) -> usize {
        self.users.0
    }

    /// How many.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.0
    }
}

impl Replica {
    pub(super) fn has_user(&self, user: u64) -> bool {
        self.users.contains(user)
    }

    pub(super) fn has_session(&self, session: u64) -> bool {
        self.sessions.contains(session)
    }

    pub(super) fn is_leaving(&self, user: u64) -> bool {
        self.leaving.contains(user)
    }

    pub(super) fn users(&self) -> impl Iterator<Item = u64> {
        self.users.iter()
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = u64> {
        self.sessions.iter()
    }

    pub(super) fn digest(&self) -> Digest {
        let [users, leaving, sessions] =
            [&self.users, &self.leaving, &self.sessions].map(|hashes| (hashes.len(), hashes.xor()));
        Digest { number: self.number, users, leaving, sessions }
    }

    /// Something is missing; whether nobody has asked for it yet.
    pub(super) fn lose_step(&mut self) -> bool {
        self.in_step = false;
        !std::mem::replace(&mut self.asked, true)
    }

    pub(super) fn take(&mut self, delta: &Delta) {
        for user in &delta.gone {
            self.users.remove(*user);
            self.leaving.remove(*user);
        }
        for user in &delta.here {
            self.users.insert(*user);
            self.leaving.remove(*user);
        }
        for user in &delta.leaving {
            self.users.insert(*user);
            self.leaving.insert(*user);
        }
        delta.ended.iter().for_each(|session| self.sessions.remove(*session));
        delta.begun.iter().for_each(|session| self.sessions.insert(*session));
        self.tally.clone_from(&delta.tally);
        self.number = delta.number;
    }

    pub(super) fn snapshot(&self, hashes: usize) -> Vec<Snapshot> {
        let (users, sessions): (Vec<u64>, Vec<u64>) = (self.users().collect(), self.sessions().collect());
        let parts = users.len().max(sessions.len()).div_ceil(hashes).max(1);
        let slice = |all: &[u64], part: usize| all.chunks(hashes).nth(part).unwrap_or_default().to_vec();
        let one = |part| Snapshot {
            number: self.number,
            part,
            parts,
            users: slice(&users, part),
            // They are few.
            leaving: if part == 0 { self.leaving.iter().collect() } else { Vec::new() },
            sessions: slice(&sessions, part),
            tally: self.tally.clone(),
        };
        (0..parts).map(one).collect()
    }

    /// The whole snapshot, when this was its last part. A part without those before it is worth nothing.
    pub(super) fn assemble(&mut self, part: Snapshot) -> Option<Snapshot> {
        let mut whole = match (self.parts.take(), part.part) {
            (_, 0) => part,
            (Some(mut so_far), next) if so_far.part + 1 == next && so_far.number == part.number => {
                so_far.part = next;
                so_far.users.extend(part.users);
                so_far.sessions.extend(part.sessions);
                so_far
            }
            _ => return None,
        };
        if whole.part + 1 < whole.parts {
            self.parts = Some(whole);
            return None;
        }
        whole.part = 0;
        Some(whole)
    }

    /// What makes this replica the snapshot.
    pub(super) fn difference(&self, snapshot: &Snapshot) -> Delta {
        let (users, sessions): (HashSet<u64>, HashSet<u64>) =
            (snapshot.users.iter().copied().collect(), snapshot.sessions.iter().copied().collect());
        let leaving: HashSet<u64> = snapshot.leaving.iter().copied().collect();
        let known = |user: &u64| self.has_user(*user) && self.is_leaving(*user) == leaving.contains(user);
        let (away, here) = users.iter().filter(|user| !known(user)).partition(|user| leaving.contains(user));
        Delta {
            number: snapshot.number,
            here,
            leaving: away,
            gone: self.users().filter(|user| !users.contains(user)).collect(),
            begun: sessions.iter().copied().filter(|session| !self.has_session(*session)).collect(),
            ended: self.sessions().filter(|session| !sessions.contains(session)).collect(),
            tally: snapshot.tally.clone(),
        }
    }
}
