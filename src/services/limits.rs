//! How often one address or one user may try, each in a table of fixed size.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Rate, UserKey};
use crate::clock::Clock;
use crate::config::Config;

const MINUTE: Duration = Duration::from_secs(60);

/// The limits of this node.
pub struct Limits {
    /// Logins by address.
    pub logins: Rate<IpAddr>,
    /// Failed handshakes by address: asked only after one has failed, so that a valid token is never refused for its
    /// neighbours' failures.
    pub failed_handshakes: Rate<IpAddr>,
    /// Unknown API keys by address, asked in the same manner.
    pub failed_keys: Rate<IpAddr>,
    /// Successful handshakes by user.
    pub handshakes: Rate<UserKey>,
}

impl Limits {
    /// As configured.
    pub fn new(clock: &Arc<dyn Clock>, config: &Config) -> Limits {
        let entries = config.auth.max_failure_entries;
        Limits {
            logins: Rate::new(clock.clone(), config.auth.logins_per_address, MINUTE, entries),
            failed_handshakes: Rate::new(clock.clone(), config.socket.failed_handshakes, MINUTE, entries),
            failed_keys: Rate::new(clock.clone(), config.auth.failed_keys, MINUTE, entries),
            handshakes: Rate::new(clock.clone(), config.socket.handshakes_per_user, MINUTE, entries),
        }
    }
}
