//! How many calls an API key has left, on every answer to it (draft-ietf-httpapi-ratelimit-headers).

use std::sync::{Arc, OnceLock};

use poem::http::{HeaderMap, HeaderName, HeaderValue};

use crate::auth::Spent;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Travels with a request: whoever finds the key behind it notes what it has spent.
#[derive(Clone, Default)]
pub(super) struct KeyRate(Arc<OnceLock<Spent>>);

impl KeyRate {
    pub(super) fn note(&self, spent: Spent) {
        let _ = self.0.set(spent);
    }

    /// `q` calls in `w` seconds; `r` of them are left, and in `t` seconds all are again.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        let Some(spent) = self.0.get().filter(|spent| spent.limit > 0) else { return };
        let mut set = |name, text: String| HeaderValue::from_str(&text).map(|value| headers.insert(name, value));
        let _ = set(POLICY, format!("\"calls\";q={};w={}", spent.limit, spent.period.as_secs()));
        let in_seconds = spent.full_in.as_secs() + u64::from(spent.full_in.subsec_nanos() > 0);
        let _ = set(LEFT, format!("\"calls\";r={};t={in_seconds}", spent.left));
    }
}
