//! Several nodes in one process, on one database and one Redis.

use std::io::{BufRead, BufReader};
use std::ops::Index;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use rollcall::app::App;
use rollcall::auth::Cost;
use rollcall::clock::{ManualClock, SystemClock};
use rollcall::cluster::{Cluster, MemberState};
use rollcall::config::{Config, Secret};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Entrance, Redis, TestApp, database, eventually, settings};

/// Longer than any test.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

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
            let node = TestApp::alone(|config| {
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
        know_each_other(&self.nodes).await;
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

/// Of how many nodes a server is, by `ROLLCALL_TEST_NODES`; one without it.
pub(super) fn nodes_asked_for() -> usize {
    std::env::var("ROLLCALL_TEST_NODES").map_or(1, |nodes| nodes.parse().expect("ROLLCALL_TEST_NODES is a number"))
}

/// Nodes that are one server: whoever calls it comes to each in turn, and its clock is that of all.
pub(super) async fn one_server(nodes: usize, change: impl FnOnce(&mut Config)) -> TestApp {
    let (redis, database) = (Redis::start().await, shared_database().await);
    let mut config = settings(Path::new(""));
    prepare(&mut config, "", &(redis.url(), database));
    // However far a test moves the clock, nobody has been silent for so long.
    let cluster = &mut config.cluster;
    (cluster.suspect, cluster.dead, cluster.fence, cluster.fence_close) = (CENTURY, 2 * CENTURY, CENTURY, 2 * CENTURY);
    change(&mut config);
    let clock = Arc::new(ManualClock::new());
    let start = async |number: usize| {
        let (mut config, folder) = (config.clone(), tempfile::tempdir().unwrap());
        config.cluster.node = format!("n{number}");
        config.data.dir = folder.path().to_owned();
        TestApp::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), config, clock.clone(), folder).await
    };
    // The first makes the tables.
    let mut app = start(1).await;
    app.others = join_all((2..=nodes).map(start)).await;
    know_each_other(app.nodes()).await;
    app.entrance = Entrance::in_turn(app.nodes().map(|node| &node.entrance));
    app.redis = Some(redis);
    app
}

/// Waits until every node knows every other and all are well.
async fn know_each_other<'a>(nodes: impl IntoIterator<Item = &'a TestApp>) {
    let nodes: Vec<&TestApp> = nodes.into_iter().collect();
    eventually("the nodes know each other", || async {
        nodes.iter().all(|node| {
            let Cluster { link, members } = node.services.cluster().unwrap();
            let up = members.live().iter().filter(|other| other.state == MemberState::Up).count();
            link.state().up && up == nodes.len() - 1
        })
    })
    .await;
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
