//! Where callers come in: the nodes that are open to them, which may change.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;

use crate::server::Rest;

/// One server, or several nodes behind which nobody cares which one it is.
pub(crate) struct Doors {
    open: Mutex<Vec<SocketAddr>>,
    next: AtomicUsize,
    rest: Rest,
}

impl Doors {
    pub(crate) fn of(open: Vec<SocketAddr>) -> Doors {
        Doors { open: Mutex::new(open), next: AtomicUsize::new(0), rest: Rest::default() }
    }

    /// From now on these are open.
    pub(crate) fn change(&self, open: Vec<SocketAddr>) {
        *self.open() = open;
    }

    /// All that are open.
    pub(crate) fn all(&self) -> Vec<SocketAddr> {
        self.open().clone()
    }

    /// One after the other.
    pub(crate) fn one(&self) -> SocketAddr {
        let open = self.open();
        open[self.next.fetch_add(1, Relaxed) % open.len()]
    }

    /// A REST call at this door; its status, 0 when nobody answers, and its answer.
    pub(crate) fn ask(
        &self,
        door: SocketAddr,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        self.rest.ask(door, method, path, token, body)
    }

    /// A question at this door; its answer, or nothing.
    pub(crate) fn get(&self, door: SocketAddr, path: &str, token: &str) -> Value {
        self.ask(door, "GET", path, token, None).1
    }

    fn open(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.open.lock().expect("nothing panics while holding it")
    }
}
