//! What is measured, of several nodes and of one that is alone, in turn.

use std::io;
use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::{Size, WARM};
use crate::bytes::Bytes;
use crate::interrupt;
use crate::machine::kernel_memory;
use crate::measure::spread;
use crate::nodes::{Ground, Said};
use crate::report::Report;

/// Lists of twenty: what they are called, and how they are asked for.
const PAGES: [(&str, &str); 5] = [
    ("page of 20 of the online list, newest first, p50", "sort=-connectedAt&page=2"),
    ("page of 20, part of a name, by name, p50", "username=load&sort=username&page=2"),
    ("page of 20, a word anywhere, last seen first, p50", "q=linux&sort=-lastSeenAt"),
    ("page of 20, of one node, by address, p50", "node=n2&sort=ip"),
    ("page of 20 behind a thousand others, by user, p50", FAR),
];
/// Of the rows 1,181 to 1,200.
const FAR: &str = "sort=userId&page=60";

/// Clients of a node below which their memory is no goal.
const FEW: usize = 2_000;
/// Broadcasts of a round.
const BROADCASTS: usize = 2;

/// Nodes that are one, a node that is alone, and what they stand on. They end in this order.
pub(super) struct Sides {
    pub(super) many: Fleet,
    pub(super) alone: Fleet,
    pub(super) ground: Ground,
    /// Of Redis while nothing is done.
    pub(super) idle: Idle,
}

/// Each second.
#[derive(Default)]
pub(super) struct Idle {
    /// µs of processor.
    cpu: f64,
    /// Messages that it brings to nodes.
    received: f64,
}

/// Where Redis stood.
struct Mark {
    said: Said,
    received: f64,
    at: Instant,
}

impl Sides {
    /// Everybody comes: what a first handshake costs, and what is kept of those who are silent.
    pub(super) fn come(&mut self, size: &Size, clients: usize, report: &mut Report) -> io::Result<()> {
        let Sides { many, alone, ground, .. } = self;
        let before = [resident(many), resident(alone), vec![ground.redis.process.rss(), kernel_memory()]];
        let parts = [Bytes::of(&many.nodes[0]), Bytes::of(&alone.nodes[0])];
        let begun = Instant::now();
        let (open, first) = many.open(clients)?;
        let took = begun.elapsed().as_secs_f64();
        let (open_alone, first_alone) = alone.open(clients)?;
        let counts = many.counts();
        report.note(format!(
            "{open} sockets were open on {} nodes after {took:.0} s, and {open_alone} on the one that is alone; the nodes count {} clients of {} users",
            many.nodes.len(), counts["clients"], counts["users"]
        ));
        if counts["clients"] != many.all() || open_alone != clients {
            return Err(io::Error::other(format!("not everybody came: {counts}")));
        }
        report.note(format!(
            "a first handshake of a user, whose rows are written, costs the nodes {first:.0} µs of processor, the one that is alone {first_alone:.0} µs"
        ));
        let kernel = kernel_memory();
        interrupt::sleep(size.settle)?;
        // What has expired is dropped when the next one comes, and the allocator gives pages back after ten seconds.
        for fleet in [&mut *many, &mut *alone] {
            fleet.all_again(WARM)?;
        }
        interrupt::sleep(size.settle.min(Duration::from_secs(12)))?;
        let grown = |after: Vec<f64>, before: &[f64], clients: usize| -> Vec<f64> {
            let each = |(after, before): (f64, &f64)| (after - before) / (clients - WARM) as f64 / 1024.0;
            after.into_iter().zip(before).map(each).collect()
        };
        let each = grown(resident(many), &before[0], clients);
        // Among few it says nothing: a heap grows in steps.
        if clients >= FEW {
            report.goal("memory of a client, of each node", 1.8, "KB", each);
        } else {
            report.note(format!("a client of each node has {:.2} KB, of so few", spread(&each).1));
        }
        let one = grown(resident(alone), &before[1], clients)[0];
        for (name, node, before) in
            [("one of the nodes", &many.nodes[0], &parts[0]), ("the one that is alone", &alone.nodes[0], &parts[1])]
        {
            let bytes = Bytes::of(node).since(before, (clients - WARM) as f64);
            bytes.into_iter().for_each(|line| report.note(format!("{name}, {line}")));
        }
        let redis = (ground.redis.process.rss() - before[2][0]) / many.all() as f64 / 1024.0;
        let kernel = (kernel - before[2][1]) / (many.all() + clients) as f64 / 1024.0;
        report.note(format!(
            "a client of the one that is alone has {one:.2} KB; for each of the others' Redis has {redis:.2} KB; the kernel keeps {kernel:.1} KB for both ends of a connection, apart from that"
        ));
        Ok(())
    }

    /// What idleness costs: heartbeats, and what nodes tell each other.
    pub(super) fn rest(&mut self, time: Duration, report: &mut Report) -> io::Result<()> {
        let mark = self.mark()?;
        self.many.rest(time)?;
        let (cpu, received, calls) = self.since(&mark, time.as_secs_f64())?;
        self.idle = Idle { cpu, received };
        self.alone.rest(time)?;
        report.note(format!(
            "idle, each node uses {:.1} % of a core, the one that is alone {:.1} %, Redis {:.2} %; each second it is asked {calls} and brings {received:.0} messages to nodes",
            self.many.idle * 100.0 / self.many.nodes.len() as f64,
            self.alone.idle * 100.0,
            cpu / 1e4
        ));
        Ok(())
    }

    pub(super) fn broadcasts(&mut self, rounds: usize, report: &mut Report) -> io::Result<()> {
        let (mut ratios, mut many, mut alone, mut redis) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mark = self.mark()?;
            many.push(self.many.broadcast(BROADCASTS)?);
            redis.push(self.since(&mark, BROADCASTS as f64)?.0);
            // As many deliveries, so that both take as long.
            alone.push(self.alone.broadcast(BROADCASTS * self.many.nodes.len())?);
            ratios.push(many[many.len() - 1] / alone[alone.len() - 1]);
        }
        report.goal("broadcast, processor for a delivery, all nodes ÷ the one that is alone", 1.1, "×", ratios);
        report.note(format!(
            "a delivery of a broadcast costs {:.2} µs, {:.2} µs on the one that is alone; Redis uses {:.0} µs for a broadcast to {} clients",
            spread(&many).1, spread(&alone).1, spread(&redis).1, self.many.all()
        ));
        Ok(())
    }

    pub(super) fn pushes(&mut self, times: usize, report: &mut Report) -> io::Result<()> {
        self.many.push_elsewhere(times / 10)?;
        let mark = self.mark()?;
        let taken = self.many.push_elsewhere(times)?;
        let (cpu, received, calls) = self.since(&mark, times as f64)?;
        report.goal("push to a user of another node, REST in, frame out, p50", 3.0, "ms", vec![taken.quantile(0.5)]);
        report.note(format!(
            "of {times} such pushes: p90 {:.2} ms, p99 {:.2} ms; each costs Redis {cpu:.0} µs of processor ({calls}; idleness in it), and nodes read {received:.2} messages of it",
            taken.quantile(0.9), taken.quantile(0.99)
        ));
        Ok(())
    }

    pub(super) fn pages(&mut self, times: usize, report: &mut Report) -> io::Result<()> {
        for (name, asked) in PAGES {
            if asked == FAR && self.many.all() < 1_200 {
                continue;
            }
            let path = format!("/online/clients?pageSize=20&{asked}");
            self.many.pages(&path, times / 10)?;
            let taken = self.many.pages(&path, times)?;
            report.goal(name, 30.0, "ms", vec![taken.quantile(0.5)]);
            let alone = self.alone.pages(&path.replace("n2", "alone"), times)?;
            report.note(format!(
                "{name}: p90 {:.1} ms, slowest {:.1} ms; of the one that is alone p50 {:.1} ms",
                taken.quantile(0.9),
                taken.quantile(1.0),
                alone.quantile(0.5)
            ));
        }
        Ok(())
    }

    /// Who leaves and comes back to the first node.
    pub(super) fn connects(&mut self, size: &Size, report: &mut Report) -> io::Result<()> {
        let (mut own, mut others, mut alone, mut redis) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut calls = String::new();
        for _ in 0..size.rounds {
            let mark = self.mark()?;
            let (here, there) = self.many.again(size.again)?;
            let (cpu, _, asked) = self.since(&mark, size.again as f64)?;
            own.push(here);
            others.push(there);
            redis.push(cpu);
            calls = asked;
            alone.push(self.alone.again(size.again)?.0);
        }
        let ratios: Vec<f64> = own.iter().zip(&alone).map(|(own, alone)| own / alone).collect();
        let (least, ratio, most) = spread(&ratios);
        report.note(format!(
            "one who leaves and comes back costs its node {:.0} µs of processor, the one that is alone {:.0} µs: {ratio:.2} × ({least:.2} to {most:.2}); all other nodes together {:.1} µs, Redis {:.1} µs ({calls}; idleness in it)",
            spread(&own).1, spread(&alone).1, spread(&others).1, spread(&redis).1
        ));
        Ok(())
    }

    pub(super) fn death(&mut self, size: &Size, report: &mut Report) -> io::Result<()> {
        let all = self.many.all();
        let death = self.many.kill(&format!("n{}", size.nodes))?;
        let slowest = death.right.iter().copied().fold(0.0, f64::max);
        report.goal("kill -9 of a node: the last of the others' lists is right after", size.dead, "s", vec![slowest]);
        report.note(format!(
            "of a killed node with {} of {all} clients {} were back on the others after {:.1} s ({} attempts were refused), and every node counted all of them after {:.1} s",
            all / size.nodes, death.came, death.back, death.refused, death.counted
        ));
        Ok(())
    }

    fn mark(&self) -> io::Result<Mark> {
        Ok(Mark { said: self.ground.redis.said()?, received: self.many.received(), at: Instant::now() })
    }

    /// Of Redis since, for each of so many times: µs of processor and messages to nodes, both without what idleness costs; and what it
    /// was asked.
    fn since(&self, mark: &Mark, times: f64) -> io::Result<(f64, f64, String)> {
        let (said, seconds) = (self.ground.redis.said()?, mark.at.elapsed().as_secs_f64());
        let cpu = (said.cpu - mark.said.cpu).as_secs_f64() * 1e6 - self.idle.cpu * seconds;
        let received = self.many.received() - mark.received - self.idle.received * seconds;
        Ok((cpu / times, received / times, said.calls_since(&mark.said, times)))
    }
}

fn resident(fleet: &Fleet) -> Vec<f64> {
    fleet.nodes.iter().map(|node| node.process.rss()).collect()
}
