//! `rollcall backup` and `rollcall restore`: database, keys and settings in one file. Deliberately absent: databases of servers,
//! which have tools of their own, and certificates and keys of others that the settings name.

mod archive;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{Builder, NamedTempFile, TempDir};

use super::lock::Lock;
use super::{Done, Failure, say};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Loaded, Secret};
use crate::store::{Store, check_sqlite, copy_sqlite, sqlite_file};
use archive::{DATABASE, EFFECTIVE, KEYS, SETTINGS};

pub(super) const BACKUP_HELP: &str = "\
A server may run meanwhile. In the file are the SQLite database as it is at one moment, the signing keys and the settings; who has
it is everybody, so it is written for its owner only. What else the settings name (certificates, other systems' keys, secrets in
files of their own) is not in it.";

pub(super) const RESTORE_HELP: &str = "\
To where the present settings say (database.url, data.dir); no server may run there. What was ended or revoked after the backup is
as it was then. The settings of the backup are put beside as restored-settings.toml.";

/// Longest wait for a lock on the database.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes a backup. `settings` is the file they were read from, if any.
pub(super) fn back_up(loaded: &Loaded, settings: Option<&Path>, file: &Path, force: bool) -> Done {
    if file.exists() && !force {
        return Err(Failure::new(format!("{} exists; give another name, or --force.", file.display())));
    }
    let database = database(&loaded.config)?;
    if !database.exists() {
        return Err(Failure::new(format!("database.url: there is no database at {} yet.", database.display())));
    }
    let now = SystemClock::new().now();
    let written = (|| {
        let folder = staging(folder_of(file))?;
        let at = |name: &str| folder.path().join(name);
        copy_sqlite(&database, &at(DATABASE), PATIENCE)?;
        // After the database: the keys of every session in it are there, or newer ones beside them.
        let keys = loaded.config.data.dir.join(KEYS);
        if keys.exists() {
            fs::copy(keys, at(KEYS))?;
        }
        if let Some(settings) = settings {
            fs::copy(settings, at(SETTINGS))?;
        }
        fs::write(at(EFFECTIVE), loaded.effective())?;
        let mut whole = NamedTempFile::new_in(folder_of(file))?;
        let manifest = archive::pack(folder.path(), whole.as_file_mut(), now)?;
        if force { whole.persist(file) } else { whole.persist_noclobber(file) }.map_err(|error| error.error)?;
        File::open(folder_of(file))?.sync_all()?;
        Ok::<_, Failure>(manifest)
    })();
    let manifest =
        written.map_err(|failure| failure.about(&format!("The backup {} was not written", file.display())))?;
    let bytes = fs::metadata(file)?.len();
    let keys = if manifest.has(KEYS) { "the signing keys" } else { "no signing keys (they come from the settings)" };
    let settings = if manifest.has(SETTINGS) { "the settings" } else { "the default settings" };
    say(format_args!("{}: the database, {keys} and {settings}; {bytes} bytes.", file.display()));
    Ok(())
}

/// Puts a backup where the settings say.
pub(super) async fn restore(config: &Config, file: &Path, force: bool) -> Done {
    let database = database(config)?;
    let _lock = Lock::exclusive(&config.data.dir)?;
    let there = [database.clone(), config.data.dir.join(KEYS)].into_iter().find(|path| path.exists());
    if let Some(there) = there.filter(|_| !force) {
        return Err(Failure::new(format!("{} exists; with --force it is put aside.", there.display())));
    }
    fs::create_dir_all(folder_of(&database))?;
    // On the disk where the database will be, so that it can be moved there at once.
    let folder = staging(folder_of(&database))?;
    let manifest = archive::unpack(file, folder.path())?;
    let unpacked = folder.path().join(DATABASE);
    check_sqlite(&unpacked)?;
    migrations_known(config, &unpacked).await?;

    let now = SystemClock::new().now();
    let aside = format!(".before-restore-{}", now.format("%Y%m%dT%H%M%SZ"));
    put_aside(&database, &aside, &["", "-wal", "-shm"])?;
    put_aside(&config.data.dir.join(KEYS), &aside, &[""])?;
    if manifest.has(KEYS) {
        place(&folder.path().join(KEYS), &config.data.dir.join(KEYS))?;
    }
    let settings = config.data.dir.join("restored-settings.toml");
    let of = if manifest.has(SETTINGS) { SETTINGS } else { EFFECTIVE };
    if manifest.has(of) {
        place(&folder.path().join(of), &settings)?;
    }
    fs::rename(&unpacked, &database)?;
    File::open(folder_of(&database))?.sync_all()?;
    let (when, release) = (manifest.created_at.format("%Y-%m-%d %H:%M:%S UTC"), &manifest.release);
    say(format_args!("Restored what rollcall {release} backed up at {when}: {}.", database.display()));
    say(format_args!("Its settings are in {}; compare them with yours.", settings.display()));
    say("What was ended or revoked after that time is as it was then.");
    Ok(())
}

fn database(config: &Config) -> Result<PathBuf, Failure> {
    sqlite_file(&config.database).ok_or_else(|| {
        let tool = match config.database.url.expose().split(':').next().unwrap_or_default() {
            "postgres" | "postgresql" => "pg_dump --format=custom and pg_restore",
            "mysql" | "mariadb" => "mariadb-dump --single-transaction",
            _ => return Failure::new("database.url: a database in memory cannot be backed up or restored."),
        };
        let keys = config.data.dir.join(KEYS);
        Failure::new(format!(
            "database.url is a server's: back it up with {tool}, and keep {} and your settings with it.",
            keys.display()
        ))
    })
}

/// A database of a later release is told apart before anything is replaced.
async fn migrations_known(config: &Config, file: &Path) -> Done {
    let mut copy = config.database.clone();
    copy.url = Secret::new(format!("sqlite://{}", file.display()));
    let store = Store::open(&copy).await?;
    let known = store.migration_status().await;
    store.close().await;
    known?;
    // What reading it has left.
    for rest in ["-wal", "-shm"] {
        remove(&with(file, rest))?;
    }
    Ok(())
}

fn put_aside(path: &Path, aside: &str, parts: &[&str]) -> io::Result<()> {
    // The log of a database is found by the name of the database, so they keep fitting each other.
    for part in parts {
        match fs::rename(with(path, part), with(&with(path, aside), part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Writes a copy in one step, for its owner only.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder_of(to))?;
    file.write_all(&fs::read(from)?)?;
    file.as_file().sync_all()?;
    file.persist(to).map_err(|error| error.error)?;
    File::open(folder_of(to))?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A folder for its owner only, which is gone afterwards.
fn staging(beside: &Path) -> io::Result<TempDir> {
    Builder::new().prefix(".rollcall-").tempdir_in(beside)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
