//! The signing key is replaced when it is due.

use super::{JobOutcome, JobResult};
use crate::services::Services;

pub(super) async fn run(services: &Services) -> JobResult {
    let rotated = services.rotate_keys().await?;
    if rotated {
        tracing::info!("the signing keys changed");
    }
    Ok(JobOutcome { affected: rotated.into() })
}
