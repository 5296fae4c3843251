//! What the tests of this folder share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Keyring;
use crate::config::{Algorithm, Auth, Logins, Secret};

/// The day on which these tests happen.
pub(super) fn now() -> DateTime<Utc> {
    "2024-05-14T07:12:13Z".parse().unwrap()
}

pub(super) fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

pub(super) fn keyring(dir: &Path, auth: &Auth) -> Arc<Keyring> {
    Arc::new(Keyring::open(dir, auth, now()).unwrap())
}

pub(super) fn auth() -> Auth {
    Auth {
        issuer: "rollcall".into(),
        audience: "rollcall".into(),
        algorithm: Algorithm::HS256,
        signing_key: Secret::default(),
        master_key: Secret::default(),
        previous_signing_key: Secret::default(),
        key_rotation: days(30),
        key_overlap: days(7),
        access_ttl: Duration::from_secs(900),
        refresh_ttl: days(30),
        refresh_overlap: Duration::from_secs(30),
        session_max: days(90),
        logins: Logins::Many,
        access_cookie: false,
        ticket_ttl: Duration::from_secs(30),
        max_tickets: 1_000,
        logins_per_address: 20,
        failures_per_name: 5,
        lock_time: Duration::from_secs(600),
        max_failure_entries: 1_000,
        password_queue: 64,
        follow_interval: Duration::from_secs(2),
        remember_sessions: Duration::from_secs(60),
        default_issuer: String::new(),
        issuers: Vec::new(),
        key_ttl: Duration::from_secs(90 * 86_400),
        max_keys: 10,
        failed_keys: 0,
        calls_per_key: 0,
    }
}
