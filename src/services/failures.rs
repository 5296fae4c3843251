//! Wrong passwords by name. A node that is alone counts them in memory. Several count together in Redis, and in the database while
//! that is away; a lock is always a row, so that it holds on every node whatever becomes of Redis.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Denied, Services};
use crate::cluster::Cluster;
use crate::store::{NameKeys, StoreError};

impl Services {
    /// Until when the name is locked. Ask before the password is computed. Names are those of `username_key`.
    pub async fn locked_until(&self, name: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(self.locked_names(&[name.to_owned()]).await?.pop().flatten())
    }

    /// The same for several names, in their order.
    pub async fn locked_names(&self, names: &[String]) -> Result<Vec<Option<DateTime<Utc>>>, StoreError> {
        if !self.shared() {
            return Ok(names.iter().map(|name| self.0.failures.locked_until(name)).collect());
        }
        let locks: Vec<String> = names.iter().map(|name| NameKeys::of(name).lock).collect();
        let found = self.store().ephemeral(&locks, self.clock().now()).await?;
        Ok(locks.iter().map(|lock| found.get(lock).map(|(_, until)| *until)).collect())
    }

    /// The digests of all names that are locked.
    pub async fn locked_digests(&self) -> Result<HashSet<String>, StoreError> {
        match self.shared() {
            true => self.store().locked_names(self.clock().now()).await,
            false => Ok(self.0.failures.locked_digests()),
        }
    }

    /// Counts a wrong password, or one for an unknown name. Answers until when the name is locked, if it now is.
    pub async fn name_failed(&self, name: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
        let Some(Cluster { link, .. }) = self.cluster() else { return Ok(self.0.failures.fail(name)) };
        let config = self.config();
        let (most, lock_time, keys) = (config.auth.failures_per_name, config.auth.lock_time, NameKeys::of(name));
        if most == 0 {
            return Ok(None);
        }
        let now = self.clock().now();
        let until = now.checked_add_signed(delta(lock_time)).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let shared = match link.add(&keys.failures, 1, lock_time).await {
            Ok(sum) => sum,
            Err(_) => {
                self.store().count_ephemeral(&keys.failures, until, now).await?;
                0
            }
        };
        // After counting: whoever locks has written the row before it forgets the failures.
        let (locked, counted) = self.kept_of(&keys).await?;
        if locked.is_some() || shared.saturating_add(counted) < i64::from(most) {
            return Ok(locked);
        }
        self.keep(&keys.lock, "", lock_time).await?;
        let _ = link.remove(&keys.failures).await;
        self.store().remove_ephemeral(&[keys.failures]).await?;
        Ok(Some(until))
    }

    /// Forgets the failures after a right password. Until when the name is locked, if that came while the password was being
    /// computed: a hundred guesses sent at once, to several nodes, get no more answers than one after the other.
    pub async fn name_succeeded(&self, name: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
        let Some(Cluster { link, .. }) = self.cluster() else { return Ok(self.0.failures.succeed(name).err()) };
        let (config, keys) = (self.config(), NameKeys::of(name));
        let (most, lock_time) = (i64::from(config.auth.failures_per_name), config.auth.lock_time);
        // Redis first, and the lock then: see above.
        let shared = link.get(&keys.failures).await.ok().flatten();
        let shared = shared.and_then(|count| str::from_utf8(&count).ok()?.parse::<i64>().ok()).unwrap_or_default();
        let (locked, counted) = self.kept_of(&keys).await?;
        if locked.is_some() {
            return Ok(locked);
        }
        if most > 0 && shared.saturating_add(counted) >= most {
            // Whoever counted the last one is about to lock.
            return Ok(self.clock().now().checked_add_signed(delta(lock_time)));
        }
        if shared > 0 {
            let _ = link.remove(&keys.failures).await;
        }
        if counted > 0 {
            self.store().remove_ephemeral(&[keys.failures]).await?;
        }
        Ok(None)
    }

    /// Lifts the lock and forgets the failures. Several nodes have the lock in a row, which `Store::unlock_user` has removed; what is
    /// left are failures in Redis.
    pub async fn unlock_name(&self, name: &str) {
        let Some(Cluster { link, .. }) = self.cluster() else {
            self.0.failures.unlock(name);
            return;
        };
        let _ = link.remove(&NameKeys::of(name).failures).await;
    }

    /// The lock, and the failures that the database has counted.
    async fn kept_of(&self, keys: &NameKeys) -> Result<(Option<DateTime<Utc>>, i64), StoreError> {
        let names = [keys.failures.clone(), keys.lock.clone()];
        let found = self.store().ephemeral(&names, self.clock().now()).await?;
        let counted = found.get(&keys.failures).and_then(|(count, _)| count.parse().ok());
        Ok((found.get(&keys.lock).map(|(_, until)| *until), counted.unwrap_or_default()))
    }

    /// Keeps a small value in the database for `time`. What has expired goes now and then, so that nobody can fill the table faster
    /// than it empties.
    pub(super) async fn keep(&self, name: &str, value: &str, time: Duration) -> Result<(), StoreError> {
        let now = self.clock().now();
        let until = now.checked_add_signed(delta(time)).unwrap_or(DateTime::<Utc>::MAX_UTC);
        self.store().set_ephemeral(name, value, until).await?;
        if self.limits().sweeps.check(&()).is_ok() {
            self.store().forget_ephemeral(now).await?;
        }
        Ok(())
    }
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Denied {
        tracing::warn!(cause = error.cause(), "the database did not answer");
        Denied::Unavailable
    }
}

fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}
