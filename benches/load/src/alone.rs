//! What only ours can do: reaching one among many, the online list and its differences, rooms, those who come and go.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::measure::{Side, Times};
use crate::socket::{TEXT, masked};

impl Side {
    /// Pushes to the one who is alone behind the last token; ms from the call to the frame.
    pub(crate) fn push_to_one(&mut self, times: usize) -> io::Result<Times> {
        let user = self.members.last().map(|member| member.id.clone());
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

    /// ms of a sweep over everybody, from the call to its answer: the job's own figure is in whole milliseconds.
    pub(crate) fn sweep(&mut self) -> f64 {
        let begun = Instant::now();
        let run: Value = self.server.call("POST", "/jobs/sweep/run", &self.admin, None);
        if run["tookMs"].is_u64() { begun.elapsed().as_secs_f64() * 1e3 } else { f64::NAN }
    }

    /// Everybody joins one room; µs of processor for each.
    pub(crate) fn join(&mut self, room: &str) -> io::Result<f64> {
        let join = masked(TEXT, json!({"event": "join", "id": 1, "data": {"id": room}}).to_string().as_bytes());
        let ((), cost) = self.cost(|side| {
            let sockets = side.swarm.len();
            for place in 0..sockets {
                side.swarm.send(place, &join);
            }
            side.swarm.hear(sockets)?;
            Ok(((), sockets))
        })?;
        Ok(cost)
    }

    /// So many more sockets of the administrator watch the online list; they are the newest.
    pub(crate) fn watch(&mut self, viewers: usize) -> io::Result<()> {
        let first = self.swarm.len();
        self.swarm.open_as(self.server.address, viewers, &self.admin, false)?;
        for place in first..first + viewers {
            self.swarm.send(place, &masked(TEXT, br#"{"event":"online/subscribe","id":1}"#));
        }
        self.swarm.rest(Duration::from_millis(500))
    }

    /// So many close and come back; (µs of processor for one of them, frames the newest socket heard meanwhile). What all the
    /// others cost in that time, who are pinged, is taken off: it is no part of coming and going, and grows with their number.
    pub(crate) fn churn(&mut self, count: usize) -> io::Result<(f64, usize)> {
        let idle = self.idling()?;
        let newest = self.swarm.len() - 1;
        let (before, begun) = (self.swarm.texts(newest), Instant::now());
        let ((), cost) = self.cost(|side| {
            side.swarm.again(side.server.address, 0..count, &side.members)?;
            side.swarm.rest(Duration::from_millis(300))?;
            Ok(((), count))
        })?;
        let others = idle * begun.elapsed().as_secs_f64() / count as f64;
        Ok((cost - others, self.swarm.texts(newest) - before))
    }

    /// µs of processor in a second in which nobody comes, goes or says anything.
    fn idling(&mut self) -> io::Result<f64> {
        let time = Duration::from_millis(600);
        let ((), cost) = self.cost(|side| Ok((side.swarm.rest(time)?, 1)))?;
        Ok(cost / time.as_secs_f64())
    }

    /// All but the newest `stay` close at once; nobody of them is listed any more at the end.
    pub(crate) fn leave_at_once(&mut self, stay: usize) -> io::Result<Leaving> {
        let leaving = self.swarm.len() - stay;
        let before = self.swarm.texts(self.swarm.len() - 1);
        let (took_ms, each_us) = self.cost(|side| {
            let begun = Instant::now();
            side.swarm.leave(0..leaving);
            while side.server.call("GET", "/online/counts", &side.admin, None)["clients"].as_u64() != Some(stay as u64)
            {
                if begun.elapsed() > Duration::from_secs(30) {
                    return Err(io::Error::other("somebody is still listed"));
                }
                side.swarm.rest(Duration::from_millis(5))?;
            }
            Ok((begun.elapsed().as_secs_f64() * 1e3, leaving))
        })?;
        // The last difference is on its way.
        self.swarm.rest(Duration::from_millis(500))?;
        Ok(Leaving { each_us, took_ms, frames: self.swarm.texts(self.swarm.len() - 1) - before })
    }
}

/// What it took that many left at once.
pub(crate) struct Leaving {
    /// Processor for each.
    pub(crate) each_us: f64,
    /// Until nobody of them was listed.
    pub(crate) took_ms: f64,
    /// That told a viewer of it.
    pub(crate) frames: usize,
}
