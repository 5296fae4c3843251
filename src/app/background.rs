//! What runs all the time beside requests and sockets: the heartbeat, the online list's differences, other processes'
//! revocations, an eye on the log writer and on memory, and the way out of a node that is drained. Each is a plain loop until
//! `ending`; one that dies stops the server loudly instead of leaving it half alive.

use std::future::Future;
use std::time::Duration;

use rustix::param::page_size;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use crate::cluster::Cluster;
use crate::realtime::{Heartbeat, TICK, tick};
use crate::services::{Fence, Services};
use crate::store::NodeRow;

/// Between two looks at the log writer's losses.
const SECOND: Duration = Duration::from_secs(1);
/// Between two looks at the keys: one made by the command line is needed before its tokens are shown here.
const KEYS: Duration = Duration::from_secs(60);

/// Between two notes that this node is there.
const NOTE: Duration = Duration::from_secs(30);

pub(super) fn start(app: &App) {
    let ending = &app.ending;
    let services = || app.services.clone();
    spawn(app, ending, heartbeat(services()));
    spawn(app, ending, differences(services(), app.services.config().online.diff_interval));
    spawn(app, ending, follow(services()));
    if app.services.shared() {
        spawn(app, ending, fence(services()));
        spawn(app, ending, note(services()));
    }
    spawn(app, ending, losses(services()));
    spawn(app, ending, memory(services()));
    spawn(app, ending, keys(services()));
    spawn(app, ending, issuers(services()));
    spawn(app, ending, outbox(services()));
    spawn(app, ending, drain(services()));
}

fn spawn(app: &App, ending: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    Tasks { tasks: &app.tasks, stop: &app.stop, ending }.spawn(work);
}

/// Where background tasks live.
pub(super) struct Tasks<'a> {
    pub(super) tasks: &'a TaskTracker,
    pub(super) stop: &'a CancellationToken,
    pub(super) ending: &'a CancellationToken,
}

impl Tasks<'_> {
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let (ending, dies) = (self.ending.clone(), self.stop.clone().drop_guard());
        self.tasks.spawn(async move {
            ending.run_until_cancelled(work).await;
            drop(dies);
        });
    }
}

async fn heartbeat(services: Services) {
    let (mut ticks, mut turn) = (every(TICK), 0_usize);
    loop {
        ticks.tick().await;
        turn = turn.wrapping_add(1);
        let socket = &services.config().socket;
        let heartbeat = Heartbeat { ping_interval: socket.ping_interval, pong_timeout: socket.pong_timeout };
        tick(services.manager(), heartbeat, turn).await;
    }
}

/// Ten thousand who leave together are one difference.
async fn differences(services: Services, window: Duration) {
    let presence = services.presence();
    loop {
        presence.due(window).await;
        presence.flush();
    }
}

async fn follow(services: Services) {
    let mut away = false;
    loop {
        match services.follow().await {
            Ok(()) => away = false,
            Err(error) if !away => {
                away = true;
                tracing::warn!(cause = error.cause(), "revocations cannot be read; trying on: {error}");
            }
            Err(_) => {}
        }
        services.follow_time().await;
    }
}

/// Says when a node that cannot read the sequence stops taking in anybody, and sends away who is there.
async fn fence(services: Services) {
    let (mut seconds, mut told) = (every(SECOND), Fence::Open);
    loop {
        seconds.tick().await;
        let fence = services.fence();
        if fence != told {
            match fence {
                Fence::Open => tracing::info!("revocations are read again: callers are taken again"),
                Fence::Refusing => {
                    tracing::error!("revocations could not be read for cluster.fence: nobody is taken in")
                }
                Fence::Closing => tracing::error!("nor for cluster.fence_close: everybody is sent to the other nodes"),
            }
            told = fence;
        }
        if fence == Fence::Closing {
            services.send_behind_fence();
        }
    }
}

/// That this node is there, for people: who lives is told by the nodes to each other.
async fn note(services: Services) {
    let mut periods = every(NOTE);
    loop {
        periods.tick().await;
        let Some(Cluster { members, .. }) = services.cluster() else { return };
        let (me, seen_at) = (members.me(), services.clock().now());
        let row = NodeRow {
            generation: me.generation,
            name: me.said.name.to_string(),
            version: me.said.version,
            address: me.said.address,
            started_at: me.said.started,
            seen_at,
        };
        if let Err(error) = services.store().note_node(&row).await {
            tracing::debug!(cause = error.cause(), "this node could not be noted");
        }
    }
}

async fn losses(services: Services) {
    let (mut seconds, mut known) = (every(SECOND), 0);
    loop {
        seconds.tick().await;
        let lost = services.writer().lost();
        if lost > known {
            tracing::warn!(lost, "{} log rows lost: the database is too slow or away", lost - known);
            known = lost;
        }
    }
}

async fn memory(services: Services) {
    let mut seconds = every(SECOND);
    loop {
        seconds.tick().await;
        if let Some(resident) = resident() {
            services.weigh(resident);
        }
    }
}

/// Bytes of this process that are in memory; none where the system does not tell in Linux's way.
fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    pages.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * page_size() as u64)
}

async fn keys(services: Services) {
    let mut periods = every(KEYS);
    loop {
        periods.tick().await;
        match services.reload_keys().await {
            Ok(true) => tracing::info!("the signing keys changed"),
            Ok(false) => {}
            Err(error) => tracing::warn!("the signing keys were not read again: {error}"),
        }
    }
}

/// A JWKS file that somebody replaced; the one before counts until the new one can be used.
async fn issuers(services: Services) {
    let (mut seconds, mut told) = (every(SECOND), String::new());
    loop {
        seconds.tick().await;
        for news in services.issuers().read_changed_files() {
            match news {
                Ok(name) => {
                    told.clear();
                    tracing::info!(issuer = name, "the JWKS file was read again");
                }
                // Said once, not every second.
                Err(error) if error.to_string() != told => {
                    told = error.to_string();
                    tracing::warn!("{told} The keys before it stay.");
                }
                Err(_) => {}
            }
        }
    }
}

async fn drain(services: Services) {
    services.send_clients_away().await;
}

async fn outbox(services: Services) {
    services.make_calls().await;
}

/// Zero, which tokio would panic on, means as often as sensible.
fn every(period: Duration) -> Interval {
    let mut interval = interval(period.max(Duration::from_millis(10)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
