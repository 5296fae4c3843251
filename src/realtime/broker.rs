//! The one way to clients: whoever wants to tell somebody something publishes it, and the broker finds the sockets. A kick
//! travels like a message, so that it will work on any node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::yield_now;
use tokio::time::{interval, timeout};
use uuid::Uuid;

use super::client::Client;
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

    async fn send(&self, clients: &[Arc<Client>], message: &Message) -> usize {
        let mut delivered = 0;
        for (turn, client) in clients.iter().enumerate() {
            delivered += usize::from(client.send(message) == Delivery::Queued);
            if turn % SENDS_PER_TURN == SENDS_PER_TURN - 1 {
                yield_now().await;
            }
        }
        delivered
    }

    /// How many are shut down, waiting a while for those that take longer.
    async fn close(
        &self,
        clients: &[Arc<Client>],
        last: Option<&Message>,
        reason: &CloseReason,
        cause: Cause,
    ) -> usize {
        for client in clients {
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
        clients.iter().filter(|client| client.is_shut()).count()
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, Publication { target, payload }: Publication) -> Result<Delivered, BrokerError> {
        let clients = self.manager.select(&target, matches!(payload, Payload::Close { .. }));
        let delivered = match &payload {
            Payload::Message(message) => {
                let delivered = self.send(&clients, message).await;
                self.manager.count_deliveries(delivered, clients.len() - delivered);
                delivered
            }
            Payload::Close { last, reason, cause } => self.close(&clients, last.as_ref(), reason, *cause).await,
            Payload::Rights(rights) => {
                if let Target::Users(users) = &target {
                    users.iter().for_each(|user| self.manager.set_rights(user, rights));
                }
                clients.len()
            }
        };
        Ok(Delivered {
            users: ClientManager::users_among(&clients),
            clients: clients.len(),
            delivered,
            dropped: clients.len() - delivered,
            nodes_answered: 1,
            nodes_expected: 1,
        })
    }
}
