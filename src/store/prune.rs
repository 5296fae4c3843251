//! What is old is deleted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter};

use super::log_chains::Log;
use super::{SessionKind, Store, StoreError, api_keys, ephemeral, lockouts, nodes, outbox, revocations, sessions};

/// How many rows were deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Of the login log.
    pub logins: u64,
    /// Of the audit log.
    pub audits: u64,
    /// Sessions that were over.
    pub sessions: u64,
    /// Of the sequence of revocations.
    pub revocations: u64,
    /// Lockouts that were over.
    pub lockouts: u64,
    /// Calls to other systems that were made or given up.
    pub calls: u64,
    /// API keys that were over.
    pub keys: u64,
    /// Nodes that were not seen for a week.
    pub nodes: u64,
    /// Small values that expired.
    pub ephemeral: u64,
}

impl Store {
    /// Deletes log rows, ended sessions, dead API keys and revocations older than `keep`; zero keeps nothing that is over.
    /// Revocations stay as long as the longest session may live, so that a node that was away still hears of them.
    /// Each table is its own transaction.
    pub async fn prune(
        &self,
        now: DateTime<Utc>,
        keep: Duration,
        longest_session: Duration,
    ) -> Result<Pruned, StoreError> {
        let (old, older) = (before(now, keep), before(now, keep.max(longest_session)));
        // Without its row a login of another system would be taken for a new one, so a revoked one is remembered as long as its
        // token is good.
        let ended =
            Condition::any().add(sessions::Column::RevokedAt.lt(old)).add(sessions::Column::RefreshExpiresAt.lt(old));
        let ours_ended = Condition::all().add(sessions::Column::Kind.ne(SessionKind::Foreign.word())).add(ended);
        let over = Condition::any().add(sessions::Column::ExpiresAt.lt(old)).add(ours_ended);
        Ok(Pruned {
            logins: self.prune_log(Log::Login, old, now).await?,
            audits: self.prune_log(Log::Audit, old, now).await?,
            sessions: self.delete::<sessions::Entity>(over).await?,
            revocations: self.delete::<revocations::Entity>(revocations::Column::CreatedAt.lt(older).into()).await?,
            calls: self.delete::<outbox::Entity>(outbox::Column::EndedAt.lt(old).into()).await?,
            lockouts: self.delete::<lockouts::Entity>(lockouts::Column::Until.lte(now).into()).await?,
            keys: self.delete::<api_keys::Entity>(api_keys::over_before(old)).await?,
            nodes: self
                .delete::<nodes::Entity>(nodes::Column::SeenAt.lt(before(now, nodes::REMEMBERED)).into())
                .await?,
            ephemeral: self.delete::<ephemeral::Entity>(ephemeral::Column::ExpiresAt.lte(now).into()).await?,
        })
    }

    async fn delete<E: EntityTrait>(&self, which: Condition) -> Result<u64, StoreError> {
        let tx = self.begin_patient().await?;
        let deleted = E::delete_many().filter(which).exec(&*tx).await?.rows_affected;
        tx.commit().await?;
        Ok(deleted)
    }
}

fn before(now: DateTime<Utc>, age: Duration) -> DateTime<Utc> {
    let age = chrono::Duration::from_std(age).unwrap_or(chrono::Duration::MAX);
    now.checked_sub_signed(age).unwrap_or(DateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::UserKey;
    use crate::store::testing::{at, login, new_session, new_user, store};
    use crate::store::{Actor, Foreigner, Kind, NewRevocation, NewSession};

    #[tokio::test]
    async fn what_is_old_and_over_goes_and_the_sequence_goes_on() {
        let store = store().await;
        let bob = new_user(&store, "bob", &[]).await.key; // writes an audit row at 0
        let (ended, stands) = (login(&store, &bob, 0).await, login(&store, &bob, 0).await);
        let mut kick = NewRevocation::new(Kind::Kick, &Actor::system());
        kick.targets.sessions = vec![ended];
        kick.targets.users = vec![bob.clone()];
        kick.targets.except = Some(stands);
        kick.ends_sessions = true;
        kick.until = Some(at(20));
        let seq = store.revoke(kick.clone(), at(10)).await.unwrap().seq;

        let (keep, longest) = (Duration::from_secs(100), Duration::from_secs(500));
        assert_eq!(store.prune(at(15), keep, longest).await.unwrap(), Pruned::default());
        let pruned = store.prune(at(200), keep, longest).await.unwrap();
        assert_eq!(pruned, Pruned { audits: 1, sessions: 1, lockouts: 1, ..Default::default() });
        assert!(store.session(stands).await.unwrap().is_some());
        assert_eq!(store.prune(at(600), keep, longest).await.unwrap().revocations, 1);
        assert!(store.revoke(kick, at(601)).await.unwrap().seq > seq, "a number is never used again");
    }

    #[tokio::test]
    async fn a_kicked_login_of_another_system_is_remembered_as_long_as_its_token_is_good() {
        let store = store().await;
        let who = Foreigner { user: UserKey::new("shop", "1"), username: "Bob".into(), roles: Vec::new() };
        let session = NewSession { kind: SessionKind::Foreign, ..new_session(&who.user, 0) };
        store.admit_foreign(&who, session.clone(), at(0)).await.unwrap();
        let mut kick = NewRevocation::new(Kind::Kick, &Actor::system());
        kick.targets.sessions = vec![session.id];
        kick.ends_sessions = true;
        store.revoke(kick, at(10)).await.unwrap();
        let keep = Duration::from_secs(100);
        // The token ends at 5000.
        assert_eq!(store.prune(at(4999), keep, keep).await.unwrap().sessions, 0);
        assert!(store.caller(session.id).await.unwrap().unwrap().ended.is_some());
        assert_eq!(store.prune(at(5101), keep, keep).await.unwrap().sessions, 1);
    }
}
