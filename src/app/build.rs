//! Putting the hall together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{App, StartError};
use crate::auth::{Cost, Failures, Issuers, Keyring, Passwords, Recent, RefreshTokens, Tickets, Tokens};
use crate::clock::Clock;
use crate::config::{Config, ConnectionPolicy};
use crate::events;
use crate::http::Tls;
use crate::jobs::Board;
use crate::outgoing::Sender;
use crate::realtime::{ClientManager, LocalPresence, ManagerLimits, MemoryBroker, QueueLimits};
use crate::services::{Counters, Limits, Outbox, Parts, Readiness, SeenSessions, Services};
use crate::store::{LogWriter, Store};

/// Longest time an answer of another system is believed, whatever its `verify_cache`.
const CONFIRMED: Duration = Duration::from_secs(60);

/// Browsers that are known by name at a time. Each is a few hundred bytes.
const MAX_AGENTS: usize = 1_000;

impl App {
    /// Opens and migrates the database, reads or makes the keys, and starts the jobs. Nothing listens yet. `stop` ends
    /// [`App::serve`].
    pub async fn build(
        config: Config,
        clock: Arc<dyn Clock>,
        cost: Cost,
        stop: CancellationToken,
    ) -> Result<App, StartError> {
        let metrics = match config.metrics.listen.as_str() {
            "" => None,
            address => Some(App::listen("metrics.listen", address).await?),
        };
        let tls = match &config.server.tls {
            tls if tls.cert.as_os_str().is_empty() => None,
            tls => Some(Arc::new(Tls::open(&tls.cert, &tls.key)?)),
        };
        let store = Store::open(&config.database).await?;
        store.prepare().await?;
        let store = store.with_default_issuer(&config.auth.default_issuer, clock.now()).await?;
        let (services, presence) = hall(config, clock, cost, store)?;
        let tasks = TaskTracker::new();
        let board = Board::start(services.clone(), &tasks).await.map_err(StartError::Jobs)?;
        let registry = Arc::new(events::registry(services.clone()));
        Ok(App { services, presence, registry, board, stop, tasks, sockets: TaskTracker::new(), tls, metrics })
    }

    /// Takes the address of `server.listen` or another setting.
    pub async fn listen(key: &'static str, address: &str) -> Result<TcpListener, StartError> {
        TcpListener::bind(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::Busy(key, spoken(address)),
            _ => StartError::Listen { key, address: address.to_owned(), source },
        })
    }
}

fn hall(
    config: Config,
    clock: Arc<dyn Clock>,
    cost: Cost,
    store: Store,
) -> Result<(Services, Arc<LocalPresence>), StartError> {
    let keyring = Arc::new(Keyring::open(&config.data.dir, &config.auth, clock.now())?);
    let manager = Arc::new(ClientManager::new(clock.clone(), manager_limits(&config)));
    let node: Arc<str> = node_name(&config.server.node).into();
    let presence = Arc::new(LocalPresence::new(manager.clone(), node.clone(), config.online.live_max));
    // The writer says itself when it has stopped, so it needs no place on the tracker that is waited for before.
    let writer = LogWriter::start(store.clone(), config.database.log_queue, &TaskTracker::new());
    let auth = &config.auth;
    let services = Services::new(Parts {
        node,
        store,
        writer,
        broker: Arc::new(MemoryBroker::new(manager.clone())),
        manager,
        presence: presence.clone(),
        tokens: Tokens::new(keyring.clone(), auth),
        issuers: Issuers::open(auth, config.server.timezone)?,
        confirmations: Recent::new(clock.clone(), auth.max_failure_entries, CONFIRMED),
        sessions: SeenSessions::new(clock.clone(), config.socket.max_clients, auth.remember_sessions),
        agents: Recent::new(clock.clone(), MAX_AGENTS, Duration::MAX),
        sender: Sender::new(&config.outgoing).map_err(StartError::Outgoing)?,
        outbox: Outbox::default(),
        handshakes: Counters::default(),
        readiness: Readiness::default(),
        refresh_tokens: RefreshTokens::new(keyring.clone()),
        keyring,
        passwords: Passwords::new(cost, auth.password_queue),
        tickets: Tickets::new(clock.clone(), auth.ticket_ttl, auth.max_tickets),
        failures: Failures::new(clock.clone(), auth.failures_per_name, auth.lock_time, auth.max_failure_entries),
        limits: Limits::new(&clock, &config),
        draining: CancellationToken::new(),
        clock,
        config: ArcSwap::from_pointee(config),
    });
    Ok((services, presence))
}

fn manager_limits(config: &Config) -> ManagerLimits {
    let socket = &config.socket;
    ManagerLimits {
        max_clients: socket.max_clients,
        per_user: socket.per_user,
        replace_oldest: socket.per_user_policy == ConnectionPolicy::Replace,
        per_address: socket.per_address,
        max_rooms: socket.max_rooms,
        queue: QueueLimits { bytes: socket.queue_bytes, messages: socket.queue_messages },
        grace: config.presence.grace,
        max_leaves: config.online.max_leaves,
    }
}

fn node_name(configured: &str) -> String {
    match configured {
        "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        name => name.to_owned(),
    }
}

fn spoken(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((host, port)) => format!("port {port} on {host}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::App;

    #[tokio::test]
    async fn a_busy_port_is_told_with_the_way_out() {
        let listener = App::listen("server.listen", "127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = App::listen("server.listen", &format!("127.0.0.1:{port}")).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("server.listen: port {port} on 127.0.0.1 is in use; stop the other program or set server.listen.")
        );
    }
}
