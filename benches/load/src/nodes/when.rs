//! Waiting until several see the same.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::interrupt;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// Seconds from `begun` until this was true of each; they are looked at side by side.
pub(crate) fn when<T: Sync>(all: &[T], is_true: &(dyn Fn(&T) -> bool + Sync), begun: Instant) -> io::Result<Vec<f64>> {
    let watch = |one: &T| {
        while !is_true(one) {
            interrupt::sleep(LOOK)?;
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other("what was waited for did not become true"));
            }
        }
        Ok(begun.elapsed().as_secs_f64())
    };
    let watch = &watch;
    thread::scope(|scope| {
        let watching: Vec<_> = all.iter().map(|one| scope.spawn(move || watch(one))).collect();
        let joined = watching.into_iter().map(|one| one.join().map_err(|_| io::Error::other("a thread died"))?);
        joined.collect()
    })
}
