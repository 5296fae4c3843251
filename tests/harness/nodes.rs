//! Nodes as processes of their own, which may be killed, paused and started again, each behind wires of its own to Redis and to
//! the database.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use rollcall::auth::{Cost, Passwords};
use rollcall::clock::{Clock, SystemClock};
use rollcall::config::{Config, Secret};
use rollcall::store::{Actor, NewUser, Store};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tokio_rustls::rustls::ClientConfig;

use super::cluster::shared_database;
use super::{
    Door, Entrance, PASSWORD, Proxy, Redis, Served, TestUser, eventually, get, http_client, http_client_believing,
};

/// Short times, so that a death is noticed within seconds, and no limit on who comes how often.
const SETTINGS: [(&str, &str); 18] = [
    ("AUTH__FOLLOW_INTERVAL", "200ms"),
    ("AUTH__LOGINS_PER_ADDRESS", "0"),
    ("AUTH__MASTER_KEY", "a master key that the nodes share"),
    ("CLUSTER__ANNOUNCE", "200ms"),
    ("CLUSTER__ANSWER_TIMEOUT", "1s"),
    ("CLUSTER__DEAD", "2s"),
    ("CLUSTER__SUSPECT", "1s"),
    ("DATABASE__AUTO_MIGRATE", "true"),
    ("DATABASE__MAX_CONNECTIONS", "6"),
    ("DATABASE__TIMEOUT", "2s"),
    ("LOG__LEVEL", "info,rollcall=debug"),
    ("ONLINE__DIFF_INTERVAL", "50ms"),
    ("PRESENCE__GRACE", "500ms"),
    ("SERVER__DRAIN", "500ms"),
    ("SOCKET__FAILED_HANDSHAKES", "0"),
    ("SOCKET__HANDSHAKES_PER_USER", "0"),
    // Whoever is not read for a while does not answer a ping.
    ("SOCKET__PING_INTERVAL", "200s"),
    ("SOCKET__RECONNECT_MAX", "2s"),
];

/// Three nodes called `n0`, `n1` and `n2` on one database and one Redis; all ends with the value.
pub(crate) struct Nodes {
    pub(crate) redis: Redis,
    nodes: Vec<Node>,
    store: Store,
    http: reqwest::Client,
    tls: Option<Arc<ClientConfig>>,
    settings: Vec<(String, String)>,
}

/// What nodes have besides settings of their environment.
#[derive(Default)]
pub(crate) struct Given {
    /// Files in the folder of each node. `rollcall.toml` is its settings file; `FOLDER` in it is that folder.
    pub(crate) files: Vec<(&'static str, String)>,
    /// Their database; a new one without.
    pub(crate) database: Option<String>,
    /// They speak TLS, and so do those who call them.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// One of them, whether it runs or not.
pub(crate) struct Node {
    /// Its wire to Redis.
    pub(crate) redis: Proxy,
    /// Its wire to the database.
    pub(crate) database: Proxy,
    /// What it is called.
    pub(crate) name: String,
    urls: [String; 2],
    served: Option<Served>,
    folder: TempDir,
    http: reqwest::Client,
    tls: Option<Arc<ClientConfig>>,
}

impl Nodes {
    /// Three that know each other.
    pub(crate) async fn start() -> Nodes {
        Nodes::with(&[]).await
    }

    /// With settings of the test's own, as `("CLUSTER__FENCE", "1s")`.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Nodes {
        Nodes::given(Given::default(), settings).await
    }

    /// The same with more than settings.
    pub(crate) async fn given(given: Given, settings: &[(&str, &str)]) -> Nodes {
        let Given { files, database, tls } = given;
        let redis = Redis::start().await;
        let database = match database {
            Some(url) => url,
            None => shared_database().await,
        };
        let settings =
            SETTINGS.iter().chain(settings).map(|(key, value)| (format!("ROLLCALL__{key}"), (*value).to_owned()));
        let (settings, http) = (settings.collect(), tls.as_deref().map_or_else(http_client, http_client_believing));
        let mut config = Config::defaults().database;
        config.url = Secret::new(database.clone());
        let store = Store::open(&config).await.unwrap();
        let mut nodes = Nodes { redis, nodes: Vec::new(), store, http, tls, settings };
        for number in 0..3 {
            let node = nodes.prepare(&format!("n{number}"), &database).await;
            for (name, text) in &files {
                std::fs::write(node.path(name), text.replace("FOLDER", node.folder.path().to_str().unwrap())).unwrap();
            }
            nodes.nodes.push(node);
        }
        let starting = nodes.nodes.iter_mut().map(|node| node.serve(&nodes.settings));
        futures_util::future::join_all(starting).await;
        nodes.whole().await;
        nodes
    }

    async fn prepare(&self, name: &str, database: &str) -> Node {
        let (redis, database) = (Proxy::before(&self.redis.url()).await, Proxy::before(database).await);
        let ((redis, redis_url), (database, database_url)) = (redis, database);
        let (folder, http, tls) = (tempfile::tempdir().unwrap(), self.http.clone(), self.tls.clone());
        let (name, urls) = (name.to_owned(), [redis_url, database_url]);
        Node { redis, database, name, urls, served: None, folder, http, tls }
    }

    /// Waits until every node that runs knows every other, and no more, and is well.
    pub(crate) async fn whole(&self) {
        let live = || self.nodes.iter().filter(|node| node.served.is_some());
        let expected = live().count();
        for node in live() {
            eventually(&format!("{} is well", node.name), || node.is_well()).await;
        }
        let admin = self.login(live().next().expect("one runs"), "admin").await;
        for node in live() {
            let admin = admin.at(node);
            eventually(&format!("{} knows the others", node.name), || async {
                let counts = get(&admin, "/api/v1/online/counts").await.unwrap_or_default();
                counts["complete"] == true && counts["nodes"] == json!({"answered": expected, "expected": expected})
            })
            .await;
        }
    }

    /// It dies without a word.
    pub(crate) async fn kill(&mut self, number: usize) {
        let mut served = self.nodes[number].served.take().expect("it runs");
        served.child.kill().await.unwrap();
    }

    /// It stands still until [`Nodes::resume`], though its connections stand.
    pub(crate) fn pause(&self, number: usize) {
        self.nodes[number].served().signal(Signal::STOP);
    }

    pub(crate) fn resume(&self, number: usize) {
        self.nodes[number].served().signal(Signal::CONT);
    }

    /// Asks it to stop and waits until it has; its exit code.
    pub(crate) async fn terminate(&mut self, number: usize) -> i32 {
        self.nodes[number].served.take().expect("it runs").terminate().await
    }

    /// A new process with the same name, at an address of its own.
    pub(crate) async fn start_again(&mut self, number: usize) {
        self.nodes[number].serve(&self.settings).await;
    }

    /// Another process takes its name and its wires; the one before it, which stands still.
    pub(crate) async fn replace(&mut self, number: usize) -> Served {
        let before = self.nodes[number].served.take().expect("it runs");
        self.start_again(number).await;
        before
    }

    /// Why another process with the name of a node does not start.
    pub(crate) async fn refusal(&self, number: usize) -> String {
        let (node, folder) = (&self.nodes[number], tempfile::tempdir().unwrap());
        let mut command = node.command(&self.settings, folder.path());
        let output = command.env("ROLLCALL__SERVER__LISTEN", "127.0.0.1:0").kill_on_drop(true).output();
        let output = tokio::time::timeout(super::PATIENCE, output).await.expect("it ends in time").unwrap();
        assert!(!output.status.success(), "it starts");
        String::from_utf8(output.stderr).unwrap()
    }

    /// A new account with a role, logged in.
    pub(crate) async fn user(&self, username: &str, role: &str) -> TestUser {
        // A hash that costs nothing: it is checked as often as a test logs in.
        let hash = Passwords::new(Cost::MINIMAL, 64).hash(PASSWORD).await.unwrap();
        let new = NewUser {
            username: username.to_owned(),
            password_hash: Some(Secret::new(hash)),
            roles: vec![role.to_owned()],
            ..NewUser::default()
        };
        self.store.create_user(new, &Actor::system(), SystemClock::new().now()).await.unwrap();
        self.login(&self.nodes[0], username).await
    }

    /// Another session of an account.
    pub(crate) async fn login(&self, node: &Node, username: &str) -> TestUser {
        TestUser::login(node, username).await
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The nodes.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Node> {
        self.nodes.iter()
    }
}

impl std::ops::Index<usize> for Nodes {
    type Output = Node;

    fn index(&self, number: usize) -> &Node {
        &self.nodes[number]
    }
}

impl Node {
    /// Where it answers; none while it does not run.
    pub(crate) fn address(&self) -> Option<String> {
        self.served.as_ref().map(|served| served.url.trim_end_matches('/').to_owned())
    }

    /// A file of its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Asks it to read its settings, keys and certificates again.
    pub(crate) fn hang_up(&self) {
        self.served().hang_up();
    }

    async fn is_well(&self) -> bool {
        let Ok(answer) = self.http.get(self.url("/health/ready")).send().await else { return false };
        answer.text().await.is_ok_and(|text| text.contains("\"ready\""))
    }

    fn served(&self) -> &Served {
        self.served.as_ref().expect("it runs")
    }

    async fn serve(&mut self, settings: &[(String, String)]) {
        self.served = Some(Served::spawn(self.command(settings, self.folder.path()), self.folder.path()).await);
    }

    fn command(&self, settings: &[(String, String)], data: &Path) -> Command {
        // It dies with the thread that started it, however the test ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_rollcall"), "serve"]).stdin(Stdio::null());
        command.env("ROLLCALL__DATA__DIR", data).env("ROLLCALL_ADMIN_PASSWORD", PASSWORD);
        command.env("ROLLCALL__CLUSTER__NODE", &self.name).env("ROLLCALL__CLUSTER__REDIS_URL", &self.urls[0]);
        command.env("ROLLCALL__DATABASE__URL", &self.urls[1]);
        command.envs(settings.iter().map(|(key, value)| (key, value)));
        if self.path("rollcall.toml").exists() {
            command.env("ROLLCALL_CONFIG", self.path("rollcall.toml"));
        }
        command
    }
}

impl Door for Node {
    fn entrance(&self) -> Entrance {
        Entrance::at(self.address().expect("it runs"))
    }

    fn http(&self) -> &reqwest::Client {
        &self.http
    }

    fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.tls.clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> =
                log.lines().filter(|line| !line.contains(": answered ") && !line.contains("socket ")).collect();
            println!("the last words of {}:\n{}", self.name, lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}
