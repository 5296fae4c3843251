//! Other systems whose tokens are accepted, as `auth.issuers` says: which of them a token belongs to, whether it is good, and
//! what it says in our words. Deliberately absent: the rows of their users and logins, and asking them (services).

mod claims;
mod keys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use jsonwebtoken::Header;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::tokens::{LEEWAY, MAX_TOKEN};
use super::{Permission, Permissions, TokenError, UserKey};
use crate::config::{self, Issuer};
use keys::Keys;

/// First part of our own users' keys where `auth.default_issuer` gives the bare ids to another system.
pub const OWN_ISSUER: &str = "rollcall";

/// The other systems. Replaced as a whole when settings or key files change.
pub struct Issuers {
    entries: ArcSwap<Vec<Arc<Entry>>>,
    /// `iss` of our own tokens.
    own: String,
}

/// A token of another system that is signed and valid now, in our words.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Its entry in the settings.
    pub issuer: Arc<Issuer>,
    /// Who.
    pub user: UserKey,
    /// The name for lists; the id where the token has none.
    pub username: String,
    /// The roles it names, with the issuer in front.
    pub roles: Vec<String>,
    /// The application; may be empty.
    pub app: String,
    /// Our id of the login.
    pub session: Uuid,
    /// What the other system calls the login: a claim, or the token's SHA-256 in hexadecimal digits.
    pub external_id: String,
    /// When it was issued, where it says so.
    pub issued_at: Option<DateTime<Utc>>,
    /// When it ends; none when only the other system knows.
    pub expires_at: Option<DateTime<Utc>>,
}

/// An entry of `auth.issuers` that cannot be used; a sentence that names it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct IssuerError(String);

/// A system, and what a token that its key verified says.
type Verified = (Arc<Entry>, Map<String, Value>);

struct Entry {
    settings: Arc<Issuer>,
    keys: Keys,
    /// First part of its users' keys; empty for the default issuer.
    label: String,
    zone: Tz,
}

impl Issuers {
    /// Reads every entry's key. Times without a zone in claims are of `zone`.
    pub fn open(auth: &config::Auth, zone: Tz) -> Result<Issuers, IssuerError> {
        let entry = |settings: &Issuer| {
            let unknown = |words: &&String| words.parse::<Permission>().is_err();
            if let Some(word) = settings.roles.values().flatten().find(unknown) {
                return Err(IssuerError::of(settings, &format!("roles name {word:?}, which is no permission.")));
            }
            let label = if settings.name == auth.default_issuer { "" } else { &settings.name };
            let keys = Keys::read(settings).map_err(|problem| IssuerError::of(settings, &problem))?;
            Ok(Arc::new(Entry { settings: Arc::new(settings.clone()), keys, label: label.to_owned(), zone }))
        };
        let entries = auth.issuers.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        Ok(Issuers { entries: ArcSwap::from_pointee(entries), own: auth.issuer.clone() })
    }

    /// Takes over the entries of others, which were opened with newer settings.
    pub fn adopt(&self, other: Issuers) {
        self.entries.store(other.entries.into_inner());
    }

    /// Reads again the JWKS files that changed; the names of their issuers. A file that cannot be used is told, and the keys
    /// before it stay.
    pub fn read_changed_files(&self) -> Vec<Result<String, IssuerError>> {
        let mut news = Vec::new();
        let before = self.entries.load_full();
        let mut entries = (*before).clone();
        for entry in &mut entries {
            match entry.keys.read_if_changed(&entry.settings) {
                Ok(None) => {}
                Ok(Some(keys)) => {
                    news.push(Ok(entry.settings.name.clone()));
                    let (settings, label) = (entry.settings.clone(), entry.label.clone());
                    *entry = Arc::new(Entry { settings, keys, label, zone: entry.zone });
                }
                Err(problem) => news.push(Err(IssuerError::of(&entry.settings, &problem))),
            }
        }
        if news.iter().any(Result::is_ok) {
            // Unless newer settings came meanwhile, which were read with these files.
            self.entries.compare_and_swap(&before, Arc::new(entries));
        }
        news
    }

    /// What a token of another system says, if it is good. None when it is none of theirs, so that it is ours or nobody's.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Result<Foreign, TokenError>> {
        let entries = self.entries.load();
        if entries.is_empty() || token.len() > MAX_TOKEN {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        // Read before it is believed, only to find out whose key to try.
        let unverified: Map<String, Value> = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        let iss = unverified.get("iss").and_then(Value::as_str).filter(|iss| !iss.is_empty());
        let verified = match (iss, header.kid.as_deref()) {
            (Some(iss), _) if iss == self.own => return None,
            (None, None) => one_that_verifies(&entries, token, &header)?,
            (iss, kid) => named(&entries, iss, kid)?.verify(token, &header),
        };
        Some(verified.and_then(|(entry, claims)| entry.read(token, &claims, now)))
    }

    /// What these roles may do, of the user's own issuer; the permissions of roles given here are not in it.
    pub fn permissions(&self, user: &UserKey, roles: &[Arc<str>]) -> Permissions {
        let entries = self.entries.load();
        let Some(entry) = entries.iter().find(|entry| entry.label == user.issuer()) else {
            return Permissions::default();
        };
        let allowed = |role: &Arc<str>| entry.settings.roles.get(role.strip_prefix(&entry.role(""))?);
        roles.iter().filter_map(allowed).flatten().filter_map(|word| word.parse().ok()).collect()
    }

    /// The entry whose user this is; none for our own users.
    pub fn of(&self, user: &UserKey) -> Option<Arc<Issuer>> {
        self.entries.load().iter().find(|entry| entry.label == user.issuer()).map(|entry| entry.settings.clone())
    }

    /// The entry with this name.
    pub fn named(&self, name: &str) -> Option<Arc<Issuer>> {
        self.entries.load().iter().find(|entry| entry.settings.name == name).map(|entry| entry.settings.clone())
    }

    /// A user as another system names them.
    pub fn user(&self, issuer: &str, id: &str) -> Option<UserKey> {
        let entries = self.entries.load();
        let entry = entries.iter().find(|entry| entry.settings.name == issuer)?;
        Some(UserKey::new(&entry.label, id))
    }

    /// Our id of a login that another system calls so.
    pub fn session(issuer: &str, external_id: &str) -> Uuid {
        claims::session_id(issuer, external_id)
    }
}

impl IssuerError {
    fn of(issuer: &Issuer, problem: &str) -> IssuerError {
        IssuerError(format!("auth.issuers {:?}: {problem}", issuer.name))
    }
}

impl Entry {
    fn verify(self: &Arc<Entry>, token: &str, header: &Header) -> Result<Verified, TokenError> {
        Ok((self.clone(), self.keys.verify(token, header)?))
    }

    fn read(&self, token: &str, claims: &Map<String, Value>, now: DateTime<Utc>) -> Result<Foreign, TokenError> {
        let claims = claims::Reader { claims, settings: &self.settings, zone: self.zone };
        if !claims.is_for(&self.settings.audience) {
            return Err(TokenError::WrongAudience);
        }
        let (issued_at, expires_at) = (claims.issued_at()?, claims.expires_at()?);
        let latest = now + chrono::TimeDelta::seconds(LEEWAY);
        if expires_at.is_some_and(|end| end <= now) {
            return Err(TokenError::Expired);
        }
        if issued_at.is_some_and(|at| at > latest) || claims.valid_from()?.is_some_and(|at| at > latest) {
            return Err(TokenError::NotYetValid);
        }
        if expires_at.is_none() && self.settings.verify_url.is_empty() {
            return Err(TokenError::Endless);
        }
        let id = claims.user_id(self.label.is_empty())?;
        let external_id = claims.external_id(token);
        Ok(Foreign {
            issuer: self.settings.clone(),
            user: UserKey::new(&self.label, &id),
            username: claims.username().unwrap_or(id),
            roles: claims.roles().into_iter().map(|role| self.role(&role)).collect(),
            app: claims.app(),
            session: claims::session_id(&self.settings.name, &external_id),
            external_id,
            issued_at,
            expires_at,
        })
    }

    /// A role of this system in our rows: never one of ours, whatever it is called there.
    fn role(&self, name: &str) -> String {
        format!("{}:{name}", self.settings.name)
    }
}

/// The system that a token names: by its `iss`; else by its `kid`, unless that system has an `iss` and the token another one.
fn named<'a>(entries: &'a [Arc<Entry>], iss: Option<&str>, kid: Option<&str>) -> Option<&'a Arc<Entry>> {
    let by_iss = iss.and_then(|iss| entries.iter().find(|entry| entry.settings.iss == iss));
    by_iss.or_else(|| {
        let fits = |entry: &Entry| iss.is_none() || entry.settings.iss.is_empty();
        entries.iter().find(|entry| fits(entry) && entry.settings.kid.iter().any(|known| Some(&**known) == kid))
    })
}

/// The one system whose key verifies a token that says nothing of where it comes from.
fn one_that_verifies(entries: &[Arc<Entry>], token: &str, header: &Header) -> Option<Result<Verified, TokenError>> {
    let candidates: Vec<_> = entries.iter().filter(|entry| entry.settings.match_without_iss).collect();
    if candidates.is_empty() {
        return None;
    }
    let mut verified: Vec<_> = candidates.iter().filter_map(|entry| entry.verify(token, header).ok()).collect();
    // Two systems with one key cannot be told apart, and their users are not the same.
    let one = if verified.len() == 1 { verified.pop() } else { None };
    Some(one.ok_or(TokenError::BadSignature))
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.load();
        f.debug_list().entries(entries.iter().map(|entry| &entry.settings.name)).finish()
    }
}
