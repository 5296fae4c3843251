//! Sockets of one user, over all nodes: `socket.per_user`. Each node knows at once how many are here; where the directory says
//! that the user is on another node too, that one is asked. What slips in meanwhile is found a moment later, when every node has told
//! the others whom it has, and whoever sees it closes what is beyond: all agree on the order.

use std::collections::HashSet;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Services;
use crate::auth::UserKey;
use crate::config::ConnectionPolicy;
use crate::protocol::{CloseCode, CloseReason};
use crate::realtime::{Cause, Payload, Publication, Target};

/// Longest wait for other nodes before a handshake is let in: one that just died does not answer.
const PATIENCE: Duration = Duration::from_millis(250);
/// Time in which the others have surely been told of who came here.
const SETTLE: Duration = Duration::from_millis(300);

/// Users whose sockets are to be counted again.
#[derive(Default)]
pub struct Arrivals(Mutex<HashSet<UserKey>>);

impl Services {
    /// Whether the other nodes leave the user a place for one more socket. With the policy "replace" always; the oldest goes when it
    /// has come.
    pub async fn has_place_elsewhere(&self, user: &UserKey) -> bool {
        let config = self.config();
        let most = config.socket.per_user;
        if config.socket.per_user_policy == ConnectionPolicy::Replace || !self.presence().is_elsewhere(user) {
            return true;
        }
        // Who had half of it a moment ago need not be counted each time; he is counted when he has come.
        if self.limits().places.get(user).is_some_and(|last| last <= most / 2) {
            return true;
        }
        let counted = timeout(PATIENCE, self.count_sockets(std::slice::from_ref(user))).await;
        let Ok(sockets) = counted.map(|sockets| sockets[0]) else { return true };
        // With the one that comes.
        self.limits().places.put(user.clone(), sockets + 1);
        sockets < most
    }

    /// Says that a socket of the user has opened here.
    pub fn arrived(&self, user: &UserKey) {
        if self.shared() {
            self.limits().arrivals.lock().insert(user.clone());
        }
    }

    /// Holds who arrives to `socket.per_user`, as long as it is polled.
    pub async fn hold_to_places(self) {
        loop {
            let arrived = mem::take(&mut *self.limits().arrivals.lock());
            sleep(SETTLE).await;
            let elsewhere = |user: &UserKey| self.presence().is_elsewhere(user);
            let users: Vec<UserKey> = arrived.into_iter().filter(elsewhere).collect();
            let most = self.config().socket.per_user;
            // All of them in one question.
            for (user, sockets) in users.iter().zip(self.count_sockets(&users).await) {
                if sockets > most {
                    self.close_beyond(user, sockets - most).await;
                    // Those that were closing already may have been among the ones that were meant.
                    self.arrived(user);
                }
            }
        }
    }

    async fn count_sockets(&self, users: &[UserKey]) -> Vec<usize> {
        if users.is_empty() {
            return Vec::new();
        }
        let found = self.presence().lookup(users).await.map(|(found, _)| found).unwrap_or_default();
        let mut sockets: Vec<usize> = found.iter().map(|found| found.map_or(0, |found| found.clients)).collect();
        sockets.resize(users.len(), 0);
        users.iter().zip(&sockets).for_each(|(user, sockets)| self.limits().places.put(user.clone(), *sockets));
        sockets
    }

    async fn close_beyond(&self, user: &UserKey, beyond: usize) {
        let Ok((why, _)) = self.presence().why(user).await else { return };
        let mut clients: Vec<_> = why.clients.iter().filter(|client| !client.leaving).collect();
        clients.sort_by_key(|client| (client.connected_at, client.id));
        let socket = &self.config().socket;
        // Others close them too, and some may be gone since they were counted.
        let beyond = beyond.min(clients.len().saturating_sub(socket.per_user));
        let text = match socket.per_user_policy {
            ConnectionPolicy::Reject => {
                clients.reverse();
                format!("This user has {} sockets already, which is the limit.", socket.per_user)
            }
            ConnectionPolicy::Replace => "a newer connection took its place".to_owned(),
        };
        let reason = CloseReason::new(CloseCode::Replaced).text(text);
        let target = Target::Clients(clients.iter().take(beyond).map(|client| client.id).collect());
        let payload = Payload::Close { last: None, reason, cause: Cause::Replaced };
        if let Err(error) = self.broker().publish(Publication { target, payload }).await {
            tracing::warn!(%error, "sockets beyond socket.per_user could not be closed");
        }
    }
}

impl Arrivals {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<UserKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
