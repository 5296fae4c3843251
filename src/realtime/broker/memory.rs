//! One node: straight to the client manager.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::yield_now;
use tokio::time::{interval, timeout};

use super::{Broker, BrokerError, Cause, Delivered, Payload, Publication, Target};
use crate::auth::Rights;
use crate::cluster::hash;
use crate::protocol::{CloseReason, Message};
use crate::realtime::client::Client;
use crate::realtime::manager::ClientManager;
use crate::realtime::outbound::Delivery;

/// Sends after which other tasks get a turn.
const SENDS_PER_TURN: usize = 256;
/// Time to wait for sockets to be shut down before a close is answered as incomplete.
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(3);
/// How often that is looked at.
const CLOSE_POLL: Duration = Duration::from_millis(5);
/// Clients up to which an answer says which users they are of.
const FEW_USERS: usize = 500;

/// Reaches the clients of this node.
pub struct MemoryBroker {
    manager: Arc<ClientManager>,
}

impl MemoryBroker {
    /// The broker of this manager.
    pub fn new(manager: Arc<ClientManager>) -> MemoryBroker {
        MemoryBroker { manager }
    }

    /// Publishes to this node's clients; whom it reached is noted.
    pub(super) async fn reach(
        &self,
        Publication { target, payload }: &Publication,
        reached: &mut Reached,
    ) -> Delivered {
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
    pub(super) fn close(
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
pub(super) struct Closing {
    users: usize,
    clients: Vec<Arc<Client>>,
}

impl Closing {
    /// Waits a while for those that take longer to be shut down.
    pub(super) async fn shut(self, patience: Duration) -> Delivered {
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
pub(super) struct Reached {
    users: Vec<u64>,
    few: bool,
}

impl Reached {
    /// Where there are no other nodes.
    fn nobody_cares() -> Reached {
        Reached { users: Vec::new(), few: false }
    }

    pub(super) fn nobody_yet() -> Reached {
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
    pub(super) fn users(mut self) -> Option<Vec<u64>> {
        self.users.sort_unstable();
        self.users.dedup();
        self.few.then_some(self.users)
    }
}
