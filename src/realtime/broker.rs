//! The one way to clients: whoever wants to tell somebody something publishes it, and the broker finds the sockets. A kick
//! travels like a message, so that it works on any node.

mod answers;
mod cluster;
mod interests;
mod words;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::task::yield_now;
use tokio::time::{interval, timeout};
use uuid::Uuid;

use super::client::Client;
use super::manager::ClientManager;
use super::outbound::Delivery;
use super::presence::Cause;
use crate::auth::{Rights, UserKey};
use crate::cluster::hash;
use crate::protocol::{CloseReason, Message};

pub use cluster::ClusterBroker;
pub use interests::{Expected, Interest};

/// Sends after which other tasks get a turn.
const SENDS_PER_TURN: usize = 256;
/// Time to wait for sockets to be shut down before a close is answered as incomplete.
const CLOSE_WAIT: Duration = Duration::from_secs(3);
/// Clients up to which an answer says which users they are of.
const FEW_USERS: usize = 500;
/// How often that is looked at.
const CLOSE_POLL: Duration = Duration::from_millis(5);

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

/// One node: straight to the client manager.
pub struct MemoryBroker {
    manager: Arc<ClientManager>,
}

impl MemoryBroker {
    /// The broker of this manager.
    pub fn new(manager: Arc<ClientManager>) -> MemoryBroker {
        MemoryBroker { manager }
    }

    /// Publishes to this node's clients; whom it reached is noted.
    async fn reach(&self, Publication { target, payload }: &Publication, reached: &mut Reached) -> Delivered {
        match payload {
            Payload::Message(message) => self.send(target, message, reached).await,
            Payload::Close { last, reason, cause } => {
                self.close(target, last.as_ref(), reason, *cause, reached).shut(CLOSE_WAIT).await
            }
            Payload::Rights(rights) => self.set_rights(target, rights, reached),
        }
    }

    async fn send(&self, target: &Target, message: &Message, reached: &mut Reached) -> Delivered {
        let mut sent = Delivered::to_nobody();
        for portion in self.manager.portions(target, false) {
            sent.users += portion.users;
            sent.clients += portion.clients.len();
            reached.note(&portion.clients);
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

    /// Begins to close them.
    fn close(
        &self,
        target: &Target,
        last: Option<&Message>,
        reason: &CloseReason,
        cause: Cause,
        reached: &mut Reached,
    ) -> Closing {
        let portions: Vec<_> = self.manager.portions(target, true).collect();
        let users = portions.iter().map(|portion| portion.users).sum();
        let clients: Vec<_> = portions.into_iter().flat_map(|portion| portion.clients).collect();
        reached.note(&clients);
        for client in &clients {
            client.close_now(last, reason, cause);
            self.manager.dismiss(client, cause);
        }
        Closing { users, clients }
    }

    fn set_rights(&self, target: &Target, rights: &Arc<Rights>, reached: &mut Reached) -> Delivered {
        let mut set = Delivered::to_nobody();
        if let Target::Users(users) = target {
            users.iter().for_each(|user| self.manager.set_rights(user, rights));
            for portion in self.manager.portions(target, false) {
                set.users += portion.users;
                set.clients += portion.clients.len();
                reached.note(&portion.clients);
            }
        }
        set.delivered = set.clients;
        set
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, publication: Publication) -> Result<Delivered, BrokerError> {
        Ok(self.reach(&publication, &mut Reached::nobody_cares()).await)
    }
}

/// Clients that are being closed.
struct Closing {
    users: usize,
    clients: Vec<Arc<Client>>,
}

impl Closing {
    /// Waits a while for those that take longer to be shut down.
    async fn shut(self, patience: Duration) -> Delivered {
        let Closing { users, clients } = self;
        let all_shut = async {
            let mut poll = interval(CLOSE_POLL);
            while !clients.iter().all(|client| client.is_shut()) {
                poll.tick().await;
            }
        };
        let _ = timeout(patience, all_shut).await;
        let delivered = clients.iter().filter(|client| client.is_shut()).count();
        let dropped = clients.len() - delivered;
        Delivered { users, clients: clients.len(), delivered, dropped, ..Delivered::to_nobody() }
    }
}

/// Which users a publication reached, as hashes, while they are few: nodes that reached the same one count him once.
struct Reached {
    users: Vec<u64>,
    few: bool,
}

impl Reached {
    /// Where there are no other nodes.
    fn nobody_cares() -> Reached {
        Reached { users: Vec::new(), few: false }
    }

    fn nobody_yet() -> Reached {
        Reached { users: Vec::new(), few: true }
    }

    /// Clients of a portion, in which a user's stand together or are few.
    fn note(&mut self, clients: &[Arc<Client>]) {
        self.few &= self.users.len() + clients.len() <= FEW_USERS;
        if self.few {
            self.users.extend(clients.iter().map(|client| hash(client.user.as_str())));
        }
    }

    /// Each once, if they are few.
    fn users(mut self) -> Option<Vec<u64>> {
        self.users.sort_unstable();
        self.users.dedup();
        self.few.then_some(self.users)
    }
}
