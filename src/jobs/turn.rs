//! One run of a job: by whose leave, and how it ended.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::history::History;
use super::lease::{Leases, Pace, Waited};
use super::{Job, JobResult, Run, Runs, Trigger};
use crate::services::Services;
use crate::store::Lease;

/// A job, and what of it goes on here.
pub(super) struct Runner {
    pub(super) job: Job,
    services: Services,
    /// None where this node need ask nobody.
    pub(super) leases: Option<Leases>,
    running: AtomicBool,
    /// The latest due time that is waited for.
    waiting_for: Mutex<Option<DateTime<Utc>>>,
    history: Mutex<History>,
}

/// The right to run, one per job at a time; it comes back however the run ends.
pub(super) struct Turn(Arc<Runner>);

impl Runner {
    pub(super) fn new(job: Job, services: Services, pace: Pace) -> Runner {
        let asks = services.shared() && job.runs == Runs::Once;
        let leases = asks.then(|| Leases::new(services.clone(), job.name, pace));
        Runner {
            job,
            services,
            leases,
            running: AtomicBool::new(false),
            waiting_for: Mutex::default(),
            history: Mutex::default(),
        }
    }

    /// The clock says that the job is due: runs it, unless another node does, or the run before goes on.
    pub(super) async fn run_due(self: Arc<Runner>, due: DateTime<Utc>, stop: CancellationToken) {
        let Some(leases) = &self.leases else {
            match Turn::take(&self, &stop) {
                Some(turn) => drop(turn.run(Trigger::Cron, None).await),
                None => tracing::debug!(job = self.job.name, "still running; this run is left out"),
            }
            return;
        };
        // Whoever waits already waits for this time from now on.
        if lock(&self.waiting_for).replace(due).is_some() {
            return;
        }
        let mut due = due;
        loop {
            if let Waited::Ours(lease) = leases.wait(due, &stop).await
                && let Some(turn) = Turn::take(&self, &stop)
            {
                turn.run(Trigger::Cron, Some(lease)).await;
            }
            let mut waiting_for = lock(&self.waiting_for);
            match *waiting_for {
                Some(later) if later != due && !stop.is_cancelled() => due = later,
                _ => return *waiting_for = None,
            }
        }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.services.clock().now()
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// The last runs, newest first: those of all nodes, as far as they can be read.
    pub(super) async fn runs(&self) -> Vec<Run> {
        let kept = match &self.leases {
            None => Vec::new(),
            Some(_) => self.services.store().job_runs(self.job.name).await.unwrap_or_default(),
        };
        lock(&self.history).with(kept)
    }
}

impl Turn {
    pub(super) fn take(runner: &Arc<Runner>, stop: &CancellationToken) -> Option<Turn> {
        let free = !stop.is_cancelled() && !runner.running.swap(true, Ordering::AcqRel);
        free.then(|| Turn(runner.clone()))
    }

    pub(super) async fn run(self, trigger: Trigger, lease: Option<Lease>) -> Run {
        let Runner { job, services, leases, .. } = &*self.0;
        let (id, started_at, started) = (Uuid::now_v7(), services.clock().now(), services.clock().monotonic());
        let work = AssertUnwindSafe((job.run)(services.clone())).catch_unwind();
        let work = async { work.await.unwrap_or_else(|_| Err("the job panicked; the log says where".to_owned())) };
        let held = leases.as_ref().zip(lease.as_ref());
        let result: JobResult = match held {
            None => work.await,
            Some((leases, lease)) => tokio::select! { result = work => result, lost = leases.keep(lease) => Err(lost) },
        };
        let took_ms = services.clock().monotonic().saturating_sub(started).as_millis() as u64;
        let (evicted, error) = match result {
            Ok(outcome) => (outcome.affected, None),
            Err(error) => (0, Some(error)),
        };
        let mut run = Run { id, node: services.node().clone(), started_at, took_ms, trigger, evicted, error };
        if let Some((leases, lease)) = held
            && !leases.end(lease, &run).await
        {
            run.error
                .get_or_insert_with(|| "another node has taken the job over; this result came too late".to_owned());
        }
        if let Some(error) = &run.error {
            tracing::error!(job = job.name, run.id = %id, error, "a job failed");
        }
        lock(&self.0.history).add(run.clone());
        run
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::app::testing;
    use crate::clock::{Clock, ManualClock};
    use crate::jobs::{JobOutcome, Running};

    /// Looks often, and counts as dead after half a minute of the test's clock.
    const PACE: Pace = Pace { silence: Duration::from_secs(30), look: Duration::from_millis(20) };
    /// Says nothing while it holds a lease, like a process that is paused.
    const MUTE: Pace = Pace { silence: Duration::from_secs(30), look: Duration::from_secs(3_600) };

    async fn runner(app: &crate::app::App, runs: Runs, run: fn(Services) -> Running, pace: Pace) -> Arc<Runner> {
        let services = app.services().clone();
        services.store().prepare_lease("job").await.unwrap();
        let job = Job { name: "job", cron: String::new(), setting: "", description: "", runs, run };
        Arc::new(Runner::new(job, services, pace))
    }

    #[tokio::test]
    async fn two_nodes_run_a_due_time_once() {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let run = |_| -> Running {
            RUNS.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::ready(Ok(JobOutcome { affected: 3 })))
        };
        let (folder, clock, stop) =
            (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new()), CancellationToken::new());
        let [a, b] = testing::nodes(folder.path(), &clock, ["a", "b"]).await;
        let (first, second) = (runner(&a, Runs::Once, run, PACE).await, runner(&b, Runs::Once, run, PACE).await);
        for due_times in 1..=5 {
            clock.advance(Duration::from_secs(60));
            let due = clock.now();
            tokio::join!(first.clone().run_due(due, stop.clone()), second.clone().run_due(due, stop.clone()));
            assert_eq!(RUNS.load(Ordering::SeqCst), due_times);
        }
        let runs = first.runs().await;
        assert_eq!(second.runs().await, runs);
        assert!(runs.iter().all(|run| ["a", "b"].contains(&&*run.node) && run.evicted == 3), "{runs:?}");
        assert_eq!(runs.len(), 5);
        let (mine, yours) =
            (runner(&a, Runs::EveryNode, run, PACE).await, runner(&b, Runs::EveryNode, run, PACE).await);
        tokio::join!(mine.run_due(clock.now(), stop.clone()), yours.clone().run_due(clock.now(), stop.clone()));
        assert_eq!(RUNS.load(Ordering::SeqCst), 7, "each runs what is about itself");
        assert_eq!(yours.runs().await.len(), 1);
    }

    #[tokio::test]
    async fn a_holder_that_dies_is_replaced_and_its_late_result_refused() {
        static GATE: Semaphore = Semaphore::const_new(0);
        let run = |services: Services| -> Running {
            Box::pin(async move {
                if &**services.node() == "a" {
                    GATE.acquire().await.unwrap().forget();
                }
                Ok(JobOutcome { affected: 1 })
            })
        };
        let (folder, clock, stop) =
            (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new()), CancellationToken::new());
        let [a, b] = testing::nodes(folder.path(), &clock, ["a", "b"]).await;
        let (dies, lives) = (runner(&a, Runs::Once, run, MUTE).await, runner(&b, Runs::Once, run, PACE).await);
        let (due, tasks) = (clock.now(), TaskTracker::new());
        let late = tasks.spawn(dies.clone().run_due(due, stop.clone()));
        while !dies.is_running() {
            tokio::task::yield_now().await;
        }
        let leases = lives.leases.as_ref().unwrap();
        assert_eq!(leases.holder().await.as_deref(), Some("a"));
        assert!(leases.take_now().await.unwrap().is_none(), "nobody else runs it now");
        let waits = tasks.spawn(lives.clone().run_due(due, stop.clone()));
        while !waits.is_finished() {
            // However often the other has looked before.
            clock.advance(PACE.silence);
            tokio::time::sleep(PACE.look).await;
        }
        let runs = lives.runs().await;
        assert_eq!(runs.iter().map(|run| &*run.node).collect::<Vec<_>>(), ["b"]);
        GATE.add_permits(1);
        late.await.unwrap();
        assert_eq!(lives.runs().await, runs, "what comes late is not kept");
        let refused = dies.runs().await.into_iter().find(|run| &*run.node == "a").expect("it knows of its own");
        assert!(refused.error.as_deref().is_some_and(|error| error.contains("came too late")), "{refused:?}");
        dies.run_due(due, stop).await;
        assert_eq!(lives.runs().await, runs, "it has run");
    }
}
