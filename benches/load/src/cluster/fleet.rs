//! Nodes and those who hold sockets to them, a load process for each node.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hold::{Hand, now};
use crate::interrupt;
use crate::measure::{BROADCAST, Times, filler};
use crate::nodes::user;
use crate::server::{Server, every_core};

/// Nodes that know each other, or one that is alone.
pub(super) struct Fleet {
    pub(super) nodes: Vec<Server>,
    pub(super) hands: Vec<Hand>,
    /// May push and list, on any node.
    pub(super) admin: String,
    /// Open to each node.
    pub(super) clients: usize,
    /// Seconds of processor a second while nothing is done: heartbeats, and what nodes tell each other.
    pub(super) idle: f64,
    first_user: usize,
    /// Users of one node: the next one's begin so many later.
    users: usize,
}

impl Fleet {
    /// Of these nodes; the users of all their clients begin at `first_user`, and those of each node are at most `users`.
    pub(super) fn new(nodes: Vec<Server>, first_user: usize, users: usize) -> io::Result<Fleet> {
        let start = |number: usize| Hand::start(first_user / users + number, first_user + number * users);
        let hands = (0..nodes.len()).map(start).collect::<io::Result<_>>()?;
        let admin = nodes[0].login("admin");
        Ok(Fleet { nodes, hands, admin, clients: 0, idle: 0.0, first_user, users })
    }

    /// Clients of all nodes.
    pub(super) fn all(&self) -> usize {
        self.clients * self.nodes.len()
    }

    /// Opens clients of every node, side by side, until each has so many; those that are really open, and µs of processor for each
    /// that came.
    pub(super) fn open(&mut self, clients: usize) -> io::Result<(usize, f64)> {
        let (before, came) = (self.cpu(), (clients - self.clients) * self.nodes.len());
        for (node, hand) in self.nodes.iter().zip(&mut self.hands) {
            hand.open(node.address, clients)?;
        }
        let answers = self.answers()?;
        self.clients = clients;
        let spent = (self.cpu() - before).as_secs_f64() * 1e6;
        let open = self.all() - came + answers.iter().map(|answer| answer[0] as usize).sum::<usize>();
        Ok((open, spent / came as f64))
    }

    /// Looks on for so long, to know what idleness costs.
    pub(super) fn rest(&mut self, time: Duration) -> io::Result<()> {
        let (before, begun) = (self.cpu(), Instant::now());
        interrupt::sleep(time)?;
        self.idle = (self.cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// From now on each node runs wherever there is room: what is measured in time is not that of ten nodes on one core.
    pub(super) fn spread_out(&self) -> io::Result<()> {
        let cores = every_core()?;
        self.nodes.iter().try_for_each(|node| node.process.run_on(&cores))
    }

    /// Processor time of all nodes.
    pub(super) fn cpu(&self) -> Duration {
        self.nodes.iter().map(|node| node.process.cpu()).sum()
    }

    /// Sends one message to everybody, so many times; µs of processor for each delivery, without what idleness costs.
    pub(super) fn broadcast(&mut self, times: usize) -> io::Result<f64> {
        let push = json!({"target": {"everyone": true}, "event": "load", "data": filler(BROADCAST)});
        let (before, begun) = (self.cpu(), Instant::now());
        for _ in 0..times {
            interrupt::check()?;
            self.tell_all("listen")?;
            self.answers()?;
            let answer = self.nodes[0].call("POST", "/push", &self.admin, Some(&push));
            self.tell_all(&format!("heard {}", self.clients))?;
            let heard: u64 = self.answers()?.iter().map(|answer| answer[0]).sum();
            if heard < self.all() as u64 {
                return Err(io::Error::other(format!("{heard} of {} heard a broadcast: {answer}", self.all())));
            }
        }
        let idle = self.idle * begun.elapsed().as_secs_f64();
        let spent = (self.cpu() - before).as_secs_f64() - idle;
        Ok(spent * 1e6 / (times * self.all()) as f64)
    }

    /// Pushes to one user after the other, by another node than the user's; ms from the call to the frame.
    pub(super) fn push_elsewhere(&mut self, times: usize) -> io::Result<Times> {
        let mut taken = Vec::new();
        for number in 0..times {
            let (asked, at) = (number % self.nodes.len(), (number + 1 + number / self.nodes.len()) % self.nodes.len());
            let at = if at == asked { (at + 1) % self.nodes.len() } else { at };
            // Somebody else each time.
            let place = number * 7_919 % self.clients;
            self.hands[at].ask("listen")?;
            let id = user(self.first_user + at * self.users + place);
            let push = json!({"target": {"users": [id]}, "event": "load", "data": {}});
            let begun = now();
            let answer = self.nodes[asked].call("POST", "/push", &self.admin, Some(&push));
            let heard = self.hands[at].ask("heard 1")?;
            if answer["delivered"] != 1 || answer["complete"] != true || heard[0] != 1 {
                return Err(io::Error::other(format!("a push to {id} was heard {} times: {answer}", heard[0])));
            }
            taken.push(heard[1].saturating_sub(begun) as f64 / 1e6);
        }
        Ok(Times::of(taken))
    }

    /// Clients of the first node that close and come back, so many; µs of processor for each on that node, and on all others.
    pub(super) fn again(&mut self, count: usize) -> io::Result<(f64, f64)> {
        let (own, all, begun) = (self.nodes[0].process.cpu(), self.cpu(), Instant::now());
        let open = self.hands[0].ask(&format!("again {} {count}", self.nodes[0].address))?;
        // What is told of it is on its way.
        interrupt::sleep(Duration::from_millis(300))?;
        if open[0] < count as u64 {
            return Err(io::Error::other(format!("{} of {count} came back", open[0])));
        }
        let idle = self.idle * begun.elapsed().as_secs_f64();
        let share = idle / self.nodes.len() as f64;
        let (own, all) = (self.nodes[0].process.cpu() - own, self.cpu() - all);
        let own = own.as_secs_f64() - share;
        Ok((own * 1e6 / count as f64, (all.as_secs_f64() - idle - own) * 1e6 / count as f64))
    }

    /// So many of each node close and come back.
    pub(super) fn all_again(&mut self, count: usize) -> io::Result<()> {
        for (node, hand) in self.nodes.iter().zip(&mut self.hands) {
            hand.tell(&format!("again {} {count}", node.address))?;
        }
        self.answers().map(|_| ())
    }

    /// ms of each of so many calls of a list, by one node after the other.
    pub(super) fn pages(&mut self, path: &str, times: usize) -> io::Result<Times> {
        let mut taken = Vec::new();
        for number in 0..times {
            interrupt::check()?;
            let begun = Instant::now();
            let answer = self.nodes[number % self.nodes.len()].call("GET", path, &self.admin, None);
            let rows = answer["list"].as_array().map_or(0, Vec::len);
            if rows != 20 || answer["complete"] != true {
                return Err(io::Error::other(format!("{rows} rows of {path}, complete: {}", answer["complete"])));
            }
            taken.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(Times::of(taken))
    }

    /// What the nodes say together: how many clients and users there are.
    pub(super) fn counts(&self) -> Value {
        self.nodes[0].call("GET", "/online/counts", &self.admin, None)
    }

    /// Messages that Redis brought to the nodes so far.
    pub(super) fn received(&self) -> f64 {
        let figures = self.nodes.iter().flat_map(Server::figures);
        figures.filter(|(name, _)| name.starts_with("rollcall_cluster_received")).map(|(_, count)| count).sum()
    }

    fn tell_all(&mut self, order: &str) -> io::Result<()> {
        self.hands.iter_mut().try_for_each(|hand| hand.tell(order))
    }

    fn answers(&mut self) -> io::Result<Vec<Vec<u64>>> {
        self.hands.iter_mut().map(Hand::answer).collect()
    }
}
