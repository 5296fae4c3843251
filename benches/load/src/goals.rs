//! The table of goals: the same done to Rollcall and to the limit, in turn. Only ratios of what ran in the same round mean
//! anything; other figures are for scale, or goals of their own.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::bytes::Bytes;
use crate::growth::growth;
use crate::machine::open_files;
use crate::measure::{BROADCAST, Side, Times, spread};
use crate::report::Report;
use crate::server::Server;

/// Of one of the two at a fixed rate: 3,000 round trips at 20,000 a second.
const TURN: Duration = Duration::from_millis(150);

/// How often everybody is opened: a portion takes a tenth of a second, and of few such the machine's moods decide.
const PASSES: usize = 3;

/// How long and how many.
pub(crate) struct Size {
    pub(crate) title: &'static str,
    /// Open to each of the two servers; both together stay below the open files of this process.
    sockets: usize,
    rounds: usize,
    slice: Duration,
    /// Turns of each at a fixed rate.
    turns: usize,
    /// To one who does not read.
    pushes: usize,
    /// For the cost at different numbers of clients, so many times; none to leave it out.
    growth: (&'static [usize], usize),
}

impl Size {
    /// `full`, `quick`, or `moment`, which shows only that it runs.
    pub(crate) fn named(name: &str) -> Option<Size> {
        match name {
            "full" => Some(Size {
                title: "Rollcall and the limit",
                sockets: 9_900,
                rounds: 7,
                slice: Duration::from_millis(1500),
                turns: 100,
                pushes: 20_000,
                growth: (&[1_000, 5_000, 10_000, 18_000], 3),
            }),
            "quick" => Some(Size {
                title: "Rollcall and the limit, quickly",
                sockets: 2_000,
                rounds: 3,
                slice: Duration::from_millis(500),
                turns: 20,
                pushes: 20_000,
                growth: (&[1_000, 4_000], 1),
            }),
            "moment" => Some(Size {
                title: "A moment",
                sockets: 100,
                rounds: 1,
                slice: Duration::from_millis(100),
                turns: 2,
                pushes: 1_000,
                growth: (&[], 0),
            }),
            _ => None,
        }
    }
}

/// Measures everything.
pub(crate) fn run(size: &Size, rollcall: &Path, limit: &Path) -> io::Result<Report> {
    let mut report = Report::default();
    let (most, files) = (size.growth.0.iter().copied().max().unwrap_or(0).max(2 * size.sockets), open_files());
    report.note(format!(
        "a process may have {files} open files; this one has at most {most} sockets, {} to each of the two",
        size.sockets
    ));
    if most as u64 + 200 > files {
        return Err(io::Error::other(format!("{} open files are needed: ulimit -n {}", most + 200, most + 200)));
    }
    let server = Server::rollcall(rollcall, &[])?;
    std::thread::sleep(Duration::from_secs(1).min(size.slice * 2));
    let (idle, started) = (server.process.rss() / 1048576.0, server.started_in.as_secs_f64() * 1e3);
    let (mut ours, mut bare) = (Side::rollcall(server, size.sockets)?, Side::limit(Server::limit(limit)?)?);
    idle_memory(size, &mut ours, &mut bare, &mut report)?;
    in_turn(size, &mut ours, &mut bare, &mut report)?;
    drop(bare);
    alone(size, &mut ours, &mut report)?;
    report.goal("memory of the whole product, idle", 30.0, "MB", vec![idle]);
    report.goal("start to open port, existing database", 50.0, "ms", vec![started]);
    drop(ours);
    growth(size.growth.0, size.growth.1, size.slice, rollcall, &mut report)?;
    Ok(report)
}

/// Handshakes, and what is kept of those who are open and silent.
fn idle_memory(size: &Size, ours: &mut Side, bare: &mut Side, report: &mut Report) -> io::Result<()> {
    // With everything warm that a first login and a first scrape warm.
    ours.open(10)?;
    bare.open(10)?;
    ours.server.figures();
    (ours.kernel, bare.kernel) = (0.0, 0.0);
    let (empty, before) = (ours.server.process.rss(), Bytes::of(&ours.server));
    let mut ratios = handshakes(size, ours, bare, report)?;
    ours.swarm.rest(size.slice * 4)?;
    let opened = (ours.swarm.len() - 10) as f64;
    let each = (ours.server.process.rss() - empty) / opened / 1024.0;
    report.goal("memory of an idle client", 1.5, "KB", vec![each]);
    for line in Bytes::of(&ours.server).since(&before, opened) {
        report.note(line);
    }
    report.note(format!(
        "the kernel keeps {:.1} KB for both ends of an idle connection (limit {:.1} KB), apart from that",
        ours.kernel / opened / 1024.0,
        bare.kernel / opened / 1024.0
    ));
    for _ in 1..PASSES {
        for side in [&mut *ours, &mut *bare] {
            side.swarm.close(10);
            side.swarm.rest(size.slice)?;
        }
        ratios.extend(handshakes(size, ours, bare, report)?);
    }
    report.goal("handshake, processor, ours ÷ limit", 2.5, "×", ratios);
    Ok(())
}

/// Opens everybody, a portion to each in turn.
fn handshakes(size: &Size, ours: &mut Side, bare: &mut Side, report: &mut Report) -> io::Result<Vec<f64>> {
    let mut ratios = Vec::new();
    for round in 1..=size.rounds {
        let count = 10 + (size.sockets - 10) * round / size.rounds;
        let (a, b) = (ours.open(count)?, bare.open(count)?);
        ratios.push(a / b);
        if round == size.rounds {
            report.note(format!("a handshake costs {a:.0} µs, the limit's {b:.0} µs"));
        }
    }
    Ok(ratios)
}

/// What both can do, in turn.
fn in_turn(size: &Size, ours: &mut Side, bare: &mut Side, report: &mut Report) -> io::Result<()> {
    let (mut pings, mut fan_out, mut last) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..size.rounds {
        let calls = bare.system_calls()?;
        let (a, b) = (ours.pings(size.slice)?, bare.pings(size.slice)?);
        let calls = (bare.system_calls()? - calls) / (b.1 * size.slice.as_secs_f64());
        pings.push(a.0 / b.0);
        let (c, d) = (ours.broadcast()?, bare.broadcast()?);
        fan_out.push(c.0 / d.0);
        last = format!(
            "last round: a ping {:.1} µs (limit {:.1} µs, {calls:.2} system calls), {:.0} a second ({:.0}); a delivery {:.2} µs ({:.2}), the last one has it after {:.0} ms ({:.0})",
            a.0, b.0, a.1, b.1, c.0, d.0, c.1, d.1
        );
    }
    report.note(last);
    report.goal("ping to reply, processor, ours ÷ limit", 1.0, "×", pings);
    report.goal("broadcast, processor for a delivery, ours ÷ limit", 1.25, "×", fan_out);
    at_a_rate(size, ours, bare, report)
}

/// Round trips at a fixed rate, in many short turns. Whatever runs, the machine stands still for some milliseconds about once a
/// second; which of the two meets that says nothing of either, and of many turns the median one has not met it.
fn at_a_rate(size: &Size, ours: &mut Side, bare: &mut Side, report: &mut Report) -> io::Result<()> {
    let rate = 20_000.0_f64.min(size.sockets as f64 * 20.0);
    let (mut all, mut ratios) = ([Times::default(), Times::default()], [Vec::new(), Vec::new()]);
    for _ in 0..size.turns {
        let (x, y) = (ours.round_trips(rate, TURN)?, bare.round_trips(rate, TURN)?);
        for (part, ratios) in [0.5, 0.99].into_iter().zip(&mut ratios) {
            ratios.push(x.quantile(part) / y.quantile(part));
        }
        all[0].add(x);
        all[1].add(y);
    }
    let at = |part| all.each_ref().map(|times| times.quantile(part));
    let ([a, b], [c, d], [e, f]) = (at(0.5), at(0.99), at(0.999));
    report.note(format!(
        "all {} turns at {rate:.0} a second, standing still included: p50 {a:.0} µs (limit {b:.0}), p99 {c:.0} µs ({d:.0}), p99.9 {e:.0} µs ({f:.0})",
        size.turns
    ));
    let [p50, p99] = ratios;
    report.goal("round trip at 20,000 a second, p50, ours ÷ limit", 1.15, "×", p50);
    report.goal("round trip at 20,000 a second, p99 of a turn, ours ÷ limit", 2.0, "×", p99);
    Ok(())
}

/// What only we can do.
fn alone(size: &Size, ours: &mut Side, report: &mut Report) -> io::Result<()> {
    let times = 50 * size.rounds;
    ours.open(size.sockets + 1)?;
    let pushes = ours.push_to_one(times)?;
    report.goal("push to one user, REST in, frame out, p50", 1.0, "ms", vec![pushes.quantile(0.5)]);
    let pages = ours.pages(times)?;
    report.goal("page of 20 of the online list, p50", 3.0, "ms", vec![pages.quantile(0.5)]);
    report.goal("sweep of everybody, REST in, answer out", 1.0, "ms", (0..size.rounds).map(|_| ours.sweep()).collect());
    room(size, ours, report)?;
    slow(size, ours, report)?;
    list(size, ours, report)
}

/// Everybody in one room.
fn room(size: &Size, ours: &mut Side, report: &mut Report) -> io::Result<()> {
    let (join, sockets) = (ours.join("hall")?, ours.swarm.len());
    let mut ratios = Vec::new();
    for _ in 0..size.rounds {
        let to_all = ours.broadcast()?.0;
        ratios.push(ours.push(&json!({"rooms": ["hall"]}), BROADCAST, sockets)?.0 / to_all);
    }
    report.note(format!("{sockets} join a room: {join:.1} µs each"));
    report.goal("push to a room of everybody, processor for a delivery, ÷ broadcast", 1.15, "×", ratios);
    Ok(())
}

fn slow(size: &Size, ours: &mut Side, report: &mut Report) -> io::Result<()> {
    let slow = ours.slow_readers(size.pushes)?;
    report.note(format!(
        "50 who do not read are all closed as slow after {} messages of 16 KB to each, and cost {:.1} KB each until then; {} pushes to one of them took memory to {:.1} MB",
        slow.messages, slow.each_kb, size.pushes, slow.peak_mb
    ));
    report.goal("a delivery to others beside 50 who do not read, ÷ without them", 1.15, "×", slow.beside);
    report.goal("memory after very many pushes to one who does not read, ÷ before", 1.02, "×", vec![slow.after]);
    Ok(())
}

/// The online list while clients come and go, and when all go.
fn list(size: &Size, ours: &mut Side, report: &mut Report) -> io::Result<()> {
    let (count, clients) = (size.sockets / 5, ours.swarm.len());
    let mut churn = |viewers: usize| {
        ours.watch(viewers)?;
        let rounds: Vec<_> = (0..size.rounds).map(|_| ours.churn(count)).collect::<io::Result<_>>()?;
        let costs: Vec<f64> = rounds.iter().map(|(cost, _)| *cost).collect();
        io::Result::Ok((spread(&costs).1, rounds.iter().map(|(_, frames)| frames).sum::<usize>()))
    };
    let ((nobody, _), (one, few), (ten, many)) = (churn(0)?, churn(1)?, churn(9)?);
    report.note(format!(
        "one who leaves and comes back among {clients} costs {nobody:.0} µs, {one:.0} µs while one watches the list ({few} differences of {} such changes), {ten:.0} µs while ten do ({many})",
        size.rounds * count
    ));
    let leaving = ours.leave_at_once(10)?;
    report.note(format!(
        "{clients} leave at once: {:.1} µs each, nobody is listed after {:.0} ms",
        leaving.each_us, leaving.took_ms
    ));
    report.goal("everybody leaves at once: differences that tell it", 1.0, "", vec![leaving.frames as f64]);
    Ok(())
}
