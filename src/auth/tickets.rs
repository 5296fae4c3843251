//! One-use tickets: a short random word in place of a token where a token would end up in a log or a history.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::expiring::Expiring;
use crate::clock::Clock;

/// The tickets that a node which is alone issued and that were not yet used, each standing for a value. In memory only: a restart ends them, which
/// at thirty seconds of life nobody notices. At most `max_tickets` wait; the oldest goes first.
pub struct Tickets<T> {
    clock: Arc<dyn Clock>,
    /// By SHA-256, so that neither a memory dump nor the time a look-up takes tells a ticket.
    waiting: Mutex<Expiring<[u8; 32], T>>,
}

impl<T> Tickets<T> {
    /// Tickets that live for `ttl`.
    pub fn new(clock: Arc<dyn Clock>, ttl: Duration, max_tickets: usize) -> Tickets<T> {
        Tickets { clock, waiting: Mutex::new(Expiring::new(max_tickets, ttl)) }
    }

    /// A new ticket for the value: 256 random bits as 43 characters of base64url.
    pub fn issue(&self, value: T) -> String {
        let ticket = random_ticket();
        let now = self.clock.monotonic();
        self.lock().insert(hash(&ticket), value, now);
        ticket
    }

    /// What the ticket stands for; it is spent. None when it is unknown, used or expired. Whether the session still
    /// stands is for the caller to look up.
    pub fn take(&self, ticket: &str) -> Option<T> {
        let now = self.clock.monotonic();
        self.lock().remove(&hash(ticket), now)
    }

    /// Tickets waiting to be used.
    #[expect(clippy::len_without_is_empty, reason = "for gauges; nobody asks whether it is empty")]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Expiring<[u8; 32], T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new ticket that stands for nothing yet: 256 random bits as 43 characters of base64url.
pub fn random_ticket() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// What a ticket is kept under where several nodes know it: its SHA-256 in hex. None for what can be no ticket.
pub fn ticket_digest(ticket: &str) -> Option<String> {
    (ticket.len() == 43).then(|| hash(ticket).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn tickets(max: usize) -> (Arc<ManualClock>, Tickets<u32>) {
        let clock = Arc::new(ManualClock::new());
        (clock.clone(), Tickets::new(clock, Duration::from_secs(30), max))
    }

    #[test]
    fn a_ticket_opens_once() {
        let (_, tickets) = tickets(10);
        let (one, two) = (tickets.issue(1), tickets.issue(2));
        assert_eq!(one.len(), 43);
        assert_eq!((tickets.take(&two), tickets.take(&one)), (Some(2), Some(1)));
        assert_eq!((tickets.take(&two), tickets.take(&one)), (None, None));
    }

    #[test]
    fn a_ticket_expires() {
        let (clock, tickets) = tickets(10);
        let ticket = tickets.issue(1);
        clock.advance(Duration::from_secs(30));
        assert_eq!(tickets.take(&ticket), None);
    }

    #[test]
    fn an_invented_ticket_opens_nothing() {
        let (_, tickets) = tickets(10);
        let ticket = tickets.issue(1);
        for invented in ["", "x", &ticket[1..], &format!("{ticket} "), &"A".repeat(100_000)] {
            assert_eq!(tickets.take(invented), None);
        }
        assert_eq!(tickets.take(&ticket), Some(1));
    }

    #[test]
    fn endless_tickets_push_out_the_oldest() {
        let (_, tickets) = tickets(10);
        let first = tickets.issue(0);
        let last = (1..1_000).map(|number| tickets.issue(number)).last().unwrap();
        assert_eq!((tickets.take(&first), tickets.take(&last)), (None, Some(999)));
        assert!(tickets.lock().len() <= 10);
    }
}
