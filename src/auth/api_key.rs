//! API keys: how other programs call REST. A key is not a user: it has scopes of its own, opens no socket, and is named
//! `key:…` wherever users are named.

use std::fmt;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use ipnet::IpNet;
use rand::distr::{Alphanumeric, SampleString};
use sha2::{Digest, Sha256};

use super::Permissions;

/// What every key begins with, so that people and scanners of secrets recognize one.
const PREFIX: &str = "rk_";
/// Letters and digits after the prefix: 190 random bits.
const LENGTH: usize = 32;
/// Characters shown in lists. What stays unknown still has 154 bits.
const HINT: usize = PREFIX.len() + 6;

/// Characters of a key's name, at most.
const MAX_KEY_NAME: usize = 64;
/// Networks of a key, at most.
pub const MAX_KEY_ADDRESSES: usize = 32;
/// Calls of a key a minute, at most.
const MAX_CALLS: u32 = 1_000_000;
/// Days a key with an end lives, at most. Databases count seconds to 2038.
const MAX_DAYS: i64 = 3650;

/// A key as its owner holds it. It is kept nowhere: rows have its digest.
pub struct ApiKey(String);

impl ApiKey {
    /// A new one.
    pub fn random() -> ApiKey {
        ApiKey(format!("{PREFIX}{}", Alphanumeric.sample_string(&mut rand::rng(), LENGTH)))
    }

    /// Reads what a caller shows; none when no key ever looked like that.
    pub fn parse(text: &str) -> Option<ApiKey> {
        let rest = text.strip_prefix(PREFIX)?;
        let fits = rest.len() == LENGTH && rest.chars().all(|letter| letter.is_ascii_alphanumeric());
        fits.then(|| ApiKey(text.to_owned()))
    }

    /// What is kept of it: SHA-256 in hexadecimal digits. A fast hash is enough for 190 random bits.
    pub fn digest(&self) -> String {
        format!("{:x}", Sha256::digest(&self.0))
    }

    /// Its beginning, to be recognized by.
    pub fn hint(&self) -> &str {
        &self.0[..HINT]
    }

    /// The key, for the one time it is shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Whether a credential means to be an API key, good or not.
pub fn looks_like_api_key(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

/// What a key may do, from where and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTerms {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Permissions,
    /// From where it may call; empty is from everywhere.
    pub addresses: Vec<IpNet>,
    /// Its end; none is never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Calls it may make a minute, on all nodes together; none is `auth.calls_per_key`.
    pub calls_per_minute: Option<u32>,
}

impl KeyTerms {
    /// Whether such a key can be made at all; else which of `name`, `scopes`, `addresses` and `expiresAt` does not fit,
    /// and why.
    pub fn check(&self, now: DateTime<Utc>) -> Result<(), (&'static str, String)> {
        let length = self.name.chars().count();
        if length == 0 || length > MAX_KEY_NAME || self.name.contains(char::is_control) {
            return Err(("name", format!("has 1 to {MAX_KEY_NAME} characters, none of them a control character")));
        }
        if self.scopes == Permissions::default() {
            return Err(("scopes", "is empty; say what the key may do".to_owned()));
        }
        if self.addresses.len() > MAX_KEY_ADDRESSES {
            return Err(("addresses", format!("has at most {MAX_KEY_ADDRESSES} entries")));
        }
        if self.calls_per_minute.is_some_and(|calls| !(1..=MAX_CALLS).contains(&calls)) {
            return Err(("callsPerMinute", format!("is a whole number from 1 to {MAX_CALLS}")));
        }
        let latest = now + TimeDelta::days(MAX_DAYS);
        match self.expires_at {
            Some(end) if end <= now => Err(("expiresAt", "is in the past".to_owned())),
            Some(end) if end > latest => Err(("expiresAt", format!("is at most {MAX_DAYS} days ahead"))),
            _ => Ok(()),
        }
    }

    /// Whether a call may come from there.
    pub fn admits(&self, ip: IpAddr) -> bool {
        self.addresses.is_empty() || self.addresses.iter().any(|network| network.contains(&ip.to_canonical()))
    }
}

/// A network as `10.0.0.0/8`, or one address.
pub fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Permission;

    fn terms() -> KeyTerms {
        let scopes = [Permission::PushSend].into_iter().collect();
        KeyTerms { name: "shop".into(), scopes, addresses: Vec::new(), expires_at: None, calls_per_minute: None }
    }

    #[test]
    fn a_key_is_recognized_by_its_hint_and_kept_as_its_digest_only() {
        let key = ApiKey::random();
        assert!(looks_like_api_key(key.expose()) && key.expose().len() == 35 && key.hint().len() == 9);
        assert_eq!(ApiKey::parse(key.expose()).unwrap().digest(), key.digest());
        assert!(key.digest().len() == 64 && !key.digest().contains(key.hint()));
        assert_ne!(ApiKey::random().digest(), key.digest());
        assert_eq!(format!("{key:?}"), "(hidden)");
    }

    #[test]
    fn what_no_key_ever_looked_like_is_none() {
        let key = ApiKey::random().expose().to_owned();
        for text in ["", "rk_", "rk_short", &key[3..], &format!("{key}x"), &key.replace("rk_", "sk_")] {
            assert!(ApiKey::parse(text).is_none(), "{text}");
        }
        assert!(ApiKey::parse(&format!("rk_{}", "ä".repeat(16))).is_none());
    }

    #[test]
    fn terms_are_bounded() {
        let now = DateTime::UNIX_EPOCH;
        let days = |days| Some(now + TimeDelta::days(days));
        assert!(terms().check(now).is_ok());
        assert!(KeyTerms { expires_at: days(3650), ..terms() }.check(now).is_ok());
        for (field, terms) in [
            ("name", KeyTerms { name: String::new(), ..terms() }),
            ("name", KeyTerms { name: "x".repeat(65), ..terms() }),
            ("name", KeyTerms { name: "a\nb".into(), ..terms() }),
            ("scopes", KeyTerms { scopes: Permissions::default(), ..terms() }),
            ("addresses", KeyTerms { addresses: vec![network("10.0.0.0/8").unwrap(); 33], ..terms() }),
            ("callsPerMinute", KeyTerms { calls_per_minute: Some(0), ..terms() }),
            ("callsPerMinute", KeyTerms { calls_per_minute: Some(1_000_001), ..terms() }),
            ("expiresAt", KeyTerms { expires_at: days(0), ..terms() }),
            ("expiresAt", KeyTerms { expires_at: days(3651), ..terms() }),
        ] {
            assert_eq!(terms.check(now).unwrap_err().0, field);
        }
    }

    #[test]
    fn a_key_is_held_to_its_networks() {
        let addresses = ["10.1.2.3/8", "192.0.2.7", "2001:db8::/32"].map(|text| network(text).unwrap()).to_vec();
        let terms = KeyTerms { addresses, ..terms() };
        for (ip, admitted) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("192.0.2.7", true),
            ("2001:db8::1", true),
            ("192.0.2.8", false),
            ("11.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(terms.admits(ip.parse().unwrap()), admitted, "{ip}");
        }
        assert!(network("10.0.0.0/33").is_none() && network("shop").is_none());
    }
}
