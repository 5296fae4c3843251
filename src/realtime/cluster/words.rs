//! What nodes tell and ask each other about who is online. JSON, so that a release may add a field that the one before does not know;
//! a word it does not know is skipped.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::directory::{Delta, Digest, Snapshot};
use crate::auth::UserKey;
use crate::realtime::difference::Rows;
use crate::realtime::presence::{Found, OnlineClient, OnlineQuery, UserQuery, Why};
use crate::realtime::query::{Place, UserRow};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Words {
    /// To all: what changed.
    Told(Told),
    /// To all, now and then: what this node has.
    Announced {
        digest: Digest,
        /// Whether it has pages that look.
        watching: bool,
    },
    /// From now on rows are wanted, or no more. Answered with `Watched`.
    Watch(bool),
    /// The clients whose rows will be told from now on.
    Watched(Vec<Uuid>),
    /// A snapshot is wanted.
    Whole,
    /// A part of one.
    Part(Snapshot),
    Question {
        id: u64,
        /// As in `Announced`.
        watching: bool,
        question: Question,
    },
    Answer {
        id: u64,
        answer: Answer,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) delta: Delta,
    /// Where another node wants them and there are not too many.
    #[serde(default)]
    pub(super) rows: Option<Rows>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// The first rows, as many as the page's end.
    Clients(OnlineQuery),
    /// The same with nothing but what they are sorted by: for pages far down.
    Places(OnlineQuery),
    /// The first users that are on this node alone, and all others that match or have one of these hashes.
    Users {
        query: UserQuery,
        #[serde(default)]
        also: Vec<u64>,
    },
    /// Matching users that are on other nodes as well.
    Shared(UserQuery),
    /// Nothing, once the pending delta is told.
    Counts,
    Why(UserKey),
    Lookup(Vec<UserKey>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Clients { list: Vec<OnlineClient>, total: usize },
    Places { list: Vec<(Place, Uuid)>, total: usize },
    Users(SomeUsers),
    Shared(Vec<u64>),
    Counts,
    Why(Why),
    Lookup(Vec<Option<Found>>),
}

/// Matching users of one node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct SomeUsers {
    /// The first of those on this node alone.
    pub(super) alone: Vec<UserRow>,
    /// How many of these there are.
    pub(super) alone_total: usize,
    /// All of those that are on other nodes too, wherever the page is: each node knows only its own clients of a user, so that none
    /// can say who has the most. As many as match, at some 400 bytes each: ten thousand are 4 MB from each node.
    pub(super) shared: Vec<UserRow>,
}
