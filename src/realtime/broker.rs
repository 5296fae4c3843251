//! The one way to clients: whoever wants to tell somebody something publishes it, and the broker finds the sockets. A kick
//! travels like a message, so that it will work on any node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::yield_now;
use tokio::time::{interval, timeout};
use uuid::Uuid;

use super::manager::ClientManager;
use super::outbound::Delivery;
use super::presence::Cause;
use crate::auth::{Rights, UserKey};
use crate::protocol::{CloseReason, Message};

/// Sends after which other tasks get a turn.
const SENDS_PER_TURN: usize = 256;
/// Time to wait for sockets to be shut down before a close is answered as incomplete.
const CLOSE_WAIT: Duration = Duration::from_secs(3);
/// How often that is looked at.
const CLOSE_POLL: Duration = Duration::from_millis(5);

/// Whom a publication is for.
#[derive(Clone, Debug)]
pub enum Target {
    /// Every client.
    Everyone,
    /// All clients of these users.
    Users(Vec<UserKey>),
    /// All clients of users with any of these roles.
    Roles(Vec<Arc<str>>),
    /// The members of these rooms.
    Rooms(Vec<Arc<str>>),
    /// These clients.
    Clients(Vec<Uuid>),
    /// All clients of these logins.
    Sessions(Vec<Uuid>),
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Users among the targeted clients.
    pub users: usize,
    /// Clients it was for.
    pub clients: usize,
    /// Handed over, or closed.
    pub delivered: usize,
    /// Not: the queue was full, or the socket was gone.
    pub dropped: usize,
    /// Nodes that answered.
    pub nodes_answered: usize,
    /// Nodes that were asked.
    pub nodes_expected: usize,
}

impl Delivered {
    /// Nobody yet, on one node.
    fn of_this_node() -> Delivered {
        Delivered { nodes_answered: 1, nodes_expected: 1, ..Delivered::default() }
    }

    /// Whether every node answered.
    pub fn complete(&self) -> bool {
        self.nodes_answered == self.nodes_expected
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
}

/// One node: straight to the client manager.
pub struct MemoryBroker {
    manager: Arc<ClientManager>,
}

impl MemoryBroker {
    /// The broker of this manager.
    pub fn new(manager: Arc<ClientManager>) -> MemoryBroker {
        MemoryBroker { manager }
    }

    async fn send(&self, target: &Target, message: &Message) -> Delivered {
        let mut sent = Delivered::of_this_node();
        for portion in self.manager.portions(target, false) {
            sent.users += portion.users;
            sent.clients += portion.clients.len();
            for turn in portion.clients.chunks(SENDS_PER_TURN) {
                sent.delivered += turn.iter().filter(|client| client.send(message) == Delivery::Queued).count();
                if turn.len() == SENDS_PER_TURN {
                    yield_now().await;
                }
            }
        }
        sent.dropped = sent.clients - sent.delivered;
        self.manager.count_deliveries(sent.delivered, sent.dropped);
        sent
    }

    /// Waits a while for those that take longer to be shut down.
    async fn close(&self, target: &Target, last: Option<&Message>, reason: &CloseReason, cause: Cause) -> Delivered {
        let portions: Vec<_> = self.manager.portions(target, true).collect();
        let users = portions.iter().map(|portion| portion.users).sum();
        let clients: Vec<_> = portions.into_iter().flat_map(|portion| portion.clients).collect();
        for client in &clients {
            client.close_now(last, reason, cause);
            self.manager.dismiss(client, cause);
        }
        let all_shut = async {
            let mut poll = interval(CLOSE_POLL);
            while !clients.iter().all(|client| client.is_shut()) {
                poll.tick().await;
            }
        };
        let _ = timeout(CLOSE_WAIT, all_shut).await;
        let delivered = clients.iter().filter(|client| client.is_shut()).count();
        let dropped = clients.len() - delivered;
        Delivered { users, clients: clients.len(), delivered, dropped, ..Delivered::of_this_node() }
    }

    fn set_rights(&self, target: &Target, rights: &Arc<Rights>) -> Delivered {
        let mut set = Delivered::of_this_node();
        if let Target::Users(users) = target {
            users.iter().for_each(|user| self.manager.set_rights(user, rights));
            for portion in self.manager.portions(target, false) {
                set.users += portion.users;
                set.clients += portion.clients.len();
            }
        }
        set.delivered = set.clients;
        set
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, Publication { target, payload }: Publication) -> Result<Delivered, BrokerError> {
        Ok(match &payload {
            Payload::Message(message) => self.send(&target, message).await,
            Payload::Close { last, reason, cause } => self.close(&target, last.as_ref(), reason, *cause).await,
            Payload::Rights(rights) => self.set_rights(&target, rights),
        })
    }
}
