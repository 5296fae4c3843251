//! The board in the tower: every job, its next and last runs, and "run now". The cron engine only knocks; whether a run
//! begins is decided here, because the engine lets runs of one job overlap.

use std::future::ready;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use tokio_cron_scheduler::{Job as CronJob, JobScheduler};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::due::{due, parse};
use super::lease::{PACE, Pace};
use super::turn::{Runner, Turn};
use super::{Job, Run, Runs, Trigger, timetable};
use crate::services::Services;

/// The jobs of this node, running by the clock until [`Board::stop`].
pub struct Board {
    posts: Vec<Post>,
    scheduler: JobScheduler,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A job as it stands.
#[derive(Clone, Debug)]
pub struct JobStatus {
    /// Its key.
    pub name: &'static str,
    /// When: six fields, seconds first, in UTC.
    pub cron: String,
    /// One sentence.
    pub description: &'static str,
    /// Where.
    pub runs: Runs,
    /// Whether it runs at this moment, on whichever node.
    pub running: bool,
    /// By the machine's clock, to the second; none after the stop.
    pub next_run_at: Option<DateTime<Utc>>,
    /// The run that ended last.
    pub last_run: Option<Run>,
}

/// Why a job was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunRefused {
    /// There is no such job.
    Unknown,
    /// It runs already, on this node or another, or the server is stopping.
    Running,
    /// Whether another node runs it cannot be asked.
    Unavailable,
}

/// One job on the board.
struct Post {
    runner: Arc<Runner>,
    cron_id: Uuid,
}

impl Board {
    /// Starts every job of the timetable. `Err` names the setting whose cron expression does not work.
    pub async fn start(services: Services, tasks: &TaskTracker) -> Result<Arc<Board>, String> {
        let jobs = timetable(&services.config());
        Board::start_with(jobs, services, tasks, PACE).await
    }

    async fn start_with(
        jobs: Vec<Job>,
        services: Services,
        tasks: &TaskTracker,
        pace: Pace,
    ) -> Result<Arc<Board>, String> {
        let scheduler =
            JobScheduler::new().await.map_err(|error| format!("The job scheduler did not start: {error}."))?;
        let stop = CancellationToken::new();
        let mut posts = Vec::new();
        for job in jobs {
            let runner = Arc::new(Runner::new(job, services.clone(), pace));
            posts.push(put_up(runner, &scheduler, &services, tasks, &stop).await?);
        }
        scheduler.start().await.map_err(|error| format!("The job scheduler did not start: {error}."))?;
        Ok(Arc::new(Board { posts, scheduler, tasks: tasks.clone(), stop }))
    }

    /// Every job, in the order of the timetable.
    pub async fn list(&self) -> Vec<JobStatus> {
        let mut list = Vec::new();
        for Post { runner, cron_id } in &self.posts {
            let next = self.scheduler.clone().next_tick_for_job(*cron_id).await;
            list.push(JobStatus {
                name: runner.job.name,
                cron: runner.job.cron.clone(),
                description: runner.job.description,
                runs: runner.job.runs,
                running: runner.is_running() || self.runs_elsewhere(runner).await,
                next_run_at: next.ok().flatten().filter(|_| !self.stop.is_cancelled()),
                last_run: runner.runs().await.into_iter().next(),
            });
        }
        list
    }

    /// Runs a job now and answers when it has ended. It goes on when the caller does not wait.
    pub async fn run_now(&self, name: &str) -> Result<Run, RunRefused> {
        let runner = self.runner(name).ok_or(RunRefused::Unknown)?;
        let turn = Turn::take(runner, &self.stop).ok_or(RunRefused::Running)?;
        let lease = match &runner.leases {
            None => None,
            Some(leases) => {
                let taken = leases.take_now().await.map_err(|_| RunRefused::Unavailable)?;
                Some(taken.ok_or(RunRefused::Running)?)
            }
        };
        let run = self.tasks.spawn(turn.run(Trigger::Manual, lease));
        run.await.map_err(|_| RunRefused::Running)
    }

    /// The last [`KEPT_RUNS`](super::KEPT_RUNS) runs, newest first: of a job that runs once those of every node. None when there is
    /// no such job.
    pub async fn runs(&self, name: &str) -> Option<Vec<Run>> {
        Some(self.runner(name)?.runs().await)
    }

    /// Begins no further run. Those that run are on the tracker.
    pub async fn stop(&self) {
        self.stop.cancel();
        if let Err(error) = self.scheduler.clone().shutdown().await {
            tracing::warn!(%error, "the job scheduler did not stop");
        }
    }

    async fn runs_elsewhere(&self, runner: &Runner) -> bool {
        let Some(leases) = &runner.leases else { return false };
        leases.holder().await.is_some()
    }

    fn runner(&self, name: &str) -> Option<&Arc<Runner>> {
        self.posts.iter().map(|post| &post.runner).find(|runner| runner.job.name == name)
    }
}

async fn put_up(
    runner: Arc<Runner>,
    scheduler: &JobScheduler,
    services: &Services,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Post, String> {
    let (zone, name) = (services.config().server.timezone, runner.job.name);
    let failed = |what: &dyn std::fmt::Display| format!("The job {name} cannot be planned: {what}.");
    if runner.leases.is_some() {
        services.store().prepare_lease(name).await.map_err(|error| failed(&error))?;
    }
    let cron = parse(&runner.job.cron).ok_or_else(|| unusable(&runner.job))?;
    // The engine never lets go of what it is given, so it is given only a weak handle.
    let (weak, tasks, stop) = (Arc::downgrade(&runner), tasks.clone(), stop.clone());
    let knock = move |_, _| {
        if let Some(runner) = weak.upgrade() {
            let due = due(&cron, zone, runner.now());
            tasks.spawn(runner.run_due(due, stop.clone()));
        }
        ready(()).boxed()
    };
    let cron_job = CronJob::new_async_tz(&runner.job.cron, zone, knock).map_err(|_| unusable(&runner.job))?;
    let cron_id = scheduler.add(cron_job).await.map_err(|error| failed(&error))?;
    Ok(Post { runner, cron_id })
}

pub(super) fn check(job: &Job) -> Result<(), String> {
    CronJob::new(&job.cron, |_, _| {}).map(drop).map_err(|_| unusable(job))
}

fn unusable(Job { setting, cron, .. }: &Job) -> String {
    format!("{setting}: {cron:?} is no cron expression; write six fields, seconds first, as \"*/30 * * * * *\".")
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::app::testing;
    use crate::jobs::JobOutcome;

    const NEVER: &str = "0 0 0 1 1 *";

    fn job(name: &'static str, cron: &str, run: fn(Services) -> crate::jobs::Running) -> Job {
        Job { name, cron: cron.into(), setting: "socket.sweep", description: "", runs: Runs::Once, run }
    }

    async fn board(job: Job) -> (Arc<Board>, TaskTracker) {
        let tasks = TaskTracker::new();
        (Board::start_with(vec![job], testing::services().await, &tasks, PACE).await.unwrap(), tasks)
    }

    #[tokio::test]
    async fn a_job_runs_once_at_a_time() {
        static GATE: Semaphore = Semaphore::const_new(0);
        let waits = |_| -> crate::jobs::Running {
            Box::pin(async {
                GATE.acquire().await.unwrap().forget();
                Ok(JobOutcome { affected: 7 })
            })
        };
        let (board, tasks) = board(job("slow", NEVER, waits)).await;
        let first = tasks.spawn({
            let board = board.clone();
            async move { board.run_now("slow").await }
        });
        while !board.list().await[0].running {
            tokio::task::yield_now().await;
        }
        assert_eq!(board.run_now("slow").await, Err(RunRefused::Running));
        GATE.add_permits(1);
        let run = first.await.unwrap().unwrap();
        assert_eq!((run.evicted, run.trigger, &run.error), (7, Trigger::Manual, &None));
        let status = &board.list().await[0];
        assert_eq!((status.running, status.last_run.as_ref()), (false, Some(&run)));
        assert!(status.next_run_at.is_some());
    }

    #[tokio::test]
    async fn a_failure_is_kept_and_the_job_can_run_again() {
        static FAILS: LazyLock<AtomicBool> = LazyLock::new(|| AtomicBool::new(true));
        let run = |_| -> crate::jobs::Running {
            Box::pin(async {
                assert!(!FAILS.swap(false, Ordering::Relaxed), "broken");
                Err("the disk is full".to_owned())
            })
        };
        let (board, _tasks) = board(job("fails", NEVER, run)).await;
        assert!(board.run_now("fails").await.unwrap().error.unwrap().contains("panicked"));
        assert_eq!(board.run_now("fails").await.unwrap().error.as_deref(), Some("the disk is full"));
        let runs = board.runs("fails").await.unwrap();
        assert_eq!((runs.len(), runs[0].error.as_deref()), (2, Some("the disk is full")));
    }

    #[tokio::test]
    async fn the_clock_starts_a_job() {
        static RAN: Semaphore = Semaphore::const_new(0);
        let run = |_| -> crate::jobs::Running {
            RAN.add_permits(1);
            Box::pin(ready(Ok(JobOutcome::default())))
        };
        let (board, tasks) = board(job("often", "* * * * * *", run)).await;
        RAN.acquire().await.unwrap().forget();
        board.stop().await;
        tasks.close();
        tasks.wait().await;
        assert_eq!(board.runs("often").await.unwrap()[0].trigger, Trigger::Cron);
        assert_eq!(board.run_now("often").await, Err(RunRefused::Running), "after the stop");
        assert_eq!(board.run_now("other").await, Err(RunRefused::Unknown));
        assert!(board.runs("other").await.is_none());
    }

    #[tokio::test]
    async fn the_clock_is_that_of_the_servers_zone() {
        let folder = tempfile::tempdir().unwrap();
        let zone = |config: &mut crate::config::Config| config.server.timezone = chrono_tz::Asia::Shanghai;
        let services = testing::app_in_with(folder.path(), zone).await.services().clone();
        let job = job("daily", "0 30 5 * * *", |_| Box::pin(ready(Ok(JobOutcome::default()))));
        let board = Board::start_with(vec![job], services, &TaskTracker::new(), PACE).await.unwrap();
        let next = board.list().await[0].next_run_at.unwrap();
        assert_eq!(next.format("%H:%M:%S").to_string(), "21:30:00", "half past five in Shanghai");
    }

    #[tokio::test]
    async fn a_bad_cron_expression_names_its_setting() {
        let job = job("bad", "every day", |_| Box::pin(ready(Ok(JobOutcome::default()))));
        let error =
            Board::start_with(vec![job], testing::services().await, &TaskTracker::new(), PACE).await.err().unwrap();
        assert!(error.starts_with("socket.sweep: \"every day\""), "{error}");
    }
}
