//! Who is at work in `data.dir`: servers hold a shared lock on a file there, a restore an exclusive one. The system lets go of it
//! when the process ends, however that happens.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::Failure;

/// Held until it is dropped.
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    /// For a server. None where the folder cannot be written to, so that nobody can restore there either.
    pub(super) fn shared(dir: &Path) -> Result<Option<Lock>, Failure> {
        let Ok(mut file) = open(dir) else { return Ok(None) };
        if flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
            let sentence = format!("data.dir: a backup is being restored in {}; wait for its end.", dir.display());
            return Err(Failure::new(sentence));
        }
        // Only for the sentence below.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Some(Lock(file)))
    }

    /// For who replaces everything.
    pub(super) fn exclusive(dir: &Path) -> Result<Lock, Failure> {
        let mut file = open(dir)
            .map_err(|error| Failure::new(format!("data.dir: {} cannot be written to: {error}.", dir.display())))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(Failure::new(format!(
                "A server is running on {} (process {}); stop it first.",
                dir.display(),
                holder.trim()
            )));
        }
        Ok(Lock(file))
    }
}

fn open(dir: &Path) -> std::io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(dir.join("lock"))
}
