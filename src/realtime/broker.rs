//! The one way to clients: whoever wants to tell somebody something publishes it, and the broker finds the sockets. A kick
//! travels like a message, so that it works on any node.

mod answers;
mod cluster;
mod interests;
mod memory;
mod words;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::presence::Cause;
use crate::auth::{Rights, UserKey};
use crate::protocol::{CloseReason, Message};

pub use cluster::ClusterBroker;
pub use interests::{Expected, Interest};
pub use memory::MemoryBroker;

/// Whom a publication is for.
#[derive(Clone, Debug)]
pub enum Target {
    /// Every client.
    Everyone,
    /// All clients of these users.
    Users(Vec<UserKey>),
    /// The same without those of one login.
    OtherSessions(Vec<UserKey>, Uuid),
    /// All clients of users with any of these roles.
    Roles(Vec<Arc<str>>),
    /// The members of these rooms.
    Rooms(Vec<Arc<str>>),
    /// These clients.
    Clients(Vec<Uuid>),
    /// All clients of these logins.
    Sessions(Vec<Uuid>),
}

impl Target {
    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        match self {
            Target::Everyone => false,
            Target::Users(users) | Target::OtherSessions(users, _) => users.is_empty(),
            Target::Roles(names) | Target::Rooms(names) => names.is_empty(),
            Target::Clients(ids) | Target::Sessions(ids) => ids.is_empty(),
        }
    }
}

/// What reaches them.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A message.
    Message(Message),
    /// The end: last words that jump the queue, and why.
    Close {
        /// Sent before the close frame.
        last: Option<Message>,
        /// Of the close frame.
        reason: CloseReason,
        /// For lists and `why`.
        cause: Cause,
    },
    /// New rights, for `Target::Users` of one user.
    Rights(Arc<Rights>),
}

/// One thing for some clients.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Whom.
    pub target: Target,
    /// What.
    pub payload: Payload,
}

/// What became of a publication. "Delivered" means handed to the socket or its queue, or closed; nothing else is claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Users among the targeted clients. One on several nodes counts once while they are few.
    pub users: usize,
    /// Clients it was for.
    pub clients: usize,
    /// Handed over, or closed.
    pub delivered: usize,
    /// Not: the queue was full, or the socket was gone.
    pub dropped: usize,
    /// Nodes that answered, this one included.
    pub nodes_answered: usize,
    /// Nodes that were asked, and those that should have been and could not.
    pub nodes_expected: usize,
    /// Whether every node answered that may have a receiver, and each of them is well.
    pub complete: bool,
    /// Clients that other nodes dropped.
    pub dropped_by: Vec<(Arc<str>, usize)>,
    /// Other nodes that did not answer and may have receivers.
    pub silent: Vec<Arc<str>>,
}

impl Delivered {
    /// Nobody yet, on one node.
    pub fn to_nobody() -> Delivered {
        Delivered { nodes_answered: 1, nodes_expected: 1, complete: true, ..Delivered::default() }
    }

    /// Counts another publication about the same thing in.
    pub fn add(&mut self, other: Delivered) {
        self.users += other.users;
        self.clients += other.clients;
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        let missing = |delivered: &Delivered| delivered.nodes_expected.saturating_sub(delivered.nodes_answered);
        let missing = missing(self).max(missing(&other));
        self.nodes_expected = self.nodes_expected.max(other.nodes_expected);
        self.nodes_answered = self.nodes_expected - missing;
        self.complete &= other.complete;
        self.dropped_by.extend(other.dropped_by);
        self.silent.extend(other.silent.into_iter().filter(|node| !self.silent.contains(node)).collect::<Vec<_>>());
    }
}

/// The publication could not be sent on.
#[derive(Debug, thiserror::Error)]
#[error("the broker cannot publish: {0}")]
pub struct BrokerError(pub String);

/// Reaches clients wherever they are.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// At most once, in order per publisher.
    async fn publish(&self, publication: Publication) -> Result<Delivered, BrokerError>;

    /// To be awaited before a client of this user is registered here, or joins this room: what other nodes publish from then on
    /// reaches it. What it gives is held until that is done. None where there are no other nodes.
    fn expect(&self, _interest: Interest) -> Option<BoxFuture<'static, Expected>> {
        None
    }
}
