//! The last runs of a job.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::store::JobRun;

/// Runs remembered of each job: where there are other nodes those of all of them, in the database; else in memory, and a restart
/// forgets them.
pub const KEPT_RUNS: usize = crate::store::KEPT_RUNS;

/// Who started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The clock.
    Cron,
    /// Somebody.
    Manual,
}

impl Trigger {
    /// As on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Trigger::Cron => "cron",
            Trigger::Manual => "manual",
        }
    }
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// UUIDv7.
    pub id: Uuid,
    /// The node that made it.
    pub node: Arc<str>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Who started it.
    pub trigger: Trigger,
    /// What the job counts: clients evicted, rows deleted, keys replaced.
    pub evicted: u64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Run {
    /// As it is kept in the database.
    pub(super) fn row(&self, job: &str) -> JobRun {
        JobRun {
            id: self.id,
            job: job.to_owned(),
            node: self.node.to_string(),
            started_at: self.started_at,
            took_ms: self.took_ms,
            trigger: self.trigger.word().to_owned(),
            affected: self.evicted,
            error: self.error.clone(),
        }
    }
}

impl From<JobRun> for Run {
    fn from(row: JobRun) -> Run {
        Run {
            id: row.id,
            node: row.node.into(),
            started_at: row.started_at,
            took_ms: row.took_ms,
            trigger: if row.trigger == Trigger::Manual.word() { Trigger::Manual } else { Trigger::Cron },
            evicted: row.affected,
            error: row.error,
        }
    }
}

#[derive(Default)]
pub(super) struct History(VecDeque<Run>);

impl History {
    pub(super) fn add(&mut self, run: Run) {
        self.0.truncate(KEPT_RUNS - 1);
        self.0.push_front(run);
    }

    /// Newest first, together with those that others keep. One that could not be written there is still here.
    pub(super) fn with(&self, kept: Vec<JobRun>) -> Vec<Run> {
        let known: HashSet<Uuid> = kept.iter().map(|run| run.id).collect();
        let mut runs: Vec<Run> = kept.into_iter().map(Run::from).collect();
        runs.extend(self.0.iter().filter(|run| !known.contains(&run.id)).cloned());
        runs.sort_by_key(|run| std::cmp::Reverse(run.started_at));
        runs.truncate(KEPT_RUNS);
        runs
    }
}
