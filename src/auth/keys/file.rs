//! The file that keeps generated signing keys: `signing-keys.json` in `data.dir`, for the server's user only.
//!
//! Written whole to a temporary file, synced and renamed, so that a crash leaves the old or the new one. Changes happen
//! under a lock on `signing-keys.lock`, so that two processes never overwrite each other's keys; reading needs no lock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use chrono::{DateTime, Utc};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

use super::KeyError;

/// The secret of a key: an HMAC key or an Ed25519 seed. Base64 in the file, shown nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Seed(pub(super) [u8; 32]);

impl Seed {
    pub(super) fn random() -> Seed {
        Seed(rand::random())
    }
}

impl TryFrom<String> for Seed {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Seed, &'static str> {
        let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Seed).ok_or("a secret is not 32 bytes in base64")
    }
}

impl From<Seed> for String {
    fn from(seed: Seed) -> String {
        STANDARD.encode(seed.0)
    }
}

/// One key in the file.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredKey {
    pub(super) kid: String,
    pub(super) alg: Algorithm,
    pub(super) secret: Seed,
    pub(super) created_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replaced_at: Option<DateTime<Utc>>,
}

/// The whole file: the secret of refresh tokens, which is never rotated, and the keys, oldest first.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredKeys {
    pub(super) refresh_secret: Seed,
    pub(super) keys: Vec<StoredKey>,
}

impl StoredKeys {
    /// A new file's content: one key.
    pub(super) fn generate(alg: Algorithm, now: DateTime<Utc>) -> StoredKeys {
        let mut keys = StoredKeys { refresh_secret: Seed::random(), keys: Vec::new() };
        keys.replace(alg, now);
        keys
    }

    /// The key that signs.
    pub(super) fn signing(&self) -> Option<&StoredKey> {
        self.keys.iter().rfind(|key| key.replaced_at.is_none())
    }

    /// Puts a new key in the place of the one that signs, which only verifies from now on.
    pub(super) fn replace(&mut self, alg: Algorithm, now: DateTime<Utc>) {
        for key in &mut self.keys {
            key.replaced_at.get_or_insert(now);
        }
        let kid = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 12]>());
        self.keys.push(StoredKey { kid, alg, secret: Seed::random(), created_at: now, replaced_at: None });
    }

    /// Replaces the key that signs when it is as old as that; zero means never.
    pub(super) fn rotate(&mut self, alg: Algorithm, age: Duration, now: DateTime<Utc>) {
        let old = |key: &StoredKey| (now - key.created_at).to_std().is_ok_and(|passed| passed >= age);
        if self.signing().is_none_or(|key| !age.is_zero() && old(key)) {
            self.replace(alg, now);
        }
    }

    /// Forgets keys that no longer verify anything.
    pub(super) fn prune(&mut self, overlap: Duration, now: DateTime<Utc>) {
        self.keys.retain(|key| still_verifies(key.replaced_at, overlap, now));
    }
}

/// Whether a key replaced then is still accepted.
pub(super) fn still_verifies(replaced_at: Option<DateTime<Utc>>, overlap: Duration, now: DateTime<Utc>) -> bool {
    replaced_at.is_none_or(|at| (now - at).to_std().is_ok_and(|age| age < overlap) || now < at)
}

/// Where the keys are kept.
#[derive(Clone)]
pub(super) struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    pub(super) fn new(dir: &Path) -> KeyFile {
        KeyFile { path: dir.join("signing-keys.json") }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The keys, None when there is no file. A file that others can read is refused rather than mended: whoever read it
    /// can sign tokens, and that is for a person to judge.
    pub(super) fn read(&self) -> Result<Option<StoredKeys>, KeyError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let mode = file.metadata().map_err(|error| self.failed(error))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::OpenToOthers { path: self.path.clone(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| self.failed(error))?;
        // serde's message may quote the text it stumbled over, which can be a secret.
        let broken = |error: serde_json::Error| KeyError::Broken { path: self.path.clone(), line: error.line() };
        serde_json::from_str(&text).map(Some).map_err(broken)
    }

    /// Reads the keys, lets `change` make new ones of them, and writes those if they differ. No other process changes the
    /// file meanwhile. Answers what now stands in it. Blocks for some milliseconds.
    pub(super) fn update(
        &self,
        change: impl FnOnce(Option<StoredKeys>) -> Result<StoredKeys, KeyError>,
    ) -> Result<StoredKeys, KeyError> {
        let _lock = self.lock().map_err(|error| self.failed(error))?;
        let found = self.read()?;
        let before = found.as_ref().map(text);
        let changed = change(found)?;
        let after = text(&changed);
        if before.as_ref() != Some(&after) {
            self.write(&after).map_err(|error| self.failed(error))?;
        }
        Ok(changed)
    }

    fn lock(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.dir())?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.with_extension("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let temporary = self.path.with_extension("json.tmp");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(self.dir())?.sync_all()
    }

    fn dir(&self) -> &Path {
        match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        }
    }

    fn failed(&self, source: io::Error) -> KeyError {
        KeyError::File { path: self.path.clone(), source }
    }
}

fn text(keys: &StoredKeys) -> String {
    let mut text = serde_json::to_string_pretty(keys).expect("keys are strings and times");
    text.push('\n');
    text
}
