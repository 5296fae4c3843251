//! What is measured, of either server in the same way. What only ours can do is in `alone`.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machine::kernel_memory;
use crate::server::{Member, Server};
use crate::socket::{TEXT, masked};
use crate::swarm::Swarm;

/// Bytes of a broadcast's frame, its header included; the limit's is as long.
pub(crate) const BROADCAST: usize = 135;
/// Sockets that ping at full speed.
const PINGING: usize = 64;

/// A server and the sockets that are open to it.
pub(crate) struct Side {
    pub(crate) server: Server,
    pub(crate) swarm: Swarm,
    /// One for each hundred sockets; nobody for the limit.
    pub(crate) members: Vec<Member>,
    /// May push and list; empty for the limit, which knows nobody.
    pub(crate) admin: String,
    /// Bytes of the kernel for all sockets opened so far, both ends.
    pub(crate) kernel: f64,
    ping: Vec<u8>,
}

/// Of many times, sorted.
#[derive(Default)]
pub(crate) struct Times(Vec<f64>);

impl Side {
    /// `sockets` at most, and one more user.
    pub(crate) fn rollcall(server: Server, sockets: usize) -> io::Result<Side> {
        let admin = server.login("admin");
        let members = server.members(&admin, sockets + 1);
        Ok(Side { admin, members, ..Side::limit(server)? })
    }

    pub(crate) fn limit(server: Server) -> io::Result<Side> {
        let ping = masked(TEXT, br#"{"event":"ping","id":1}"#);
        Ok(Side { server, swarm: Swarm::new()?, members: Vec::new(), admin: String::new(), kernel: 0.0, ping })
    }

    /// Processor time of the server for some work of ours, in microseconds for each of `count`.
    pub(crate) fn cost<T>(&mut self, work: impl FnOnce(&mut Side) -> io::Result<(T, usize)>) -> io::Result<(T, f64)> {
        let before = self.server.process.cpu();
        let (result, count) = work(self)?;
        let spent = self.server.process.cpu() - before;
        Ok((result, spent.as_secs_f64() * 1e6 / count.max(1) as f64))
    }

    /// Opens sockets until there are so many; µs of processor for each.
    pub(crate) fn open(&mut self, count: usize) -> io::Result<f64> {
        let kernel = kernel_memory();
        let cost = self.cost(|side| {
            let before = side.swarm.len();
            side.swarm.open(side.server.address, count, &side.members)?;
            Ok(((), count - before))
        });
        // The greetings.
        self.swarm.rest(Duration::from_millis(200))?;
        self.kernel += kernel_memory() - kernel;
        Ok(cost?.1)
    }

    /// Pings as fast as replies come; (µs of processor for each, pings a second).
    pub(crate) fn pings(&mut self, slice: Duration) -> io::Result<(f64, f64)> {
        let (rate, cost) = self.cost(|side| {
            let (pinging, mut replies, begun) = (PINGING.min(side.swarm.len()), 0_usize, Instant::now());
            (0..pinging).for_each(|place| side.swarm.send(place, &side.ping));
            let mut heard = Vec::new();
            while begun.elapsed() < slice {
                side.swarm.poll(Some(Duration::from_millis(100)), |place, _| heard.push(place))?;
                replies += heard.len();
                heard.drain(..).for_each(|place| side.swarm.send(place, &side.ping));
            }
            let rate = replies as f64 / begun.elapsed().as_secs_f64();
            replies += side.swarm.hear(pinging)?;
            Ok((rate, replies))
        })?;
        Ok((cost, rate))
    }

    /// Pings at a fixed rate; round trips in µs, counted from when each was due, so that waiting is not forgotten.
    pub(crate) fn round_trips(&mut self, rate: f64, slice: Duration) -> io::Result<Times> {
        let (sockets, begun) = (self.swarm.len(), Instant::now());
        let (mut due_at, mut times, mut next) = (vec![None; sockets], Vec::new(), 0_usize);
        let total = (rate * slice.as_secs_f64()) as usize;
        let deadline = slice + Duration::from_secs(5);
        while times.len() < total && begun.elapsed() < deadline {
            let due = ((begun.elapsed().as_secs_f64() * rate) as usize).min(total);
            while next < due && due_at[next % sockets].is_none() {
                due_at[next % sockets] = Some(Duration::from_secs_f64(next as f64 / rate));
                self.swarm.send(next % sockets, &self.ping);
                next += 1;
            }
            self.swarm.poll(Some(Duration::ZERO), |place, _| {
                times.extend(
                    due_at[place].take().map(|at: Duration| (begun.elapsed().saturating_sub(at)).as_secs_f64() * 1e6),
                );
            })?;
        }
        Ok(Times::of(times))
    }

    /// Sends one message to everybody; (µs of processor for each delivery, ms until the last one has it).
    pub(crate) fn broadcast(&mut self) -> io::Result<(f64, f64)> {
        if !self.admin.is_empty() {
            return self.push(&json!({"everyone": true}), BROADCAST, self.swarm.len());
        }
        let (took, cost) = self.cost(|side| {
            let (sockets, begun) = (side.swarm.len(), Instant::now());
            side.swarm.send(0, &masked(TEXT, b"F"));
            all_of(sockets, side.swarm.hear(sockets)?)?;
            Ok((begun.elapsed().as_secs_f64() * 1e3, sockets))
        })?;
        Ok((cost, took))
    }

    /// Pushes a message of so many bytes, its frame's header included, which so many hear; as [`Side::broadcast`]. The sockets
    /// are listened to while it is sent, as those of the limit: waking us is part of the cost.
    pub(crate) fn push(&mut self, target: &Value, bytes: usize, receivers: usize) -> io::Result<(f64, f64)> {
        let push = json!({"target": target, "event": "load", "data": filler(bytes)});
        let (took, cost) = self.cost(|side| {
            let Side { server, swarm, admin, .. } = side;
            let begun = Instant::now();
            let heard = std::thread::scope(|scope| {
                scope.spawn(|| server.call("POST", "/push", admin, Some(&push)));
                swarm.hear(receivers)
            })?;
            all_of(receivers, heard)?;
            Ok((begun.elapsed().as_secs_f64() * 1e3, receivers))
        })?;
        Ok((cost, took))
    }

    /// System calls of the limit so far.
    pub(crate) fn system_calls(&mut self) -> io::Result<f64> {
        self.swarm.send(0, &masked(TEXT, b"S"));
        let (mut calls, begun) = (f64::NAN, Instant::now());
        while calls.is_nan() && begun.elapsed() < Duration::from_secs(5) {
            self.swarm.poll(Some(Duration::from_millis(100)), |_, text| {
                calls = String::from_utf8_lossy(text).parse().unwrap_or(f64::NAN);
            })?;
        }
        Ok(calls)
    }
}

/// Data of a push whose frame, its header included, has so many bytes.
pub(crate) fn filler(bytes: usize) -> String {
    // What stands around it, as the server writes it today.
    let around = r#"{"event":"load","data":"","code":0,"timestamp":1715670733}"#.len() + 4;
    "x".repeat(bytes - around)
}

fn all_of(receivers: usize, heard: usize) -> io::Result<()> {
    let missing = || io::Error::other(format!("{heard} of {receivers} heard a message"));
    if heard < receivers { Err(missing()) } else { Ok(()) }
}

/// The least, the median and the most.
pub(crate) fn spread(measured: &[f64]) -> (f64, f64, f64) {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted[..] {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        _ => (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]),
    }
}

impl Times {
    /// With those of another measurement.
    pub(crate) fn add(&mut self, other: Times) {
        self.0.extend(other.0);
        self.0.sort_by(f64::total_cmp);
    }

    pub(crate) fn of(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        Times(times)
    }

    /// The value below which this part of them lies.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((part * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
    }
}
