//! The ruler: opens many authenticated sockets to Rollcall and to the limit, does the same to both in turn, and prints the table of
//! goals. Only ratios of what ran in the same round mean anything; other figures are for scale, or goals of their own.
//!
//! `rollcall-load full|quick|moment ROLLCALL LIMIT [RESULTS]`: two paths of binaries, and a file for the table.

mod measure;
mod report;
mod server;
mod swarm;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use measure::Side;
use report::Report;
use server::Server;

/// How long and how many.
struct Size {
    title: &'static str,
    /// Open to each of the two servers; both together stay below 20,000 open files of this process.
    sockets: usize,
    rounds: usize,
    slice: Duration,
    /// For the cost at different numbers of clients; none to leave it out.
    growth: &'static [usize],
}

const FULL: Size = Size {
    title: "Rollcall and the limit",
    sockets: 9_900,
    rounds: 7,
    slice: Duration::from_millis(1500),
    growth: &[1_000, 5_000, 10_000, 18_000],
};
const QUICK: Size = Size {
    title: "Rollcall and the limit, quickly",
    sockets: 2_000,
    rounds: 3,
    slice: Duration::from_millis(500),
    growth: &[],
};
/// Only that it runs.
const MOMENT: Size =
    Size { title: "A moment", sockets: 100, rounds: 1, slice: Duration::from_millis(100), growth: &[] };

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (size, rollcall, limit, results) = match words[..] {
        ["full", ours, limit, ref rest @ ..] => (FULL, ours, limit, rest.first().copied()),
        ["quick", ours, limit, ref rest @ ..] => (QUICK, ours, limit, rest.first().copied()),
        ["moment", ours, limit, ref rest @ ..] => (MOMENT, ours, limit, rest.first().copied()),
        _ => {
            eprintln!("rollcall-load full|quick|moment ROLLCALL LIMIT [RESULTS]");
            return ExitCode::from(2);
        }
    };
    match run(&size, Path::new(rollcall), Path::new(limit)) {
        Ok(report) => {
            let text = report.text(size.title);
            print!("{text}");
            match results.map(|file| std::fs::write(file, text)) {
                Some(Err(error)) => said(&error),
                _ => ExitCode::SUCCESS,
            }
        }
        Err(error) => said(&error),
    }
}

fn said(error: &io::Error) -> ExitCode {
    eprintln!("rollcall-load: {error}");
    ExitCode::FAILURE
}

fn run(size: &Size, rollcall: &Path, limit: &Path) -> io::Result<Report> {
    let mut report = Report::default();
    if size.sockets > 1_000 {
        report
            .note(format!("{} sockets to each of the two, because a process here may open 20,000 files", size.sockets));
    }
    let server = Server::rollcall(rollcall)?;
    std::thread::sleep(Duration::from_secs(1).min(size.slice * 2));
    let (idle, started) = (server.rss() / 1048576.0, server.started_in.as_secs_f64() * 1e3);
    let (mut ours, mut bare) = (Side::rollcall(server, size.sockets)?, Side::limit(Server::limit(limit)?)?);
    // With everything warm that a first login warms.
    ours.open(10)?;
    bare.open(10)?;
    let empty = ours.server.rss();
    handshakes(size, &mut ours, &mut bare, &mut report)?;
    ours.swarm.rest(size.slice * 4)?;
    let each = (ours.server.rss() - empty) / (ours.swarm.len() - 10) as f64 / 1024.0;
    report.goal("memory of an idle client", 1.5, "KB", vec![each]);
    in_turn(size, &mut ours, &mut bare, &mut report)?;
    alone(size, &mut ours, &mut report)?;
    report.goal("memory of the whole product, idle", 30.0, "MB", vec![idle]);
    report.goal("start to open port, existing database", 50.0, "ms", vec![started]);
    drop((ours, bare));
    growth(size, rollcall, &mut report)?;
    Ok(report)
}

fn handshakes(size: &Size, ours: &mut Side, bare: &mut Side, report: &mut Report) -> io::Result<()> {
    let mut ratios = Vec::new();
    for round in 1..=size.rounds {
        let count = 10 + (size.sockets - 10) * round / size.rounds;
        let (a, b) = (ours.open(count)?, bare.open(count)?);
        ratios.push(a / b);
        if round == size.rounds {
            report.note(format!("a handshake costs {a:.0} µs, the limit's {b:.0} µs"));
        }
    }
    report.goal("handshake, processor, ours ÷ limit", 2.5, "×", ratios);
    Ok(())
}

/// What both can do, in turn.
fn in_turn(size: &Size, ours: &mut Side, bare: &mut Side, report: &mut Report) -> io::Result<()> {
    let (mut pings, mut fan_out, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut last = String::new();
    for _ in 0..size.rounds {
        let calls = bare.system_calls()?;
        let (a, b) = (ours.pings(size.slice)?, bare.pings(size.slice)?);
        let calls = (bare.system_calls()? - calls) / (b.1 * size.slice.as_secs_f64());
        pings.push(a.0 / b.0);
        let rate = 20_000.0_f64.min(size.sockets as f64 * 20.0);
        let (x, y) = (ours.round_trips(rate, size.slice)?, bare.round_trips(rate, size.slice)?);
        p50.push(x.quantile(0.5) / y.quantile(0.5));
        p99.push(x.quantile(0.99) / y.quantile(0.99));
        let (c, d) = (ours.broadcast()?, bare.broadcast()?);
        fan_out.push(c.0 / d.0);
        last = format!(
            "last round: a ping {:.1} µs (limit {:.1} µs, {calls:.2} system calls), {:.0} a second ({:.0}); at {rate:.0} a second p50 {:.0} µs ({:.0}), p99 {:.0} µs ({:.0}), p99.9 {:.0} µs ({:.0}); a delivery {:.2} µs ({:.2}), the last one has it after {:.0} ms ({:.0})",
            a.0,
            b.0,
            a.1,
            b.1,
            x.quantile(0.5),
            y.quantile(0.5),
            x.quantile(0.99),
            y.quantile(0.99),
            x.quantile(0.999),
            y.quantile(0.999),
            c.0,
            d.0,
            c.1,
            d.1
        );
    }
    report.note(last);
    report.goal("ping to reply, processor, ours ÷ limit", 1.0, "×", pings);
    report.goal("broadcast, processor for a delivery, ours ÷ limit", 1.25, "×", fan_out);
    report.goal("round trip at 20,000 a second, p50, ours ÷ limit", 1.15, "×", p50);
    report.goal("round trip at 20,000 a second, p99, ours ÷ limit", 2.0, "×", p99);
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
    report.goal("sweep of everybody", 1.0, "ms", (0..size.rounds).map(|_| ours.sweep()).collect());
    let churn = ours.churn(size.sockets / 5)?;
    report.note(format!("one who leaves and comes back costs {churn:.0} µs among {}", ours.swarm.len()));
    let (each, took) = ours.leave_at_once()?;
    report.note(format!("{} leave at once: {each:.1} µs each, nobody is listed after {took:.0} ms", size.sockets));
    Ok(())
}

/// What a client and a message cost among few and among many.
fn growth(size: &Size, rollcall: &Path, report: &mut Report) -> io::Result<()> {
    let mut costs: Vec<[f64; 3]> = Vec::new();
    for &sockets in size.growth {
        let mut ours = Side::rollcall(Server::rollcall(rollcall)?, sockets)?;
        ours.open(100)?;
        let before = ours.server.rss();
        ours.open(sockets)?;
        ours.swarm.rest(size.slice * 4)?;
        let memory = (ours.server.rss() - before) / (sockets - 100) as f64 / 1024.0;
        let ping = ours.pings(size.slice * 2)?.0;
        let mut deliveries: Vec<f64> = (0..5).map(|_| Ok(ours.broadcast()?.0)).collect::<io::Result<_>>()?;
        deliveries.sort_by(f64::total_cmp);
        report.note(format!(
            "among {sockets}: {memory:.2} KB a client, {ping:.2} µs a ping, {:.2} µs a delivery",
            deliveries[2]
        ));
        costs.push([memory, ping, deliveries[2]]);
    }
    for (place, name) in ["memory", "ping", "delivery"].iter().enumerate().filter(|_| !costs.is_empty()) {
        let (few, many) = (costs[0][place], costs[costs.len() - 1][place]);
        report.note(format!("{name} among the most ÷ among the fewest: {:.2}", many / few));
    }
    Ok(())
}
