//! Access tokens: JWTs (RFC 7519) that say who by which login, and nothing else. What the caller may do comes from the
//! session's user at the time of asking, never from a claim.
//!
//! Only our own tokens are read here. Tokens of other issuers are told apart before this is asked (`auth::Issuers`), and
//! verified with keys of their own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::auth::{Keyring, UserKey};
use crate::config;

/// Longest token that is looked at, in bytes. Ours have some four hundred.
pub(super) const MAX_TOKEN: usize = 8 * 1024;

/// How far ahead of ours the clock of a node that signed may be, in seconds. An expiry gets no such grace.
pub(super) const LEEWAY: i64 = 60;

/// Issues and verifies access tokens.
pub struct Tokens {
    keyring: Arc<Keyring>,
    issuer: String,
    audience: String,
    ttl: Duration,
}

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who.
    pub user: UserKey,
    /// By which login; whether it still stands is for the caller to look up.
    pub session: Uuid,
    /// From when on the token is worth nothing.
    pub expires_at: DateTime<Utc>,
    /// The token's own id.
    pub jti: String,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No JWT, longer than 8 KiB, without signature (`alg` none), or without a claim that ours have.
    #[error("The token is malformed.")]
    Malformed,
    /// Not signed by a key that is or recently was ours, with that key's algorithm.
    #[error("The token was not signed by this server, or by anybody it believes.")]
    BadSignature,
    /// Its time is over.
    #[error("The token has expired.")]
    Expired,
    /// Issued or valid from more than a minute from now on.
    #[error("The token is not valid yet: one of the two clocks is wrong.")]
    NotYetValid,
    /// Meant for somebody else.
    #[error("The token is meant for another audience.")]
    WrongAudience,
    /// Issued by somebody else.
    #[error("The token comes from another issuer.")]
    WrongIssuer,
    /// Another system's, without an end and without a time of issue to count from.
    #[error("The token has no end, and its issuer is not asked about it.")]
    Endless,
    /// Another system's, which says that it is over.
    #[error("The system that issued the token says that it is over.")]
    NotConfirmed,
}

impl Tokens {
    /// Tokens of `auth.issuer` for `auth.audience` that live for `auth.access_ttl`.
    pub fn new(keyring: Arc<Keyring>, auth: &config::Auth) -> Tokens {
        Tokens { keyring, issuer: auth.issuer.clone(), audience: auth.audience.clone(), ttl: auth.access_ttl }
    }

    /// A token for a login, and when it expires: whole seconds, as in its claim.
    pub fn issue(&self, user: &UserKey, session: Uuid, now: DateTime<Utc>) -> (String, DateTime<Utc>) {
        self.issue_for(user, session, now, self.ttl)
    }

    /// The same with a life of its own. Nothing beyond `Keyring::longest_life` is promised.
    pub fn issue_for(
        &self,
        user: &UserKey,
        session: Uuid,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> (String, DateTime<Utc>) {
        let key = self.keyring.signing();
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let end = now.timestamp().saturating_add(ttl);
        let expires_at = DateTime::from_timestamp(end, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let claims = Payload {
            iss: self.issuer.clone(),
            sub: user.as_str().to_owned(),
            aud: self.audience.clone(),
            exp: expires_at.timestamp(),
            iat: now.timestamp(),
            nbf: None,
            jti: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 12]>()),
            sid: session,
        };
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(key.algorithm) };
        let token = jsonwebtoken::encode(&header, &claims, &key.encoding).expect("a loaded key can sign");
        (token, expires_at)
    }

    /// Whether the token is ours, meant for us, and valid now. The key is the one its header names, the algorithm is that
    /// key's and no other; keys that a header brings along (`jwk`, `jku`, `x5u`) are ignored.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        // RFC 7515 section 4.1.11: what is critical and not understood makes the token invalid. We understand none.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let kid = header.kid.ok_or(TokenError::BadSignature)?;
        let key = self.keyring.verifying(&kid, now).ok_or(TokenError::BadSignature)?;
        let decoded = jsonwebtoken::decode::<Payload>(token, &key.decoding, &signature_only(key.algorithm));
        self.judge(decoded.map_err(refusal)?.claims, now)
    }

    /// Whether it may be signed by a key of ours that this process has not heard of yet.
    pub fn names_unknown_key(&self, token: &str, now: DateTime<Utc>) -> bool {
        let header = (token.len() <= MAX_TOKEN).then(|| jsonwebtoken::decode_header(token).ok()).flatten();
        header.and_then(|header| header.kid).is_some_and(|kid| self.keyring.verifying(&kid, now).is_none())
    }

    fn judge(&self, claims: Payload, now: DateTime<Utc>) -> Result<Claims, TokenError> {
        let now = now.timestamp();
        let latest = now.saturating_add(LEEWAY);
        let expires_at = DateTime::from_timestamp(claims.exp, 0).ok_or(TokenError::Malformed)?;
        match () {
            () if claims.iss != self.issuer => Err(TokenError::WrongIssuer),
            () if claims.aud != self.audience => Err(TokenError::WrongAudience),
            () if claims.sub.is_empty() || claims.jti.is_empty() => Err(TokenError::Malformed),
            () if claims.exp <= now => Err(TokenError::Expired),
            () if claims.iat > latest || claims.nbf.is_some_and(|nbf| nbf > latest) => Err(TokenError::NotYetValid),
            () => {
                Ok(Claims { user: UserKey::from_wire(&claims.sub), session: claims.sid, expires_at, jti: claims.jti })
            }
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("issuer", &self.issuer).field("keyring", &self.keyring).finish_non_exhaustive()
    }
}

/// The claims as they stand in the token. Each is required, but for `nbf`, which ours do not have.
#[derive(Serialize, Deserialize)]
struct Payload {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    iat: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    jti: String,
    sid: Uuid,
}

/// The library compares times with the machine's clock; ours may have been moved by a test, so `judge` does it.
pub(super) fn signature_only(algorithm: jsonwebtoken::Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

pub(super) fn refusal(error: jsonwebtoken::errors::Error) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenError::BadSignature,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests;
