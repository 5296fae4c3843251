//! Rotation of refresh tokens. A token carries its session and a generation; each use makes the next generation.
//! The one before still works for a moment, for two tabs and for lost answers; any other old one was copied.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::QuerySelect;
use sea_orm::entity::prelude::*;
use uuid::Uuid;

use super::connection::Write;
use super::revocations::{self, Audited, Kind, NewRevocation, Revocation, Targets};
use super::roles::take_turn;
use super::sessions::{ActiveModel, Column, Entity, Model, SessionKind};
use super::{Actor, Store, StoreError};
use crate::auth::UserKey;

/// What a refresh token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// It was the current one; this is the next.
    Refreshed {
        /// For the next token.
        generation: i64,
        /// When that one expires unused.
        expires_at: DateTime<Utc>,
    },
    /// It was the one before, used again within the overlap: the same successor as then.
    SameSuccessor {
        /// Of the successor.
        generation: i64,
        /// When that one expires unused.
        expires_at: DateTime<Utc>,
    },
    /// It was used up long ago: the session is over, by this revocation.
    Reused(Box<Revocation>),
    /// The session is past its time.
    Expired,
    /// The session was revoked before.
    Revoked,
    /// There is no such session, or never was such a token.
    Unknown,
}

impl Store {
    /// Trades a refresh token for the next one, which lives `ttl` but never longer than the session.
    pub async fn refresh_session(
        &self,
        id: Uuid,
        presented: i64,
        now: DateTime<Utc>,
        overlap: Duration,
        ttl: Duration,
    ) -> Result<Refresh, StoreError> {
        let tx = self.begin().await?;
        let Some(session) = Entity::find_by_id(id.to_string()).lock_exclusive().one(&*tx).await? else {
            return Ok(Refresh::Unknown);
        };
        let overlap = chrono::Duration::from_std(overlap).unwrap_or(chrono::Duration::MAX);
        let answer = match judge(&session, presented, now, overlap) {
            Verdict::Answer(answer) => return Ok(answer),
            Verdict::Rotate => rotate(&tx, &session, now, ttl).await?,
            Verdict::Reuse => Refresh::Reused(Box::new(end_reused(&tx, id, &session, now).await?)),
        };
        tx.commit().await?;
        Ok(answer)
    }
}

enum Verdict {
    Answer(Refresh),
    Rotate,
    Reuse,
}

fn judge(session: &Model, presented: i64, now: DateTime<Utc>, overlap: chrono::Duration) -> Verdict {
    let current = session.refresh_generation;
    let login = SessionKind::from_word(&session.kind) == SessionKind::Login;
    if !login || presented < 0 || presented > current {
        Verdict::Answer(Refresh::Unknown)
    } else if session.revoked_at.is_some() {
        Verdict::Answer(Refresh::Revoked)
    } else if session.expires_at <= now || session.refresh_expires_at <= now {
        Verdict::Answer(Refresh::Expired)
    } else if presented == current {
        Verdict::Rotate
    } else if presented + 1 == current && now - session.refresh_rotated_at <= overlap {
        let expires_at = session.refresh_expires_at;
        Verdict::Answer(Refresh::SameSuccessor { generation: current, expires_at })
    } else {
        Verdict::Reuse
    }
}

async fn rotate(tx: &Write, session: &Model, now: DateTime<Utc>, ttl: Duration) -> Result<Refresh, StoreError> {
    let generation = session.refresh_generation + 1;
    let ttl = chrono::Duration::from_std(ttl).unwrap_or(chrono::Duration::MAX);
    let expires_at = now.checked_add_signed(ttl).map_or(session.expires_at, |end| end.min(session.expires_at));
    let next = ActiveModel {
        refresh_generation: Set(generation),
        refresh_rotated_at: Set(now),
        refresh_expires_at: Set(expires_at),
        ..Default::default()
    };
    Entity::update_many().set(next).filter(Column::Id.eq(&session.id)).exec(&**tx).await?;
    Ok(Refresh::Refreshed { generation, expires_at })
}

async fn end_reused(tx: &Write, id: Uuid, session: &Model, now: DateTime<Utc>) -> Result<Revocation, StoreError> {
    take_turn(tx).await?;
    let user = UserKey::new(&session.issuer, &session.user_id);
    let new = NewRevocation {
        targets: Targets { sessions: vec![id], ..Default::default() },
        ends_sessions: true,
        audit: Some(Audited::of("session.refreshReused", &user)),
        ..NewRevocation::new(Kind::RefreshReused, &Actor::system())
    };
    revocations::carry_out(tx, new, now).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, login, new_user, store};

    const OVERLAP: Duration = Duration::from_secs(30);
    const TTL: Duration = Duration::from_secs(1000);

    async fn one_session() -> (Store, Uuid) {
        let store = store().await;
        let bob = new_user(&store, "bob", &[]).await.key;
        let session = login(&store, &bob, 0).await;
        (store, session)
    }

    async fn present(store: &Store, session: Uuid, generation: i64, second: i64) -> Refresh {
        store.refresh_session(session, generation, at(second), OVERLAP, TTL).await.unwrap()
    }

    #[tokio::test]
    async fn the_previous_token_gets_the_same_successor_for_a_while() {
        let (store, session) = one_session().await;
        let first = Refresh::Refreshed { generation: 1, expires_at: at(1010) };
        assert_eq!(present(&store, session, 0, 10).await, first);
        let same = Refresh::SameSuccessor { generation: 1, expires_at: at(1010) };
        assert_eq!(present(&store, session, 0, 40).await, same);
        assert!(matches!(present(&store, session, 0, 41).await, Refresh::Reused(_)));
        assert_eq!(present(&store, session, 1, 42).await, Refresh::Revoked);
        assert_eq!(store.caller(session).await.unwrap().unwrap().ended.unwrap().kind, Kind::RefreshReused);
    }

    #[tokio::test]
    async fn a_token_of_two_rotations_ago_ends_the_session_at_once() {
        let (store, session) = one_session().await;
        present(&store, session, 0, 1).await;
        present(&store, session, 1, 2).await;
        let heard = store.last_revocation_seq().await.unwrap();
        let Refresh::Reused(revocation) = present(&store, session, 0, 3).await else { panic!("a copy was accepted") };
        assert_eq!(store.revocations_after(heard, 10).await.unwrap(), [*revocation]);
    }

    #[tokio::test]
    async fn a_session_ends_however_often_it_is_refreshed() {
        let (store, session) = one_session().await;
        // The test's sessions end at 5000, unrefreshed ones too.
        for (generation, second) in [(0, 900), (1, 1800), (2, 2700), (3, 3600)] {
            assert!(matches!(present(&store, session, generation, second).await, Refresh::Refreshed { .. }));
        }
        let last = Refresh::Refreshed { generation: 5, expires_at: at(5000) };
        assert_eq!(present(&store, session, 4, 4500).await, last);
        assert_eq!(present(&store, session, 5, 5000).await, Refresh::Expired);
        assert_eq!(present(&store, session, 9, 1).await, Refresh::Unknown);
        assert_eq!(present(&store, Uuid::nil(), 0, 1).await, Refresh::Unknown);
    }

    #[tokio::test]
    async fn two_tabs_that_refresh_at_once_get_the_same_token() {
        let (store, session) = one_session().await;
        let (a, b) = tokio::join!(present(&store, session, 0, 1), present(&store, session, 0, 1));
        let generation = |answer: &Refresh| match answer {
            Refresh::Refreshed { generation, .. } | Refresh::SameSuccessor { generation, .. } => *generation,
            other => panic!("{other:?}"),
        };
        assert_eq!((generation(&a), generation(&b)), (1, 1));
    }
}
