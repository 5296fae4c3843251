//! The sweeper: clients without a frame for `socket.idle_timeout` are closed with 4001.

use super::{JobOutcome, JobResult};
use crate::services::Services;

pub(super) fn run(services: &Services) -> JobResult {
    let evicted = services.manager().evict_stale(services.config().socket.idle_timeout);
    if evicted > 0 {
        tracing::info!(evicted, "stale clients evicted");
    }
    Ok(JobOutcome { affected: evicted as u64 })
}
