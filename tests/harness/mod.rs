//! A whole server per test: a free port, a database of its own, a clock that can be moved. A caller is a value (`TestUser`),
//! a client is one we did not write (`TestSocket`), and `shutdown` proves that nothing was left behind. With
//! `ROLLCALL_TEST_NODES=3` a server is three nodes, to which callers go in turn.

mod authority;
mod cluster;
mod crowd;
pub(crate) mod database;
mod database_server;
mod door;
mod nginx;
mod nodes;
mod onlooker;
pub(crate) mod other_system;
mod process;
mod raw;
mod redis;
mod socket;
mod user;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rollcall::app::App;
use rollcall::auth::Cost;
use rollcall::clock::ManualClock;
use rollcall::config::{Config, Secret};
use rollcall::services::Services;
use rollcall::store::{Actor, NewUser};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use authority::{Authority, believing};
pub(crate) use cluster::{TestCluster, shared_database};
pub(crate) use crowd::Crowd;
pub(crate) use database_server::DatabaseServer;
use door::install_crypto;
pub(crate) use door::{Door, Entrance, http_client, http_client_believing};
pub(crate) use nginx::{Nginx, Port};
pub(crate) use nodes::{Given, Node, Nodes};
pub(crate) use onlooker::{get, next, open};
pub(crate) use process::{Said, Served, rollcall, rollcall_with};
pub(crate) use raw::{RawSocket, frame};
pub(crate) use redis::Redis;
pub(crate) use rollcall_wire::Proxy;
pub(crate) use socket::TestSocket;
pub(crate) use user::{Answer, TestUser};

/// Longest wait for anything that should come at once. Only a failure takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The password of every test user.
pub(crate) const PASSWORD: &str = "correct horse battery";

impl Door for TestApp {
    fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    fn http(&self) -> &reqwest::Client {
        &self.http
    }

    fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.tls.clone()
    }
}

/// A running server.
pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) services: Services,
    pub(crate) http: reqwest::Client,
    entrance: Entrance,
    /// For clients that speak TLS with it.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Where `/metrics` is, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    stop: CancellationToken,
    sockets: TaskTracker,
    tasks: TaskTracker,
    serving: Option<JoinHandle<std::io::Result<()>>>,
    /// The other nodes, of a server of several.
    others: Vec<TestApp>,
    /// Theirs, which must outlive them.
    redis: Option<Redis>,
    /// Folders of keys and databases; gone with the test.
    kept: Vec<TempDir>,
}

impl TestApp {
    /// With the defaults, a database in memory and no waiting at the end.
    pub(crate) async fn start() -> TestApp {
        TestApp::with(|_| {}).await
    }

    /// With settings of the test's own.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> TestApp {
        match cluster::nodes_asked_for() {
            1 => TestApp::alone(change).await,
            nodes => cluster::one_server(nodes, change).await,
        }
    }

    /// One node also where a server is several: for what a node counts, remembers or reads by itself.
    pub(crate) async fn alone(change: impl FnOnce(&mut Config)) -> TestApp {
        TestApp::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), change).await
    }

    /// Where the kernel holds as little as it can of what a client has not read; and we hold everything.
    pub(crate) async fn narrow(change: impl FnOnce(&mut Config)) -> TestApp {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Whoever is accepted inherits it.
        socket2::SockRef::from(&listener).set_send_buffer_size(4096).unwrap();
        let hold_everything = |config: &mut Config| {
            config.socket.queue_bytes = 64 * 1024 * 1024;
            config.socket.queue_messages = 1_000_000;
            change(config);
        };
        TestApp::at(listener, hold_everything).await
    }

    async fn at(listener: TcpListener, change: impl FnOnce(&mut Config)) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        let mut config = settings(folder.path());
        config.database.url = Secret::new(database::empty().await);
        change(&mut config);
        TestApp::serve(listener, config, Arc::new(ManualClock::new()), folder).await
    }

    async fn serve(listener: TcpListener, config: Config, clock: Arc<ManualClock>, folder: TempDir) -> TestApp {
        let tls = &config.server.tls.cert;
        let tls = (!tls.as_os_str().is_empty()).then(|| believing(&tls.with_file_name("ca.pem")));
        let stop = CancellationToken::new();
        let app = App::build(config, clock.clone(), Cost::MINIMAL, stop.clone()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (services, sockets, tasks) = (app.services().clone(), app.sockets().clone(), app.tasks().clone());
        let metrics = app.metrics_address();
        let serving = Some(TaskTracker::new().spawn(app.serve(listener)));
        let http = tls.as_deref().map_or_else(http_client, http_client_believing);
        let scheme = if tls.is_some() { "https" } else { "http" };
        TestApp {
            address,
            clock,
            services,
            http,
            entrance: Entrance::at(format!("{scheme}://{address}")),
            tls,
            metrics,
            stop,
            sockets,
            tasks,
            serving,
            others: Vec::new(),
            redis: None,
            kept: vec![folder],
        }
    }

    /// From now on it is called through a proxy at this address.
    pub(crate) fn behind(&mut self, address: &str, tls: Arc<ClientConfig>) {
        self.through(address.trim_end_matches('/'));
        self.http = http_client_believing(&tls);
        self.tls = Some(tls);
    }

    /// The same with a proxy that speaks plain http.
    pub(crate) fn through(&mut self, address: &str) {
        self.entrance = Entrance::at(address);
    }

    /// Keeps a folder as long as the server lives.
    pub(crate) fn keep(&mut self, folder: TempDir) {
        self.kept.push(folder);
    }

    /// A new account with a role, logged in.
    pub(crate) async fn user(&self, username: &str, role: &str) -> TestUser {
        self.account(username, role).await;
        self.login(username).await
    }

    /// A new account with a role; its key.
    pub(crate) async fn account(&self, username: &str, role: &str) -> String {
        let hash = self.services.passwords().hash(PASSWORD).await.unwrap();
        let new = NewUser {
            username: username.to_owned(),
            password_hash: Some(Secret::new(hash)),
            roles: vec![role.to_owned()],
            ..NewUser::default()
        };
        let now = self.services.clock().now();
        self.services.store().create_user(new, &Actor::system(), now).await.unwrap().key.to_string()
    }

    /// Logs in as a user would; panics where that fails.
    pub(crate) async fn login(&self, username: &str) -> TestUser {
        TestUser::login(self, username).await
    }

    /// Somebody with a token of another system.
    pub(crate) fn foreign(&self, token: String) -> TestUser {
        TestUser::with_token(self, token)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.entrance.url(path)
    }

    /// The nodes it is; of the first one are `address`, `services` and `metrics`.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &TestApp> {
        std::iter::once(self).chain(&self.others)
    }

    /// One of its nodes, which is called as itself: for what a node has of its own, as the revision of its stream.
    pub(crate) fn one_node(&self) -> &TestApp {
        self.others.last().unwrap_or(self)
    }

    /// A REST call by nobody.
    pub(crate) async fn anonymous(&self, method: &str, path: &str, body: Value) -> Answer {
        user::call(&self.http, None, method, &self.url(path), &body).await.unwrap()
    }

    /// What a login with this password is answered.
    pub(crate) async fn try_login(&self, username: &str, password: &str) -> Answer {
        self.anonymous("POST", "/api/v1/auth/login", json!({"username": username, "password": password})).await
    }

    /// Asks to stop without waiting.
    pub(crate) fn stop(&self) {
        self.nodes().for_each(|node| node.stop.cancel());
    }

    /// Ends without a word to anybody, as far as one process can play the death of another.
    pub(crate) async fn kill(mut self) {
        let serving = self.serving.take().expect("a server dies once");
        serving.abort();
        let _ = serving.await;
    }

    /// Stops, and proves that nothing was left behind.
    pub(crate) async fn shutdown(mut self) {
        self.stop();
        let others = std::mem::take(&mut self.others);
        for node in others.into_iter().chain([self]) {
            node.ended().await;
        }
    }

    async fn ended(mut self) {
        let serving = self.serving.take().expect("a server stops once");
        let ended = tokio::time::timeout(PATIENCE, serving).await;
        ended.expect("the server stops in time").unwrap().unwrap();
        assert_eq!(self.services.manager().len(), 0, "clients were left behind");
        assert!(self.sockets.is_empty(), "socket tasks were left behind");
        assert!(self.tasks.is_empty(), "background tasks were left behind");
    }
}

/// What tests change of the defaults; the database is still to be named.
fn settings(folder: &std::path::Path) -> Config {
    let mut config = Config::defaults();
    config.database.auto_migrate = true;
    config.data.dir = folder.to_owned();
    config.server.drain = Duration::from_millis(10);
    config.cluster.node = "n1".to_owned();
    config.online.diff_interval = Duration::from_millis(20);
    config.auth.logins_per_address = 0;
    // Not by itself: a test that moves the clock by minutes must not meet the sweeper by chance.
    config.socket.sweep = "0 0 0 1 1 *".to_owned();
    config
}

/// Makes a node of it, with others on the same database. What it needs Redis for it does without.
pub(crate) fn one_of_several(config: &mut Config, node: &str, database: &str) {
    config.cluster.node = node.to_owned();
    config.cluster.redis_url = Secret::new("redis://127.0.0.1:1");
    config.auth.master_key = Secret::new("a master key that the nodes share");
    config.database.url = Secret::new(database);
}

/// Waits until a condition holds, at most as long as a machine that does other things may need.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "still not true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
