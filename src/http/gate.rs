//! How many connections there are, and who must make room. Each is an open file, and when those run out nobody can log in to do
//! something about it. So the last ones are for operators; who that may be is told by a request's head alone, before anything is
//! looked up.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use poem::Request;
use poem::http::{StatusCode, header};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::error::Problem;
use crate::auth::limit_key;
use crate::services::Services;

/// Bounds of the gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateLimits {
    /// Connections, sockets included, at most.
    pub(crate) connections: usize,
    /// Of these, kept for operators.
    pub(crate) operators: usize,
}

/// One for all listeners.
pub(crate) struct Gate {
    services: Services,
    limits: GateLimits,
    /// Connections that became sockets.
    sockets: TaskTracker,
    open: Mutex<Open>,
}

/// Connections that are HTTP's. No entry without one.
#[derive(Default)]
struct Open {
    connections: usize,
    by_address: HashMap<IpAddr, usize>,
    /// By age. Who is to make room loses the sender.
    staying: BTreeMap<u64, oneshot::Sender<()>>,
    entered: u64,
}

/// Why a connection is closed unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwelcome {
    /// There are as many as there may be.
    Full,
    /// Its address has as many as it may.
    TooManyOfAddress,
}

/// A connection that was let in; dropped, it has left.
pub(super) struct Visit {
    gate: Arc<Gate>,
    number: u64,
    /// What its address is counted by; a trusted proxy's is not.
    address: Option<IpAddr>,
    staying: oneshot::Receiver<()>,
}

impl Gate {
    pub(crate) fn new(services: Services, limits: GateLimits, sockets: TaskTracker) -> Arc<Gate> {
        Arc::new(Gate { services, limits, sockets, open: Mutex::default() })
    }

    /// Lets a connection in. Where it gets crowded, the one that has been here longest is asked to leave.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Visit, Unwelcome> {
        let (limits, config) = (self.limits, self.services.config());
        let peer = peer.to_canonical();
        let trusted = config.server.trusted_proxies.iter().any(|net| net.contains(&peer));
        let address = (!trusted).then(|| limit_key(peer));
        let most_of_address = config.limits.connections_per_address;
        let mut open = self.open();
        let of_address = address.and_then(|address| open.by_address.get(&address)).copied().unwrap_or(0);
        if most_of_address > 0 && of_address >= most_of_address {
            return Err(Unwelcome::TooManyOfAddress);
        }
        let all = open.connections + self.sockets.len();
        if all >= limits.connections - limits.operators {
            open.staying.pop_first();
        }
        if all >= limits.connections {
            return Err(Unwelcome::Full);
        }
        let (sender, staying) = oneshot::channel();
        open.entered += 1;
        open.connections += 1;
        let number = open.entered;
        open.staying.insert(number, sender);
        if let Some(address) = address {
            *open.by_address.entry(address).or_default() += 1;
        }
        Ok(Visit { gate: self.clone(), number, address, staying })
    }

    /// Asks the connection that has been here longest to leave.
    pub(super) fn make_room(&self) {
        self.open().staying.pop_first();
    }

    /// Connections that are HTTP's, and the addresses that are counted for them.
    pub(super) fn sizes(&self) -> [(&'static str, usize); 2] {
        let open = self.open();
        [("http_connections", open.connections), ("http_addresses", open.by_address.len())]
    }

    /// Whether only operators' connections are left.
    pub(super) fn is_crowded(&self) -> bool {
        self.open().connections + self.sockets.len() > self.limits.connections - self.limits.operators
    }

    /// What a request is answered that may not take one of those: handshakes, and whoever neither shows a token nor wants one.
    /// Whether the process lives is always said.
    pub(super) fn turn_away(&self, request: &Request) -> Option<Problem> {
        let path = request.uri().path();
        let anonymous = !request.headers().contains_key(header::AUTHORIZATION);
        let comes_for_a_token = matches!(path, "/api/v1/auth/login" | "/api/v1/auth/refresh");
        let refused = path == "/socket" || (anonymous && !comes_for_a_token && !path.starts_with("/health/"));
        (refused && self.is_crowded()).then(|| full(&self.services, "This server has as many connections as it takes."))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    /// Waits until this connection is to make room.
    pub(super) async fn unwanted(&mut self) {
        let _ = (&mut self.staying).await;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut open = self.gate.open();
        open.connections -= 1;
        open.staying.remove(&self.number);
        let Some(address) = self.address else { return };
        if let Some(count) = open.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

/// 503, and when to come back.
pub(super) fn full(services: &Services, detail: &str) -> Problem {
    let seconds = services.retry_after().as_secs() + 1;
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "full", detail).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing;

    async fn gate(connections: usize, per_address: usize) -> Arc<Gate> {
        let services = testing::services().await;
        let mut config = (*services.config()).clone();
        config.limits.connections_per_address = per_address;
        config.server.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        services.set_config(config);
        Gate::new(services, GateLimits { connections, operators: 2 }, TaskTracker::new())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn refused(gate: &Arc<Gate>, peer: &str) -> Option<Unwelcome> {
        gate.enter(ip(peer)).err()
    }

    #[tokio::test]
    async fn an_address_has_so_many_connections_and_leaves_no_entry_behind() {
        let gate = gate(100, 2).await;
        let visits =
            ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2"].map(|peer| gate.enter(ip(peer)).ok());
        assert!(visits.iter().all(Option::is_some));
        assert_eq!(refused(&gate, "192.0.2.1"), Some(Unwelcome::TooManyOfAddress));
        assert_eq!(refused(&gate, "2001:db8::3"), Some(Unwelcome::TooManyOfAddress), "one household");
        assert_eq!(refused(&gate, "2001:db8:0:1::3"), None);
        let proxied: Vec<_> = (0..20).map(|_| gate.enter(ip("10.0.0.1")).ok()).collect();
        assert!(proxied.iter().all(Option::is_some), "everybody's connections come from a proxy");
        assert_eq!(gate.open().by_address.len(), 2);
        drop((visits, proxied));
        let open = gate.open();
        assert_eq!((open.by_address.len(), open.staying.len(), open.connections), (0, 0, 0));
    }

    #[tokio::test]
    async fn who_came_first_makes_room_and_beyond_the_last_nobody_comes_in() {
        let gate = gate(4, 0).await;
        let mut first = gate.enter(ip("192.0.2.1")).ok().unwrap();
        let second = gate.enter(ip("192.0.2.1")).ok().unwrap();
        assert!(!gate.is_crowded());
        assert!(first.staying.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        let third = gate.enter(ip("192.0.2.1")).ok().unwrap();
        first.unwanted().await;
        assert!(gate.is_crowded());
        let fourth = gate.enter(ip("192.0.2.1")).ok().unwrap();
        assert_eq!(refused(&gate, "192.0.2.1"), Some(Unwelcome::Full));
        drop((first, second));
        assert!(!gate.is_crowded());
        drop((third, fourth));
    }
}
