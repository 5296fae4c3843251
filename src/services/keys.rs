//! The signing keys: from the settings, from a file, or, where there are other nodes, from the database that they share.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use super::Services;
use crate::auth::{Claims, KeyError, Keyring, MasterKey, TokenError};
use crate::config::Config;
use crate::store::{Store, StoreError};

/// Shortest time between two looks for a key that a token names: many may be shown to us that name none of ours.
const RELEARN: Duration = Duration::from_secs(1);
/// Settings of the database: what the nodes have agreed on.
const MASTER: &str = "auth.master_key";
const SIGNING: &str = "auth.signing_key";
/// What stands there when the signing keys are those of the database.
const IN_THE_DATABASE: &str = "in the database";

/// What nodes have agreed on about their keys, by the names of the settings in the database.
pub const AGREED_ON_KEYS: [&str; 2] = [MASTER, SIGNING];

/// When the keys were last read because a token named an unknown one, in monotonic time.
#[derive(Default)]
pub struct Relearned(Mutex<Option<Duration>>);

/// The keys of this process, made when there are none. Where there are other nodes they are those of all, or
/// [`KeyError::Differs`].
pub async fn open_keys(
    config: &Config,
    store: &Store,
    now: DateTime<Utc>,
) -> Result<Result<Keyring, KeyError>, StoreError> {
    if config.cluster.redis_url.is_empty() {
        return Ok(Keyring::open(&config.data.dir, &config.auth, now));
    }
    let auth = &config.auth;
    let master = MasterKey::new(&auth.master_key);
    if store.agree(MASTER, master.fingerprint(), now).await? != master.fingerprint() {
        return Ok(Err(KeyError::Differs { setting: MASTER }));
    }
    match Keyring::configured(auth) {
        Err(error) => return Ok(Err(error)),
        Ok(Some(configured)) => return Ok(agree(store, &configured, now).await?.map(|()| configured)),
        Ok(None) => {}
    }
    if store.agree(SIGNING, IN_THE_DATABASE, now).await? != IN_THE_DATABASE {
        return Ok(Err(KeyError::Differs { setting: SIGNING }));
    }
    // Rotating is for the job; here only what is missing is made.
    let unhurried = crate::config::Auth { key_rotation: Duration::ZERO, ..auth.clone() };
    let sealed = store.change_signing_keys(|found| Keyring::due(&master, &unhurried, found, now)).await?;
    Ok(sealed.and_then(|sealed| Keyring::shared(&master, auth, &sealed)))
}

/// A key of the settings is replaced on one node after the other: each must know the one that the others sign with.
async fn agree(store: &Store, configured: &Keyring, now: DateTime<Utc>) -> Result<Result<(), KeyError>, StoreError> {
    let ours = configured.fingerprints();
    let theirs = store.agree(SIGNING, &ours[0], now).await?;
    if !ours.contains(&theirs) {
        return Ok(Err(KeyError::Differs { setting: SIGNING }));
    }
    if theirs != ours[0] {
        store.set_setting(SIGNING, &ours[0], now).await?;
    }
    Ok(Ok(()))
}

impl Services {
    /// Replaces a generated key that is due; whether the keys in use changed. `Err` is a sentence.
    pub async fn rotate_keys(&self) -> Result<bool, String> {
        let (keyring, now) = (self.keyring().clone(), self.clock().now());
        let Some(master) = keyring.master() else {
            return self.with_file(move |keyring| keyring.rotate_if_due(now)).await;
        };
        let config = self.config();
        let sealed = self.store().change_signing_keys(|found| Keyring::due(&master, &config.auth, found, now)).await;
        let sealed = sealed.map_err(sentence)?.map_err(|error| error.to_string())?;
        keyring.adopt_shared(&sealed).map_err(|error| error.to_string())
    }

    /// Reads what another process has made of the keys; whether those in use changed. `Err` is a sentence.
    pub async fn reload_keys(&self) -> Result<bool, String> {
        if self.keyring().master().is_none() {
            return self.with_file(Keyring::reload).await;
        }
        let sealed = self.store().signing_keys().await.map_err(sentence)?;
        self.keyring().adopt_shared(&sealed).map_err(|error| error.to_string())
    }

    /// What one of our tokens says. Another node may have signed it with a key that we have not heard of: then the keys are read
    /// again, at most once a second.
    pub(super) async fn verify_own(&self, token: &str) -> Result<Claims, TokenError> {
        let now = self.clock().now();
        let verified = self.tokens().verify(token, now);
        let shared = || self.keyring().master().is_some();
        if verified != Err(TokenError::BadSignature) || !shared() || !self.tokens().names_unknown_key(token, now) {
            return verified;
        }
        self.relearn().await;
        self.tokens().verify(token, now)
    }

    async fn relearn(&self) {
        // Who comes meanwhile waits for the same answer.
        let mut last = self.0.relearned.0.lock().await;
        let now = self.clock().monotonic();
        if last.is_some_and(|last| now.saturating_sub(last) < RELEARN) {
            return;
        }
        match self.reload_keys().await {
            Ok(changed) => tracing::debug!(changed, "the signing keys were read again for a token that names another"),
            Err(error) => tracing::warn!("a token names an unknown key, and the keys cannot be read: {error}"),
        }
        *last = Some(now);
    }

    async fn with_file<F>(&self, work: F) -> Result<bool, String>
    where
        F: FnOnce(&Keyring) -> Result<bool, KeyError> + Send + 'static,
    {
        let keyring = Arc::clone(self.keyring());
        let done = tokio::task::spawn_blocking(move || work(&keyring)).await;
        done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

fn sentence(error: StoreError) -> String {
    format!("{error} {}", error.cause()).trim_end().to_owned()
}
