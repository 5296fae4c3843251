//! The clock tower: what happens by the clock and may be seen and started by people. To add a job, write its file with
//! `run(&Services)` and add its row to [`timetable`]. Of several nodes one runs a job that is to run [`Runs::Once`]. Deliberately absent: whatever needs better than a second (the
//! heartbeat, the differences of the online list: `app` drives those), and jobs that use each other.

mod board;
mod due;
mod history;
mod lease;
mod prune;
mod rotate_keys;
mod sweep;
mod turn;

use std::future::Future;
use std::pin::Pin;

pub use board::{Board, JobStatus, RunRefused};
pub use history::{KEPT_RUNS, Run, Trigger};

use crate::config::Config;
use crate::services::Services;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobOutcome {
    /// Clients evicted, rows deleted, keys replaced: what the job is about.
    pub affected: u64,
}

/// Where a job runs when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// On one of the nodes: its work is the same wherever it is done.
    Once,
    /// On each for itself: its work is about the node.
    EveryNode,
}

impl Runs {
    /// As on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Runs::Once => "once",
            Runs::EveryNode => "everyNode",
        }
    }
}

/// What a run ends with: its outcome, or a sentence for the log and the list.
pub type JobResult = Result<JobOutcome, String>;

/// A row of the timetable.
pub struct Job {
    /// Its key in lists and paths.
    pub name: &'static str,
    /// When: six fields, seconds first, in `server.timezone`.
    pub cron: String,
    /// The setting `cron` comes from; empty when it is not to be set.
    pub setting: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// Where.
    pub runs: Runs,
    /// What it does. May be dropped when the server is stopped by force, or the job taken over by another node.
    pub run: fn(Services) -> Running,
}

/// A run under way.
pub type Running = Pin<Box<dyn Future<Output = JobResult> + Send>>;

/// Every job.
pub fn timetable(config: &Config) -> Vec<Job> {
    vec![
        Job {
            name: "sweep",
            cron: config.socket.sweep.clone(),
            setting: "socket.sweep",
            runs: Runs::EveryNode,
            description: "Closes clients that sent nothing for socket.idle_timeout.",
            run: |services| Box::pin(async move { sweep::run(&services) }),
        },
        Job {
            name: "prune",
            cron: "0 7 * * * *".into(),
            setting: "",
            runs: Runs::Once,
            description: "Deletes log rows, ended sessions and revocations older than database.keep_logs.",
            run: |services| Box::pin(async move { prune::run(&services).await }),
        },
        Job {
            name: "rotate-keys",
            cron: "0 23 * * * *".into(),
            setting: "",
            runs: Runs::Once,
            description: "Replaces a signing key older than auth.key_rotation; the old one verifies for auth.key_overlap.",
            run: |services| Box::pin(async move { rotate_keys::run(&services).await }),
        },
    ]
}

/// Whether every cron expression works; `Err` is a sentence that names the setting.
pub fn check(config: &Config) -> Result<(), String> {
    timetable(config).iter().try_for_each(board::check)
}
