//! Calls to other systems that wait to be made. A call is written in the transaction of what it tells, so it is made even
//! when the process ends in between; at least once, in order within its stream.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect};
use uuid::Uuid;

use super::connection::Write;
use super::text::{cut, new_id, uuid};
use super::{Store, StoreError};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key)]
    pub(super) seq: i64,
    pub(super) id: String,
    pub(super) target: String,
    pub(super) stream: String,
    pub(super) event: String,
    pub(super) body: String,
    pub(super) state: String,
    pub(super) attempts: i32,
    pub(super) next_at: DateTime<Utc>,
    pub(super) last_error: String,
    pub(super) about: i64,
    pub(super) created_at: DateTime<Utc>,
    pub(super) ended_at: Option<DateTime<Utc>>,
}

super::entity!(Outbox);

const PENDING: &str = "pending";
const DONE: &str = "done";
const DEAD: &str = "dead";

/// A call to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCall {
    /// Which setting says where it goes, as `issuer:shop`.
    pub target: String,
    /// Calls of one stream are made one after the other.
    pub stream: String,
    /// What it tells, as `session.revoked`.
    pub event: String,
    /// What is sent, as `data` of the body.
    pub data: serde_json::Value,
}

/// A call that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its place in the order.
    pub seq: i64,
    /// Its id: the same in every attempt, so that the receiver can tell a repetition.
    pub id: Uuid,
    /// Which setting says where it goes.
    pub target: String,
    /// What it tells.
    pub event: String,
    /// What is sent.
    pub body: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    next_at: DateTime<Utc>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The other side has it.
    Done,
    /// It failed, for a reason without secrets; again then.
    Again(DateTime<Utc>, String),
    /// It failed for the last time.
    Dead(String),
}

/// What became of the calls about one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Nobody is to be told.
    None,
    /// Somebody is still to be told.
    Pending,
    /// Everybody knows.
    Confirmed,
}

impl Upstream {
    /// The word in answers.
    pub fn word(self) -> &'static str {
        match self {
            Upstream::None => "none",
            Upstream::Pending => "pending",
            Upstream::Confirmed => "confirmed",
        }
    }
}

impl Store {
    /// The calls that are due, oldest first: of each stream only the first that waits.
    pub async fn due_calls(&self, now: DateTime<Utc>, limit: u64) -> Result<Vec<Call>, StoreError> {
        let firsts: Vec<i64> = Entity::find()
            .select_only()
            .column_as(Column::Seq.min(), "first")
            .filter(Column::State.eq(PENDING))
            .group_by(Column::Stream)
            .into_tuple()
            .all(self.db())
            .await?;
        let mut calls = Vec::new();
        for firsts in firsts.chunks(super::text::CHUNK) {
            let due = Entity::find().filter(Column::Seq.is_in(firsts.iter().copied())).filter(Column::NextAt.lte(now));
            calls.extend(due.order_by_asc(Column::Seq).limit(limit).all(self.db()).await?);
        }
        calls.sort_unstable_by_key(|call| call.seq);
        calls.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        calls.into_iter().map(call).collect()
    }

    /// Takes a call for one attempt; false when somebody else has it. If nothing is heard of the attempt, it is due again
    /// at `lease`.
    pub async fn claim_call(&self, call: &Call, lease: DateTime<Utc>) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let claimed = Entity::update_many()
            .set(ActiveModel {
                next_at: Set(lease),
                attempts: Set(call.attempts.saturating_add(1).try_into().unwrap_or(i32::MAX)),
                ..Default::default()
            })
            .filter(Column::Seq.eq(call.seq))
            .filter(Column::State.eq(PENDING))
            .filter(Column::NextAt.eq(call.next_at))
            .exec(&*tx)
            .await?;
        tx.commit().await?;
        Ok(claimed.rows_affected == 1)
    }

    /// Notes how an attempt ended.
    pub async fn settle_call(&self, seq: i64, attempt: &Attempt, now: DateTime<Utc>) -> Result<(), StoreError> {
        let ended = |state: &str, error: &str| ActiveModel {
            state: Set(state.to_owned()),
            last_error: Set(cut(error, 200)),
            ended_at: Set(Some(now)),
            ..Default::default()
        };
        let changed = match attempt {
            Attempt::Done => ended(DONE, ""),
            Attempt::Dead(error) => ended(DEAD, error),
            Attempt::Again(at, error) => {
                ActiveModel { next_at: Set(*at), last_error: Set(cut(error, 200)), ..Default::default() }
            }
        };
        let tx = self.begin().await?;
        Entity::update_many().set(changed).filter(Column::Seq.eq(seq)).exec(&*tx).await?;
        tx.commit().await
    }

    /// What became of the calls about this revocation. One that was given up counts as pending: nobody was told.
    pub async fn upstream_of(&self, revocation: i64) -> Result<Upstream, StoreError> {
        let states: Vec<String> = Entity::find()
            .select_only()
            .column(Column::State)
            .filter(Column::About.eq(revocation))
            .into_tuple()
            .all(self.db())
            .await?;
        Ok(match states.iter().find(|state| *state != DONE) {
            _ if states.is_empty() => Upstream::None,
            Some(_) => Upstream::Pending,
            None => Upstream::Confirmed,
        })
    }

    /// How many calls wait.
    pub async fn waiting_calls(&self) -> Result<u64, StoreError> {
        Ok(Entity::find().filter(Column::State.eq(PENDING)).count(self.db()).await?)
    }
}

/// Writes calls about a revocation.
pub(super) async fn insert(tx: &Write, calls: &[NewCall], about: i64, now: DateTime<Utc>) -> Result<(), StoreError> {
    for call in calls {
        let id = new_id(now);
        // As Standard Webhooks shapes a body.
        let body = serde_json::json!({ "type": call.event, "timestamp": now, "data": call.data }).to_string();
        let row = ActiveModel {
            seq: NotSet,
            id: Set(id.to_string()),
            target: Set(call.target.clone()),
            stream: Set(cut(&call.stream, 320)),
            event: Set(call.event.clone()),
            body: Set(body),
            state: Set(PENDING.to_owned()),
            attempts: Set(0),
            next_at: Set(now),
            last_error: Set(String::new()),
            about: Set(about),
            created_at: Set(now),
            ended_at: Set(None),
        };
        Entity::insert(row).exec_without_returning(&**tx).await?;
    }
    Ok(())
}

fn call(row: Model) -> Result<Call, StoreError> {
    Ok(Call {
        seq: row.seq,
        id: uuid(&row.id)?,
        target: row.target,
        event: row.event,
        body: row.body,
        attempts: row.attempts.try_into().unwrap_or_default(),
        created_at: row.created_at,
        next_at: row.next_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, store};
    use crate::store::{Actor, Kind, NewRevocation};

    fn call_in(stream: &str) -> NewCall {
        let data = serde_json::json!({ "user": stream });
        NewCall { target: "issuer:shop".into(), stream: stream.into(), event: "session.revoked".into(), data }
    }

    async fn written(store: &Store, streams: &[&str]) -> i64 {
        let mut new = NewRevocation::new(Kind::Kick, &Actor::system());
        new.calls = streams.iter().map(|stream| call_in(stream)).collect();
        store.revoke(new, at(0)).await.unwrap().seq
    }

    #[tokio::test]
    async fn of_each_stream_only_the_first_is_due() {
        let store = store().await;
        let about = written(&store, &["a", "a", "b"]).await;
        let due = store.due_calls(at(0), 10).await.unwrap();
        assert_eq!(due.iter().map(|call| call.seq).collect::<Vec<_>>(), [1, 3]);
        assert!(store.claim_call(&due[0], at(30)).await.unwrap());
        assert!(!store.claim_call(&due[0], at(30)).await.unwrap(), "another node has it");
        assert_eq!(store.due_calls(at(1), 10).await.unwrap().len(), 1, "its stream waits with it");
        store.settle_call(1, &Attempt::Done, at(2)).await.unwrap();
        assert_eq!(store.due_calls(at(2), 10).await.unwrap()[0].seq, 2);
        assert_eq!(store.upstream_of(about).await.unwrap(), Upstream::Pending);
        for seq in [2, 3] {
            store.settle_call(seq, &Attempt::Done, at(2)).await.unwrap();
        }
        assert_eq!(store.upstream_of(about).await.unwrap(), Upstream::Confirmed);
        assert_eq!(store.upstream_of(about + 1).await.unwrap(), Upstream::None);
        assert_eq!(store.waiting_calls().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn after_the_last_attempt_the_next_of_the_stream_goes_on() {
        let store = store().await;
        let about = written(&store, &["a", "a"]).await;
        let first = store.due_calls(at(0), 10).await.unwrap().remove(0);
        assert!(store.claim_call(&first, at(30)).await.unwrap());
        store.settle_call(first.seq, &Attempt::Again(at(5), "no answer".into()), at(1)).await.unwrap();
        assert!(store.due_calls(at(4), 10).await.unwrap().is_empty());
        let again = store.due_calls(at(5), 10).await.unwrap().remove(0);
        assert_eq!((again.id, again.attempts), (first.id, 1));
        store.settle_call(first.seq, &Attempt::Dead("gone".into()), at(6)).await.unwrap();
        assert_eq!(store.due_calls(at(6), 10).await.unwrap()[0].seq, 2);
        assert_eq!(store.upstream_of(about).await.unwrap(), Upstream::Pending, "nobody was told");
    }
}
