//! How the runs of jobs ended, the last ones of each job, whichever node made them.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect};

use super::connection::Write;
use super::text::{CHUNK, cut, uuid};
use super::{Store, StoreError};

/// Runs kept of each job.
pub const KEPT_RUNS: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) id: String,
    pub(super) job: String,
    pub(super) node: String,
    pub(super) started_at: DateTime<Utc>,
    pub(super) took_ms: i64,
    pub(super) trigger_word: String,
    pub(super) affected: i64,
    pub(super) error: Option<String>,
}

super::entity!(JobRuns);

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRun {
    /// UUIDv7.
    pub id: Uuid,
    /// Of which job.
    pub job: String,
    /// On which node; at most 128 characters are kept.
    pub node: String,
    /// When it began, by that node's clock.
    pub started_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Who started it: `cron` or `manual`.
    pub trigger: String,
    /// What the job counts.
    pub affected: u64,
    /// Why it failed; at most 200 characters are kept.
    pub error: Option<String>,
}

impl Store {
    /// Keeps a run and forgets the oldest of its job.
    pub async fn note_job_run(&self, run: &JobRun) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        insert(&tx, run).await?;
        tx.commit().await
    }

    /// The last [`KEPT_RUNS`] runs of a job, newest first.
    pub async fn job_runs(&self, job: &str) -> Result<Vec<JobRun>, StoreError> {
        newest_first(job).limit(KEPT_RUNS as u64).all(self.db()).await?.into_iter().map(run).collect()
    }
}

pub(super) async fn insert(tx: &Write, run: &JobRun) -> Result<(), StoreError> {
    let row = ActiveModel {
        id: Set(run.id.to_string()),
        job: Set(run.job.clone()),
        node: Set(cut(&run.node, 128)),
        started_at: Set(run.started_at),
        took_ms: Set(run.took_ms.try_into().unwrap_or(i64::MAX)),
        trigger_word: Set(run.trigger.clone()),
        affected: Set(run.affected.try_into().unwrap_or(i64::MAX)),
        error: Set(run.error.as_ref().map(|error| cut(error, 200))),
    };
    Entity::insert(row).exec_without_returning(&**tx).await?;
    let old = newest_first(&run.job).select_only().column(Column::Id).offset(KEPT_RUNS as u64).limit(CHUNK as u64);
    let old: Vec<String> = old.into_tuple().all(&**tx).await?;
    if !old.is_empty() {
        Entity::delete_many().filter(Column::Id.is_in(old)).exec(&**tx).await?;
    }
    Ok(())
}

fn newest_first(job: &str) -> Select<Entity> {
    Entity::find().filter(Column::Job.eq(job)).order_by_desc(Column::StartedAt).order_by_desc(Column::Id)
}

fn run(row: Model) -> Result<JobRun, StoreError> {
    Ok(JobRun {
        id: uuid(&row.id)?,
        job: row.job,
        node: row.node,
        started_at: row.started_at,
        took_ms: row.took_ms.try_into().unwrap_or_default(),
        trigger: row.trigger_word,
        affected: row.affected.try_into().unwrap_or_default(),
        error: row.error,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::new_id;
    use crate::store::testing::{at, store};

    pub(in crate::store) fn run(job: &str, node: &str, second: i64) -> JobRun {
        JobRun {
            id: new_id(at(second)),
            job: job.into(),
            node: node.into(),
            started_at: at(second),
            took_ms: 5,
            trigger: "cron".into(),
            affected: 7,
            error: None,
        }
    }

    #[tokio::test]
    async fn the_last_runs_of_each_job_are_kept() {
        let store = store().await;
        let mut runs: Vec<JobRun> = (0..KEPT_RUNS as i64 + 3).map(|second| run("prune", "a", second)).collect();
        runs[7].error = Some("the disk is full".into());
        for run in &runs {
            store.note_job_run(run).await.unwrap();
        }
        store.note_job_run(&run("other", "b", 0)).await.unwrap();
        runs.reverse();
        assert_eq!(store.job_runs("prune").await.unwrap(), runs[..KEPT_RUNS]);
        assert_eq!(store.job_runs("other").await.unwrap()[0].node, "b");
        assert!(store.job_runs("none").await.unwrap().is_empty());
    }
}
