//! Refresh tokens: derived from the session and a counter, never stored.
//!
//! A session row holds its generation. Showing the token of the current one makes the next; showing the one before
//! within `auth.refresh_overlap` answers the same successor again, because it can be derived again; anything older was
//! stolen or copied. Those rules are the caller's, who has the row; here is only which tokens are genuine.

use std::fmt;
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::Keyring;

/// Longest refresh token there can be: a UUID, nineteen digits, forty-three characters of HMAC and two dots.
const MAX_TOKEN: usize = 36 + 1 + 19 + 1 + 43;

/// Makes and recognizes refresh tokens: `<session>.<generation>.<HMAC-SHA256 as base64url>`.
pub struct RefreshTokens {
    keyring: Arc<Keyring>,
}

/// The token was not made by this server, or its secret has been replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The refresh token is not valid.")]
pub struct RefreshError;

impl RefreshTokens {
    /// Tokens made with the keyring's refresh secret.
    pub fn new(keyring: Arc<Keyring>) -> RefreshTokens {
        RefreshTokens { keyring }
    }

    /// The token of a session's generation; always the same one as long as the secret is.
    pub fn token(&self, session: Uuid, generation: i64) -> String {
        let secrets = self.keyring.refresh_secrets();
        let body = format!("{session}.{generation}");
        let tag = mac(&secrets[0], &body).finalize().into_bytes();
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// Session and generation of a genuine token. The HMAC is compared in constant time.
    pub fn parse(&self, token: &str) -> Result<(Uuid, i64), RefreshError> {
        if token.len() > MAX_TOKEN {
            return Err(RefreshError);
        }
        let (body, tag) = token.rsplit_once('.').ok_or(RefreshError)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| RefreshError)?;
        let genuine = |secret: &[u8; 32]| mac(secret, body).verify_slice(&tag).is_ok();
        if !self.keyring.refresh_secrets().iter().any(genuine) {
            return Err(RefreshError);
        }
        let (session, generation) = body.split_once('.').ok_or(RefreshError)?;
        Ok((session.parse().map_err(|_| RefreshError)?, generation.parse().map_err(|_| RefreshError)?))
    }
}

impl fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshTokens")
    }
}

fn mac(secret: &[u8; 32], body: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(body.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::testing::{auth, keyring};

    #[test]
    fn the_previous_token_leads_to_the_same_successor() {
        let dir = tempfile::tempdir().unwrap();
        let session = Uuid::now_v7();
        let successor = RefreshTokens::new(keyring(dir.path(), &auth())).token(session, 2);
        let after_a_restart = RefreshTokens::new(keyring(dir.path(), &auth()));
        assert_eq!(after_a_restart.token(session, 2), successor);
        assert_eq!(after_a_restart.parse(&successor), Ok((session, 2)));
        assert_ne!(after_a_restart.token(session, 3), successor);
    }

    #[test]
    fn a_configured_key_and_the_one_before_it_are_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let (mut old, mut new, mut other) = (auth(), auth(), auth());
        old.signing_key = crate::config::Secret::new("o".repeat(32));
        new.signing_key = crate::config::Secret::new("n".repeat(32));
        new.previous_signing_key = old.signing_key.clone();
        other.signing_key = new.signing_key.clone();
        let token = RefreshTokens::new(keyring(dir.path(), &old)).token(Uuid::nil(), 7);
        assert_eq!(RefreshTokens::new(keyring(dir.path(), &new)).parse(&token), Ok((Uuid::nil(), 7)));
        assert_eq!(RefreshTokens::new(keyring(dir.path(), &other)).parse(&token), Err(RefreshError));
    }

    #[test]
    fn the_longest_token_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = RefreshTokens::new(keyring(dir.path(), &auth()));
        let token = tokens.token(Uuid::max(), i64::MAX);
        assert_eq!(token.len(), MAX_TOKEN);
        assert_eq!(tokens.parse(&token), Ok((Uuid::max(), i64::MAX)));
    }

    proptest! {
        #[test]
        fn a_changed_token_is_refused(generation in 0i64.., position: prop::sample::Index, with in "[A-Za-z0-9._-]") {
            let dir = tempfile::tempdir().unwrap();
            let tokens = RefreshTokens::new(keyring(dir.path(), &auth()));
            let token = tokens.token(Uuid::now_v7(), generation);
            let position = position.index(token.len());
            let changed = format!("{}{with}{}", &token[..position], &token[position + 1..]);
            prop_assume!(changed != token);
            prop_assert_eq!(tokens.parse(&changed), Err(RefreshError));
            prop_assert_eq!(tokens.parse(&token[..position]), Err(RefreshError));
        }

        #[test]
        fn nothing_invented_is_accepted(text in ".*") {
            let dir = tempfile::tempdir().unwrap();
            prop_assert_eq!(RefreshTokens::new(keyring(dir.path(), &auth())).parse(&text), Err(RefreshError));
        }
    }
}
