//! When this node takes in nobody new. Whoever is in stays.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Services;
use crate::store::StoreError;

/// What bounds newcomers.
pub struct Overload {
    max_clients: usize,
    /// Whether the last look found more resident memory than `limits.memory`.
    over_memory: AtomicBool,
    /// Database connections for handshakes and machines.
    turns: Semaphore,
}

impl Overload {
    /// `connections` are those of the database's pool: all but one are for handshakes and machines, so that a storm of them
    /// leaves one to who logs in, refreshes, looks and kicks. Of a single one they get it one at a time.
    pub fn new(max_clients: usize, connections: u32) -> Overload {
        let turns = Semaphore::new(connections.saturating_sub(1).max(1) as usize);
        Overload { max_clients, over_memory: AtomicBool::new(false), turns }
    }
}

impl Services {
    /// Whether a handshake is refused whoever it is.
    pub fn is_full(&self) -> bool {
        self.0.overload.over_memory.load(Ordering::Relaxed) || self.manager().open() >= self.0.overload.max_clients
    }

    /// Compares resident memory, in bytes, with `limits.memory`. To be asked once a second.
    pub fn weigh(&self, resident: u64) {
        let limit = self.config().limits.memory.0;
        let over = limit > 0 && resident >= limit;
        if self.0.overload.over_memory.swap(over, Ordering::Relaxed) == over {
            return;
        }
        let (resident, limit) = (resident >> 20, limit >> 20);
        if over {
            tracing::warn!("{resident} MiB of memory, and limits.memory is {limit} MiB: no more sockets are taken");
        } else {
            tracing::info!("{resident} MiB of memory: sockets are taken again");
        }
    }

    /// Somewhere between `socket.reconnect_min` and `socket.reconnect_max`, so that ten thousand pages do not come back together.
    pub fn retry_after(&self) -> Duration {
        let (min, max) = (self.config().socket.reconnect_min, self.config().socket.reconnect_max);
        min + max.saturating_sub(min).mul_f64(rand::random())
    }

    /// Waits for a database connection that handshakes and machines may take. To be held for one question, and never while asking
    /// for another.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        let turn = timeout(self.config().database.timeout, self.0.overload.turns.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or_else(StoreError::timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing;
    use crate::config::ByteSize;
    use crate::services::{Denied, Door};

    #[tokio::test]
    async fn handshakes_that_hold_their_connections_leave_one_to_operators() {
        let folder = tempfile::tempdir().unwrap();
        let app = testing::app_in_with(folder.path(), |config| {
            config.database.timeout = Duration::from_millis(100);
        })
        .await;
        let services = app.services();
        let (session, end) = (uuid::Uuid::now_v7(), services.clock().now() + chrono::TimeDelta::days(1));
        let permits = services.0.overload.turns.available_permits() as u32;
        let storm = services.0.overload.turns.acquire_many(permits).await.unwrap();
        let shown = format!("rk_{}", "a".repeat(40));
        assert!(matches!(services.standing(Door::Handshake, session, end).await, Err(Denied::Unavailable)));
        for door in [Door::Request, Door::Login] {
            let answer = services.standing(door, session, end).await;
            assert!(matches!(answer, Err(Denied::Revoked { .. })), "{door:?} was looked up: {answer:?}");
        }
        drop(storm);
        assert!(matches!(services.standing(Door::Handshake, session, end).await, Err(Denied::Revoked { .. })));
        assert!(matches!(services.identify_key(&shown, [127, 0, 0, 1].into()).await, Err(Denied::Key(_))));
    }

    #[tokio::test]
    async fn more_memory_than_allowed_is_full_and_less_is_not() {
        let services = testing::services().await;
        let mut config = (*services.config()).clone();
        services.weigh(u64::MAX);
        assert!(!services.is_full(), "no limit");
        config.limits.memory = ByteSize(1 << 30);
        services.set_config(config);
        services.weigh((1 << 30) - 1);
        assert!(!services.is_full());
        services.weigh(1 << 30);
        assert!(services.is_full());
        services.weigh(1);
        assert!(!services.is_full());
    }
}
