//! Time. The only place that asks the machine what time it is, so that tests can move it.

use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustix::time::{ClockId, clock_gettime};

/// The wall clock, for what people read, and a monotonic one, for what may never jump.
pub trait Clock: Send + Sync + 'static {
    /// Wall time: shown, stored, compared with `exp`.
    fn now(&self) -> DateTime<Utc>;
    /// Time since an arbitrary start that never goes back: heartbeats, limits, graces. Moving the wall clock evicts nobody.
    fn monotonic(&self) -> Duration;
    /// `monotonic` as of the kernel's last tick, up to 10 ms behind: for what happens with every message, where reading the
    /// counter of a virtual machine would be a tenth of the work.
    fn coarse(&self) -> Duration;
    /// Unix seconds of `now`, as coarse.
    fn unix(&self) -> i64;
}

/// The machine's clocks.
pub struct SystemClock {
    started: Duration,
}

#[cfg(target_os = "linux")]
const COARSE: (ClockId, ClockId) = (ClockId::MonotonicCoarse, ClockId::RealtimeCoarse);
#[cfg(not(target_os = "linux"))]
const COARSE: (ClockId, ClockId) = (ClockId::Monotonic, ClockId::Realtime);

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[expect(clippy::new_without_default, reason = "a clock that starts by default would hide when it started")]
    pub fn new() -> SystemClock {
        SystemClock { started: time_of(ClockId::Monotonic) }
    }
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that may")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic(&self) -> Duration {
        time_of(ClockId::Monotonic).saturating_sub(self.started)
    }

    fn coarse(&self) -> Duration {
        time_of(COARSE.0).saturating_sub(self.started)
    }

    fn unix(&self) -> i64 {
        clock_gettime(COARSE.1).tv_sec
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

    fn coarse(&self) -> Duration {
        self.system.coarse() + *self.monotonic.lock().unwrap()
    }

    fn unix(&self) -> i64 {
        self.now().timestamp()
    }
}
