//! API keys: making them, ending them, and finding out which one calls. A key that calls becomes an [`Identity`] like a
//! user's, whose user is `key:<id>` and whose rights are the key's scopes, without a role.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Denied, Services};
use crate::auth::{ApiKey, Identity, KEY_ISSUER, KeyTerms, Rights, Spent, UserKey, limit_key};
use crate::store::{Actor, ApiKeyRow, Entry, StoreError};

/// Age of a key's last use from which a new one is noted.
const USE_NOTED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// Why an API key opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDenied {
    /// There is no such key.
    Unknown,
    /// Its end has come.
    Expired,
    /// Somebody revoked it.
    Revoked,
    /// It may not be used from this address.
    Elsewhere,
    /// Too many wrong keys came from this address; seconds to wait.
    TooMany(u64),
    /// It has made as many calls as it may.
    TooFast(Spent),
    /// Sockets are for users.
    NoSocket,
}

impl KeyDenied {
    /// The number people know.
    pub fn status(self) -> u16 {
        match self {
            KeyDenied::Elsewhere => 403,
            KeyDenied::TooMany(_) | KeyDenied::TooFast(_) => 429,
            _ => 401,
        }
    }

    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            KeyDenied::Unknown => "key_invalid",
            KeyDenied::Expired => "key_expired",
            KeyDenied::Revoked => "key_revoked",
            KeyDenied::Elsewhere => "address_not_allowed",
            KeyDenied::TooMany(_) | KeyDenied::TooFast(_) => "rate_limited",
            KeyDenied::NoSocket => "key_opens_no_socket",
        }
    }

    /// A sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            KeyDenied::Unknown => "There is no such API key.",
            KeyDenied::Expired => "This API key has expired; make a new one.",
            KeyDenied::Revoked => "This API key was revoked.",
            KeyDenied::Elsewhere => "This API key may not be used from this address.",
            KeyDenied::TooMany(_) => "Too many wrong API keys came from this address; wait a moment.",
            KeyDenied::TooFast(_) => "This API key has made as many calls as it may; wait a moment.",
            KeyDenied::NoSocket => "An API key opens no socket; log in, and use the access token.",
        }
    }
}

impl Services {
    /// A new key, as the caller holds it and as it is kept. [`StoreError::Full`] beyond `auth.max_keys`.
    pub async fn create_key(&self, terms: &KeyTerms, by: &Actor) -> Result<(ApiKey, ApiKeyRow), StoreError> {
        let (key, max) = (ApiKey::random(), self.config().auth.max_keys as u64);
        let row = self.store().create_api_key(&key, terms, max, by, self.clock().now()).await?;
        Ok((key, row))
    }

    /// Ends a key: the next call with it is refused, on every node. [`StoreError::NotFound`].
    pub async fn revoke_key(&self, id: Uuid, by: &Actor) -> Result<(), StoreError> {
        self.store().revoke_api_key(id, by, self.clock().now()).await
    }

    /// The end of a key where none is asked for.
    pub fn default_key_end(&self) -> DateTime<Utc> {
        self.clock().now() + TimeDelta::from_std(self.config().auth.key_ttl).unwrap_or(TimeDelta::MAX)
    }

    /// The key behind what a REST call shows. Nothing is cached: a revocation holds with the next call. Only keys that
    /// nobody has count against the address, so that no good key is refused for its neighbours' mistakes; what keeps a
    /// key from being guessed is its 190 bits.
    /// With it comes what is left of its calls.
    pub async fn identify_key(&self, shown: &str, ip: IpAddr) -> Result<(Identity, Spent), Denied> {
        let row = match ApiKey::parse(shown) {
            Some(key) => self.key_row(&key).await.map_err(|error| {
                tracing::warn!(cause = error.cause(), "an API key could not be looked up");
                Denied::Unavailable
            })?,
            None => None,
        };
        let Some(row) = row else {
            let wait = self.limits().failed_keys.check(&limit_key(ip)).err();
            return Err(Denied::Key(wait.map_or(KeyDenied::Unknown, |wait| KeyDenied::TooMany(wait.as_secs() + 1))));
        };
        let now = self.clock().now();
        if let Some(denied) = refusal(&row, ip, now) {
            return Err(Denied::Key(denied));
        }
        let limit = row.terms.calls_per_minute.unwrap_or(self.config().auth.calls_per_key);
        let spent = self.limits().keys.spend(&(row.id, limit), limit);
        if spent.wait.is_some() {
            return Err(Denied::Key(KeyDenied::TooFast(spent)));
        }
        self.note_use(&row, ip, now);
        Ok((identity(row), spent))
    }

    async fn key_row(&self, key: &ApiKey) -> Result<Option<ApiKeyRow>, StoreError> {
        let _turn = self.turn().await?;
        self.store().api_key_by_digest(&key.digest()).await
    }

    fn note_use(&self, row: &ApiKeyRow, ip: IpAddr, now: DateTime<Utc>) {
        let ip = ip.to_string();
        let noted = row.last_used.as_ref().is_some_and(|(at, from)| now - at < USE_NOTED_EVERY && *from == ip);
        if !noted {
            self.writer().write(Entry::KeyUsed { id: row.id, at: now, ip });
        }
    }
}

fn refusal(row: &ApiKeyRow, ip: IpAddr, now: DateTime<Utc>) -> Option<KeyDenied> {
    if row.revoked_at.is_some() {
        return Some(KeyDenied::Revoked);
    }
    if row.terms.expires_at.is_some_and(|end| end <= now) {
        return Some(KeyDenied::Expired);
    }
    (!row.terms.admits(ip)).then_some(KeyDenied::Elsewhere)
}

fn identity(row: ApiKeyRow) -> Identity {
    let end = row.terms.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
    Identity {
        user: UserKey::new(KEY_ISSUER, &row.id.to_string()),
        session: row.id,
        app: "".into(),
        rights: Arc::new(Rights {
            username: format!("{KEY_ISSUER}:{}", row.terms.name).into(),
            roles: Arc::default(),
            permissions: row.terms.scopes,
        }),
        expires_at: end,
        session_expires_at: end,
        logged_in_at: row.created_at,
        avatar: "".into(),
        must_change_password: false,
    }
}
