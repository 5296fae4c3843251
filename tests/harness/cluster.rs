//! Several nodes in one process, on one database and one Redis.

use std::ops::Index;
use std::sync::Arc;
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
        let (redis, database) = (Redis::start().await, database::shared().await);
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
