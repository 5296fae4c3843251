//! A load process: it holds many sockets and does what it is told, line by line, because one process may not have as many open
//! files as several nodes have clients. [`Hand`] is how the measurement tells it.

mod hand;

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, clock_gettime};

pub(crate) use hand::Hand;

use crate::nodes::Signer;
use crate::socket::sources_of;
use crate::swarm::Swarm;

/// Longest wait for anything that was told.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sockets that come back at once: they find fewer nodes than they left.
const WINDOW: usize = 64;

/// Nanoseconds of a clock that all processes of a machine share.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

struct Hold {
    swarm: Swarm,
    signer: Signer,
    /// The user of place 0; place 1 is the next one.
    first_user: usize,
    /// Pushes heard since `listen`, and when the last one was.
    heard: (usize, u64),
}

/// Holds sockets until the standard input ends. `number` is none of another load process, `first_user` that of its first socket.
pub(crate) fn hold(number: &str, first_user: &str) -> io::Result<()> {
    sources_of(number.parse().map_err(io::Error::other)?);
    let first_user = first_user.parse().map_err(io::Error::other)?;
    let mut hold = Hold { swarm: Swarm::new()?, signer: Signer::new(), first_user, heard: (0, 0) };
    let mut orders = io::stdin().lock();
    let mut line = String::new();
    loop {
        hold.until_told(&orders)?;
        line.clear();
        if orders.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = hold.obey(&words).unwrap_or_else(|error| format!("failed: {error}"));
        println!("{answer}");
        io::stdout().flush()?;
    }
}

impl Hold {
    /// Answers pings and counts pushes until there is an order.
    fn until_told(&mut self, orders: &io::StdinLock<'_>) -> io::Result<()> {
        loop {
            let sockets = self.swarm.epoll();
            let mut ready = [PollFd::new(orders, PollFlags::IN), PollFd::new(&sockets, PollFlags::IN)];
            poll(&mut ready, None)?;
            let [told, heard] = ready.map(|one| !one.revents().is_empty());
            if heard {
                self.hear(Duration::ZERO)?;
            }
            if told {
                return Ok(());
            }
        }
    }

    fn hear(&mut self, wait: Duration) -> io::Result<()> {
        let mut count = 0;
        self.swarm.poll(Some(wait), |_, text| count += usize::from(text.starts_with(br#"{"event":"load""#)))?;
        if count > 0 {
            self.heard = (self.heard.0 + count, now());
        }
        Ok(())
    }

    /// What was told; the numbers that answer it.
    fn obey(&mut self, words: &[&str]) -> io::Result<String> {
        let number = |word: &str| word.parse::<usize>().map_err(io::Error::other);
        match words {
            // So many are open at this address.
            ["open", address, count] => {
                let (first, count) = (self.swarm.len(), number(count)?);
                self.swarm.places(count);
                self.come(&[parsed(address)?], first, count)
            }
            // So many close and come back.
            ["again", address, count] => {
                let count = number(count)?;
                self.swarm.leave(0..count);
                self.come(&[parsed(address)?], 0, count)
            }
            // Whoever is gone comes back to one of these.
            ["back", addresses @ ..] => {
                let addresses: Vec<SocketAddr> = addresses.iter().copied().map(parsed).collect::<io::Result<_>>()?;
                self.come(&addresses, 0, self.swarm.len())
            }
            ["listen"] => {
                self.hear(Duration::ZERO)?;
                self.heard = (0, 0);
                Ok(String::new())
            }
            // Until so many pushes were heard: how many, and when the last.
            ["heard", count] => {
                let (count, deadline) = (number(count)?, Instant::now() + PATIENCE);
                while self.heard.0 < count && Instant::now() < deadline {
                    self.hear(Duration::from_millis(100))?;
                }
                Ok(format!("{} {}", self.heard.0, self.heard.1))
            }
            _ => Err(io::Error::other(format!("not understood: {}", words.join(" ")))),
        }
    }

    /// Opens what is not open among these places, until all have been greeted or nobody is patient any more: how many are open, and
    /// how many attempts were refused or broken off.
    fn come(&mut self, addresses: &[SocketAddr], first: usize, end: usize) -> io::Result<String> {
        let (deadline, mut refused) = (Instant::now() + PATIENCE * 5, 0);
        loop {
            let gone: Vec<usize> = (first..end).filter(|place| !self.swarm.is_open(*place)).collect();
            if gone.is_empty() || Instant::now() > deadline {
                return Ok(format!("{} {refused}", end - first - gone.len()));
            }
            for window in gone.chunks(WINDOW) {
                let token = |place: usize| self.signer.token(self.first_user + place, 0);
                refused += self.swarm.come(addresses, window, token)?;
            }
        }
    }
}

fn parsed(address: &str) -> io::Result<SocketAddr> {
    address.parse().map_err(io::Error::other)
}
