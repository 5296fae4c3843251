//! What a client and a message cost among few and among many, in turn, so that a minute in which the machine is slow hits both.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::measure::{Side, spread};
use crate::report::Report;
use crate::server::Server;

/// Sockets that are open before memory is counted.
const WARM: usize = 100;
/// What may grow: the goal of each and its unit.
const COSTS: [(&str, &str); 5] = [
    ("memory of a client", "KB"),
    ("a ping", "µs"),
    ("a delivery", "µs"),
    ("coming and going", "µs"),
    ("leaving at once", "µs"),
];
/// The same in the table of goals.
const GOALS: [&str; 5] = [
    "memory of a client among the most ÷ the fewest",
    "a ping among the most ÷ the fewest",
    "a delivery among the most ÷ the fewest",
    "coming and going among the most ÷ the fewest",
    "leaving at once among the most ÷ the fewest",
];

/// Ratios of each round are goals, medians of the costs are notes.
pub(crate) fn growth(
    sizes: &[usize],
    rounds: usize,
    slice: Duration,
    rollcall: &Path,
    report: &mut Report,
) -> io::Result<()> {
    let Some(most) = sizes.len().checked_sub(1) else { return Ok(()) };
    let mut all: Vec<Vec<[f64; 5]>> = Vec::new();
    for round in 0..rounds {
        eprintln!("growth, round {} of {rounds}", round + 1);
        all.push(sizes.iter().map(|&sockets| costs(sockets, slice, rollcall)).collect::<io::Result<_>>()?);
    }
    let median = |of: &dyn Fn(&[[f64; 5]]) -> f64| spread(&all.iter().map(|round| of(round)).collect::<Vec<_>>()).1;
    for (place, &sockets) in sizes.iter().enumerate() {
        let texts = COSTS
            .iter()
            .enumerate()
            .map(|(cost, (name, unit))| format!("{name} {:.2} {unit}", median(&|round| round[place][cost])));
        report.note(format!("among {sockets}: {}", texts.collect::<Vec<_>>().join(", ")));
    }
    for (cost, name) in GOALS.into_iter().enumerate() {
        report.goal(name, 1.15, "×", all.iter().map(|round| round[most][cost] / round[0][cost]).collect());
    }
    Ok(())
}

fn costs(sockets: usize, slice: Duration, rollcall: &Path) -> io::Result<[f64; 5]> {
    let mut ours = Side::rollcall(Server::rollcall(rollcall, &[])?, sockets)?;
    ours.open(WARM)?;
    let before = ours.server.process.rss();
    ours.open(sockets)?;
    ours.swarm.rest(slice * 2)?;
    let memory = (ours.server.process.rss() - before) / (sockets - WARM) as f64 / 1024.0;
    let mut median = |measure: fn(&mut Side, Duration) -> io::Result<f64>, times: usize| {
        let values: Vec<f64> = (0..times).map(|_| measure(&mut ours, slice)).collect::<io::Result<_>>()?;
        io::Result::Ok(spread(&values).1)
    };
    let ping = median(|side, slice| Ok(side.pings(slice)?.0), 3)?;
    let delivery = median(|side, _| Ok(side.broadcast()?.0), 7)?;
    let churn = median(|side, _| Ok(side.churn(500)?.0), 9)?;
    Ok([memory, ping, delivery, churn, ours.leave_at_once(1)?.each_us])
}
