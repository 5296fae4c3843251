//! Time. The only place that asks the machine what time it is, so that tests can move it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The wall clock, for what people read, and a monotonic one, for what may never jump.
pub trait Clock: Send + Sync + 'static {
    /// Wall time: shown, stored, compared with `exp`.
    fn now(&self) -> DateTime<Utc>;
    /// Time since an arbitrary start that never goes back: heartbeats, limits, graces. Moving the wall clock evicts nobody.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[expect(clippy::new_without_default, reason = "a clock that starts by default would hide when it started")]
    pub fn new() -> SystemClock {
        SystemClock { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that may")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that follows the machine's plus whatever a test has added: sockets and timers keep working while a test
/// jumps over five minutes.
pub struct ManualClock {
    system: SystemClock,
    wall: Mutex<chrono::Duration>,
    monotonic: Mutex<Duration>,
}

impl ManualClock {
    /// A clock that has not been moved yet.
    #[expect(clippy::new_without_default, reason = "as SystemClock")]
    pub fn new() -> ManualClock {
        ManualClock {
            system: SystemClock::new(),
            wall: Mutex::new(chrono::Duration::zero()),
            monotonic: Mutex::new(Duration::ZERO),
        }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        *self.monotonic.lock().unwrap() += by;
        *self.wall.lock().unwrap() += chrono::Duration::from_std(by).expect("a test moves less than centuries");
    }

    /// Moves only the wall clock, as an administrator or NTP does. May go back.
    pub fn set_wall_offset(&self, by: chrono::Duration) {
        *self.wall.lock().unwrap() = by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        self.system.now() + *self.wall.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic() + *self.monotonic.lock().unwrap()
    }
}
