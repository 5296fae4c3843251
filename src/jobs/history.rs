//! The last runs of a job.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Runs remembered of each job, in memory: a restart forgets them.
pub const KEPT_RUNS: usize = 50;

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

#[derive(Default)]
pub(super) struct History(VecDeque<Run>);

impl History {
    pub(super) fn add(&mut self, run: Run) {
        self.0.truncate(KEPT_RUNS - 1);
        self.0.push_front(run);
    }

    pub(super) fn newest(&self) -> Option<Run> {
        self.0.front().cloned()
    }

    /// Newest first.
    pub(super) fn all(&self) -> Vec<Run> {
        self.0.iter().cloned().collect()
    }
}
