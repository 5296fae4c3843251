//! What changed on this node for the others, since they were told the last time.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Delta, Tally, session_hash, user_hash};
use crate::auth::UserKey;

/// Where a user came to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::realtime) enum UserEdge {
    /// A client that can be reached.
    Here,
    /// In the grace. The name is needed to end it.
    Leaving(UserKey),
    /// No client.
    Gone,
}

/// Changes of users and logins, each with the last word only: as many as there are users, at most.
#[derive(Debug, Default)]
pub(in crate::realtime) struct Edges {
    users: HashMap<u64, UserEdge>,
    /// Whether the login is here.
    sessions: HashMap<u64, bool>,
}

impl Edges {
    pub(in crate::realtime) fn user(&mut self, user: &UserKey, edge: UserEdge) {
        self.users.insert(user_hash(user), edge);
    }

    pub(in crate::realtime) fn session(&mut self, session: Uuid, here: bool) {
        self.sessions.insert(session_hash(session), here);
    }

    /// Where users stand now.
    pub(in crate::realtime::cluster) fn users(&self) -> impl Iterator<Item = (u64, &UserEdge)> {
        self.users.iter().map(|(user, edge)| (*user, edge))
    }

    pub(super) fn into_delta(self, number: u64, tally: Tally) -> Delta {
        let mut delta = Delta { number, tally, ..Delta::default() };
        for (user, edge) in self.users {
            match edge {
                UserEdge::Here => delta.here.push(user),
                UserEdge::Leaving(_) => delta.leaving.push(user),
                UserEdge::Gone => delta.gone.push(user),
            }
        }
        for (session, here) in self.sessions {
            if here { delta.begun.push(session) } else { delta.ended.push(session) }
        }
        delta
    }
}
