//! What another system's token says, in our words. The signature was good, so these are that system's own words; bounds hold
//! all the same, since its users may have chosen their names.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::auth::TokenError;
use crate::config::Issuer;

/// Characters of a user's id, of a name, of a role.
const MAX_ID: usize = 128;
const MAX_ROLE: usize = 64;
/// Roles of a token that are looked at.
const MAX_ROLES: usize = 32;
/// Characters of a login's name; a longer one is hashed.
const MAX_EXTERNAL: usize = 255;

/// Unix time from which on a number must be milliseconds: the year 5138 in seconds.
const MILLISECONDS: i64 = 100_000_000_000;

pub(super) struct Reader<'a> {
    pub(super) claims: &'a Map<String, Value>,
    pub(super) settings: &'a Issuer,
    pub(super) zone: Tz,
}

/// Our id of a login that a system calls so: always the same one, and no other's.
pub(super) fn session_id(issuer: &str, external_id: &str) -> Uuid {
    let digest = Sha256::digest(format!("rollcall session\0{issuer}\0{external_id}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::new_v8(bytes)
}

impl Reader<'_> {
    /// RFC 7519 section 4.1.3: who is not among the audience must refuse; an audience that we expect must be there.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            None | Some(Value::Null) => audience.is_empty(),
            Some(Value::String(one)) => !audience.is_empty() && one == audience,
            Some(Value::Array(many)) => !audience.is_empty() && many.iter().any(|one| one == audience),
            Some(_) => false,
        }
    }

    pub(super) fn issued_at(&self) -> Result<Option<DateTime<Utc>>, TokenError> {
        self.time(&self.settings.issued_claim)
    }

    pub(super) fn valid_from(&self) -> Result<Option<DateTime<Utc>>, TokenError> {
        self.time("nbf")
    }

    /// `exp`, or `max_age` from the time of issue; none when neither says anything.
    pub(super) fn expires_at(&self) -> Result<Option<DateTime<Utc>>, TokenError> {
        if let Some(end) = self.time("exp")? {
            return Ok(Some(end));
        }
        let age = |age: Duration| TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        let from = self.issued_at()?.zip(self.settings.max_age);
        Ok(from.map(|(from, max)| from.checked_add_signed(age(max)).unwrap_or(DateTime::<Utc>::MAX_UTC)))
    }

    /// The user's id. A default issuer's must not look like another's.
    pub(super) fn user_id(&self, bare: bool) -> Result<String, TokenError> {
        let id = self.text(&self.settings.user_claim).ok_or(TokenError::Malformed)?;
        let fits = (1..=MAX_ID).contains(&id.chars().count()) && !id.chars().any(char::is_control);
        // MySQL takes `42` and `42 ` for the same, and nobody can tell them apart on a screen.
        let fits = fits && id.trim() == id;
        if fits && !(bare && id.contains(':')) { Ok(id) } else { Err(TokenError::Malformed) }
    }

    pub(super) fn username(&self) -> Option<String> {
        let name = self.text(&self.settings.name_claim)?;
        let name: String = name.trim().chars().filter(|c| !c.is_control()).take(MAX_ID).collect();
        (!name.is_empty()).then_some(name)
    }

    /// Sorted, each once. A role that is longer than any real one is none.
    pub(super) fn roles(&self) -> Vec<String> {
        let mut roles: Vec<String> = match self.claim(&self.settings.role_claim) {
            Some(Value::Array(many)) => many.iter().take(MAX_ROLES).filter_map(word).collect(),
            Some(one) => word(one).into_iter().collect(),
            None => Vec::new(),
        };
        roles.retain(|role| (1..=MAX_ROLE).contains(&role.chars().count()) && !role.chars().any(char::is_control));
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    pub(super) fn app(&self) -> String {
        let app = self.text(&self.settings.app_claim).unwrap_or_default();
        app.chars().filter(|c| !c.is_control()).take(MAX_ROLE).collect()
    }

    /// The configured claim, `sid`, `jti`, or else the token itself.
    pub(super) fn external_id(&self, token: &str) -> String {
        let named = [self.settings.session_claim.as_str(), "sid", "jti"];
        let found = named.into_iter().find_map(|claim| self.text(claim)).filter(|id| !id.is_empty());
        match found {
            Some(id) if id.chars().count() <= MAX_EXTERNAL && !id.chars().any(char::is_control) => id,
            Some(id) => digest(&id),
            None => digest(token),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.claim(name).and_then(word)
    }

    /// The claim of this name, else the one its dots lead to.
    fn claim(&self, name: &str) -> Option<&Value> {
        if let Some(found) = self.claims.get(name) {
            return Some(found).filter(|value| !value.is_null());
        }
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(self.claims.get(first)?, |value, key| value.get(key)).filter(|value| !value.is_null())
    }

    /// A claim that is there and is no time makes the token unreadable rather than timeless.
    fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, TokenError> {
        let Some(value) = self.claim(name) else { return Ok(None) };
        let at = match value {
            // RFC 7519 section 2: a NumericDate may have a fraction.
            Value::Number(number) => {
                number.as_i64().or_else(|| number.as_f64().map(|whole| whole as i64)).and_then(unix)
            }
            Value::String(text) => text.parse().ok().and_then(unix).or_else(|| self.written(text)),
            _ => None,
        };
        at.map(Some).ok_or(TokenError::Malformed)
    }

    /// RFC 3339, or as HotGo writes it; of two instants that the clocks going back make of one, the earlier.
    fn written(&self, text: &str) -> Option<DateTime<Utc>> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Some(at.to_utc());
        }
        let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()?;
        Some(naive.and_local_timezone(self.zone).earliest()?.to_utc())
    }
}

fn unix(number: i64) -> Option<DateTime<Utc>> {
    if number.abs() >= MILLISECONDS {
        DateTime::from_timestamp_millis(number)
    } else {
        DateTime::from_timestamp(number, 0)
    }
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
