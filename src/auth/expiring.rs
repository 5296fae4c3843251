//! A map that forgets: bounded in entries and in time. Everything strangers can make us remember sits in one of these.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// At most `cap` entries, each for `ttl` after its last `insert`. A new key in a full map pushes out the entry that was
/// inserted longest ago. Times are `Clock::monotonic`, given by the caller and never going back. Every operation is
/// O(1), amortized.
pub(super) struct Expiring<K, V> {
    cap: usize,
    ttl: Duration,
    entries: HashMap<K, Entry<V>>,
    /// Keys in the order of insertion, which is the order of expiry. An entry that was inserted again or removed
    /// leaves its old place behind; `tidy` bounds how many of those there are.
    order: VecDeque<(K, u64)>,
    inserted: u64,
}

struct Entry<V> {
    value: V,
    expires: Duration,
    place: u64,
}

impl<K: Hash + Eq + Clone, V> Expiring<K, V> {
    /// An empty map. A cap of zero counts as one.
    pub(super) fn new(cap: usize, ttl: Duration) -> Expiring<K, V> {
        Expiring { cap: cap.max(1), ttl, entries: HashMap::new(), order: VecDeque::new(), inserted: 0 }
    }

    /// Remembers a value for the whole ttl from now, in place of an older one.
    pub(super) fn insert(&mut self, key: K, value: V, now: Duration) {
        self.forget_expired(now);
        if self.entries.len() >= self.cap && !self.entries.contains_key(&key) {
            self.forget_oldest();
        }
        self.inserted += 1;
        self.order.push_back((key.clone(), self.inserted));
        self.entries.insert(key, Entry { value, expires: now.saturating_add(self.ttl), place: self.inserted });
        self.tidy();
    }

    /// The value, unless it has expired.
    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q, now: Duration) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).filter(|entry| now < entry.expires).map(|entry| &entry.value)
    }

    /// The value, to be changed; its life is not prolonged.
    pub(super) fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, now: Duration) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key).filter(|entry| now < entry.expires).map(|entry| &mut entry.value)
    }

    /// Takes the value out, unless it has expired.
    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, now: Duration) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.entries.remove(key).filter(|entry| now < entry.expires).map(|entry| entry.value)
    }

    /// Takes out every entry of which this is true.
    pub(super) fn forget(&mut self, of: impl Fn(&K, &V) -> bool) {
        self.entries.retain(|key, entry| !of(key, &entry.value));
        self.tidy();
    }

    /// Keys whose values have not expired.
    pub(super) fn keys(&self, now: Duration) -> impl Iterator<Item = &K> {
        self.entries.iter().filter(move |(_, entry)| now < entry.expires).map(|(key, _)| key)
    }

    /// Entries held, expired ones that nobody has met yet included.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn forget_expired(&mut self, now: Duration) {
        while let Some((key, place)) = self.order.front() {
            match self.entries.get(key) {
                Some(entry) if entry.place == *place && now < entry.expires => return,
                Some(entry) if entry.place == *place => drop(self.entries.remove(key)),
                _ => {}
            }
            self.order.pop_front();
        }
    }

    fn forget_oldest(&mut self) {
        while let Some((key, place)) = self.order.pop_front() {
            if self.entries.get(&key).is_some_and(|entry| entry.place == place) {
                self.entries.remove(&key);
                return;
            }
        }
    }

    /// Half of the places being stale pays for going over all of them; three quarters of the room being empty, as after a storm,
    /// for giving it back.
    fn tidy(&mut self) {
        let few = 2 * self.entries.len() + 64;
        if self.order.len() > few {
            let entries = &self.entries;
            self.order.retain(|(key, place)| entries.get(key).is_some_and(|entry| entry.place == *place));
        }
        if self.entries.capacity() > 2 * few {
            self.entries.shrink_to(few);
        }
        if self.order.capacity() > 4 * few {
            self.order.shrink_to(few);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_entry_is_gone_when_its_time_is_over() {
        let mut map = Expiring::new(9, TTL);
        map.insert("a", 1, at(0));
        assert_eq!(map.get("a", at(9)), Some(&1));
        assert_eq!(map.get("a", at(10)), None);
        assert_eq!(map.remove("a", at(10)), None);
    }

    #[test]
    fn a_full_map_forgets_the_one_inserted_longest_ago() {
        let mut map = Expiring::new(2, TTL);
        map.insert("a", 1, at(0));
        map.insert("b", 2, at(1));
        map.insert("a", 3, at(2));
        map.insert("c", 4, at(3));
        assert_eq!((map.get("a", at(3)), map.get("b", at(3)), map.get("c", at(3))), (Some(&3), None, Some(&4)));
    }

    #[test]
    fn changing_a_value_does_not_prolong_it() {
        let mut map = Expiring::new(2, TTL);
        map.insert("a", 1, at(0));
        *map.get_mut("a", at(9)).unwrap() += 1;
        assert_eq!(map.get("a", at(9)), Some(&2));
        assert_eq!(map.get("a", at(10)), None);
    }

    #[test]
    fn endless_keys_and_endless_repetition_need_bounded_memory() {
        let mut map = Expiring::new(100, TTL);
        for key in 0..100_000u32 {
            map.insert(key, (), at(0));
            map.insert(7, (), at(0));
            assert!(map.entries.len() <= 100 && map.order.len() <= 265);
        }
        map.insert(1, (), at(20));
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn a_storm_that_is_over_leaves_no_room_behind() {
        let mut map = Expiring::new(100_000, TTL);
        (0..50_000u32).for_each(|key| map.insert(key, (), at(0)));
        map.insert(0, (), at(20));
        assert_eq!(map.len(), 1);
        assert!(map.entries.capacity() <= 256 && map.order.capacity() <= 512, "{}", map.entries.capacity());
    }

    proptest! {
        /// The same as a plain list of (key, value, expiry) in the order of insertion.
        #[test]
        fn it_does_what_a_simple_list_does(steps in prop::collection::vec((0u8..4, 0u8..12, 0u64..4), 0..300)) {
            let mut map = Expiring::new(5, TTL);
            let mut list: Vec<(u8, usize, Duration)> = Vec::new();
            let mut now = Duration::ZERO;
            for (number, (step, key, seconds)) in steps.into_iter().enumerate() {
                now += at(seconds);
                list.retain(|(_, _, expires)| now < *expires);
                let known = list.iter().position(|(listed, _, _)| *listed == key);
                match step {
                    0 | 1 => {
                        map.insert(key, number, now);
                        match known {
                            Some(index) => drop(list.remove(index)),
                            None if list.len() == 5 => drop(list.remove(0)),
                            None => {}
                        }
                        list.push((key, number, now + TTL));
                    }
                    2 => prop_assert_eq!(map.remove(&key, now), known.map(|index| list.remove(index).1)),
                    _ => prop_assert_eq!(map.get(&key, now).copied(), known.map(|index| list[index].1)),
                }
            }
        }
    }
}
