//! The nodes that are one Rollcall: how each of them is, and emptying one before it is restarted. A single node is a list of one.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::orders::Order;
use super::{DrainProgress, Services};
use crate::clock::Clock;
use crate::cluster::{Member, MemberState};
use crate::store::{Actor, Entry, NewAudit};

/// What this process is among the nodes.
pub struct ThisNode {
    generation: Uuid,
    started_at: DateTime<Utc>,
    /// Monotonic.
    started: Duration,
    address: OnceLock<SocketAddr>,
}

/// A node, as this one knows it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique among those that live.
    pub name: Arc<str>,
    /// Another one after every start.
    pub generation: Uuid,
    /// Of its binary.
    pub version: String,
    /// Where it listens; empty before it does.
    pub address: String,
    /// By its own wall clock.
    pub started_at: DateTime<Utc>,
    /// Since then, by a clock that does not jump.
    pub uptime: Duration,
    /// Open sockets.
    pub clients: usize,
    /// Processes that ran or waited to, on average over a minute; none where the system does not tell.
    pub load: Option<f64>,
    /// Whether it takes clients.
    pub state: NodeState,
    /// Its last sign of life.
    pub last_heard_at: DateTime<Utc>,
    /// How far it is with sending its clients elsewhere; none when it does not, or does not tell.
    pub drain: Option<DrainProgress>,
    /// Whether it is the one that answers.
    pub own: bool,
}

/// Whether a node takes clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It does.
    Up,
    /// It sends those it has elsewhere.
    Draining,
    /// Nothing was heard of it for a while.
    Suspect,
    /// Nothing was heard of it for so long that its clients are gone.
    Dead,
}

/// Why a node did not do as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRefused {
    /// There is none of that name.
    Unknown,
    /// It stops, and nothing holds it up.
    Stopping,
    /// It did not answer within `cluster.answer_timeout`.
    Silent,
}

impl ThisNode {
    /// A new generation, as of now.
    pub fn new(clock: &dyn Clock) -> ThisNode {
        ThisNode {
            generation: Uuid::new_v4(),
            started_at: clock.now(),
            started: clock.monotonic(),
            address: OnceLock::new(),
        }
    }
}

impl Services {
    /// Tells where this node listens, once.
    pub fn listens_at(&self, address: SocketAddr) {
        let _ = self.0.this_node.address.set(address);
    }

    /// Every node, by name.
    pub fn nodes(&self) -> Vec<Node> {
        let mut nodes = vec![self.this_node()];
        if let Some(cluster) = self.cluster() {
            nodes.extend(cluster.members.others().into_iter().map(|member| self.other_node(member)));
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
        }
        nodes
    }

    /// Empties a node: so many clients a second, or all of them within its `server.drain`.
    pub async fn drain_node(
        &self,
        name: &str,
        per_second: Option<NonZeroU32>,
        by: Actor,
    ) -> Result<DrainProgress, NodeRefused> {
        let progress = self.have_it_done(name, Order::Drain { per_second }).await?;
        self.audit_node("node.drain", name, json!({ "clientsPerSecond": per_second }), by);
        Ok(progress)
    }

    /// Lets a node take clients again.
    pub async fn resume_node(&self, name: &str, by: Actor) -> Result<DrainProgress, NodeRefused> {
        let progress = self.have_it_done(name, Order::Resume).await?;
        self.audit_node("node.resume", name, json!({}), by);
        Ok(progress)
    }

    /// When a client that this node does not take shall come again: at once where another node takes it.
    pub fn retry_elsewhere(&self) -> Duration {
        let others = self.cluster().map(|cluster| cluster.members.others()).unwrap_or_default();
        let elsewhere = others.iter().any(|other| other.state == MemberState::Up);
        if elsewhere { self.config().socket.reconnect_min } else { self.retry_after() }
    }

    async fn have_it_done(&self, name: &str, order: Order) -> Result<DrainProgress, NodeRefused> {
        if *name == **self.node() {
            return self.carry_out(order);
        }
        let others = self.cluster().map(|cluster| cluster.members.live()).unwrap_or_default();
        let other = others.iter().find(|other| *other.said.name == *name).ok_or(NodeRefused::Unknown)?;
        self.order(other.generation, order).await
    }

    fn other_node(&self, member: Member) -> Node {
        let (said, now) = (member.said, self.clock().now());
        let draining = member.state == MemberState::Draining;
        let progress = DrainProgress {
            draining,
            remaining: said.clients,
            eta: Duration::from_secs(said.drain_seconds),
            moved_away: said.moved_away,
        };
        Node {
            name: said.name,
            generation: member.generation,
            version: said.version,
            address: said.address,
            started_at: said.started,
            // By two clocks, of which one may be wrong.
            uptime: (now - said.started).to_std().unwrap_or_default(),
            clients: said.clients,
            load: Some(said.load),
            state: match member.state {
                MemberState::Up => NodeState::Up,
                MemberState::Draining => NodeState::Draining,
                MemberState::Suspect => NodeState::Suspect,
                MemberState::Dead => NodeState::Dead,
            },
            last_heard_at: now - member.silent,
            drain: draining.then_some(progress),
            own: false,
        }
    }

    fn this_node(&self) -> Node {
        let (this, now) = (&self.0.this_node, self.clock().now());
        let drain = Some(self.drain_progress()).filter(|progress| progress.draining);
        Node {
            name: self.node().clone(),
            generation: self.cluster().map_or(this.generation, |cluster| cluster.members.generation()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: this.address.get().map(SocketAddr::to_string).unwrap_or_default(),
            started_at: this.started_at,
            uptime: self.clock().monotonic().saturating_sub(this.started),
            clients: self.manager().open(),
            load: load(),
            state: if drain.is_some() { NodeState::Draining } else { NodeState::Up },
            last_heard_at: now,
            drain,
            own: true,
        }
    }

    /// Through the log writer: an operator empties a node also when its database is away.
    fn audit_node(&self, action: &str, name: &str, detail: serde_json::Value, by: Actor) {
        let (action, target) = (action.to_owned(), name.to_owned());
        self.writer().write(Entry::Audit(NewAudit { by, action, target, detail, ..NewAudit::at(self.clock().now()) }));
    }
}

/// None where the system does not tell in Linux's way.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
