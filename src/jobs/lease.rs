//! Taking turns with other nodes. Of the nodes that a due time reaches one gets the lease and runs; the others watch whether it
//! lives, each by its own monotonic clock, and one of them takes over when nothing is heard of it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use super::Run;
use crate::services::Services;
use crate::store::{Lease, LeaseRefused, Mark, StoreError};

/// How patient nodes are with each other.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Silence after which a holder counts as dead.
    pub(super) silence: Duration,
    /// Between two signs of life, and between two looks.
    pub(super) look: Duration,
}

/// A holder misses five signs of life before somebody takes over.
pub(super) const PACE: Pace = Pace { silence: Duration::from_secs(30), look: Duration::from_secs(5) };

/// One node's part in it.
#[derive(Clone)]
pub(super) struct Leases {
    services: Services,
    job: &'static str,
    pace: Pace,
}

/// What became of waiting for a due time.
pub(super) enum Waited {
    /// It is ours.
    Ours(Lease),
    /// It has run, here or elsewhere; or the server stops.
    Over,
}

impl Leases {
    pub(super) fn new(services: Services, job: &'static str, pace: Pace) -> Leases {
        Leases { services, job, pace }
    }

    /// Waits until this node has the lease for a due time, or another one has run it.
    pub(super) async fn wait(&self, due: DateTime<Utc>, stop: &CancellationToken) -> Waited {
        let mut seen: Option<(Mark, Duration)> = None;
        loop {
            let now = self.services.clock().monotonic();
            let dead = seen.as_ref().filter(|(_, since)| now.saturating_sub(*since) >= self.pace.silence);
            match self.take(Some(due), dead.map(|(mark, _)| mark)).await {
                Ok(Ok(lease)) => {
                    if let Some((mark, _)) = dead {
                        tracing::warn!(job = self.job, holder = mark.holder, "its node is silent; this one takes over");
                    }
                    return Waited::Ours(lease);
                }
                Ok(Err(LeaseRefused::Over)) => return Waited::Over,
                Ok(Err(LeaseRefused::Held(mark))) if seen.as_ref().is_none_or(|(before, _)| *before != mark) => {
                    seen = Some((mark, now));
                }
                Ok(Err(LeaseRefused::Held(_))) => {}
                Err(error) => {
                    tracing::debug!(job = self.job, cause = error.cause(), "whose turn it is cannot be asked")
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Waited::Over,
                () = tokio::time::sleep(self.pace.look) => {}
            }
        }
    }

    /// The lease for a run in between; refused while anybody has it.
    pub(super) async fn take_now(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.take(None, None).await?.ok())
    }

    /// Gives signs of life for as long as the lease is ours; then why it is no longer.
    pub(super) async fn keep(&self, lease: &Lease) -> String {
        let clock = self.services.clock();
        let mut kept = clock.monotonic();
        loop {
            tokio::time::sleep(self.pace.look).await;
            let now = clock.monotonic();
            match self.services.store().renew_lease(lease, self.until()).await {
                Ok(true) => kept = now,
                Ok(false) => {
                    return "another node has taken the job over, because it heard nothing of this one".to_owned();
                }
                Err(_) if now.saturating_sub(kept) < self.pace.silence => {}
                Err(error) => return format!("the lease could not be kept: {error}"),
            }
        }
    }

    /// Ends the lease with its run. False when it is no longer ours, and nothing was kept of the run.
    pub(super) async fn end(&self, lease: &Lease, run: &Run) -> bool {
        let begun = self.services.clock().monotonic();
        loop {
            match self.services.store().end_lease(lease, &run.row(self.job)).await {
                Ok(kept) => return kept,
                Err(error) if self.services.clock().monotonic().saturating_sub(begun) >= self.pace.silence => {
                    tracing::error!(
                        job = self.job,
                        cause = error.cause(),
                        "a run could not be noted; it is made again"
                    );
                    return false;
                }
                Err(_) => tokio::time::sleep(self.pace.look).await,
            }
        }
    }

    /// The node that has the lease, as far as can be asked.
    pub(super) async fn holder(&self) -> Option<String> {
        self.services.store().lease_holder(self.job).await.ok().flatten()
    }

    async fn take(
        &self,
        due: Option<DateTime<Utc>>,
        dead: Option<&Mark>,
    ) -> Result<Result<Lease, LeaseRefused>, StoreError> {
        self.services.store().take_lease(self.job, due, self.services.node(), self.until(), dead).await
    }

    /// For people, and so that it looks otherwise every time: nobody compares it with a clock.
    fn until(&self) -> DateTime<Utc> {
        self.services.clock().now() + TimeDelta::from_std(self.pace.silence).unwrap_or_default()
    }
}
