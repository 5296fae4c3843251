//! What is measured, of either server in the same way.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::Server;
use crate::swarm::{Swarm, masked};

/// Bytes of a broadcast's frame, its header included; the limit's is as long.
const BROADCAST: usize = 135;
/// Sockets that ping at full speed.
const PINGING: usize = 64;

/// A server and the sockets that are open to it.
pub(crate) struct Side {
    pub(crate) server: Server,
    pub(crate) swarm: Swarm,
    pub(crate) tokens: Vec<String>,
    /// May push and list; empty for the limit, which knows nobody.
    admin: String,
    ping: Vec<u8>,
    filler: String,
}

/// Of many times, sorted.
pub(crate) struct Times(Vec<f64>);

impl Side {
    pub(crate) fn rollcall(server: Server, sockets: usize) -> io::Result<Side> {
        let tokens = server.tokens(sockets + 1);
        let admin = server.login("admin");
        let ping = masked(0x81, br#"{"event":"ping","id":1}"#);
        // What stands around the filler, as the server writes it today.
        let around = r#"{"event":"load","data":"","code":0,"timestamp":1715670733}"#.len() + 4;
        let filler = "x".repeat(BROADCAST - around);
        Ok(Side { server, swarm: Swarm::new()?, tokens, admin, ping, filler })
    }

    pub(crate) fn limit(server: Server) -> io::Result<Side> {
        let ping = masked(0x81, br#"{"event":"ping","id":1}"#);
        let (tokens, admin, filler) = (Vec::new(), String::new(), String::new());
        Ok(Side { server, swarm: Swarm::new()?, tokens, admin, ping, filler })
    }

    /// Processor time of the server for some work of ours, in microseconds for each of `count`.
    fn cost<T>(&mut self, work: impl FnOnce(&mut Side) -> io::Result<(T, usize)>) -> io::Result<(T, f64)> {
        let before = self.server.cpu();
        let (result, count) = work(self)?;
        let spent = self.server.cpu() - before;
        Ok((result, spent.as_secs_f64() * 1e6 / count.max(1) as f64))
    }

    /// Opens sockets until there are so many; µs of processor for each.
    pub(crate) fn open(&mut self, count: usize) -> io::Result<f64> {
        let cost = self.cost(|side| {
            let before = side.swarm.len();
            side.swarm.open(side.server.address, count, &side.tokens)?;
            Ok(((), count - before))
        });
        // The greetings.
        self.swarm.rest(Duration::from_millis(200))?;
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
        let (took, cost) = self.cost(|side| {
            let Side { server, swarm, admin, filler, .. } = side;
            let (sockets, begun) = (swarm.len(), Instant::now());
            // Of either server the sockets are listened to while it sends: waking us is part of the cost.
            let heard = if admin.is_empty() {
                swarm.send(0, &masked(0x81, b"F"));
                swarm.hear(sockets)?
            } else {
                let push = json!({"target": {"everyone": true}, "event": "load", "data": filler});
                std::thread::scope(|scope| {
                    scope.spawn(|| server.call("POST", "/push", admin, Some(&push)));
                    swarm.hear(sockets)
                })?
            };
            if heard < sockets {
                return Err(io::Error::other(format!("{heard} of {sockets} heard a broadcast")));
            }
            Ok((begun.elapsed().as_secs_f64() * 1e3, sockets))
        })?;
        Ok((cost, took))
    }

    /// Pushes to the one who is alone behind the last token; ms from the call to the frame.
    pub(crate) fn push_to_one(&mut self, times: usize) -> io::Result<Times> {
        let token = self.tokens.last().cloned().unwrap_or_default();
        let user = self.server.call("GET", "/auth/me", &token, None)["user"]["id"].clone();
        let push = json!({"target": {"users": [user]}, "event": "load", "data": {}});
        let mut taken = Vec::new();
        for _ in 0..times {
            let begun = Instant::now();
            self.server.call("POST", "/push", &self.admin, Some(&push));
            self.swarm.hear(1)?;
            taken.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(Times::of(taken))
    }

    /// Pages of twenty of the online list, filtered and sorted; ms each.
    pub(crate) fn pages(&mut self, times: usize) -> io::Result<Times> {
        let path = "/online/clients?pageSize=20&page=3&username=load&sort=-connectedAt";
        let page = |side: &mut Side| {
            let begun = Instant::now();
            let answer = side.server.call("GET", path, &side.admin, None);
            let filled = answer["list"].as_array().is_some_and(|list| !list.is_empty()) || side.swarm.len() < 60;
            filled
                .then(|| begun.elapsed().as_secs_f64() * 1e3)
                .ok_or_else(|| io::Error::other(format!("no page: {answer}")))
        };
        Ok(Times::of((0..times).map(|_| page(self)).collect::<io::Result<_>>()?))
    }

    /// ms of a sweep over everybody, as the job says itself.
    pub(crate) fn sweep(&mut self) -> f64 {
        let run: Value = self.server.call("POST", "/jobs/sweep/run", &self.admin, None);
        run["tookMs"].as_f64().unwrap_or(f64::NAN)
    }

    /// Closes so many and opens them again; µs of processor for one of them.
    pub(crate) fn churn(&mut self, count: usize) -> io::Result<f64> {
        let sockets = self.swarm.len();
        let ((), cost) = self.cost(|side| {
            side.swarm.close(sockets - count);
            side.swarm.open(side.server.address, sockets, &side.tokens)?;
            side.swarm.rest(Duration::from_millis(300))?;
            Ok(((), count))
        })?;
        Ok(cost)
    }

    /// Closes all but one at once; (µs of processor for each, ms until nobody is listed any more).
    pub(crate) fn leave_at_once(&mut self) -> io::Result<(f64, f64)> {
        let (took, cost) = self.cost(|side| {
            let (leaving, begun) = (side.swarm.len() - 1, Instant::now());
            side.swarm.close(1);
            while side.server.call("GET", "/online/counts", &side.admin, None)["clients"].as_u64() != Some(1) {
                if begun.elapsed() > Duration::from_secs(30) {
                    return Err(io::Error::other("somebody is still listed"));
                }
                side.swarm.rest(Duration::from_millis(5))?;
            }
            Ok((begun.elapsed().as_secs_f64() * 1e3, leaving))
        })?;
        Ok((cost, took))
    }

    /// System calls of the limit so far.
    pub(crate) fn system_calls(&mut self) -> io::Result<f64> {
        self.swarm.send(0, &masked(0x81, b"S"));
        let (mut calls, begun) = (f64::NAN, Instant::now());
        while calls.is_nan() && begun.elapsed() < Duration::from_secs(5) {
            self.swarm.poll(Some(Duration::from_millis(100)), |_, text| {
                calls = String::from_utf8_lossy(text).parse().unwrap_or(f64::NAN);
            })?;
        }
        Ok(calls)
    }
}

impl Times {
    fn of(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        Times(times)
    }

    /// The value below which this part of them lies.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((part * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
    }
}
