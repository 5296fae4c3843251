//! Signing keys as they stand in a database that others can read: encrypted with AES-256-GCM under `auth.master_key`, each
//! bound to its name, so that no row can stand for another.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use jsonwebtoken::Algorithm;
use sha2::Sha256;

use super::KeyError;
use super::file::{Seed, StoredKey, StoredKeys};
use crate::config;

/// Bytes of a nonce; it stands before what it encrypts.
const NONCE: usize = 12;
/// What a key is for.
const SIGNING: &str = "signing";
const REFRESH: &str = "refresh";

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    /// Its name.
    pub kid: String,
    /// What it is for.
    pub purpose: String,
    /// How it signs.
    pub alg: String,
    /// The secret, encrypted, in base64.
    pub secret: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when it only verifies.
    pub replaced_at: Option<DateTime<Utc>>,
}

impl SealedKey {
    /// Those that a later release keeps for purposes of its own.
    pub(super) fn of_others(sealed: &[SealedKey]) -> Vec<SealedKey> {
        sealed.iter().filter(|key| ![SIGNING, REFRESH].contains(&key.purpose.as_str())).cloned().collect()
    }
}

/// What the keys in the database are encrypted with. Never shown.
#[derive(Clone)]
pub struct MasterKey {
    cipher: Box<Aes256Gcm>,
    fingerprint: String,
}

impl MasterKey {
    /// From `auth.master_key`, which has at least 32 characters.
    pub fn new(setting: &config::Secret) -> MasterKey {
        let derived = |purpose| derive(setting.expose().as_bytes(), purpose);
        let cipher = Box::new(Aes256Gcm::new(&derived("rollcall signing keys").into()));
        MasterKey { cipher, fingerprint: URL_SAFE_NO_PAD.encode(&derived("rollcall fingerprint")[..12]) }
    }

    /// What tells it apart without telling it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// None when there are none.
    pub(super) fn open(&self, sealed: &[SealedKey]) -> Result<Option<StoredKeys>, KeyError> {
        let (mut refresh, mut keys) = (None, Vec::new());
        for key in sealed {
            let damaged = || KeyError::Unsealed { kid: key.kid.clone() };
            if key.purpose == REFRESH {
                refresh = Some(self.unwrap(key).ok_or_else(damaged)?);
            } else if key.purpose == SIGNING {
                keys.push(StoredKey {
                    kid: key.kid.clone(),
                    alg: key.alg.parse().map_err(|_| damaged())?,
                    secret: self.unwrap(key).ok_or_else(damaged)?,
                    created_at: key.created_at,
                    replaced_at: key.replaced_at,
                });
            }
        }
        match refresh {
            Some(refresh_secret) => Ok(Some(StoredKeys { refresh_secret, keys })),
            None if keys.is_empty() => Ok(None),
            None => Err(KeyError::Unsealed { kid: REFRESH.to_owned() }),
        }
    }

    pub(super) fn seal(&self, stored: &StoredKeys) -> Vec<SealedKey> {
        let first = stored.keys.first().map_or(DateTime::UNIX_EPOCH, |key| key.created_at);
        let refresh = StoredKey {
            kid: REFRESH.to_owned(),
            alg: Algorithm::HS256,
            secret: stored.refresh_secret,
            created_at: first,
            replaced_at: None,
        };
        let signing = stored.keys.iter().map(|key| self.wrap(key, SIGNING));
        std::iter::once(self.wrap(&refresh, REFRESH)).chain(signing).collect()
    }

    fn wrap(&self, key: &StoredKey, purpose: &str) -> SealedKey {
        let mut sealed = SealedKey {
            kid: key.kid.clone(),
            purpose: purpose.to_owned(),
            alg: format!("{:?}", key.alg),
            secret: String::new(),
            created_at: key.created_at,
            replaced_at: key.replaced_at,
        };
        let (nonce, bound) = (rand::random::<[u8; NONCE]>(), bound(&sealed));
        let payload = Payload { msg: &key.secret.0, aad: bound.as_bytes() };
        let encrypted = self.cipher.encrypt(&Nonce::from(nonce), payload).expect("thirty-two bytes can be encrypted");
        sealed.secret = STANDARD.encode([&nonce[..], &encrypted].concat());
        sealed
    }

    fn unwrap(&self, key: &SealedKey) -> Option<Seed> {
        let bytes = STANDARD.decode(&key.secret).ok()?;
        let (nonce, encrypted) = bytes.split_first_chunk::<NONCE>()?;
        let bound = bound(key);
        let payload = Payload { msg: encrypted, aad: bound.as_bytes() };
        let secret = self.cipher.decrypt(&Nonce::from(*nonce), payload).ok()?;
        secret.try_into().ok().map(Seed)
    }
}

/// What a secret is for: taken for anything else it cannot be decrypted.
fn bound(key: &SealedKey) -> String {
    format!("1 {} {} {}", key.purpose, key.alg, key.kid)
}

/// A key for one purpose, which tells nothing of the secret or of those for others.
pub(super) fn derive(secret: &[u8], purpose: &str) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(purpose.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Keyring;
    use crate::auth::testing::{auth, days, now};
    use crate::config::Secret;

    fn master(letter: &str) -> MasterKey {
        MasterKey::new(&Secret::new(letter.repeat(32)))
    }

    fn kid(keyring: &Keyring) -> String {
        keyring.signing().kid.clone()
    }

    #[test]
    fn nodes_that_share_the_master_key_have_the_same_keys_and_nobody_else_has() {
        let sealed = Keyring::due(&master("m"), &auth(), &[], now()).unwrap();
        let (a, b) = (
            Keyring::shared(&master("m"), &auth(), &sealed).unwrap(),
            Keyring::shared(&master("m"), &auth(), &sealed).unwrap(),
        );
        assert_eq!((kid(&a), a.refresh_secrets()), (kid(&b), b.refresh_secrets()));
        let told = Keyring::shared(&master("x"), &auth(), &sealed).unwrap_err().to_string();
        assert!(told.contains("rollcall signing-keys forget"), "{told}");
        assert_ne!(master("m").fingerprint(), master("x").fingerprint());
    }

    #[test]
    fn a_row_cannot_stand_for_another_or_be_changed() {
        let sealed = Keyring::due(&master("m"), &auth(), &[], now()).unwrap();
        let (mut exchanged, mut renamed, mut flipped) = (sealed.clone(), sealed.clone(), sealed.clone());
        exchanged[0].secret = sealed[1].secret.clone();
        renamed[1].kid = "other".to_owned();
        flipped[1].secret.replace_range(20..21, if &sealed[1].secret[20..21] == "A" { "B" } else { "A" });
        for damaged in [exchanged, renamed, flipped, sealed[..1].to_vec(), sealed[1..].to_vec()] {
            assert!(Keyring::shared(&master("m"), &auth(), &damaged).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn a_key_that_is_due_is_replaced_and_verifies_for_the_overlap() {
        let (master, auth) = (master("m"), auth());
        let first = Keyring::due(&master, &auth, &[], now()).unwrap();
        let slow = Keyring::shared(&master, &auth, &first).unwrap();
        let theirs = SealedKey { kid: "x".into(), purpose: "something later".into(), ..first[0].clone() };
        let with_theirs = [first.clone(), vec![theirs.clone()]].concat();
        let same = Keyring::due(&master, &auth, &with_theirs, now() + days(1)).unwrap();
        assert_eq!((same.len(), same.last()), (3, Some(&theirs)));
        let later = now() + chrono::TimeDelta::from_std(auth.key_rotation).unwrap();
        let rotated = Keyring::due(&master, &auth, &first, later).unwrap();
        let fast = Keyring::shared(&master, &auth, &rotated).unwrap();
        assert_ne!(kid(&slow), kid(&fast));
        assert!(fast.verifying(&kid(&slow), later).is_some(), "a node that has not heard of it signs on");
        assert!(slow.verifying(&kid(&fast), later).is_none());
        assert!(slow.adopt_shared(&rotated).unwrap() && !slow.adopt_shared(&rotated).unwrap());
        assert_eq!(kid(&slow), kid(&fast));
        let over = later + chrono::TimeDelta::from_std(auth.key_overlap).unwrap();
        assert!(fast.verifying(&first[1].kid, over).is_none());
        let pruned = Keyring::due(&master, &auth, &rotated, over).unwrap();
        assert!(pruned.iter().all(|key| key.kid != first[1].kid));
    }
}
