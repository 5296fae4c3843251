//! The signing key is replaced when it is due.

use super::{JobOutcome, JobResult};
use crate::services::Services;

pub(super) async fn run(services: &Services) -> JobResult {
    let (keyring, now) = (services.keyring().clone(), services.clock().now());
    let rotated = tokio::task::spawn_blocking(move || keyring.rotate_if_due(now)).await;
    let rotated = rotated.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if rotated {
        tracing::info!("the signing keys changed");
    }
    Ok(JobOutcome { affected: rotated.into() })
}
