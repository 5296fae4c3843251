//! The nodes: how each of them is, and emptying one before it is restarted.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use poem::Request;
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};

use super::Tag;
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::security::{MayMonitor, MayWriteSettings, origin};
use crate::services::{self, DrainProgress, NodeRefused, Services};

/// Clients a second, at most: more than a node holds.
const MAX_PER_SECOND: u32 = 1_000_000;

pub(crate) struct NodesApi;

/// One node.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Node {
    name: String,
    /// Another one after every start.
    generation: String,
    version: String,
    /// Where it listens.
    address: String,
    /// By its own clock.
    started_at: DateTime<Utc>,
    uptime_seconds: u64,
    /// Open sockets.
    clients: u64,
    /// Processes that ran or waited to, on average over a minute; absent where the system does not tell.
    #[oai(skip_serializing_if_is_none)]
    load: Option<f64>,
    state: NodeState,
    /// Its last sign of life, by the clock of the node that answers.
    last_heard_at: DateTime<Utc>,
    /// Only while it drains.
    #[oai(skip_serializing_if_is_none)]
    drain: Option<Drain>,
    /// Whether it is the node that answers.
    #[oai(rename = "self")]
    own: bool,
}

#[derive(Enum)]
#[oai(rename_all = "camelCase")]
enum NodeState {
    /// It takes clients.
    Up,
    /// It sends its clients elsewhere and takes none.
    Draining,
    /// Not heard of for `cluster.suspect`.
    Suspect,
    /// Not heard of for `cluster.dead`; its clients are gone.
    Dead,
}

/// By name.
#[derive(Object)]
struct NodeList {
    list: Vec<Node>,
}

/// How far a drain is.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Drain {
    state: NodeState,
    /// Sockets that are still open; 0 when it does not drain.
    remaining: u64,
    /// Until the last of them is told to leave.
    eta_seconds: u64,
    /// Sockets sent away by this drain, or the last one.
    moved_away: u64,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct DrainRequest {
    /// Sockets sent elsewhere a second, 1 to 1,000,000. Absent: all within the node's `server.drain`.
    clients_per_second: Option<u64>,
}

#[OpenApi(tag = "Tag::Server")]
impl NodesApi {
    /// Nodes
    #[oai(path = "/nodes", method = "get")]
    async fn list(&self, _caller: MayMonitor, Data(services): Data<&Services>) -> Json<NodeList> {
        let now = services.nodes();
        Json(NodeList { list: now.into_iter().map(node).collect() })
    }

    /// Empty a node
    ///
    /// It is no longer ready, refuses handshakes, and tells its clients one after the other to come back, which is elsewhere. Asked
    /// again, those that are left go at the new rate. It stays so until it is resumed or restarted.
    #[oai(path = "/nodes/:name/drain", method = "post")]
    async fn drain(
        &self,
        caller: MayWriteSettings,
        request: &Request,
        Data(services): Data<&Services>,
        name: Path<String>,
        body: Body<DrainRequest>,
    ) -> poem::Result<Json<Drain>> {
        let per_second = body.take()?.clients_per_second.map(rate).transpose()?;
        let by = origin(request, services).actor(&caller.0);
        let progress = services.drain_node(&name, per_second, by).await.map_err(refused)?;
        Ok(Json(drain(progress)))
    }

    /// Let a node take clients again
    #[oai(path = "/nodes/:name/resume", method = "post")]
    async fn resume(
        &self,
        caller: MayWriteSettings,
        request: &Request,
        Data(services): Data<&Services>,
        name: Path<String>,
    ) -> poem::Result<Json<Drain>> {
        let by = origin(request, services).actor(&caller.0);
        let progress = services.resume_node(&name, by).await.map_err(refused)?;
        Ok(Json(drain(progress)))
    }
}

fn rate(per_second: u64) -> Result<NonZeroU32, Problem> {
    let rate = u32::try_from(per_second).ok().filter(|rate| *rate <= MAX_PER_SECOND).and_then(NonZeroU32::new);
    rate.ok_or_else(|| Problem::invalid("clientsPerSecond", format!("must be 1 to {MAX_PER_SECOND}")))
}

fn refused(refused: NodeRefused) -> Problem {
    match refused {
        NodeRefused::Unknown => Problem::not_found("node"),
        NodeRefused::Silent => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "node_silent", "This node does not answer; try again.")
                .retry_after(2)
        }
        NodeRefused::Stopping => Problem::new(StatusCode::CONFLICT, "stopping", "This node stops; start it anew."),
    }
}

fn node(node: services::Node) -> Node {
    Node {
        name: node.name.to_string(),
        generation: node.generation.to_string(),
        version: node.version,
        address: node.address,
        started_at: node.started_at,
        uptime_seconds: node.uptime.as_secs(),
        clients: node.clients as u64,
        load: node.load,
        state: match node.state {
            services::NodeState::Up => NodeState::Up,
            services::NodeState::Draining => NodeState::Draining,
            services::NodeState::Suspect => NodeState::Suspect,
            services::NodeState::Dead => NodeState::Dead,
        },
        last_heard_at: node.last_heard_at,
        drain: node.drain.map(drain),
        own: node.own,
    }
}

fn drain(progress: DrainProgress) -> Drain {
    Drain {
        state: if progress.draining { NodeState::Draining } else { NodeState::Up },
        remaining: progress.remaining as u64,
        eta_seconds: progress.eta.as_millis().div_ceil(1000) as u64,
        moved_away: progress.moved_away as u64,
    }
}
