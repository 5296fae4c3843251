//! A key's secret part, whether it comes from the file or from the settings, and what is made of it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use sha2::Sha256;

use super::file::StoredKey;
use super::{Key, KeyError};
use crate::config;

/// Shortest `auth.signing_key` for HS256, in characters. RFC 7518 section 3.2 asks for 256 bits.
const MIN_SECRET: usize = 32;

/// A key's secret part, of whichever origin.
#[derive(Clone)]
pub(super) enum Material {
    Hmac(Vec<u8>),
    Ed25519(SigningKey),
}

impl Material {
    /// What a setting holds: a PKCS#8 PEM is an Ed25519 key, anything else a secret. None when it is not set.
    pub(super) fn from_setting(setting: &'static str, value: &config::Secret) -> Result<Option<Material>, KeyError> {
        let refused = |problem| Err(KeyError::Setting { setting, problem });
        match value.expose() {
            "" => Ok(None),
            pem if pem.trim_start().starts_with("-----BEGIN") => match SigningKey::from_pkcs8_pem(pem.trim()) {
                Ok(key) => Ok(Some(Material::Ed25519(key))),
                Err(_) => {
                    refused("is no Ed25519 private key in PKCS#8 PEM. `openssl genpkey -algorithm ed25519` makes one.")
                }
            },
            short if short.chars().count() < MIN_SECRET => {
                refused("has fewer than 32 characters. `openssl rand -base64 48` makes a good one.")
            }
            secret => Ok(Some(Material::Hmac(secret.as_bytes().to_vec()))),
        }
    }

    pub(super) fn from_stored(key: &StoredKey) -> Option<Material> {
        match key.alg {
            Algorithm::HS256 => Some(Material::Hmac(key.secret.0.to_vec())),
            Algorithm::EdDSA => Some(Material::Ed25519(SigningKey::from_bytes(&key.secret.0))),
            _ => None,
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Material::Hmac(_) => Algorithm::HS256,
            Material::Ed25519(_) => Algorithm::EdDSA,
        }
    }

    pub(super) fn key(&self, kid: String, replaced_at: Option<DateTime<Utc>>) -> Key {
        let (encoding, decoding) = match self {
            Material::Hmac(secret) => (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret)),
            Material::Ed25519(key) => {
                let der = key.to_pkcs8_der().expect("thirty-two bytes fit into PKCS#8");
                // RustCrypto's "DER" of a public key is its thirty-two bytes.
                let public = DecodingKey::from_ed_der(key.verifying_key().as_bytes());
                (EncodingKey::from_ed_der(der.as_bytes()), public)
            }
        };
        Key { kid, algorithm: self.algorithm(), encoding, decoding, replaced_at }
    }

    /// A key of the settings: every node that is given it knows it by the same name.
    pub(super) fn configured_key(&self) -> Key {
        self.key(URL_SAFE_NO_PAD.encode(&self.derive("rollcall key id")[..12]), None)
    }

    /// A secret for another purpose, from which this one cannot be told.
    fn derive(&self, purpose: &str) -> [u8; 32] {
        let secret = match self {
            Material::Hmac(secret) => secret.as_slice(),
            Material::Ed25519(key) => key.as_bytes().as_slice(),
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    pub(super) fn refresh_secret(&self) -> [u8; 32] {
        self.derive("rollcall refresh tokens")
    }
}
