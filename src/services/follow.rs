//! Following the sequence of revocations, so that what another process did (another node, the command line) holds here within
//! `auth.follow_interval`, and at once where the other node can say so. Nothing is believed but the rows: each affected session is looked up again.
//!
//! Where there are other nodes, one that cannot read the sequence does not know whom it should have shown the door. After
//! `cluster.fence` it lets nobody in, after `cluster.fence_close` it sends everybody to the others; both end when it has caught up.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify};

use super::{Denied, Door, Services, ended_words};
use crate::auth::UserKey;
use crate::cluster::{Channel, Mailbox, Topic};
use crate::protocol::{CloseCode, CloseReason};
use crate::realtime::{Broker, Cause, Client, Payload, Publication, Target};
use crate::store::{Kind, Revocation, StoreError, username_key};

/// Rows read at once.
const BATCH: u64 = 200;
/// Longest time between two looks where there are other nodes.
const LONGEST_INTERVAL: Duration = Duration::from_secs(2);

/// How far this node has come.
#[derive(Default)]
pub struct Following {
    /// The last row that was applied; none before the first look.
    seq: Mutex<Option<i64>>,
    /// When the end of the sequence was last reached, in monotonic milliseconds.
    reached: AtomicU64,
    /// Somebody says that there is more.
    more: Notify,
}

/// What another node has written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum NewRows {
    Revocations,
}

/// What a node still does that has not read the sequence for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Everything.
    Open,
    /// It lets nobody in.
    Refusing,
    /// Nor does anybody stay.
    Closing,
}

impl Services {
    /// Applies what came since the last time; the first time nothing, because whoever connects later is judged by the rows
    /// themselves. What could not be applied is applied again the next time.
    pub async fn follow(&self) -> Result<(), StoreError> {
        let following = &self.0.following;
        let mut seq = following.seq.lock().await;
        let begun = self.clock().coarse();
        match &mut *seq {
            Some(seq) => self.catch_up(seq).await?,
            none => *none = Some(self.store().last_revocation_seq().await?),
        }
        // What was there when we began to look: it may have taken long.
        following.reached.store(begun.as_millis() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until it is time to follow again.
    pub async fn follow_time(&self) {
        let mut interval = self.config().auth.follow_interval.max(Duration::from_millis(10));
        if self.shared() {
            interval = interval.min(LONGEST_INTERVAL);
        }
        let _ = tokio::time::timeout(interval, self.0.following.more.notified()).await;
    }

    /// Tells the other nodes that there is a new row. They would find it within [`LONGEST_INTERVAL`] anyway.
    pub(super) fn tell_of_rows(&self) {
        if let Some(cluster) = self.cluster() {
            drop(cluster.link.send(Channel::All, Topic::Rows, &NewRows::Revocations, b""));
        }
    }

    /// Follows at once when another node tells of a new row, for as long as there is a link.
    pub async fn hear_of_rows(self, mut mailbox: Mailbox) {
        let Some(link) = self.cluster().map(|cluster| cluster.link.clone()) else { return };
        while let Some(message) = mailbox.next().await {
            if let Some(NewRows::Revocations) = link.read(&message) {
                self.0.following.more.notify_one();
            }
        }
    }

    /// What this node may still do. Always everything where it is alone.
    pub fn fence(&self) -> Fence {
        if !self.shared() {
            return Fence::Open;
        }
        let reached = Duration::from_millis(self.0.following.reached.load(Ordering::Relaxed));
        let (unread, cluster) = (self.clock().coarse().saturating_sub(reached), &self.config().cluster);
        match unread {
            unread if unread >= cluster.fence_close => Fence::Closing,
            unread if unread >= cluster.fence => Fence::Refusing,
            _ => Fence::Open,
        }
    }

    /// Sends everybody to the other nodes; how many that are. They come back spread over time.
    pub fn send_behind_fence(&self) -> usize {
        let clients = self.manager().select(&Target::Everyone, false);
        for client in &clients {
            let retry_after_ms = Some(self.retry_after().as_millis() as u64);
            let reason = CloseReason { retry_after_ms, ..CloseReason::new(CloseCode::Overload) };
            client.close(&reason.text("This server has lost its data for a while."), Cause::Shutdown);
        }
        clients.len()
    }

    async fn catch_up(&self, seq: &mut i64) -> Result<(), StoreError> {
        loop {
            let rows = self.store().revocations_after(*seq, BATCH).await?;
            for row in &rows {
                self.apply(row).await?;
                *seq = row.seq;
            }
            if (rows.len() as u64) < BATCH {
                return Ok(());
            }
        }
    }

    async fn apply(&self, row: &Revocation) -> Result<(), StoreError> {
        self.forget_sessions(&row.targets);
        if row.kind == Kind::Unlock && !self.shared() {
            for user in &row.targets.users {
                self.unlock_name_of(user).await?;
            }
        }
        if row.kind == Kind::Kick && !row.ends_sessions && !row.targets.clients.is_empty() {
            // Their sessions stand, so that nothing else says that they are to go.
            self.close_here(
                Target::Clients(row.targets.clients.clone()),
                ended_words(Some(row.kind), &row.reason, None),
            )
            .await;
        }
        if row.kind == Kind::Delete {
            // There is no row any more that would say why.
            let words = ended_words(Some(row.kind), &row.reason, None);
            self.close_here(Target::Users(row.targets.users.clone()), words).await;
        }
        self.renew_roles(&row.targets.roles).await?;
        let mut affected = self.manager().select(&Target::Users(row.targets.users.clone()), false);
        affected.extend(self.manager().select(&Target::Sessions(row.targets.sessions.clone()), false));
        let mut seen = HashSet::new();
        for client in affected.into_iter().filter(|client| seen.insert(client.session)) {
            self.look_again(&client).await?;
        }
        Ok(())
    }

    /// Closes the clients of a session that no longer stands; renews the rights of those whose session does. Only here: every node
    /// follows for itself.
    async fn look_again(&self, client: &Arc<Client>) -> Result<(), StoreError> {
        let words = match self.standing(Door::Login, client.session, client.expires_at()).await {
            Ok(_) => return self.renew_rights(&client.user, self.local()).await,
            Err(Denied::Unavailable) => return Err(StoreError::timeout()),
            Err(Denied::Disabled) => ended_words(Some(Kind::Disable), "", None),
            Err(Denied::Locked { until, reason, .. }) => ended_words(Some(Kind::Kick), &reason, Some(until)),
            Err(Denied::Revoked { kind, reason }) => ended_words(kind, &reason, None),
            Err(_) => ended_words(None, "", None),
        };
        self.close_here(Target::Sessions(vec![client.session]), words).await;
        Ok(())
    }

    async fn close_here(&self, target: Target, (reason, cause): (CloseReason, Cause)) {
        self.tell(self.local(), Publication { target, payload: Payload::Close { last: None, reason, cause } }).await;
    }

    pub(super) async fn tell(&self, broker: &dyn Broker, publication: Publication) {
        if let Err(error) = broker.publish(publication).await {
            tracing::warn!(%error, "an end or new rights could not be published");
        }
    }

    async fn unlock_name_of(&self, user: &UserKey) -> Result<(), StoreError> {
        if let Some(user) = self.store().user(user).await? {
            self.unlock_name(&username_key(&user.username)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing;
    use crate::clock::ManualClock;
    use crate::services::NotReady;

    #[tokio::test]
    async fn a_node_that_has_not_read_the_sequence_for_a_while_is_not_ready_until_it_has() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new()));
        let [a] = testing::nodes(folder.path(), &clock, ["a"]).await;
        let (services, cluster) = (a.services(), a.services().config().cluster.clone());
        assert_eq!((services.fence(), services.ready().await.err()), (Fence::Open, None));
        clock.advance(cluster.fence);
        assert_eq!((services.fence(), services.ready().await.err()), (Fence::Refusing, Some(NotReady::Fenced)));
        clock.advance(cluster.fence_close - cluster.fence);
        assert_eq!((services.fence(), services.ready().await.err()), (Fence::Closing, Some(NotReady::Fenced)));
        services.follow().await.unwrap();
        assert_eq!((services.fence(), services.ready().await.err()), (Fence::Open, None));
        services.store().close().await;
        assert!(services.follow().await.is_err());
        clock.advance(cluster.fence);
        assert_eq!(services.fence(), Fence::Refusing);
    }
}
