//! Sending this node's clients elsewhere, a few at a time: before a restart, and when the process is told to stop. They leave in the
//! order of their sessions, so that the tabs of a login go together, and come back at a flat rate.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::sleep;
use uuid::Uuid;

use super::Services;
use crate::clock::Clock;
use crate::config::Config;
use crate::protocol::{CloseCode, CloseReason, Message};
use crate::realtime::{Cause, Client, Target};

/// Between two looks at who is due.
const STEP: Duration = Duration::from_millis(50);

/// Whether this node takes nobody in any more, and how far it is with those that it has.
pub struct Drain {
    clock: Arc<dyn Clock>,
    on: AtomicBool,
    begun: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// None while nobody is sent away.
    plan: Option<Plan>,
    /// The process ends: there is no way back.
    stopping: bool,
    /// Sent away since the drain began; kept after it was taken back.
    moved: usize,
}

/// Who leaves when.
struct Plan<T = Arc<Client>> {
    /// What was asked for; none for all within `server.drain`.
    wish: Option<NonZeroU32>,
    /// Monotonic.
    began: Duration,
    per_second: f64,
    /// The first is told to come back after this time…
    soonest: Duration,
    /// …and the last so much later.
    spread: Duration,
    all: usize,
    waiting: VecDeque<T>,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainProgress {
    /// Whether this node takes nobody in.
    pub draining: bool,
    /// Sockets that are still open; none when it does not drain.
    pub remaining: usize,
    /// Until the last of them is told to leave.
    pub eta: Duration,
    /// Sockets sent away by this drain, or the last one.
    pub moved_away: usize,
}

/// The process was told to stop, and does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopping;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Draining {
    retry_after_ms: u64,
}

impl Services {
    /// Whether this node takes nobody in any more.
    pub fn is_draining(&self) -> bool {
        self.0.drain.is_on()
    }

    /// The state of that, for who outlives the hall.
    pub fn drain_state(&self) -> &Arc<Drain> {
        &self.0.drain
    }

    /// Takes nobody in any more, and sends away so many a second; without a number all of them within `server.drain`. Asked again,
    /// those that are left go at the new rate.
    pub fn drain(&self, per_second: Option<NonZeroU32>) {
        let mut state = self.0.drain.state();
        // A stop does not wait for a slower wish.
        if !state.stopping {
            self.begin(&mut state, per_second);
        }
    }

    /// The same within `server.drain` and with no way back, for a process that stops.
    pub fn drain_to_stop(&self) {
        let mut state = self.0.drain.state();
        state.stopping = true;
        self.begin(&mut state, None);
    }

    /// Takes clients in again. Those that were sent away come back here or stay where they are.
    pub fn resume(&self) -> Result<(), Stopping> {
        let mut state = self.0.drain.state();
        if state.stopping {
            return Err(Stopping);
        }
        state.plan = None;
        if self.0.drain.on.swap(false, Relaxed) {
            tracing::info!(moved_away = state.moved, "taking clients in again");
        }
        Ok(())
    }

    /// How far the drain is.
    pub fn drain_progress(&self) -> DrainProgress {
        let draining = self.is_draining();
        let remaining = if draining { self.manager().open() } else { 0 };
        DrainProgress { draining, remaining, eta: self.0.drain.eta(), moved_away: self.0.drain.moved_away() }
    }

    /// As long as this node drains, again and again: sends away whoever is due.
    pub async fn send_clients_away(&self) {
        loop {
            self.0.drain.begun.notified().await;
            while self.is_draining() {
                self.send_due_away();
                sleep(STEP).await;
            }
        }
    }

    /// Sends away whoever is left, due or not.
    pub fn send_everyone_away(&self) {
        self.send_away(|plan| plan.due(Duration::MAX));
        let late = self.manager().select(&Target::Everyone, false);
        late.iter().for_each(|client| self.send_elsewhere(client, self.retry_after()));
    }

    fn begin(&self, state: &mut State, wish: Option<NonZeroU32>) {
        state.plan = Some(self.plan(wish));
        if !self.0.drain.on.swap(true, Relaxed) {
            state.moved = 0;
            tracing::info!(
                clients = self.manager().open(),
                "taking nobody in any more, and sending everyone elsewhere"
            );
        }
        self.0.drain.begun.notify_one();
    }

    fn plan(&self, wish: Option<NonZeroU32>) -> Plan {
        let mut waiting = self.manager().select(&Target::Everyone, false);
        waiting.sort_unstable_by_key(|client| slot(client.session));
        let config = self.config();
        let within = waiting.len().max(1) as f64 / config.server.drain.as_secs_f64();
        Plan {
            wish,
            began: self.clock().monotonic(),
            per_second: wish.map_or(within, |rate| f64::from(rate.get())),
            soonest: config.socket.reconnect_min,
            spread: if wish.is_some() { Duration::ZERO } else { spread(&config) },
            all: waiting.len(),
            waiting: waiting.into(),
        }
    }

    fn send_due_away(&self) {
        let now = self.clock().monotonic();
        self.send_away(|plan| plan.due(now.saturating_sub(plan.began)));
        let mut state = self.0.drain.state();
        // Whose handshake had begun before the drain did is here by now.
        if let Some(plan) = state.plan.as_ref().filter(|plan| plan.waiting.is_empty()) {
            state.plan = Some(self.plan(plan.wish));
        }
    }

    fn send_away(&self, due: impl FnOnce(&mut Plan) -> Vec<(Arc<Client>, Duration)>) {
        let due = {
            let mut state = self.0.drain.state();
            let due = state.plan.as_mut().map(due).unwrap_or_default();
            state.moved += due.iter().filter(|(client, _)| !client.is_closing()).count();
            due
        };
        due.iter().for_each(|(client, after)| self.send_elsewhere(client, *after));
    }

    /// Not over the broker: this node's own clients are meant, whatever others there are.
    fn send_elsewhere(&self, client: &Client, after: Duration) {
        let retry_after_ms = after.as_millis() as u64;
        let told = Message::push("server/draining", Some(&Draining { retry_after_ms }), self.clock().now().timestamp());
        client.send(&told);
        let reason = CloseReason { retry_after_ms: Some(retry_after_ms), ..CloseReason::new(CloseCode::Restart) };
        client.close(&reason, Cause::Shutdown);
    }
}

impl<T> Plan<T> {
    /// Takes out whoever is due so long after the beginning, the first at once, and says in what time each shall come back.
    fn due(&mut self, after: Duration) -> Vec<(T, Duration)> {
        let until = (after.as_secs_f64() * self.per_second).floor() + 1.0;
        let gone = self.all - self.waiting.len();
        // A float beyond all integers becomes the largest.
        let due = (until as usize).saturating_sub(gone).min(self.waiting.len());
        let (all, soonest, spread) = (self.all as f64, self.soonest, self.spread);
        let back = |place: usize| soonest + spread.mul_f64(place as f64 / all);
        self.waiting.drain(..due).enumerate().map(|(place, client)| (client, back(gone + place))).collect()
    }

    /// Until the last one is due.
    fn eta(&self, now: Duration) -> Duration {
        let Some(last) = self.all.checked_sub(1).filter(|_| !self.waiting.is_empty()) else { return Duration::ZERO };
        let end = Duration::try_from_secs_f64(last as f64 / self.per_second).unwrap_or(Duration::MAX);
        self.began.saturating_add(end).saturating_sub(now)
    }
}

impl Drain {
    /// Nobody is sent away.
    pub fn new(clock: Arc<dyn Clock>) -> Drain {
        Drain { clock, on: AtomicBool::new(false), begun: Notify::new(), state: Mutex::default() }
    }

    /// Until the last client is told to leave; zero when nobody is sent away.
    pub fn eta(&self) -> Duration {
        self.state().plan.as_ref().map_or(Duration::ZERO, |plan| plan.eta(self.clock.monotonic()))
    }

    /// Whether this node takes nobody in any more.
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Sockets sent away by this drain, or the last one.
    pub fn moved_away(&self) -> usize {
        self.state().moved
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a session stands in the row of those who leave: the end of a UUIDv7 is random.
fn slot(session: Uuid) -> u64 {
    session.as_u128() as u64
}

/// How much later than the first the last one is told to come back: they come slower than they leave, and within the grace, so that
/// nobody sees them gone.
fn spread(config: &Config) -> Duration {
    let longest = config.socket.reconnect_max.saturating_sub(config.socket.reconnect_min);
    match config.presence.grace {
        Duration::ZERO => longest,
        grace => longest.min(grace / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(clients: usize, per_second: f64, spread: Duration) -> Plan<usize> {
        let waiting = (0..clients).collect();
        Plan { wish: None, began: Duration::ZERO, per_second, soonest: SECOND, spread, all: clients, waiting }
    }

    #[test]
    fn clients_leave_one_after_the_other_and_each_once() {
        let mut plan = plan(1_000, 100.0, Duration::ZERO);
        assert_eq!(plan.eta(Duration::ZERO), Duration::from_millis(9_990));
        let mut left: Vec<(usize, Duration)> = Vec::new();
        for second in 0..10 {
            let due = plan.due(SECOND * second + SECOND / 2);
            assert_eq!(due.len(), if second == 0 { 51 } else { 100 }, "{second}");
            left.extend(due);
        }
        left.extend(plan.due(10 * SECOND));
        assert!(left.iter().map(|(client, _)| *client).eq(0..1_000));
        assert!(left.iter().all(|(_, back)| *back == SECOND), "as asked for, so no slower");
        assert_eq!((plan.due(Duration::MAX), plan.eta(Duration::ZERO)), (Vec::new(), Duration::ZERO));
    }

    #[test]
    fn those_who_leave_come_back_at_a_flat_rate() {
        let mut plan = plan(1_000, 200.0, 5 * SECOND);
        let mut back = [0; 10];
        for step in 0..100 {
            let now = STEP * step;
            plan.due(now).iter().for_each(|(_, after)| back[(now + *after - SECOND).as_secs() as usize] += 1);
        }
        assert!(back.iter().all(|second| (90..=110).contains(second)), "{back:?}");
    }

    #[test]
    fn a_drain_without_time_is_one_step() {
        let mut plan = plan(100, f64::INFINITY, SECOND);
        assert_eq!(plan.eta(Duration::ZERO), Duration::ZERO);
        assert_eq!(plan.due(STEP).len(), 100);
    }
}
