//! The keys that sign and verify our own tokens: generated and kept in a file, or, where several nodes share them, encrypted in
//! the database; or given by the settings.

mod error;
mod file;
mod material;
mod sealed;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

pub use self::error::KeyError;
use self::file::{KeyFile, Seed, StoredKey, StoredKeys, still_verifies};
use self::material::Material;
use self::sealed::derive;
pub use self::sealed::{MasterKey, SealedKey};
use crate::config;

/// The keys of this server. The newest signs; one that was replaced verifies for `auth.key_overlap`, and
/// `auth.previous_signing_key` for as long as it is set. `Debug` shows names only.
pub struct Keyring(ArcSwap<Held>);

/// Replaced as a whole.
#[derive(Clone)]
struct Held {
    keys: Arc<Keys>,
    origin: Origin,
    previous: Option<Material>,
    algorithm: Algorithm,
    rotation: Duration,
    overlap: Duration,
}

/// Where the keys come from.
#[derive(Clone)]
enum Origin {
    Settings,
    File(KeyFile),
    /// The database, encrypted with this.
    Shared(MasterKey),
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
        if let Some(configured) = Keyring::configured(auth)? {
            return Ok(configured);
        }
        let file = KeyFile::new(dir);
        let stored = open_file(&file, algorithm(auth), now)?;
        let previous = Material::from_setting("auth.previous_signing_key", &auth.previous_signing_key)?;
        let keys = stored_keys(&stored, previous.as_ref()).ok_or_else(|| broken(&file))?;
        Ok(Keyring::of(keys, Origin::File(file), previous, auth))
    }

    /// The key of the settings; none when `auth.signing_key` is not set.
    pub fn configured(auth: &config::Auth) -> Result<Option<Keyring>, KeyError> {
        let previous = Material::from_setting("auth.previous_signing_key", &auth.previous_signing_key)?;
        let Some(material) = Material::from_setting("auth.signing_key", &auth.signing_key)? else { return Ok(None) };
        let keys = configured_keys(&material, algorithm(auth), previous.as_ref())?;
        Ok(Some(Keyring::of(keys, Origin::Settings, previous, auth)))
    }

    /// The keys that several nodes share, as [`Keyring::due`] made them.
    pub fn shared(master: &MasterKey, auth: &config::Auth, sealed: &[SealedKey]) -> Result<Keyring, KeyError> {
        let previous = Material::from_setting("auth.previous_signing_key", &auth.previous_signing_key)?;
        let keys = unsealed_keys(master, sealed, previous.as_ref())?;
        Ok(Keyring::of(keys, Origin::Shared(master.clone()), previous, auth))
    }

    /// What the keys in the database should be: with a first one, with one of `auth.algorithm`, with a new one when the one that
    /// signs is due to be replaced, and without those that no longer verify.
    pub fn due(
        master: &MasterKey,
        auth: &config::Auth,
        sealed: &[SealedKey],
        now: DateTime<Utc>,
    ) -> Result<Vec<SealedKey>, KeyError> {
        let mut stored = master.open(sealed)?.unwrap_or_else(|| StoredKeys::generate(algorithm(auth), now));
        stored.prune(auth.key_overlap, now);
        if !fits(&stored, algorithm(auth)) {
            stored.replace(algorithm(auth), now);
        }
        stored.rotate(algorithm(auth), auth.key_rotation, now);
        Ok([master.seal(&stored), SealedKey::of_others(sealed)].concat())
    }

    fn of(keys: Keys, origin: Origin, previous: Option<Material>, auth: &config::Auth) -> Keyring {
        let (algorithm, rotation, overlap) = (algorithm(auth), auth.key_rotation, auth.key_overlap);
        Keyring(ArcSwap::from_pointee(Held { keys: Arc::new(keys), origin, previous, algorithm, rotation, overlap }))
    }

    /// Takes over the keys of another ring, which was opened with newer settings.
    pub fn adopt(&self, other: Keyring) {
        self.0.store(other.0.into_inner());
    }

    /// Replaces a generated key that is older than `auth.key_rotation` and forgets those that no longer verify. Answers
    /// whether the keys in use changed, by another process too. A key from the settings is never touched, and shared ones are
    /// not ours alone. Blocks for some milliseconds.
    pub fn rotate_if_due(&self, now: DateTime<Utc>) -> Result<bool, KeyError> {
        let held = self.0.load_full();
        let Origin::File(file) = &held.origin else { return Ok(false) };
        let stored = file.update(|found| {
            let mut stored = found.ok_or_else(|| KeyError::Gone { path: file.path().to_owned() })?;
            stored.prune(held.overlap, now);
            stored.rotate(held.algorithm, held.rotation, now);
            Ok(stored)
        })?;
        let keys = stored_keys(&stored, held.previous.as_ref()).ok_or_else(|| broken(file))?;
        Ok(self.take_over(&held, keys))
    }

    /// Reads what another process has written meanwhile: the command line may have made a key of another algorithm.
    /// Answers whether the keys in use changed. Blocks for a moment.
    pub fn reload(&self) -> Result<bool, KeyError> {
        let held = self.0.load_full();
        let Origin::File(file) = &held.origin else { return Ok(false) };
        let stored = file.read()?.ok_or_else(|| KeyError::Gone { path: file.path().to_owned() })?;
        let keys = stored_keys(&stored, held.previous.as_ref()).ok_or_else(|| broken(file))?;
        Ok(self.take_over(&held, keys))
    }

    /// Takes over what the database says by now. Answers whether the keys in use changed.
    pub fn adopt_shared(&self, sealed: &[SealedKey]) -> Result<bool, KeyError> {
        let held = self.0.load_full();
        let Origin::Shared(master) = &held.origin else { return Ok(false) };
        let keys = unsealed_keys(master, sealed, held.previous.as_ref())?;
        Ok(self.take_over(&held, keys))
    }

    /// The key that shared ones are encrypted with; none when they come from elsewhere.
    pub fn master(&self) -> Option<MasterKey> {
        match &self.0.load().origin {
            Origin::Shared(master) => Some(master.clone()),
            _ => None,
        }
    }

    /// What tells the signing keys of the settings apart without telling them: the one that signs, and the one before it.
    pub fn fingerprints(&self) -> Vec<String> {
        let held = self.0.load();
        let previous = held.previous.as_ref().map(|previous| previous.configured_key().kid);
        std::iter::once(held.keys.signing.kid.clone()).chain(previous).collect()
    }

    /// How long a token signed now is verified for certain, even if its key were replaced at once: longer ones are not
    /// worth issuing. None when the key comes from the settings and stays as long as it is set.
    pub fn longest_life(&self) -> Option<Duration> {
        let held = self.0.load();
        (!matches!(held.origin, Origin::Settings)).then_some(held.overlap)
    }

    /// The keys of the chained logs, the one that signs first. `auth.master_key` outlives every other one, so it comes first where
    /// it is set; the others still verify what was written without it.
    pub fn log_keys(&self, auth: &config::Auth) -> Vec<[u8; 32]> {
        let master = Some(auth.master_key.expose()).filter(|master| !master.is_empty()).map(str::as_bytes);
        let refresh = self.refresh_secrets();
        master
            .into_iter()
            .chain(refresh.iter().map(<[u8; 32]>::as_slice))
            .map(|key| derive(key, "rollcall logs"))
            .collect()
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

    fn take_over(&self, held: &Arc<Held>, new: Keys) -> bool {
        let names =
            |keys: &Keys| keys.verifying.iter().map(|key| (key.kid.clone(), key.replaced_at)).collect::<Vec<_>>();
        let changed = names(&new) != names(&held.keys) || new.refresh != held.keys.refresh;
        if changed {
            // Unless newer settings were adopted meanwhile: they have read the keys, too.
            self.0.compare_and_swap(held, Arc::new(Held { keys: Arc::new(new), ..(**held).clone() }));
        }
        changed
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

fn algorithm(auth: &config::Auth) -> Algorithm {
    match auth.algorithm {
        config::Algorithm::HS256 => Algorithm::HS256,
        config::Algorithm::EdDSA => Algorithm::EdDSA,
    }
}

fn fits(stored: &StoredKeys, algorithm: Algorithm) -> bool {
    stored.signing().is_some_and(|key| key.alg == algorithm)
}

fn open_file(file: &KeyFile, algorithm: Algorithm, now: DateTime<Utc>) -> Result<StoredKeys, KeyError> {
    match file.read()? {
        // The usual start writes nothing, so that a read-only folder will do.
        Some(stored) if fits(&stored, algorithm) => Ok(stored),
        _ => file.update(|found| {
            let mut stored = found.unwrap_or_else(|| StoredKeys::generate(algorithm, now));
            if !fits(&stored, algorithm) {
                stored.replace(algorithm, now);
            }
            Ok(stored)
        }),
    }
}

fn broken(file: &KeyFile) -> KeyError {
    KeyError::Broken { path: file.path().to_owned(), line: 1 }
}

fn unsealed_keys(master: &MasterKey, sealed: &[SealedKey], previous: Option<&Material>) -> Result<Keys, KeyError> {
    let stored = master.open(sealed)?;
    let keys = stored.and_then(|stored| stored_keys(&stored, previous));
    keys.ok_or_else(|| KeyError::Unsealed { kid: "none signs".to_owned() })
}

/// None when one has an algorithm that we do not sign with, or none signs.
fn stored_keys(stored: &StoredKeys, previous: Option<&Material>) -> Option<Keys> {
    let key = |stored: &StoredKey| {
        let material = Material::from_stored(stored)?;
        Some(Arc::new(material.key(stored.kid.clone(), stored.replaced_at)))
    };
    let verifying = stored.keys.iter().map(key).collect::<Option<Vec<_>>>()?;
    let signing = verifying.iter().rfind(|key| key.replaced_at.is_none()).cloned()?;
    let Seed(refresh) = stored.refresh_secret;
    Some(with_previous(signing, verifying, vec![refresh], previous))
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
