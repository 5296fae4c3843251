//! The archive: a compressed tar whose first member is a manifest with the size and the SHA-256 of every other one. Nothing is
//! taken from it that the manifest does not name, under no other name, and nothing longer than it says.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::{Archive, Builder, Header};

use crate::cli::Failure;

pub(super) const DATABASE: &str = "rollcall.db";
pub(super) const KEYS: &str = "signing-keys.json";
pub(super) const SETTINGS: &str = "rollcall.toml";
pub(super) const EFFECTIVE: &str = "effective.toml";
const MANIFEST: &str = "manifest.json";

/// What may be in it, in this order.
pub(super) const MEMBERS: [&str; 4] = [DATABASE, KEYS, SETTINGS, EFFECTIVE];
/// Of the archive. Another one is a later release's.
const FORMAT: u32 = 1;
/// Bytes of the manifest, at most.
const MAX_MANIFEST: u64 = 64 * 1024;

/// What is in the archive.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    format: u32,
    /// Which wrote it.
    pub(super) release: String,
    pub(super) created_at: DateTime<Utc>,
    members: Vec<Member>,
}

#[derive(Deserialize, Serialize)]
struct Member {
    name: String,
    bytes: u64,
    sha256: String,
}

impl Manifest {
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name == name)
    }
}

/// Writes the members that are in `folder`.
pub(super) fn pack(folder: &Path, to: &File, now: DateTime<Utc>) -> io::Result<Manifest> {
    let mut members = Vec::new();
    for name in MEMBERS.into_iter().filter(|name| folder.join(name).exists()) {
        let mut digest = Sha256::new();
        let bytes = io::copy(&mut File::open(folder.join(name))?, &mut digest)?;
        members.push(Member { name: name.to_owned(), bytes, sha256: hex(&digest.finalize()) });
    }
    let manifest = Manifest { format: FORMAT, release: env!("CARGO_PKG_VERSION").to_owned(), created_at: now, members };
    let mut archive = Builder::new(GzEncoder::new(to, Compression::default()));
    let text = serde_json::to_vec_pretty(&manifest)?;
    append(&mut archive, MANIFEST, text.len() as u64, now, &text[..])?;
    for Member { name, bytes, .. } in &manifest.members {
        append(&mut archive, name, *bytes, now, File::open(folder.join(name))?)?;
    }
    archive.into_inner()?.finish()?;
    to.sync_all()?;
    Ok(manifest)
}

fn append(
    archive: &mut Builder<impl Write>,
    name: &str,
    bytes: u64,
    now: DateTime<Utc>,
    from: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(now.timestamp().max(0) as u64);
    archive.append_data(&mut header, name, from)
}

/// Takes everything out into `folder`, which is ours and empty; an error leaves what it found there for whoever made it.
pub(super) fn unpack(file: &Path, folder: &Path) -> Result<Manifest, Failure> {
    let broken = |what: &str| Failure::new(format!("{} is no whole backup of Rollcall: {what}.", file.display()));
    let read = |error: io::Error| broken(&error.to_string());
    let open = File::open(file)
        .map_err(|error| Failure::new(format!("The backup {} cannot be read: {error}.", file.display())))?;
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(open)));
    let mut entries = archive.entries().map_err(read)?;
    let mut next = |wanted: &str| {
        let entry = entries.next().ok_or_else(|| broken(&format!("{wanted} is missing")))?.map_err(read)?;
        let path = entry.path().map_err(read)?.into_owned();
        if path == Path::new(wanted) { Ok(entry) } else { Err(broken(&format!("{} is not {wanted}", path.display()))) }
    };
    let manifest: Manifest = serde_json::from_reader(next(MANIFEST)?.take(MAX_MANIFEST))
        .map_err(|_| broken("its manifest cannot be read"))?;
    if manifest.format != FORMAT {
        let release = &manifest.release;
        return Err(Failure::new(format!(
            "The backup was written by rollcall {release}; restore it with that release."
        )));
    }
    let known = manifest.members.iter().all(|member| MEMBERS.contains(&member.name.as_str()));
    if !known || !manifest.has(DATABASE) {
        return Err(broken("its manifest names other files"));
    }
    for member in &manifest.members {
        let mut entry = next(&member.name)?.take(member.bytes.saturating_add(1));
        let mut written = Written { file: create(&folder.join(&member.name)).map_err(read)?, digest: Sha256::new() };
        let bytes = io::copy(&mut entry, &mut written).map_err(read)?;
        written.file.sync_all().map_err(read)?;
        if bytes != member.bytes || hex(&written.digest.finalize()) != member.sha256 {
            return Err(broken(&format!("{} is not what was written", member.name)));
        }
    }
    Ok(manifest)
}

struct Written {
    file: File,
    digest: Sha256,
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A new file that only its owner reads.
pub(super) fn create(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
