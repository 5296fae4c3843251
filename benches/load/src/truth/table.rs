//! The table an operator reads, and whether all of it is true.

use std::fmt::Write;

use super::Size;
use super::churn::Churn;
use super::oracle::Findings;
use super::vanish::Vanished;
use crate::machine::machine;
use crate::measure::Times;
use crate::server::Server;

/// Megabytes that a server may keep when everybody has gone: caches and tables with a bound, and the allocator's own.
const KEPT_MB: f64 = 16.0;
/// Megabytes a minute that memory may grow while as many come as go, after the first third.
const SLOPE: f64 = 0.5;
/// Descriptors and tasks that a database connection or a kept HTTP connection may be.
const SLACK: usize = 12;

/// Of the server's process.
#[derive(Clone, Copy)]
pub(crate) struct Use {
    pub(crate) rss_mb: f64,
    /// Of it, what is in use, as the allocator says; resident is also what it keeps for the next burst.
    pub(crate) live_mb: f64,
    pub(crate) descriptors: usize,
    pub(crate) tasks: usize,
}

impl Use {
    pub(crate) fn of(server: &Server) -> Use {
        let figures = server.figures();
        let figure = |name: &str| figures.get(name).copied().unwrap_or_default();
        let live_mb = figure("rollcall_memory_bytes{part=\"allocated\"}") / 1048576.0;
        let tasks = figure("rollcall_tasks") as usize;
        Use { rss_mb: server.process.rss() / 1048576.0, live_mb, descriptors: server.process.descriptors(), tasks }
    }
}

/// Everything that was seen.
pub(crate) struct Truth {
    pub(crate) vanished: Vanished,
    pub(crate) findings: Findings,
    pub(crate) kicks: Vec<f64>,
    pub(crate) start: Use,
    /// Warm and empty.
    pub(crate) before: Use,
    /// Empty again.
    pub(crate) emptied: Use,
    /// And some time later.
    pub(crate) after: Use,
    /// Minutes since the start of the churn.
    pub(crate) uses: Vec<(f64, Use)>,
}

/// Rows, and notes.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, String, String, bool)>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn row(&mut self, what: &str, seen: String, may: String, holds: bool) {
        self.rows.push((what.to_owned(), seen, may, holds));
    }

    /// None of these may be.
    pub(crate) fn none(&mut self, what: &str, seen: usize) {
        self.row(what, seen.to_string(), "0".to_owned(), seen == 0);
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// What differed at quiet points.
    pub(crate) fn findings(&mut self, findings: &Findings) {
        self.none(&format!("ghosts: listed and not held, at {} quiet points", findings.quiet_points), findings.ghosts);
        self.none("missing: held and not listed", findings.missing);
        self.none("rows with other rooms than the client was told", findings.rooms);
        self.none("`/online/counts` beside what is held", findings.counts);
        self.none("list from subscription and differences beside the list", findings.live);
        self.note(format!(
            "at most {} sockets were held at a quiet point; both sides agreed after {:.1} s at the latest, a grace of {} s included",
            findings.most, findings.agreed_after.as_secs_f64(), super::GRACE
        ));
    }

    pub(crate) fn is_true(&self) -> bool {
        self.rows.iter().all(|(.., holds)| *holds)
    }

    /// As Markdown; its last line counts.
    pub(crate) fn text(&self, title: &str) -> String {
        let mut text = format!("# {title}\n\n{}\n\n| what | seen | may be | |\n| --- | --- | --- | --- |\n", machine());
        for (what, seen, may, holds) in &self.rows {
            let _ = writeln!(text, "| {what} | {seen} | {may} | {} |", if *holds { "true" } else { "**wrong**" });
        }
        text.push('\n');
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        let hold = self.rows.iter().filter(|(.., holds)| *holds).count();
        let _ = writeln!(text, "\ntruth: {hold} true, {} wrong", self.rows.len() - hold);
        text
    }
}

pub(crate) fn table(size: &Size, truth: Truth, churn: &Churn<'_>) -> Table {
    let mut table = Table::default();
    people(&mut table, size, &truth);
    machine_use(&mut table, size, &truth);
    let done: Vec<_> = churn.done.iter().map(|(what, count)| format!("{what} {count}")).collect();
    table.note(format!("what was done: {}", done.join(", ")));
    let failed: Vec<_> = churn.failed.iter().map(|(code, count)| format!("{code} {count}")).collect();
    table.note(format!("calls that were refused, by code: {}", failed.join(", ")));
    let ends: Vec<_> = churn.crowd.ends.iter().map(|(code, count)| format!("{code} {count}")).collect();
    let refused: Vec<_> = churn.crowd.refused.iter().map(|(status, count)| format!("{status} {count}")).collect();
    table.note(format!(
        "how the server ended sockets, by close code (0: none came through, as to who does not read): {}; refused handshakes, by status: {}",
        ends.join(", "),
        refused.join(", ")
    ));
    table
}

fn people(table: &mut Table, size: &Size, truth: &Truth) {
    let Truth { vanished, findings, kicks, .. } = truth;
    let (seconds, bound) = (Times::of(vanished.seconds.clone()), size.gone_after().as_secs_f64());
    table.row(
        &format!(
            "{} clients vanish without a FIN ({}): no more online after, p50 and last",
            size.vanishing, vanished.how
        ),
        format!(
            "{:.1} s, {:.1} s{}",
            seconds.quantile(0.5),
            seconds.quantile(1.0),
            if vanished.still > 0 { format!(", {} never", vanished.still) } else { String::new() }
        ),
        format!("{} + {} s, and 3 s of looks once a second", size.ping.0, size.ping.1),
        vanished.still == 0 && seconds.quantile(1.0) <= bound,
    );
    let times = Times::of(kicks.clone());
    table.row(
        &format!("{} kicks, from the request to the closed socket: p50, p99, max", kicks.len()),
        format!("{:.1}, {:.1}, {:.1} ms", times.quantile(0.5), times.quantile(0.99), times.quantile(1.0)),
        "max 1000 ms".to_owned(),
        times.quantile(1.0) <= 1000.0,
    );
    table.findings(findings);
    table.none("gaps in the differences", findings.gaps);
}

fn machine_use(table: &mut Table, size: &Size, truth: &Truth) {
    let Truth { start, before, emptied, after, uses, .. } = truth;
    let peak = uses.iter().map(|(_, seen)| seen.rss_mb).fold(before.rss_mb, f64::max);
    table.row(
        &format!("resident memory at start, warm, at the peak, when all have gone, {} s after", size.after.as_secs()),
        format!("{:.1}, {:.1}, {peak:.1}, {:.1}, {:.1} MB", start.rss_mb, before.rss_mb, emptied.rss_mb, after.rss_mb),
        format!("warm + {KEPT_MB} MB"),
        after.rss_mb <= before.rss_mb + KEPT_MB,
    );
    let back = |table: &mut Table, what: &str, figure: fn(&Use) -> usize| {
        let (before, after) = (figure(before), figure(after));
        table.row(
            &format!("{what} before and after, empty"),
            format!("{before}, {after}"),
            format!("{before} + {SLACK}"),
            after <= before + SLACK,
        );
    };
    back(table, "open descriptors", |seen| seen.descriptors);
    back(table, "tasks of the runtime", |seen| seen.tasks);
    let minutes = lowest_of_each_minute(uses);
    let settled: Vec<_> = minutes.iter().filter(|(minute, _)| *minute >= size.churn.as_secs_f64() / 180.0).collect();
    // In fewer minutes, what a first use leaves behind is most of it.
    if settled.len() > 3 {
        let slope = slope(&settled.iter().map(|(minute, seen)| (*minute, seen.live_mb)).collect::<Vec<_>>());
        table.row(
            "slope of the memory in use, lowest of each minute, in the last two thirds of the churn",
            format!("{slope:.2} MB a minute"),
            format!("{SLOPE} MB a minute"),
            slope <= SLOPE,
        );
    }
    let by_minute: Vec<_> = minutes
        .iter()
        .map(|(minute, seen)| format!("{minute:.1} min {:.1} MB ({:.1})", seen.live_mb, seen.rss_mb))
        .collect();
    table.note(format!("memory in use (and resident) during the churn: {}", by_minute.join(", ")));
}

/// What waits for slow readers comes and goes in bursts of megabytes; what stays is there at the lowest point as well. A minute that
/// has only begun has no lowest point yet.
fn lowest_of_each_minute(uses: &[(f64, Use)]) -> Vec<(f64, Use)> {
    let of_a_minute = uses.chunk_by(|(before, _), (after, _)| before.floor() == after.floor());
    let whole = of_a_minute.filter(|uses| uses[uses.len() - 1].0 - uses[0].0 > 0.5);
    whole.filter_map(|uses| uses.iter().copied().min_by(|a, b| a.1.live_mb.total_cmp(&b.1.live_mb))).collect()
}

/// Of the line that fits best.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    above / below
}
