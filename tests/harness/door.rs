//! Where callers come in: at a server's address, or at those of several nodes that are one server, at each in its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;

/// What may be called.
pub(crate) trait Door {
    /// Whoever comes in by it goes on calling there.
    fn entrance(&self) -> Entrance;
    fn http(&self) -> &reqwest::Client;

    /// For clients that speak TLS with it.
    fn tls(&self) -> Option<Arc<ClientConfig>> {
        None
    }

    /// For one call.
    fn url(&self, path: &str) -> String {
        self.entrance().url(path)
    }
}

/// Addresses without a slash at the end.
#[derive(Clone)]
pub(crate) struct Entrance {
    addresses: Arc<[String]>,
    turn: Arc<AtomicUsize>,
}

impl Entrance {
    pub(super) fn at(address: impl Into<String>) -> Entrance {
        Entrance { addresses: [address.into()].into(), turn: Arc::default() }
    }

    /// Each call goes to the one after the last, so that who pushes is not where the one is who receives.
    pub(super) fn in_turn<'a>(entrances: impl Iterator<Item = &'a Entrance>) -> Entrance {
        let addresses: Vec<String> = entrances.flat_map(|entrance| entrance.addresses.iter().cloned()).collect();
        Entrance { addresses: addresses.into(), turn: Arc::default() }
    }

    /// For one call.
    pub(crate) fn url(&self, path: &str) -> String {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        format!("{}{path}", self.addresses[turn % self.addresses.len()])
    }
}

/// A browser's other half: follows no redirect by itself.
pub(crate) fn http_client() -> reqwest::Client {
    install_crypto();
    http_builder().build().unwrap()
}

pub(crate) fn http_client_believing(tls: &ClientConfig) -> reqwest::Client {
    http_builder().use_preconfigured_tls(tls.clone()).build().unwrap()
}

/// Lets go of idle connections before the server does (`server.header_timeout`), or a call that comes at that moment fails.
fn http_builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).pool_idle_timeout(Duration::from_secs(5))
}

/// Whoever comes first sets it for the process; it is always the same.
pub(super) fn install_crypto() {
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
}
