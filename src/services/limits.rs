//! How often one address or one user may try, each in a table of fixed size. Several nodes tell each other now and then what they let
//! through, so that no handshake and no login waits for another node.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use uuid::Uuid;

use super::Services;
use super::places::Arrivals;
use crate::auth::{Rate, Recent, UserKey};
use crate::clock::Clock;
use crate::cluster::{Channel, Cluster, Mailbox, Topic};
use crate::config::Config;

const MINUTE: Duration = Duration::from_secs(60);
/// Between two times that other nodes are told.
const TELL: Duration = Duration::from_millis(500);

/// The limits of this node.
pub struct Limits {
    /// Logins by address.
    pub logins: Rate<IpAddr>,
    /// Failed handshakes by address: asked only after one has failed, so that a valid token is never refused for its
    /// neighbours' failures.
    pub failed_handshakes: Rate<IpAddr>,
    /// Unknown API keys by address, asked in the same manner.
    pub failed_keys: Rate<IpAddr>,
    /// Calls by API key, and the limit that it has.
    pub(super) keys: Rate<(Uuid, u32)>,
    /// Successful handshakes by user.
    pub handshakes: Rate<UserKey>,
    /// Tickets that this node makes for all nodes.
    pub(super) tickets: Rate<()>,
    /// Looks for small values that have expired.
    pub(super) sweeps: Rate<()>,
    /// Sockets of users on several nodes, as last counted.
    pub(super) places: Recent<UserKey, usize>,
    pub(super) arrivals: Arrivals,
}

/// What a node let through, for the others.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct LetThrough {
    logins: Vec<(IpAddr, u32)>,
    failed_handshakes: Vec<(IpAddr, u32)>,
    failed_keys: Vec<(IpAddr, u32)>,
    keys: Vec<((Uuid, u32), u32)>,
    handshakes: Vec<(UserKey, u32)>,
}

impl Limits {
    /// As configured; `shared` with other nodes or not.
    pub fn new(clock: &Arc<dyn Clock>, config: &Config, shared: bool) -> Limits {
        let (auth, socket) = (&config.auth, &config.socket);
        let entries = auth.max_failure_entries;
        let by_address = |limit| {
            let rate = Rate::new(clock.clone(), limit, MINUTE, entries);
            if shared { rate.shared() } else { rate }
        };
        let handshakes = Rate::new(clock.clone(), socket.handshakes_per_user, MINUTE, entries);
        let keys = Rate::new(clock.clone(), 0, MINUTE, auth.max_keys);
        let max_tickets = u32::try_from(auth.max_tickets.max(1)).unwrap_or(u32::MAX);
        Limits {
            logins: by_address(auth.logins_per_address),
            failed_handshakes: by_address(socket.failed_handshakes),
            failed_keys: by_address(auth.failed_keys),
            keys: if shared { keys.shared() } else { keys },
            handshakes: if shared { handshakes.shared() } else { handshakes },
            tickets: Rate::new(clock.clone(), max_tickets, auth.ticket_ttl, 1),
            sweeps: Rate::new(clock.clone(), 1, MINUTE, 1),
            places: Recent::new(clock.clone(), entries, MINUTE),
            arrivals: Arrivals::default(),
        }
    }

    fn news(&self) -> LetThrough {
        LetThrough {
            logins: self.logins.take_news(),
            failed_handshakes: self.failed_handshakes.take_news(),
            failed_keys: self.failed_keys.take_news(),
            keys: self.keys.take_news(),
            handshakes: self.handshakes.take_news(),
        }
    }

    fn count(&self, there: LetThrough) {
        there.logins.into_iter().for_each(|(key, times)| self.logins.count(key, times));
        there.failed_handshakes.into_iter().for_each(|(key, times)| self.failed_handshakes.count(key, times));
        there.failed_keys.into_iter().for_each(|(key, times)| self.failed_keys.count(key, times));
        there.keys.into_iter().for_each(|(key, times)| self.keys.count_within(key, times, key.1));
        there.handshakes.into_iter().for_each(|(key, times)| self.handshakes.count(key, times));
    }
}

impl LetThrough {
    fn is_empty(&self) -> bool {
        self.logins.is_empty()
            && self.failed_handshakes.is_empty()
            && self.failed_keys.is_empty()
            && self.keys.is_empty()
            && self.handshakes.is_empty()
    }
}

impl Services {
    /// Tells the other nodes what is let through here and hears what they do, as long as it is polled. `mailbox` is that of
    /// `Topic::Limits`. While Redis is away each node counts for itself.
    pub async fn share_limits(self, mut mailbox: Mailbox) {
        let Some(Cluster { link, .. }) = self.cluster() else { return };
        let tell = async {
            loop {
                sleep(TELL).await;
                let news = self.limits().news();
                if !news.is_empty() {
                    drop(link.send(Channel::All, Topic::Limits, &news, b""));
                }
            }
        };
        let hear = async {
            while let Some(message) = mailbox.next().await {
                if let Some(there) = link.read(&message) {
                    self.limits().count(there);
                }
            }
        };
        tokio::join!(tell, hear);
    }
}
