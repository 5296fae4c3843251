//! The table of several nodes: what each costs beside one that is alone, and how fast all of them are one.

mod death;
mod fleet;
mod rounds;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::interrupt;
use crate::machine::{available_memory, open_files};
use crate::nodes::{Ground, Urls};
use crate::report::Report;
use crate::server::Server;
use fleet::Fleet;
use rounds::{Idle, Sides};

/// Clients of each node before anything is counted: what a first use of everything leaves behind.
const WARM: usize = 20;
/// Open files of a node or a load process that are no client's.
const OTHER_FILES: usize = 2_000;
/// Bytes of memory for a client, at most: its node, Redis, both ends in the kernel, and who holds it.
const CLIENT: f64 = 20.0 * 1024.0;
/// The same for a node without clients, and its connections to the database.
const NODE: f64 = 150.0 * 1024.0 * 1024.0;
/// How long and how many.
pub(crate) struct Size {
    pub(crate) title: &'static str,
    nodes: usize,
    /// Of each node, each its own user.
    clients: usize,
    rounds: usize,
    /// Until what a handshake leaves behind is gone: `auth.remember_sessions` is a minute.
    settle: Duration,
    /// To see what idleness costs.
    rest: Duration,
    pushes: usize,
    /// Of each kind of page.
    pages: usize,
    /// Who close and come back in each round.
    again: usize,
    settings: &'static [(&'static str, &'static str)],
    /// Seconds until a dead node must be known to be dead.
    dead: f64,
}

impl Size {
    /// `full`, `quick`, or `moment`, which shows only that it runs.
    pub(crate) fn named(name: &str) -> Option<Size> {
        let full = Size {
            title: "Ten nodes",
            nodes: 10,
            clients: 16_000,
            rounds: 7,
            settle: Duration::from_secs(75),
            rest: Duration::from_secs(10),
            pushes: 500,
            pages: 50,
            again: 1_000,
            settings: &[],
            dead: 13.0,
        };
        match name {
            "full" => Some(full),
            "quick" => Some(Size {
                title: "Three nodes, quickly",
                nodes: 3,
                clients: 300,
                rounds: 3,
                settle: Duration::from_secs(3),
                rest: Duration::from_secs(3),
                pushes: 200,
                again: 100,
                ..full
            }),
            "moment" => Some(Size {
                title: "A moment",
                nodes: 2,
                clients: 40,
                rounds: 1,
                settle: Duration::from_millis(200),
                rest: Duration::from_millis(500),
                pushes: 5,
                pages: 2,
                again: 20,
                settings: &[
                    ("CLUSTER__ANNOUNCE", "200ms"),
                    ("CLUSTER__SUSPECT", "1s"),
                    ("CLUSTER__DEAD", "2s"),
                    ("CLUSTER__ANSWER_TIMEOUT", "1s"),
                ],
                dead: 3.0,
            }),
            _ => None,
        }
    }
}

/// Measures everything.
pub(crate) fn run(size: &Size, rollcall: &Path) -> io::Result<Report> {
    interrupt::catch()?;
    let mut report = Report::default();
    let clients = fitting(size, &mut report);
    let ground = Ground::start(rollcall)?;
    let (mut many, mut alone) = fleets(size, &ground)?;
    for fleet in [&mut many, &mut alone] {
        fleet.open(WARM)?;
        fleet.push_elsewhere(2)?;
        fleet.broadcast(1)?;
        fleet.pages("/online/clients?pageSize=20", fleet.nodes.len())?;
    }
    let mut sides = Sides { many, alone, ground, idle: Idle::default() };
    sides.come(size, clients, &mut report)?;
    sides.rest(size.rest, &mut report)?;
    sides.broadcasts(size.rounds, &mut report)?;
    sides.connects(size, &mut report)?;
    [&sides.many, &sides.alone].into_iter().try_for_each(Fleet::spread_out)?;
    sides.pushes(size.pushes, &mut report)?;
    sides.pages(size.pages, &mut report)?;
    sides.death(size, &mut report)?;
    Ok(report)
}

/// Clients of each node: as many as wished, as far as memory and open files go.
fn fitting(size: &Size, report: &mut Report) -> usize {
    let (files, memory) = (open_files() as usize, available_memory());
    let nodes = (size.nodes + 1) as f64;
    let room = ((memory / nodes - NODE) / CLIENT).max(0.0) as usize;
    let clients = size.clients.min(files.saturating_sub(OTHER_FILES)).min(room);
    report.note(format!(
        "{} clients of each of {} nodes, wished {}: a process may have {files} open files, and {:.1} GB of memory are free",
        clients, size.nodes, size.clients, memory / 1e9
    ));
    clients
}

/// Nodes on one Redis and one database, and one that is alone, on a database of its own of the same kind.
fn fleets(size: &Size, ground: &Ground) -> io::Result<(Fleet, Fleet)> {
    let (redis, shared, own) = (ground.redis.url(), ground.database.create("many")?, ground.database.create("alone")?);
    let start = |name: &str, redis: Option<&str>, database: &str| {
        interrupt::check()?;
        ground.node(name, &Urls { redis, database }, size.settings)
    };
    let nodes = (1..=size.nodes).map(|number| start(&format!("n{number}"), Some(&redis), &shared));
    let nodes: Vec<Server> = nodes.collect::<io::Result<_>>()?;
    let alone = vec![start("alone", None, &own)?];
    let many = Fleet::new(nodes, 0, size.clients)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while many.nodes.iter().any(|node| !knows(node, size.nodes, &many.admin)) {
        interrupt::sleep(Duration::from_millis(50))?;
        if Instant::now() > deadline {
            return Err(io::Error::other("the nodes do not know each other"));
        }
    }
    Ok((many, Fleet::new(alone, size.nodes * size.clients, size.clients)?))
}

fn knows(node: &Server, nodes: usize, admin: &str) -> bool {
    let counts = node.call("GET", "/online/counts", admin, None);
    counts["complete"] == true && counts["nodes"]["answered"] == nodes
}
