//! Several nodes in one process, on one database and one Redis.

use std::io::{BufRead, BufReader};
use std::ops::Index;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rollcall::app::App;
use rollcall::auth::Cost;
use rollcall::clock::SystemClock;
use rollcall::cluster::{Cluster, MemberState};
use rollcall::config::{Config, Secret};
use tokio_util::sync::CancellationToken;

use super::{Redis, TestApp, database, eventually, settings};

/// Nodes that know each other: `cluster[0]` is called `n1`.
pub(crate) struct TestCluster {
    pub(crate) redis: Redis,
    nodes: Vec<TestApp>,
    database: String,
}

impl TestCluster {
    /// So many nodes.
    pub(crate) async fn start(nodes: usize) -> TestCluster {
        TestCluster::with(nodes, |_| {}).await
    }

    /// With settings of the test's own.
    pub(crate) async fn with(nodes: usize, change: impl Fn(&mut Config)) -> TestCluster {
        let (redis, database) = (Redis::start().await, shared_database().await);
        let mut cluster = TestCluster { redis, nodes: Vec::new(), database };
        for number in 1..=nodes {
            let url = (cluster.redis.url(), cluster.database.clone());
            let node = TestApp::with(|config| {
                prepare(config, &format!("n{number}"), &url);
                change(config);
            });
            cluster.nodes.push(node.await);
        }
        cluster.whole().await;
        cluster
    }

    /// Waits until every node knows every other and all are well.
    pub(crate) async fn whole(&self) {
        eventually("the nodes know each other", || async {
            self.nodes.iter().all(|node| {
                let Cluster { link, members } = node.services.cluster().unwrap();
                let up = members.live().iter().filter(|other| other.state == MemberState::Up).count();
                link.state().up && up == self.nodes.len() - 1
            })
        })
        .await;
    }

    /// Why a further node with this name does not start.
    pub(crate) async fn refusal(&self, name: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut config = settings(folder.path());
        prepare(&mut config, name, &(self.redis.url(), self.database.clone()));
        let built = App::build(config, Arc::new(SystemClock::new()), Cost::MINIMAL, CancellationToken::new()).await;
        built.err().expect("it does not start").to_string()
    }

    /// Stops one node, and proves that nothing was left behind. Those after it move up.
    pub(crate) async fn stop(&mut self, number: usize) {
        self.nodes.remove(number).shutdown().await;
    }

    /// One node dies without a word. Those after it move up.
    pub(crate) async fn kill(&mut self, number: usize) {
        self.nodes.remove(number).kill().await;
    }

    /// The nodes.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, TestApp> {
        self.nodes.iter()
    }

    /// Stops every node, and proves that nothing was left behind.
    pub(crate) async fn shutdown(self) -> Redis {
        for node in self.nodes {
            node.shutdown().await;
        }
        self.redis
    }
}

impl Index<usize> for TestCluster {
    type Output = TestApp;

    fn index(&self, number: usize) -> &TestApp {
        &self.nodes[number]
    }
}

fn prepare(config: &mut Config, name: &str, (redis, database): &(String, String)) {
    config.database.url = Secret::new(database.clone());
    config.database.max_connections = 4;
    config.auth.signing_key = Secret::new("the nodes of a test have one key, and this is it");
    config.cluster.node = name.to_owned();
    config.cluster.redis_url = Secret::new(redis.clone());
    config.cluster.announce = Duration::from_millis(200);
    // Nobody waits for it unless a test is about it, and a busy machine takes its time.
    config.cluster.answer_timeout = Duration::from_secs(20);
}

/// The URL of a new empty database that several processes can share: on the server, else on a PostgreSQL of all such tests.
pub(crate) async fn shared_database() -> String {
    static OWN: OnceLock<(String, Child)> = OnceLock::new();
    match database::on_server().await {
        Some(url) => url,
        None => database::create(&OWN.get_or_init(own_server).0).await,
    }
}

/// It stops when this process ends: its script reads orders until then.
fn own_server() -> (String, Child) {
    let mut script = Command::new("tests/databases.sh");
    script.args(["postgres", "control"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(script.stdout.take().unwrap()).read_line(&mut url).unwrap();
    assert!(!url.is_empty(), "PostgreSQL did not start; what the script says is above");
    (url.trim().to_owned(), script)
}
