//! Whose turn a job is. A lease is taken for a due time, once; its token grows with every holder, and what an earlier holder
//! brings late is refused by it. Whether a holder still lives is not told by anybody's wall clock: it renews `until` as long as it
//! lives, and whoever waits takes the lease over when it has seen the same [`Mark`] for too long by a clock of its own.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::QuerySelect;
use sea_orm::entity::prelude::*;

use super::{JobRun, Store, StoreError, job_runs};

/// How far ahead of the time that is asked for a due time may lie and be believed. One from a clock that was wrong by more would
/// keep everybody from running the job until then.
const BELIEVED: TimeDelta = TimeDelta::days(1);

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) job: String,
    pub(super) due_at: DateTime<Utc>,
    pub(super) holder: String,
    pub(super) token: i64,
    pub(super) until: DateTime<Utc>,
    pub(super) ended: bool,
}

super::entity!(JobLeases);

/// The right to run a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which.
    pub job: String,
    /// Greater than that of every holder before.
    pub token: i64,
}

/// How a lease that somebody holds looks. The same one again means that nothing was heard of the holder in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The node that has it.
    pub holder: String,
    token: i64,
    until: DateTime<Utc>,
}

/// Why a lease is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseRefused {
    /// The job has run for this due time, or a later one.
    Over,
    /// Somebody has it.
    Held(Mark),
}

impl Store {
    /// Makes the row of a job that has none; to be called before its lease is asked for.
    pub async fn prepare_lease(&self, job: &str) -> Result<(), StoreError> {
        if Entity::find_by_id(job).one(self.db()).await?.is_some() {
            return Ok(());
        }
        let (job, never) = (Set(job.to_owned()), Set(DateTime::UNIX_EPOCH));
        let row = ActiveModel {
            job,
            due_at: never.clone(),
            holder: Set(String::new()),
            token: Set(0),
            until: never,
            ended: Set(true),
        };
        let tx = self.begin().await?;
        match Entity::insert(row).exec_without_returning(&*tx).await {
            Ok(_) => tx.commit().await,
            // Another node was faster.
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lease of a job for a due time, to the second, or, without one, for a run in between. `until` is when the holder will have renewed
    /// it. `dead` is a mark that was seen for too long: its holder's lease is taken over.
    pub async fn take_lease(
        &self,
        job: &str,
        due: Option<DateTime<Utc>>,
        holder: &str,
        until: DateTime<Utc>,
        dead: Option<&Mark>,
    ) -> Result<Result<Lease, LeaseRefused>, StoreError> {
        // Databases keep less of a time than we have.
        let due = due.map(|due| due.trunc_subsecs(0));
        let tx = self.begin().await?;
        let row = Entity::find_by_id(job).lock_exclusive().one(&*tx).await?.ok_or(StoreError::NotFound("job"))?;
        if due.is_some_and(|due| row.ended && row.due_at >= due && row.due_at < due + BELIEVED) {
            return Ok(Err(LeaseRefused::Over));
        }
        let mark = Mark { holder: row.holder, token: row.token, until: row.until };
        if !row.ended && dead != Some(&mark) {
            return Ok(Err(LeaseRefused::Held(mark)));
        }
        let lease = Lease { job: job.to_owned(), token: row.token + 1 };
        let taken = ActiveModel {
            due_at: Set(due.unwrap_or(row.due_at)),
            holder: Set(holder.to_owned()),
            token: Set(lease.token),
            until: Set(until),
            ended: Set(false),
            ..Default::default()
        };
        Entity::update_many().set(taken).filter(Column::Job.eq(job)).exec(&*tx).await?;
        tx.commit().await?;
        Ok(Ok(lease))
    }

    /// Says that the holder lives. False when the lease is somebody else's by now: the run is to stop.
    pub async fn renew_lease(&self, lease: &Lease, until: DateTime<Utc>) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let set = ActiveModel { until: Set(until), ..Default::default() };
        let renewed = Entity::update_many().set(set).filter(still(lease)).exec(&*tx).await?.rows_affected;
        tx.commit().await?;
        Ok(renewed > 0)
    }

    /// Ends the lease with what its run came to. False when it is somebody else's by now: nothing is kept of the run.
    pub async fn end_lease(&self, lease: &Lease, run: &JobRun) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let set = ActiveModel { ended: Set(true), ..Default::default() };
        if Entity::update_many().set(set).filter(still(lease)).exec(&*tx).await?.rows_affected == 0 {
            return Ok(false);
        }
        job_runs::insert(&tx, run).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Who holds the lease of a job at the moment.
    pub async fn lease_holder(&self, job: &str) -> Result<Option<String>, StoreError> {
        let held = Entity::find_by_id(job).filter(Column::Ended.eq(false)).one(self.db()).await?;
        Ok(held.map(|row| row.holder))
    }
}

fn still(lease: &Lease) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(Column::Job.eq(lease.job.as_str()))
        .add(Column::Token.eq(lease.token))
        .add(Column::Ended.eq(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::job_runs::tests::run;
    use crate::store::testing::{at, migrated, shared, store};

    async fn take(store: &Store, due: i64, holder: &str, dead: Option<&Mark>) -> Result<Lease, LeaseRefused> {
        store.take_lease("prune", Some(at(due)), holder, at(due + 30), dead).await.unwrap()
    }

    #[tokio::test]
    async fn a_due_time_is_taken_once_and_the_next_one_again() {
        let store = store().await;
        for _ in 0..2 {
            store.prepare_lease("prune").await.unwrap();
        }
        let lease = take(&store, 60, "a", None).await.unwrap();
        assert!(matches!(take(&store, 60, "b", None).await, Err(LeaseRefused::Held(mark)) if mark.holder == "a"));
        assert!(matches!(take(&store, 120, "b", None).await, Err(LeaseRefused::Held(_))), "it runs still");
        assert_eq!(store.lease_holder("prune").await.unwrap().as_deref(), Some("a"));
        assert!(store.end_lease(&lease, &run("prune", "a", 60)).await.unwrap());
        assert_eq!(store.lease_holder("prune").await.unwrap(), None);
        assert_eq!(take(&store, 60, "b", None).await, Err(LeaseRefused::Over));
        assert_eq!(take(&store, 50, "b", None).await, Err(LeaseRefused::Over), "a later one has run");
        let next = take(&store, 120, "b", None).await.unwrap();
        assert!(next.token > lease.token);
        assert!(store.end_lease(&next, &run("prune", "b", 120)).await.unwrap());
        let between = store.take_lease("prune", None, "a", at(130), None).await.unwrap().unwrap();
        assert!(store.end_lease(&between, &run("prune", "a", 125)).await.unwrap());
        assert_eq!(take(&store, 120, "b", None).await, Err(LeaseRefused::Over));
        let nodes: Vec<_> = store.job_runs("prune").await.unwrap().into_iter().map(|run| run.node).collect();
        assert_eq!(nodes, ["a", "b", "a"]);
    }

    #[tokio::test]
    async fn who_is_dead_is_replaced_and_comes_too_late() {
        let store = store().await;
        store.prepare_lease("prune").await.unwrap();
        let dies = take(&store, 60, "a", None).await.unwrap();
        let Err(LeaseRefused::Held(seen)) = take(&store, 60, "b", None).await else { panic!("nobody holds it") };
        assert!(store.renew_lease(&dies, at(100)).await.unwrap());
        let renewed = take(&store, 60, "b", Some(&seen)).await;
        let Err(LeaseRefused::Held(seen)) = renewed else { panic!("it was heard of in between: {renewed:?}") };
        let takes_over = take(&store, 60, "b", Some(&seen)).await.unwrap();
        assert!(!store.renew_lease(&dies, at(130)).await.unwrap());
        assert!(!store.end_lease(&dies, &run("prune", "a", 60)).await.unwrap(), "its token is old");
        assert!(store.job_runs("prune").await.unwrap().is_empty());
        assert!(store.end_lease(&takes_over, &run("prune", "b", 90)).await.unwrap());
        assert_eq!(store.job_runs("prune").await.unwrap()[0].node, "b");
    }

    #[tokio::test]
    async fn a_clock_that_was_wrong_for_once_keeps_nobody_from_running() {
        let store = store().await;
        store.prepare_lease("prune").await.unwrap();
        let years = take(&store, 300_000_000, "a", None).await.unwrap();
        store.end_lease(&years, &run("prune", "a", 0)).await.unwrap();
        assert!(take(&store, 60, "b", None).await.is_ok());
    }

    #[tokio::test]
    async fn of_many_who_ask_at_once_one_gets_it() {
        let (settings, _file) = shared().await;
        let stores =
            [migrated(&settings).await, Store::open(&settings).await.unwrap(), Store::open(&settings).await.unwrap()];
        let prepared = futures_util::future::join_all(stores.iter().map(|store| store.prepare_lease("prune"))).await;
        prepared.into_iter().for_each(|prepared| prepared.unwrap());
        for due in [60, 120, 180] {
            let taken = futures_util::future::join_all(stores.iter().map(|store| take(store, due, "n", None))).await;
            let leases: Vec<_> = taken.into_iter().filter_map(Result::ok).collect();
            assert_eq!(leases.len(), 1, "at {due}");
            assert!(stores[0].end_lease(&leases[0], &run("prune", "n", due)).await.unwrap());
        }
    }
}
