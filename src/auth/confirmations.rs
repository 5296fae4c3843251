//! What other systems said of their tokens, for a moment: a page with forty tabs asks once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::expiring::Expiring;

/// Longest time an answer is believed.
const LONGEST: Duration = Duration::from_secs(60);

/// An answer about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Whether the token is still good.
    pub good: bool,
    /// When that was said.
    pub at: DateTime<Utc>,
}

/// Answers by token, of which only the hash is kept. About 100 bytes each.
pub struct Confirmations(Mutex<Expiring<[u8; 32], Confirmation>>);

impl Confirmations {
    /// For at most so many tokens; the oldest go first.
    pub fn new(cap: usize) -> Confirmations {
        Confirmations(Mutex::new(Expiring::new(cap, LONGEST)))
    }

    /// Answers remembered.
    #[expect(clippy::len_without_is_empty, reason = "for gauges; nobody asks whether it is empty")]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What was said of the token within the last minute. Times are `Clock::monotonic`.
    pub fn get(&self, token: &str, now: Duration) -> Option<Confirmation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&digest(token), now).copied()
    }

    /// Remembers what was said.
    pub fn put(&self, token: &str, said: Confirmation, now: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest(token), said, now);
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
