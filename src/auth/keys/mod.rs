//! The keys that sign and verify our own tokens: generated and kept in a file, or given by the settings.

mod file;
mod material;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use self::file::{KeyFile, Seed, StoredKey, StoredKeys, still_verifies};
use self::material::Material;
use crate::config;

/// Why there are no keys to sign with. Each sentence names the file or the setting and the way out.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file or its folder cannot be read or written.
    #[error("The signing keys in {} cannot be used: {source}. Let the server's user own that folder, or set data.dir to one it may write.", .path.display())]
    File {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the file.
    #[error("The signing keys in {path} can be read by others (mode {mode:o}). Run `chmod 600 {path}`; if somebody may have read them, delete the file instead, and everyone logs in again.", path = .path.display())]
    OpenToOthers {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not what we wrote.
    #[error("The signing keys in {} are damaged at line {line}. Restore the file from a backup, or delete it, and everyone logs in again.", .path.display())]
    Broken {
        /// The key file.
        path: PathBuf,
        /// Where reading stopped.
        line: usize,
    },
    /// The file was removed under a running server.
    #[error("The signing keys in {} have disappeared; the server goes on with those in memory. Restore the file, or restart the server, and everyone logs in again.", .path.display())]
    Gone {
        /// The key file.
        path: PathBuf,
    },
    /// A key from the settings does not fit.
    #[error("{setting} {problem}")]
    Setting {
        /// The setting, as `auth.signing_key`.
        setting: &'static str,
        /// What is wrong with it and how to mend it.
        problem: &'static str,
    },
}

/// The keys of this server. The newest signs; one that was replaced verifies for `auth.key_overlap`, and
/// `auth.previous_signing_key` for as long as it is set. `Debug` shows names only.
pub struct Keyring(ArcSwap<Held>);

/// Replaced as a whole.
#[derive(Clone)]
struct Held {
    keys: Arc<Keys>,
    /// None when the signing key comes from the settings.
    file: Option<KeyFile>,
    previous: Option<Material>,
    algorithm: Algorithm,
    rotation: Duration,
    overlap: Duration,
}

/// What is in use.
struct Keys {
    signing: Arc<Key>,
    /// All that may verify, the signing one too.
    verifying: Vec<Arc<Key>>,
    /// The secrets of refresh tokens; the first one signs.
    refresh: Vec<[u8; 32]>,
}

/// One key, ready for use.
pub(in crate::auth) struct Key {
    pub(in crate::auth) kid: String,
    pub(in crate::auth) algorithm: Algorithm,
    pub(in crate::auth) encoding: EncodingKey,
    pub(in crate::auth) decoding: DecodingKey,
    replaced_at: Option<DateTime<Utc>>,
}

impl Keyring {
    /// Takes the key from the settings, or reads `signing-keys.json` in `dir`, which is made when there is none. When
    /// `auth.algorithm` has changed, a new key signs and the old one overlaps. Two processes that start at once agree on
    /// the same keys. Blocks for some milliseconds.
    pub fn open(dir: &Path, auth: &config::Auth, now: DateTime<Utc>) -> Result<Keyring, KeyError> {
        let algorithm = match auth.algorithm {
            config::Algorithm::HS256 => Algorithm::HS256,
            config::Algorithm::EdDSA => Algorithm::EdDSA,
        };
        let previous = Material::from_setting("auth.previous_signing_key", &auth.previous_signing_key)?;
        let configured = Material::from_setting("auth.signing_key", &auth.signing_key)?;
        let (keys, file) = match configured {
            Some(material) => (configured_keys(&material, algorithm, previous.as_ref())?, None),
            None => {
                let file = KeyFile::new(dir);
                let stored = open_file(&file, algorithm, now)?;
                (stored_keys(&stored, &file, previous.as_ref())?, Some(file))
            }
        };
        let (rotation, overlap) = (auth.key_rotation, auth.key_overlap);
        Ok(Keyring(ArcSwap::from_pointee(Held { keys: Arc::new(keys), file, previous, algorithm, rotation, overlap })))
    }

    /// Takes over the keys of another ring, which was opened with newer settings.
    pub fn adopt(&self, other: Keyring) {
        self.0.store(other.0.into_inner());
    }

    /// Replaces a generated key that is older than `auth.key_rotation` and forgets those that no longer verify. Answers
    /// whether the keys in use changed, by another process too. A key from the settings is never touched. Blocks for
    /// some milliseconds.
    pub fn rotate_if_due(&self, now: DateTime<Utc>) -> Result<bool, KeyError> {
        let held = self.0.load_full();
        let Some(file) = &held.file else { return Ok(false) };
        let stored = file.update(|found| {
            let mut stored = found.ok_or_else(|| KeyError::Gone { path: file.path().to_owned() })?;
            stored.prune(held.overlap, now);
            let old = |key: &StoredKey| (now - key.created_at).to_std().is_ok_and(|age| age >= held.rotation);
            if stored.signing().is_none_or(|key| !held.rotation.is_zero() && old(key)) {
                stored.replace(held.algorithm, now);
            }
            Ok(stored)
        })?;
        self.take_over(&held, &stored, file)
    }

    /// Reads what another process has written meanwhile: the command line may have made a key of another algorithm.
    /// Answers whether the keys in use changed. Blocks for a moment.
    pub fn reload(&self) -> Result<bool, KeyError> {
        let held = self.0.load_full();
        let Some(file) = &held.file else { return Ok(false) };
        let stored = file.read()?.ok_or_else(|| KeyError::Gone { path: file.path().to_owned() })?;
        self.take_over(&held, &stored, file)
    }

    /// How long a token signed now is verified for certain, even if its key were replaced at once: longer ones are not
    /// worth issuing. None when the key comes from the settings and stays as long as it is set.
    pub fn longest_life(&self) -> Option<Duration> {
        let held = self.0.load();
        held.file.as_ref().map(|_| held.overlap)
    }

    /// The key that signs.
    pub(in crate::auth) fn signing(&self) -> Arc<Key> {
        self.0.load().keys.signing.clone()
    }

    /// The key of this name, while it may verify.
    pub(in crate::auth) fn verifying(&self, kid: &str, now: DateTime<Utc>) -> Option<Arc<Key>> {
        let held = self.0.load();
        let key = held.keys.verifying.iter().find(|key| key.kid == kid)?;
        still_verifies(key.replaced_at, held.overlap, now).then(|| key.clone())
    }

    /// The secrets of refresh tokens, the one that signs first.
    pub(in crate::auth) fn refresh_secrets(&self) -> Vec<[u8; 32]> {
        self.0.load().keys.refresh.clone()
    }

    fn take_over(&self, held: &Arc<Held>, stored: &StoredKeys, file: &KeyFile) -> Result<bool, KeyError> {
        let (new, old) = (stored_keys(stored, file, held.previous.as_ref())?, &held.keys);
        let names =
            |keys: &Keys| keys.verifying.iter().map(|key| (key.kid.clone(), key.replaced_at)).collect::<Vec<_>>();
        let changed = names(&new) != names(old) || new.refresh != old.refresh;
        if changed {
            // Unless newer settings were adopted meanwhile: they have read the file, too.
            self.0.compare_and_swap(held, Arc::new(Held { keys: Arc::new(new), ..(**held).clone() }));
        }
        Ok(changed)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = &self.0.load().keys;
        let names: Vec<_> = keys.verifying.iter().map(|key| &key.kid).collect();
        f.debug_struct("Keyring").field("signing", &keys.signing.kid).field("verifying", &names).finish_non_exhaustive()
    }
}

fn configured_keys(key: &Material, algorithm: Algorithm, previous: Option<&Material>) -> Result<Keys, KeyError> {
    if key.algorithm() != algorithm {
        let problem = match algorithm {
            Algorithm::EdDSA => {
                "is no PEM, but auth.algorithm is EdDSA. Set auth.algorithm to HS256, or give a PKCS#8 PEM."
            }
            _ => {
                "is a PEM, but auth.algorithm is HS256. Set auth.algorithm to EdDSA, or give a secret of 32 characters."
            }
        };
        return Err(KeyError::Setting { setting: "auth.signing_key", problem });
    }
    let signing = Arc::new(key.configured_key());
    Ok(with_previous(signing.clone(), vec![signing], vec![key.refresh_secret()], previous))
}

fn open_file(file: &KeyFile, algorithm: Algorithm, now: DateTime<Utc>) -> Result<StoredKeys, KeyError> {
    let fits = |stored: &StoredKeys| stored.signing().is_some_and(|key| key.alg == algorithm);
    match file.read()? {
        // The usual start writes nothing, so that a read-only folder will do.
        Some(stored) if fits(&stored) => Ok(stored),
        _ => file.update(|found| {
            let mut stored = found.unwrap_or_else(|| StoredKeys::generate(algorithm, now));
            if !fits(&stored) {
                stored.replace(algorithm, now);
            }
            Ok(stored)
        }),
    }
}

fn stored_keys(stored: &StoredKeys, file: &KeyFile, previous: Option<&Material>) -> Result<Keys, KeyError> {
    let broken = || KeyError::Broken { path: file.path().to_owned(), line: 1 };
    let key = |stored: &StoredKey| {
        let material = Material::from_stored(stored).ok_or_else(broken)?;
        Ok(Arc::new(material.key(stored.kid.clone(), stored.replaced_at)))
    };
    let verifying = stored.keys.iter().map(key).collect::<Result<Vec<_>, KeyError>>()?;
    let signing = verifying.iter().rfind(|key| key.replaced_at.is_none()).cloned().ok_or_else(broken)?;
    let Seed(refresh) = stored.refresh_secret;
    Ok(with_previous(signing, verifying, vec![refresh], previous))
}

fn with_previous(
    signing: Arc<Key>,
    mut verifying: Vec<Arc<Key>>,
    mut refresh: Vec<[u8; 32]>,
    previous: Option<&Material>,
) -> Keys {
    verifying.extend(previous.map(|previous| Arc::new(previous.configured_key())));
    refresh.extend(previous.map(Material::refresh_secret));
    Keys { signing, verifying, refresh }
}

#[cfg(test)]
mod tests;
