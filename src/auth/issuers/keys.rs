//! The keys of one issuer: each verifies with exactly one algorithm, so that a public key is never taken for a secret
//! (RFC 8725 section 3.1). Keys that a token brings along (`jwk`, `jku`, `x5u`) are ignored.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde_json::{Map, Value};

use crate::auth::TokenError;
use crate::auth::tokens::{refusal, signature_only};
use crate::config::{Issuer, IssuerAlgorithm};

/// Keys of a JWKS file, at most: a token without `kid` is tried with each.
const MAX_KEYS: usize = 32;

/// Largest key file in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Keys, and the state of the file they came from.
pub(super) struct Keys {
    keys: Vec<Key>,
    stamp: Option<Stamp>,
}

struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// Tells a replaced file from the one that was read: a rename over it changes at least one of the two.
type Stamp = (SystemTime, u64);

impl Keys {
    /// Reads the key, the key file or the JWKS file; otherwise what is wrong.
    pub(super) fn read(issuer: &Issuer) -> Result<Keys, String> {
        if is_set(&issuer.jwks_file) {
            let stamp = stamp(&issuer.jwks_file)?;
            return Ok(Keys { keys: jwks(issuer, &read(&issuer.jwks_file)?)?, stamp: Some(stamp) });
        }
        let text = if is_set(&issuer.key_file) { read(&issuer.key_file)? } else { issuer.key.expose().to_owned() };
        let key = Key { kid: None, algorithm: algorithm(issuer.algorithm), decoding: one(issuer, text.trim())? };
        Ok(Keys { keys: vec![key], stamp: None })
    }

    /// The keys of a JWKS file that is another one since.
    pub(super) fn read_if_changed(&self, issuer: &Issuer) -> Result<Option<Keys>, String> {
        match self.stamp {
            Some(known) if stamp(&issuer.jwks_file)? != known => Keys::read(issuer).map(Some),
            _ => Ok(None),
        }
    }

    /// The claims, if one of the keys signed them with its algorithm. Times and audience are not judged here.
    pub(super) fn verify(&self, token: &str, header: &Header) -> Result<Map<String, Value>, TokenError> {
        // RFC 7515 section 4.1.11: what is critical and not understood makes the token invalid. We understand none.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let named = header.kid.as_ref().filter(|kid| self.keys.iter().any(|key| key.kid.as_ref() == Some(*kid)));
        let fits = |key: &&Key| {
            key.algorithm == header.alg
                && match (named, &key.kid) {
                    (Some(wanted), kid) => kid.as_ref() == Some(wanted),
                    // A key without a name may be the one meant; one with another name is not.
                    (None, Some(_)) => header.kid.is_none(),
                    (None, None) => true,
                }
        };
        let mut refused = TokenError::BadSignature;
        for key in self.keys.iter().filter(fits) {
            match jsonwebtoken::decode(token, &key.decoding, &signature_only(key.algorithm)) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => refused = refusal(error),
            }
        }
        Err(refused)
    }
}

fn one(issuer: &Issuer, text: &str) -> Result<DecodingKey, String> {
    let is_pem = text.starts_with("-----BEGIN");
    let bad = |_| format!("the key is no public key in PEM for {:?}.", issuer.algorithm);
    match issuer.algorithm {
        _ if text.is_empty() => Err("the key is empty.".to_owned()),
        // The classical confusion: a public key, which everybody has, as a secret.
        _ if issuer.is_symmetric() && is_pem => {
            Err(format!("the key is a PEM, but the algorithm {:?} takes a secret.", issuer.algorithm))
        }
        _ if issuer.is_symmetric() && issuer.key_base64 => {
            DecodingKey::from_base64_secret(text).map_err(|_| "the key is not base64, as key_base64 says.".to_owned())
        }
        _ if issuer.is_symmetric() => Ok(DecodingKey::from_secret(text.as_bytes())),
        IssuerAlgorithm::RS256 => DecodingKey::from_rsa_pem(text.as_bytes()).map_err(bad),
        IssuerAlgorithm::ES256 => DecodingKey::from_ec_pem(text.as_bytes()).map_err(bad),
        _ => DecodingKey::from_ed_pem(text.as_bytes()).map_err(bad),
    }
}

/// The signature keys of the file that we can use; at least one.
fn jwks(issuer: &Issuer, text: &str) -> Result<Vec<Key>, String> {
    let file = issuer.jwks_file.display();
    let set: JwkSet = serde_json::from_str(text).map_err(|error| format!("{file} is no JWKS file: {error}."))?;
    if set.keys.len() > MAX_KEYS {
        return Err(format!("{file} has more than {MAX_KEYS} keys."));
    }
    let keys: Vec<Key> = set.keys.iter().filter_map(|jwk| jwk_key(issuer, jwk)).collect();
    if keys.is_empty() { Err(format!("{file} has no key for RS256, ES256 or EdDSA.")) } else { Ok(keys) }
}

/// A key whose algorithm its kind allows; a key for encryption, of another kind or of a secret is passed over.
fn jwk_key(issuer: &Issuer, jwk: &Jwk) -> Option<Key> {
    use jsonwebtoken::jwk::PublicKeyUse;
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = match &jwk.common.key_algorithm {
        Some(named) => named.to_string().parse().ok()?,
        None => algorithm(issuer.algorithm),
    };
    let fits = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => key.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    let decoding = DecodingKey::from_jwk(jwk).ok().filter(|_| fits)?;
    Some(Key { kid: jwk.common.key_id.clone(), algorithm, decoding })
}

fn algorithm(named: IssuerAlgorithm) -> Algorithm {
    match named {
        IssuerAlgorithm::HS256 => Algorithm::HS256,
        IssuerAlgorithm::HS384 => Algorithm::HS384,
        IssuerAlgorithm::HS512 => Algorithm::HS512,
        IssuerAlgorithm::RS256 => Algorithm::RS256,
        IssuerAlgorithm::ES256 => Algorithm::ES256,
        IssuerAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}

fn read(path: &Path) -> Result<String, String> {
    if stamp(path)?.1 > MAX_FILE {
        return Err(format!("{} is larger than {MAX_FILE} bytes.", path.display()));
    }
    fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}.", path.display()))
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    let found = fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len())));
    found.map_err(|error| format!("{} cannot be read: {error}.", path.display()))
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}
