//! Old rows go: logs, ended sessions, dead API keys, revocations nobody needs any more, lockouts that are over.

use super::{JobOutcome, JobResult};
use crate::services::Services;

pub(super) async fn run(services: &Services) -> JobResult {
    let config = services.config();
    // A token for a script may outlive a login, and its revocation must be remembered as long.
    let longest = config.auth.session_max.max(services.keyring().longest_life().unwrap_or_default());
    let pruned = services.store().prune(services.clock().now(), config.database.keep_logs, longest).await;
    let pruned = pruned.map_err(|error| format!("{error} {}", error.cause()).trim_end().to_owned())?;
    Ok(JobOutcome {
        affected: pruned.logins + pruned.audits + pruned.sessions + pruned.revocations + pruned.lockouts + pruned.keys,
    })
}
