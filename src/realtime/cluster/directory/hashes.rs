//! A set of hashes in little more than their own bytes: there is one for every node, on every node.

use std::collections::HashSet;

/// Share of the set that may be changed before it is sorted anew: one in so many.
const CHANGED: usize = 8;
/// So many may be changed in a small one.
const FEW: usize = 16;

/// Knows the exclusive or of its members.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    /// Of those below, the most.
    sorted: Vec<u64>,
    added: HashSet<u64>,
    /// Of `sorted`, those that are members no more.
    removed: HashSet<u64>,
    xor: u64,
}

impl Hashes {
    pub(super) fn contains(&self, hash: u64) -> bool {
        self.added.contains(&hash) || (self.is_sorted_in(hash) && !self.removed.contains(&hash))
    }

    pub(super) fn insert(&mut self, hash: u64) {
        if !self.contains(hash) {
            self.xor ^= hash;
            if !self.removed.remove(&hash) {
                self.added.insert(hash);
            }
            self.tidy();
        }
    }

    pub(super) fn remove(&mut self, hash: u64) {
        if self.contains(hash) {
            self.xor ^= hash;
            if !self.added.remove(&hash) {
                self.removed.insert(hash);
            }
            self.tidy();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.sorted.iter().filter(|hash| !self.removed.contains(hash)).chain(&self.added).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len() + self.added.len() - self.removed.len()
    }

    pub(super) fn xor(&self) -> u64 {
        self.xor
    }

    fn is_sorted_in(&self, hash: u64) -> bool {
        self.sorted.binary_search(&hash).is_ok()
    }

    fn tidy(&mut self) {
        if self.added.len() + self.removed.len() > FEW.max(self.sorted.len() / CHANGED) {
            let mut sorted = Vec::with_capacity(self.len());
            sorted.extend(self.iter());
            sorted.sort_unstable();
            *self = Hashes { sorted, xor: self.xor, ..Hashes::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..80_u64), 0..400)) {
            let (mut hashes, mut model) = (Hashes::default(), HashSet::new());
            for (inserts, hash) in steps {
                match inserts {
                    true => { hashes.insert(hash); model.insert(hash); }
                    false => { hashes.remove(hash); model.remove(&hash); }
                }
                prop_assert_eq!(hashes.contains(hash), inserts);
                prop_assert_eq!(hashes.len(), model.len());
            }
            prop_assert_eq!(hashes.xor(), model.iter().fold(0, |xor, hash| xor ^ hash));
            prop_assert_eq!(hashes.iter().count(), model.len());
            prop_assert_eq!(hashes.iter().collect::<HashSet<_>>(), model);
        }
    }

    #[test]
    fn a_member_takes_little_more_than_its_own_bytes() {
        let mut hashes = Hashes::default();
        (0..16_000_u64).for_each(|number| hashes.insert(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        // A hash table's place is nine bytes, and up to half of them are free.
        let bytes = hashes.sorted.capacity() * 8 + (hashes.added.capacity() + hashes.removed.capacity()) * 9 * 8 / 7;
        assert!(bytes <= 12 * hashes.len(), "{bytes} bytes");
    }
}
