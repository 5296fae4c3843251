//! What was found out a moment ago, so that it need not be asked again: what another system said of a token, which sessions
//! stood.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::expiring::Expiring;
use crate::clock::Clock;

/// Values by key, each for a while; the oldest make room.
pub struct Recent<K, V> {
    clock: Arc<dyn Clock>,
    entries: Mutex<Expiring<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Recent<K, V> {
    /// At most `cap` values, each for `ttl`; zero remembers nothing.
    pub fn new(clock: Arc<dyn Clock>, cap: usize, ttl: Duration) -> Recent<K, V> {
        Recent { clock, entries: Mutex::new(Expiring::new(cap, ttl)) }
    }

    /// The value, if it was put within the time.
    pub fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key, self.clock.monotonic()).cloned()
    }

    /// Remembers a value from now on.
    pub fn put(&self, key: K, value: V) {
        let now = self.clock.monotonic();
        self.lock().insert(key, value, now);
    }

    /// Forgets a value.
    pub fn remove(&self, key: &K) {
        let now = self.clock.monotonic();
        self.lock().remove(key, now);
    }

    /// Forgets every value of which this is true. Takes time for each that is remembered.
    pub fn forget(&self, of: impl Fn(&K, &V) -> bool) {
        self.lock().forget(of);
    }

    /// Values remembered.
    #[expect(clippy::len_without_is_empty, reason = "for gauges; nobody asks whether it is empty")]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Expiring<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
