//! Those who do not read: what each costs, and whether anybody else notices.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::measure::{Side, spread};

/// Who do not read.
const DEAF: usize = 50;
/// Bytes of a message of the storm: the kernel takes up to 4 MB for a socket before our queue begins to fill.
const STORM: usize = 16_384;
/// Users whose sockets read all of it.
const READERS: usize = 4;
/// Messages after which all of them must be closed.
const ENOUGH: usize = 1_000;

/// What was seen.
pub(crate) struct Slow {
    /// Processor of a delivery while others do not read, ÷ without them; each round.
    pub(crate) beside: Vec<f64>,
    /// Memory of the server for each of them when most was waiting; a message is kept once, however many wait for it.
    pub(crate) each_kb: f64,
    /// Messages to each until all were closed as slow.
    pub(crate) messages: usize,
    /// Resident memory after very many pushes to one of them, ÷ before.
    pub(crate) after: f64,
    /// The most meanwhile.
    pub(crate) peak_mb: f64,
}

impl Side {
    /// A storm of messages past many who do not read, then so many pushes to one of them.
    pub(crate) fn slow_readers(&mut self, pushes: usize) -> io::Result<Slow> {
        let (sockets, closed) = (self.swarm.len(), self.closed_as_slow());
        let deaf = self.server.member(&self.admin, "deaf");
        let readers = &self.members[..READERS.min(self.members.len() - 1)];
        let heard = (readers.len() * crate::server::PER_USER).min(sockets);
        let mut users: Vec<String> = readers.iter().map(|member| member.id.clone()).collect();
        let (mut without, target) = (Vec::new(), json!({"users": users}));
        // The first ones make the kernel's buffers grow.
        for _ in 0..30 {
            without.push(self.push(&target, STORM, heard)?.0);
        }
        let without = spread(&without[15..]).1;
        users.push(deaf.id.clone());
        self.swarm.open_as(self.server.address, DEAF, &deaf.token, true)?;
        let before = self.server.process.rss();
        let (mut beside, mut peak, mut messages) = (Vec::new(), before, 0);
        while self.closed_as_slow() < closed + DEAF as f64 {
            if messages == ENOUGH {
                return Err(io::Error::other("those who do not read were not closed"));
            }
            for _ in 0..5 {
                beside.push(self.push(&json!({"users": users}), STORM, heard)?.0);
            }
            messages += 5;
            peak = self.server.process.rss().max(peak);
        }
        let beside = beside.chunks(15).map(|round| spread(round).1 / without).collect();
        self.swarm.close(sockets);
        let (after, most) = self.pushes_to_one(&deaf.id, &deaf.token, pushes)?;
        self.swarm.close(sockets);
        Ok(Slow { beside, each_kb: (peak - before) / DEAF as f64 / 1024.0, messages, after, peak_mb: most / 1048576.0 })
    }

    /// (Memory after ÷ before, the most meanwhile).
    fn pushes_to_one(&mut self, user: &str, token: &str, pushes: usize) -> io::Result<(f64, f64)> {
        let closed = self.closed_as_slow();
        let push = json!({"target": {"users": [user]}, "event": "load", "data": "x".repeat(STORM)});
        // Warm: what a first request leaves behind is not the reader's.
        (0..50).for_each(|_| _ = self.server.call("POST", "/push", &self.admin, Some(&push)));
        let before = self.server.process.rss();
        self.swarm.open_as(self.server.address, 1, token, true)?;
        let mut most = before;
        for number in 0..pushes {
            let answer: Value = self.server.call("POST", "/push", &self.admin, Some(&push));
            if answer.is_null() {
                return Err(io::Error::other("a push was not answered"));
            }
            if number % 100 == 0 {
                most = self.server.process.rss().max(most);
                self.swarm.rest(Duration::from_millis(1))?;
            }
        }
        // The last words get a second to leave before the socket counts as ended.
        let begun = Instant::now();
        while self.closed_as_slow() < closed + 1.0 {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other("the one who does not read was not closed with 4008"));
            }
            self.swarm.rest(Duration::from_millis(50))?;
        }
        // The allocator gives pages back after ten seconds.
        let begun = Instant::now();
        while self.server.process.rss() > before && begun.elapsed() < Duration::from_secs(15) && pushes > 10_000 {
            self.swarm.rest(Duration::from_millis(200))?;
        }
        Ok((self.server.process.rss() / before, most))
    }

    fn closed_as_slow(&self) -> f64 {
        self.server.figures().get(r#"rollcall_disconnects_total{cause="slow"}"#).copied().unwrap_or_default()
    }
}
