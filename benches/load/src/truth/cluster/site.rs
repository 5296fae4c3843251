//! Three nodes, each behind wires of its own to Redis and to the database, which die and come again.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rollcall_wire::Proxy;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::interrupt;
use crate::nodes::{Ground, Urls};
use crate::server::Server;
use crate::truth::doors::Doors;

/// Longest wait until all know each other.
const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const NODES: usize = 3;

/// All of it; ends in this order.
pub(super) struct Site {
    nodes: Vec<Node>,
    pub(super) ground: Ground,
    settings: Vec<(&'static str, &'static str)>,
    _wires: Runtime,
}

struct Node {
    name: String,
    server: Option<Server>,
    urls: [String; 2],
    wires: [Proxy; 2],
}

impl Site {
    /// Nodes that know each other, and their doors.
    pub(super) fn start(binary: &Path, settings: &[(&'static str, &'static str)]) -> io::Result<(Site, Doors)> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let ground = Ground::start(binary)?;
        let (redis, database) = (ground.redis.url(), ground.database.create("truth")?);
        let mut site = Site { nodes: Vec::new(), ground, settings: settings.to_vec(), _wires: runtime };
        for number in 1..=NODES {
            let wire = |url: &str| site._wires.block_on(Proxy::before(url));
            let ((to_redis, redis), (to_database, database)) = (wire(&redis), wire(&database));
            let (urls, wires) = ([redis, database], [to_redis, to_database]);
            site.nodes.push(Node { name: format!("n{number}"), server: None, urls, wires });
        }
        let doors = Doors::of(Vec::new());
        (0..NODES).try_for_each(|number| site.raise(number, &doors))?;
        Ok((site, doors))
    }

    /// Starts a node that does not run, and opens its door.
    pub(super) fn raise(&mut self, number: usize, doors: &Doors) -> io::Result<()> {
        let node = &mut self.nodes[number];
        let urls = Urls { redis: Some(&node.urls[0]), database: &node.urls[1] };
        node.server = Some(self.ground.node(&node.name, &urls, &self.settings)?);
        doors.change(self.open());
        Ok(())
    }

    /// A node dies without a word, and its door is closed; its name.
    pub(super) fn kill(&mut self, number: usize, doors: &Doors) -> &str {
        let dead = self.nodes[number].server.take();
        // Before it dies, or somebody would knock at nobody's.
        doors.change(self.open());
        drop(dead);
        &self.nodes[number].name
    }

    pub(super) fn login(&self) -> String {
        self.nodes[0].server.as_ref().map_or_else(String::new, |server| server.login("admin"))
    }

    pub(super) fn server(&self, number: usize) -> Option<&Server> {
        self.nodes[number].server.as_ref()
    }

    /// To Redis and to the database, of every node.
    pub(super) fn wires(&self) -> impl Iterator<Item = &[Proxy; 2]> {
        self.nodes.iter().map(|node| &node.wires)
    }

    /// Waits until every node that runs knows every other, and no more.
    pub(super) fn whole(&self, doors: &Doors, admin: &str) -> io::Result<()> {
        let (deadline, all) = (Instant::now() + PATIENCE, doors.all());
        let knows = |counts: &Value| counts["complete"] == true && counts["nodes"]["answered"] == all.len();
        while !all.iter().all(|door| knows(&doors.get(*door, "/online/counts", admin))) {
            interrupt::sleep(Duration::from_millis(50))?;
            if Instant::now() > deadline {
                return Err(io::Error::other("the nodes do not find each other"));
            }
        }
        Ok(())
    }

    fn open(&self) -> Vec<SocketAddr> {
        self.nodes.iter().filter_map(|node| node.server.as_ref()).map(|server| server.address).collect()
    }
}
