//! Limits on guessing and hurrying: locked names, and so many tries a minute.
//!
//! Counters live in memory, so a restart forgets them; what an operator locks on purpose is a row, not an entry here. Where there are
//! several nodes, rates tell each other what they let through, and names are counted elsewhere.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::expiring::Expiring;
use crate::clock::Clock;

/// Keys of which other nodes are told at once, at most.
const MAX_NEWS: usize = 10_000;

/// Wrong passwords per name, known or unknown alike: after so many within `lock_time` the name is locked for
/// `lock_time`.
///
/// Names are kept as hashes of their lower case, so that an entry is small however long the name is. Counted and locked
/// names are kept apart, `max_entries` of each: a flood of new names pushes out counters, never a lock. To push out one
/// lock somebody must lock `max_entries` other names, `failures` password computations each; to push out one counter
/// between two guesses takes `max_entries` computations.
pub struct Failures {
    clock: Arc<dyn Clock>,
    failures: u32,
    lock_time: Duration,
    names: Mutex<Names>,
}

struct Names {
    /// Failures since the first one of the window.
    counted: Expiring<Name, u32>,
    /// The monotonic time until which the name is locked.
    locked: Expiring<Name, Duration>,
}

type Name = [u8; 16];

impl Failures {
    /// Locks a name at its `failures`th failure; zero never locks.
    pub fn new(clock: Arc<dyn Clock>, failures: u32, lock_time: Duration, max_entries: usize) -> Failures {
        let names =
            Names { counted: Expiring::new(max_entries, lock_time), locked: Expiring::new(max_entries, lock_time) };
        Failures { clock, failures, lock_time, names: Mutex::new(names) }
    }

    /// Names remembered: counted ones, and locked ones.
    pub fn len(&self) -> (usize, usize) {
        let names = unlocked(&self.names);
        (names.counted.len(), names.locked.len())
    }

    /// Until when the name is locked. Ask before the password is computed.
    pub fn locked_until(&self, name: &str) -> Option<DateTime<Utc>> {
        self.remaining(&unlocked(&self.names), hashed(name)).map(|remaining| self.wall(remaining))
    }

    /// The digests ([`name_digest`]) of all names that are locked.
    pub fn locked_digests(&self) -> HashSet<String> {
        unlocked(&self.names).locked.keys(self.clock.monotonic()).map(hex).collect()
    }

    /// Counts a wrong password, or one for an unknown name. Answers until when the name is locked, if it now is.
    /// A failure of a locked name does not prolong the lock.
    pub fn fail(&self, name: &str) -> Option<DateTime<Utc>> {
        let (name, now, mut names) = (hashed(name), self.clock.monotonic(), unlocked(&self.names));
        if let Some(remaining) = self.remaining(&names, name) {
            return Some(self.wall(remaining));
        }
        let count = names.counted.get(&name, now).copied().unwrap_or(0) + 1;
        if self.failures == 0 || count < self.failures {
            match names.counted.get_mut(&name, now) {
                Some(counted) => *counted = count,
                None => names.counted.insert(name, count, now),
            }
            return None;
        }
        names.counted.remove(&name, now);
        names.locked.insert(name, now.saturating_add(self.lock_time), now);
        Some(self.wall(self.lock_time))
    }

    /// Forgets the failures after a right password. When the name was locked while the password was being computed the
    /// lock stands and its end is the error: a hundred guesses sent at once get no more answers than one after the other.
    pub fn succeed(&self, name: &str) -> Result<(), DateTime<Utc>> {
        let (name, now, mut names) = (hashed(name), self.clock.monotonic(), unlocked(&self.names));
        match self.remaining(&names, name) {
            Some(remaining) => Err(self.wall(remaining)),
            None => {
                names.counted.remove(&name, now);
                Ok(())
            }
        }
    }

    /// Lifts the lock and forgets the failures. Answers whether the name was locked.
    pub fn unlock(&self, name: &str) -> bool {
        let (name, now, mut names) = (hashed(name), self.clock.monotonic(), unlocked(&self.names));
        names.counted.remove(&name, now);
        names.locked.remove(&name, now).is_some()
    }

    fn remaining(&self, names: &Names, name: Name) -> Option<Duration> {
        let now = self.clock.monotonic();
        names.locked.get(&name, now).map(|until| until.saturating_sub(now))
    }

    fn wall(&self, remaining: Duration) -> DateTime<Utc> {
        let remaining = chrono::Duration::from_std(remaining).unwrap_or(chrono::Duration::MAX);
        self.clock.now().checked_add_signed(remaining).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// So many a period for each key: a token bucket that holds `limit` and refills evenly (GCRA). After a pause `limit` may
/// come at once, then one every `period / limit`.
///
/// At most `max_entries` keys are remembered, one time each. In a full map the key that was let through longest ago is
/// forgotten and starts with a full bucket, which helps nobody who has as many keys as that.
pub struct Rate<K> {
    clock: Arc<dyn Clock>,
    period: Duration,
    interval: Duration,
    /// When the bucket is full again.
    full: Mutex<Expiring<K, Duration>>,
    /// What other nodes are still to be told; none where there are none.
    news: Option<Mutex<HashMap<K, u32>>>,
}

/// What one more of a key left of its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// So many a period; zero is no limit.
    pub limit: u32,
    /// The period.
    pub period: Duration,
    /// So many may come at once now.
    pub left: u32,
    /// In what time that is the whole limit again.
    pub full_in: Duration,
    /// It was one too many; how long until the next may come.
    pub wait: Option<Duration>,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// `limit` a `period` for each key; a limit of zero lets everything through.
    pub fn new(clock: Arc<dyn Clock>, limit: u32, period: Duration, max_entries: usize) -> Rate<K> {
        // A full bucket is the same as none, hence the period as the ttl.
        let interval = period.checked_div(limit).unwrap_or(Duration::ZERO);
        Rate { clock, period, interval, full: Mutex::new(Expiring::new(max_entries, period)), news: None }
    }

    /// The same, one of several that count together: what one lets through ([`Rate::take_news`]) the others are told
    /// ([`Rate::count`]). A key's first in a period is not told, so that a storm in which everybody comes once costs nothing.
    pub fn shared(self) -> Rate<K> {
        Rate { news: Some(Mutex::default()), ..self }
    }

    /// How many of each key were let through here since the last time. At most 10,000 keys; more are not told.
    pub fn take_news(&self) -> Vec<(K, u32)> {
        self.news.as_ref().map(|news| unlocked(news).drain().collect()).unwrap_or_default()
    }

    /// Another node has let through so many. What is too many altogether has to be waited for, at most a further period.
    pub fn count(&self, key: K, times: u32) {
        self.count_of(key, times, self.interval);
    }

    /// The same for a key with a limit of its own.
    pub fn count_within(&self, key: K, times: u32, limit: u32) {
        self.count_of(key, times, self.interval_of(limit));
    }

    fn count_of(&self, key: K, times: u32, interval: Duration) {
        if interval.is_zero() {
            return;
        }
        let (now, mut full) = (self.clock.monotonic(), unlocked(&self.full));
        let next = full.get(&key, now).copied().unwrap_or(now).max(now);
        let next = next.saturating_add(interval.saturating_mul(times)).min(now + 2 * self.period);
        full.insert(key, next, now);
    }

    /// Keys remembered.
    #[expect(clippy::len_without_is_empty, reason = "for gauges; nobody asks whether it is empty")]
    pub fn len(&self) -> usize {
        unlocked(&self.full).len()
    }

    /// Counts one, or says how long until the next one may come. A refusal is not counted.
    pub fn check(&self, key: &K) -> Result<(), Duration> {
        self.take(key, self.interval).map(drop)
    }

    /// Counts one of a key with a limit of its own, zero for none, which must be the same each time; and says what is left.
    pub fn spend(&self, key: &K, limit: u32) -> Spent {
        let interval = self.interval_of(limit);
        let (full_in, wait) = match self.take(key, interval) {
            Ok(full_in) => (full_in, None),
            Err(wait) => (self.period, Some(wait)),
        };
        let left = self.period.saturating_sub(full_in).as_nanos().checked_div(interval.as_nanos()).unwrap_or_default();
        Spent { limit, period: self.period, left: left.min(u128::from(limit)) as u32, full_in, wait }
    }

    fn interval_of(&self, limit: u32) -> Duration {
        self.period.checked_div(limit).unwrap_or(Duration::ZERO)
    }

    /// In what time the bucket is full again; or how long until the next one may come.
    fn take(&self, key: &K, interval: Duration) -> Result<Duration, Duration> {
        if interval.is_zero() {
            return Ok(Duration::ZERO);
        }
        let (now, mut full) = (self.clock.monotonic(), unlocked(&self.full));
        let known = full.get(key, now).copied();
        let next = known.unwrap_or(now).max(now) + interval;
        match next.saturating_sub(now).checked_sub(self.period) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                full.insert(key.clone(), next, now);
                if known.is_some() {
                    self.note(key);
                }
                Ok(next.saturating_sub(now))
            }
        }
    }

    fn note(&self, key: &K) {
        let Some(news) = &self.news else { return };
        let mut news = unlocked(news);
        if let Some(times) = news.get_mut(key) {
            *times += 1;
        } else if news.len() < MAX_NEWS {
            news.insert(key.clone(), 1);
        }
    }
}

/// What a name's failures are kept under where several nodes count them: a hash of its lower case, in hex.
pub fn name_digest(name: &str) -> String {
    hex(&hashed(name))
}

fn hex(name: &Name) -> String {
    name.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Nothing under these locks can be left half done, so one that was poisoned elsewhere is used on.
fn unlocked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hashed(name: &str) -> Name {
    let hash = Sha256::digest(name.to_lowercase());
    let mut short = Name::default();
    short.copy_from_slice(&hash[..16]);
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

    const MINUTE: Duration = Duration::from_secs(60);

    fn failures(max_entries: usize) -> (Arc<ManualClock>, Failures) {
        let clock = Arc::new(ManualClock::new());
        (clock.clone(), Failures::new(clock, 5, 10 * MINUTE, max_entries))
    }

    fn lock(failures: &Failures, name: &str) {
        for _ in 0..5 {
            failures.fail(name);
        }
    }

    #[test]
    fn the_fifth_failure_locks_the_name_in_any_spelling_for_ten_minutes() {
        let (clock, failures) = failures(100);
        for _ in 0..4 {
            assert_eq!(failures.fail("Ann"), None);
        }
        assert_eq!(failures.locked_until("ann"), None);
        let until = failures.fail("ANN").unwrap();
        let lock = until - clock.now();
        assert!(lock > chrono::Duration::seconds(599) && lock <= chrono::Duration::seconds(600), "{lock}");
        assert!(failures.locked_until("ann").is_some());
        assert_eq!(failures.locked_until("bob"), None);
        clock.advance(10 * MINUTE);
        assert_eq!(failures.locked_until("ann"), None);
        assert_eq!(failures.fail("ann"), None, "counting starts anew");
    }

    #[test]
    fn failures_further_apart_than_the_window_do_not_add_up() {
        let (clock, failures) = failures(100);
        for _ in 0..20 {
            assert_eq!(failures.fail("ann"), None);
            clock.advance(3 * MINUTE);
        }
    }

    #[test]
    fn a_failure_while_locked_does_not_prolong_the_lock() {
        let (clock, failures) = failures(100);
        lock(&failures, "ann");
        clock.advance(9 * MINUTE);
        assert!(failures.fail("ann").unwrap() - clock.now() <= chrono::Duration::seconds(60));
        clock.advance(MINUTE);
        assert_eq!(failures.locked_until("ann"), None);
    }

    #[test]
    fn a_right_password_forgets_the_failures_but_not_a_lock_that_came_in_between() {
        let (_, failures) = failures(100);
        for _ in 0..4 {
            failures.fail("ann");
        }
        assert!(failures.succeed("ann").is_ok());
        assert_eq!(failures.fail("ann"), None);
        lock(&failures, "ann");
        assert!(failures.succeed("ann").is_err());
        assert!(failures.locked_until("ann").is_some());
    }

    #[test]
    fn an_administrator_can_unlock_a_name() {
        let (_, failures) = failures(100);
        lock(&failures, "ann");
        assert!(failures.unlock("Ann"));
        assert!(!failures.unlock("Ann"));
        assert_eq!(failures.locked_until("ann"), None);
        assert_eq!(failures.fail("ann"), None);
    }

    #[test]
    fn a_flood_of_new_names_neither_grows_memory_nor_unlocks_a_name() {
        let (_, failures) = failures(100);
        lock(&failures, "ann");
        for number in 0..10_000 {
            failures.fail(&format!("{number}{}", "x".repeat(1_000)));
        }
        assert!(failures.locked_until("ann").is_some());
        let names = failures.names.lock().unwrap();
        assert_eq!((names.counted.len(), names.locked.len()), (100, 1));
    }

    #[test]
    fn moving_the_wall_clock_unlocks_nobody() {
        let (clock, failures) = failures(100);
        lock(&failures, "ann");
        clock.set_wall_offset(chrono::Duration::days(1));
        assert!(failures.locked_until("ann").unwrap() > clock.now());
    }

    #[test]
    fn zero_failures_means_no_lock() {
        let failures = Failures::new(Arc::new(ManualClock::new()), 0, MINUTE, 100);
        lock(&failures, "ann");
        assert_eq!(failures.locked_until("ann"), None);
    }

    #[test]
    fn twenty_a_minute_pass_and_the_next_one_is_told_when() {
        let clock = Arc::new(ManualClock::new());
        let rate = Rate::new(clock.clone(), 20, MINUTE, 100);
        assert!((0..20).all(|_| rate.check(&"a").is_ok()));
        let wait = rate.check(&"a").unwrap_err();
        assert!(wait > Duration::from_secs(2) && wait <= Duration::from_secs(3), "{wait:?}");
        assert!(rate.check(&"b").is_ok(), "a neighbour is not disturbed");
        clock.advance(wait);
        assert!(rate.check(&"a").is_ok());
        assert!(rate.check(&"a").is_err());
        clock.advance(MINUTE);
        assert!((0..20).all(|_| rate.check(&"a").is_ok()));
    }

    #[test]
    fn several_that_tell_each_other_let_through_what_one_would() {
        let clock = Arc::new(ManualClock::new());
        let rate = || Rate::new(clock.clone(), 20, MINUTE, 100).shared();
        let (here, there) = (rate(), rate());
        assert!(here.check(&"once").is_ok());
        assert!((0..15).all(|_| here.check(&"a").is_ok()));
        let news = here.take_news();
        assert_eq!((news.as_slice(), here.take_news().len()), (&[("a", 14)][..], 0));
        there.count("a", 14);
        assert_eq!((0..20).filter(|_| there.check(&"a").is_ok()).count(), 6);
        there.count("a", u32::MAX);
        assert!(there.check(&"a").unwrap_err() <= MINUTE + MINUTE / 20, "what is said of others does not bar for ever");
    }

    #[test]
    fn a_key_with_a_limit_of_its_own_is_told_what_is_left() {
        let clock = Arc::new(ManualClock::new());
        let rate = Rate::new(clock.clone(), 0, MINUTE, 100);
        let spent: Vec<_> =
            (0..4).map(|_| rate.spend(&"a", 3)).map(|spent| (spent.left, spent.wait.is_some())).collect();
        assert_eq!(spent, [(2, false), (1, false), (0, false), (0, true)]);
        assert_eq!(rate.spend(&"b", 600).left, 599, "a neighbour has another one");
        clock.advance(Duration::from_secs(20));
        assert_eq!((rate.spend(&"a", 3).wait, rate.spend(&"unbounded", 0).wait), (None, None));
        rate.count_within("a", 3, 3);
        assert!(rate.spend(&"a", 3).wait.is_some_and(|wait| wait > MINUTE));
    }

    #[test]
    fn endless_addresses_do_not_grow_memory() {
        let rate = Rate::new(Arc::new(ManualClock::new()), 20, MINUTE, 100);
        assert!((0..10_000).all(|address: u32| rate.check(&address).is_ok()));
        assert_eq!(rate.full.lock().unwrap().len(), 100);
    }

    #[test]
    fn a_rate_of_zero_lets_everything_through() {
        let rate = Rate::new(Arc::new(ManualClock::new()), 0, MINUTE, 100);
        assert!((0..1_000).all(|_| rate.check(&1).is_ok()));
    }

    proptest! {
        /// Whatever the timing, no more pass than a full bucket and what flowed in since.
        #[test]
        fn no_timing_gets_more_through(pauses in prop::collection::vec(0u64..10_000, 1..200), limit in 1u32..30) {
            let clock = Arc::new(ManualClock::new());
            let rate = Rate::new(clock.clone(), limit, MINUTE, 10);
            let start = clock.monotonic();
            let mut passed = 0u32;
            for pause in pauses {
                clock.advance(Duration::from_millis(pause));
                passed += u32::from(rate.check(&()).is_ok());
            }
            let elapsed = (clock.monotonic() - start).as_secs_f64();
            prop_assert!(f64::from(passed) <= f64::from(limit) * (1.0 + elapsed / 60.0) + 0.001);
        }
    }
}
