//! Putting the hall together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::background::Tasks;
use super::{App, Capacity, StartError, cluster};
use crate::auth::{Cost, Failures, Interner, Issuers, Keyring, Passwords, Recent, RefreshTokens, Tickets, Tokens};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::{Config, ConnectionPolicy};
use crate::events;
use crate::http::{Gate, GateLimits, Tls};
use crate::jobs::Board;
use crate::outgoing::Sender;
use crate::realtime::{ClientManager, LocalPresence, ManagerLimits, MemoryBroker, QueueLimits};
use crate::services::{
    Counters, Drain, Following, Limits, Orders, Outbox, Overload, Parts, Readiness, Relearned, SeenSessions, Services,
    ThisNode, open_keys,
};
use crate::store::{LogWriter, Store};

/// Longest time an answer of another system is believed, whatever its `verify_cache`.
const CONFIRMED: Duration = Duration::from_secs(60);

/// Browsers that are known by name at a time. Each is a few hundred bytes.
const MAX_AGENTS: usize = 1_000;
/// Roles, applications and pictures that clients have in common, and as many lists of roles.
const MAX_INTERNED: usize = 1_000;

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
            address => Some(App::listen("metrics.listen", address, config.server.backlog).await?),
        };
        let tls = match &config.server.tls {
            tls if tls.cert.as_os_str().is_empty() => None,
            tls => Some(Arc::new(Tls::open(&tls.cert, &tls.key)?)),
        };
        let store = Store::open(&config.database).await?;
        store.prepare().await?;
        let store = store.with_default_issuer(&config.auth.default_issuer, clock.now()).await?;
        let capacity = Capacity::of(&config)?;
        let keyring = open_keys(&config, &store, clock.now()).await??;
        let store = store.with_chain(&node_name(&config.cluster.node), keyring.log_keys(&config.auth));
        let (tasks, ending) = (TaskTracker::new(), CancellationToken::new());
        let ends = ending.clone().drop_guard();
        let background = Tasks { tasks: &tasks, stop: &stop, ending: &ending };
        let cluster = cluster::join(&config, &node_name(&config.cluster.node), &clock, &background)?;
        let services = hall(config, clock, cost, (store, keyring), &capacity, cluster, &background)?;
        if services.shared() {
            // Before the door opens: whoever comes in from now on is either seen by the follower or judged by the rows.
            services.follow().await?;
        }
        cluster::connect(&services, &background).await?;
        let sockets = TaskTracker::new();
        let limits = GateLimits { connections: capacity.connections, operators: capacity.operators };
        let gate = Gate::new(services.clone(), limits, sockets.clone());
        let board = Board::start(services.clone(), &tasks).await.map_err(StartError::Jobs)?;
        let registry = Arc::new(events::registry(services.clone()));
        Ok(App { services, registry, board, stop, ending, _ends: ends, tasks, sockets, gate, capacity, tls, metrics })
    }

    /// Takes the address of `server.listen` or another setting; `backlog` connections may wait there.
    pub async fn listen(key: &'static str, address: &str, backlog: u32) -> Result<TcpListener, StartError> {
        listen(address, backlog).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::Busy(key, spoken(address)),
            _ => StartError::Listen { key, address: address.to_owned(), source },
        })
    }
}

async fn listen(address: &str, backlog: u32) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Or a restart would wait for the connections of the process before.
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(backlog)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn hall(
    config: Config,
    clock: Arc<dyn Clock>,
    cost: Cost,
    (store, keyring): (Store, Keyring),
    capacity: &Capacity,
    cluster: Option<Cluster>,
    background: &Tasks<'_>,
) -> Result<Services, StartError> {
    let keyring = Arc::new(keyring);
    let manager = Arc::new(ClientManager::new(clock.clone(), manager_limits(&config, capacity)));
    let node = node_name(&config.cluster.node);
    let local = LocalPresence::new(manager.clone(), node.clone(), config.online.live_max);
    // The writer says itself when it has stopped, so it needs no place on the tracker that is waited for before.
    let writer = LogWriter::start(store.clone(), config.database.log_queue, &TaskTracker::new());
    let (auth, shared) = (&config.auth, cluster.is_some());
    let services = Services::new(Parts {
        node,
        store,
        writer,
        broker: cluster::broker(&manager, cluster.as_ref(), config.cluster.answer_timeout, background),
        presence: cluster::presence(local, cluster.as_ref(), &config, background),
        local: Arc::new(MemoryBroker::new(manager.clone())),
        cluster,
        manager,
        tokens: Tokens::new(keyring.clone(), auth),
        issuers: Issuers::open(auth, config.server.timezone)?,
        confirmations: Recent::new(clock.clone(), auth.max_failure_entries, CONFIRMED),
        sessions: SeenSessions::new(clock.clone(), capacity.clients, auth.remember_sessions),
        agents: Recent::new(clock.clone(), MAX_AGENTS, Duration::MAX),
        interner: Interner::new(MAX_INTERNED),
        sender: Sender::new(&config.outgoing).map_err(StartError::Outgoing)?,
        outbox: Outbox::default(),
        overload: Overload::new(capacity.clients, config.database.max_connections),
        handshakes: Counters::default(),
        readiness: Readiness::default(),
        following: Following::default(),
        relearned: Relearned::default(),
        refresh_tokens: RefreshTokens::new(keyring.clone()),
        keyring,
        passwords: Passwords::new(cost, auth.password_queue),
        tickets: Tickets::new(clock.clone(), auth.ticket_ttl, auth.max_tickets),
        failures: Failures::new(clock.clone(), auth.failures_per_name, auth.lock_time, auth.max_failure_entries),
        limits: Limits::new(&clock, &config, shared),
        drain: Arc::new(Drain::new(clock.clone())),
        orders: Orders::default(),
        this_node: ThisNode::new(&*clock),
        clock,
        config: ArcSwap::from_pointee(config),
    });
    Ok(services)
}

fn manager_limits(config: &Config, capacity: &Capacity) -> ManagerLimits {
    let socket = &config.socket;
    ManagerLimits {
        max_clients: capacity.clients,
        per_user: socket.per_user,
        replace_oldest: socket.per_user_policy == ConnectionPolicy::Replace,
        per_address: socket.per_address,
        max_rooms: socket.max_rooms,
        queue: QueueLimits { bytes: socket.queue_bytes, messages: socket.queue_messages },
        grace: config.presence.grace,
        max_leaves: config.online.max_leaves,
    }
}

fn node_name(configured: &str) -> Arc<str> {
    match configured {
        "" => rustix::system::uname().nodename().to_string_lossy().into(),
        name => name.into(),
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
    use std::time::Duration;

    use tokio::net::TcpStream;

    use super::App;

    #[tokio::test]
    async fn a_busy_port_is_told_with_the_way_out() {
        let listener = App::listen("server.listen", "127.0.0.1:0", 4).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = App::listen("server.listen", &format!("127.0.0.1:{port}"), 4).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("server.listen: port {port} on 127.0.0.1 is in use; stop the other program or set server.listen.")
        );
    }

    #[tokio::test]
    async fn as_many_connections_wait_to_be_accepted_as_the_settings_say() {
        let backlog = crate::config::Config::defaults().server.backlog;
        let listener = App::listen("server.listen", "127.0.0.1:0", backlog).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        // More than the 1,024 that are usual; nobody accepts.
        for number in 0..1_500 {
            let connected = tokio::time::timeout(Duration::from_secs(10), TcpStream::connect(address)).await;
            waiting.push(connected.unwrap_or_else(|_| panic!("number {number} does not come through")).unwrap());
        }
    }
}
