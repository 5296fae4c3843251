//! Joining the other nodes, where `cluster.redis_url` says that there are any. Without it nothing of this is built.

use std::sync::Arc;
use std::time::Duration;

use rustix::system::sysinfo;
use tokio::time::timeout;
use uuid::Uuid;

use super::StartError;
use super::background::Tasks;
use crate::clock::Clock;
use crate::cluster::{Cluster, Facts, Link, MemberEvent, Members, MembersSettings, Topic};
use crate::config::Config;
use crate::outgoing::install_crypto;
use crate::realtime::{Broker, ClientManager, ClusterBroker, ClusterPresence, LocalPresence, MemoryBroker, Presence};
use crate::services::Services;

/// Longest wait for Redis at a start. Without it a node starts alone, and finds the others later.
const PATIENCE: Duration = Duration::from_secs(3);
/// The kernel's load averages are whole numbers of so many parts.
const LOAD_PARTS: f64 = 65_536.0;

/// This node's link and what it knows of the others; nothing is connected yet.
pub(super) fn join(
    config: &Config,
    node: &Arc<str>,
    clock: &Arc<dyn Clock>,
    background: &Tasks<'_>,
) -> Result<Option<Cluster>, StartError> {
    let settings = &config.cluster;
    if settings.redis_url.is_empty() {
        return Ok(None);
    }
    install_crypto();
    let link = Link::new(settings.redis_url.expose(), &settings.prefix, Uuid::now_v7())?;
    let members = MembersSettings {
        name: node.clone(),
        address: config.server.listen.clone(),
        announce: settings.announce,
        suspect: settings.suspect,
        dead: settings.dead,
    };
    let members = Members::new(link.clone(), clock.clone(), members);
    let stop = background.stop.clone();
    members.observe(move |event| {
        // Its clients come back to other nodes, or to the process that has its name now.
        if matches!(event, MemberEvent::Ousted) {
            stop.cancel();
        }
    });
    background.spawn(members.clone().run(link.mailbox(Topic::Members)));
    Ok(Some(Cluster { link, members }))
}

/// The way to clients: over the other nodes, if there are any.
pub(super) fn broker(
    manager: &Arc<ClientManager>,
    cluster: Option<&Cluster>,
    answer_timeout: Duration,
    background: &Tasks<'_>,
) -> Arc<dyn Broker> {
    let Some(cluster) = cluster else { return Arc::new(MemoryBroker::new(manager.clone())) };
    let broker = Arc::new(ClusterBroker::new(manager.clone(), cluster.clone(), answer_timeout));
    let (runs, mailbox) = (broker.clone(), cluster.link.mailbox_with_own(Topic::Delivery));
    background.spawn(async move { runs.run(mailbox).await });
    broker
}

/// Who is online: on the other nodes too, if there are any.
pub(super) fn presence(
    local: LocalPresence,
    cluster: Option<&Cluster>,
    config: &Config,
    background: &Tasks<'_>,
) -> Arc<dyn Presence> {
    let Some(Cluster { link, members }) = cluster else { return Arc::new(local) };
    let settings = &config.cluster;
    let presence = ClusterPresence::linked(local, link, members, settings.answer_timeout, config.online.max_leaves);
    let (runs, link, announce) = (presence.clone(), link.clone(), settings.announce);
    let mailbox = link.mailbox(Topic::Presence);
    background.spawn(async move { runs.run_linked(&link, mailbox, announce).await });
    presence
}

/// Connects, now that everybody who reads messages is there, and takes this node's name. Refused when another node has it.
pub(super) async fn connect(services: &Services, background: &Tasks<'_>) -> Result<(), StartError> {
    let Some(Cluster { link, members }) = services.cluster() else { return Ok(()) };
    let (manager, drain) = (services.manager().clone(), services.drain_state().clone());
    members.set_facts(move || Facts {
        clients: manager.open(),
        load: sysinfo().loads[0] as f64 / LOAD_PARTS,
        draining: drain.is_on(),
        moved_away: drain.moved_away(),
        drain_seconds: drain.eta().as_secs(),
    });
    background.spawn(services.clone().carry_out_orders(link.mailbox(Topic::Orders)));
    background.spawn(services.clone().hear_of_rows(link.mailbox(Topic::Rows)));
    background.spawn(services.clone().share_limits(link.mailbox(Topic::Limits)));
    background.spawn(services.clone().hold_to_places());
    background.spawn(link.clone().run());
    let mut changes = link.changes();
    if timeout(PATIENCE, changes.wait_for(|state| state.up)).await.is_err() {
        tracing::warn!("Redis does not answer; this node starts without the others");
    }
    Ok(members.start().await?)
}
