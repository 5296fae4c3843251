//! Strings that many clients have in common, and lists of them: roles, applications. Each is in memory once.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// At most `cap` strings and `cap` lists are known; beyond that it forgets all and begins anew, and whoever holds one keeps it.
pub struct Interner {
    cap: usize,
    texts: Known<str>,
    lists: Known<[Arc<str>]>,
}

type Known<T> = Mutex<HashSet<Arc<T>>>;

impl Interner {
    /// Knows nothing yet.
    pub fn new(cap: usize) -> Interner {
        Interner { cap, texts: Mutex::default(), lists: Mutex::default() }
    }

    /// The one string that is equal.
    pub fn text(&self, text: &str) -> Arc<str> {
        self.known(&self.texts, text)
    }

    /// The one list that is equal, of the same strings.
    pub fn list(&self, list: &[Arc<str>]) -> Arc<[Arc<str>]> {
        let texts: Vec<Arc<str>> = list.iter().map(|text| self.text(text)).collect();
        self.known(&self.lists, &texts)
    }

    /// Strings and lists known.
    #[expect(clippy::len_without_is_empty, reason = "for gauges; nobody asks whether it is empty")]
    pub fn len(&self) -> usize {
        let (texts, lists) = (self.texts.lock(), self.lists.lock());
        texts.unwrap_or_else(PoisonError::into_inner).len() + lists.unwrap_or_else(PoisonError::into_inner).len()
    }

    fn known<'a, T: Hash + Eq + ?Sized>(&self, known: &Known<T>, one: &'a T) -> Arc<T>
    where
        Arc<T>: From<&'a T>,
    {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = known.get(one) {
            return shared.clone();
        }
        if known.len() >= self.cap {
            known.clear();
        }
        let shared: Arc<T> = one.into();
        known.insert(shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_is_the_same() {
        let interner = Interner::new(9);
        assert!(Arc::ptr_eq(&interner.text("member"), &interner.text("member")));
        let roles = |names: &[&str]| interner.list(&names.iter().map(|name| (*name).into()).collect::<Vec<_>>());
        assert!(Arc::ptr_eq(&roles(&["member", "operator"]), &roles(&["member", "operator"])));
        assert!(Arc::ptr_eq(&roles(&["member"])[0], &interner.text("member")));
        assert!(roles(&[]).is_empty());
    }

    #[test]
    fn endless_strings_need_bounded_memory_and_stay_right() {
        let interner = Interner::new(100);
        for number in 0..10_000 {
            let text = number.to_string();
            assert_eq!(&*interner.text(&text), text);
            assert!(interner.len() <= 100);
        }
    }
}
