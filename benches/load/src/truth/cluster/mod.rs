//! The table of truth of several nodes: they are killed under churn, and nobody who was shown the door stays in while what they share
//! is cut.

mod deaths;
mod kicks;
mod shaking;
mod site;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use deaths::Deaths;
use kicks::Kicks;
use site::Site;

use super::table::Table;
use crate::interrupt;
use crate::measure::Times;

/// `presence.grace`, as in the table of one node.
const GRACE: &str = "2s";
/// ms from a kick's request to the closed socket while all nodes live.
const KICK_MS: f64 = 1000.0;

/// How long and how many.
pub(crate) struct Size {
    title: &'static str,
    /// Before each kill, and after the last.
    churn: Duration,
    kills: usize,
    members: usize,
    /// Sockets at once.
    most: usize,
    /// Sessions that are kicked, and how long that may take.
    kicks: usize,
    kicking: Duration,
    settings: &'static [(&'static str, &'static str)],
    /// Seconds until a dead node must be known to be dead.
    dead: f64,
}

impl Size {
    /// `full`, `quick`, or `moment`, which shows only that it runs.
    pub(crate) fn named(name: &str) -> Option<Size> {
        let full = Size {
            title: "How true several nodes are",
            churn: Duration::from_secs(12),
            kills: 6,
            members: 40,
            most: 1_500,
            kicks: 10_000,
            kicking: Duration::from_secs(240),
            settings: &[],
            dead: 13.0,
        };
        match name {
            "full" => Some(full),
            "quick" => Some(Size {
                title: "How true several nodes are, quickly",
                churn: Duration::from_secs(4),
                kills: 1,
                members: 10,
                most: 500,
                kicks: 500,
                ..full
            }),
            "moment" => Some(Size {
                title: "A moment",
                churn: Duration::from_secs(1),
                kills: 1,
                members: 3,
                most: 40,
                kicks: 20,
                settings: &[
                    ("CLUSTER__ANNOUNCE", "200ms"),
                    ("CLUSTER__SUSPECT", "1s"),
                    ("CLUSTER__DEAD", "2s"),
                    ("CLUSTER__ANSWER_TIMEOUT", "1s"),
                ],
                dead: 3.0,
                ..full
            }),
            _ => None,
        }
    }
}

/// The table, and whether all of it is true.
pub(crate) fn run(size: &Size, rollcall: &Path) -> io::Result<(String, bool)> {
    interrupt::catch()?;
    let mut settings = vec![("PRESENCE__GRACE", GRACE), ("SOCKET__FAILED_HANDSHAKES", "0")];
    settings.extend(size.settings);
    let begun = Instant::now();
    let (mut site, doors) = Site::start(rollcall, &settings)?;
    let admin = site.login();
    site.whole(&doors, &admin)?;
    let deaths = deaths::deaths(size, &mut site, &doors, &admin)?;
    let kicks = kicks::kicks(size, &mut site, &doors, &admin)?;
    let table = table(size, &deaths, &kicks, begun.elapsed());
    Ok((table.text(size.title), table.is_true()))
}

fn table(size: &Size, deaths: &Deaths, kicks: &Kicks, took: Duration) -> Table {
    let mut table = Table::default();
    let right = Times::of(deaths.right.clone());
    table.row(
        &format!("{} nodes killed -9 under churn, until the list of each other one is right: p50, max", size.kills),
        format!("{:.1}, {:.1} s", right.quantile(0.5), right.quantile(1.0)),
        format!("max {} s", size.dead),
        right.quantile(1.0) <= size.dead,
    );
    let times = Times::of(deaths.kicks.clone());
    table.row(
        &format!("{} kicks while all live, from the request to the closed socket: p50, p99, max", deaths.kicks.len()),
        format!("{:.1}, {:.1}, {:.1} ms", times.quantile(0.5), times.quantile(0.99), times.quantile(1.0)),
        format!("max {KICK_MS} ms"),
        times.quantile(1.0) <= KICK_MS,
    );
    table.findings(&deaths.findings);
    table.row(
        "kicks that were answered 200 or 202 while what the nodes share was cut",
        kicks.kept.to_string(),
        format!("{} asked for", size.kicks),
        kicks.kept >= size.kicks,
    );
    table.none("of these lost: an open socket when all is well again", kicks.still_in);
    table.none(&format!("of these lost: let in at any node, in {} handshakes", kicks.tried), kicks.let_in);
    notes(&mut table, deaths, kicks, took);
    table
}

fn notes(table: &mut Table, deaths: &Deaths, kicks: &Kicks, took: Duration) {
    let beside = Times::of(deaths.kicks_beside.clone());
    table.note(format!(
        "{} kicks while a node was dead and not known to be: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; clients are looked for on every node, and a silent one is waited for",
        deaths.kicks_beside.len(), beside.quantile(0.5), beside.quantile(0.99), beside.quantile(1.0)
    ));
    let list = |counts: Vec<String>| counts.join(", ");
    let closed = Times::of(kicks.closed.clone());
    table.note(format!(
        "from a kick's answer to the end of the session's last attempt to come back: p50 {:.2} s, p99 {:.2} s, max {:.2} s; {} times a socket was closed or refused for another reason and came again",
        closed.quantile(0.5), closed.quantile(0.99), closed.quantile(1.0), kicks.came_back
    ));
    table.note(format!(
        "requests by status of the answer, 0 without one: {}; whoever was not promised a kick asked again",
        list(kicks.answers.iter().map(|(status, count)| format!("{status} {count}")).collect())
    ));
    table.note(format!(
        "what happened meanwhile: {}",
        list(kicks.cuts.iter().map(|(what, count)| format!("{what} {count}")).collect())
    ));
    table.note(format!("what was done under churn: {}", deaths.done));
    table.note(format!("calls that were refused, by code: {}", deaths.refused));
    table.note(format!("all of it took {:.0} s", took.as_secs_f64()));
}
