//! Copies of a SQLite database while others write to it, by SQLite's own backup interface
//! (<https://www.sqlite.org/backup.html>), which sqlx has not.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;

use super::StoreError;
use crate::config;

/// Every page at once: in smaller steps a copy begins anew whenever another process writes, and under load never ends. In WAL
/// mode nobody waits for a reader.
const EVERY_PAGE: i32 = -1;
/// Between two tries while the database is locked.
const PAUSE: Duration = Duration::from_millis(20);

/// The file of a SQLite database; none for memory and for a server.
pub fn sqlite_file(config: &config::Database) -> Option<PathBuf> {
    let url = config.url.expose();
    let options: SqliteConnectOptions = url.strip_prefix("sqlite:").and_then(|_| url.parse().ok())?;
    let memory = url.contains(":memory:") || url.contains("mode=memory");
    (!memory).then(|| options.get_filename().to_owned())
}

/// Copies a database as it is at one moment, whoever writes meanwhile. Waits at most `patience` for locks. Blocks.
pub fn copy_sqlite(from: &Path, to: &Path, patience: Duration) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| {
        StoreError::Settings(format!("The database {} cannot be copied: {error}.", from.display()))
    };
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let mut copy = Connection::open(to).map_err(failed)?;
    let backup = Backup::new(&source, &mut copy).map_err(failed)?;
    let begun = Instant::now();
    while backup.step(EVERY_PAGE).map_err(failed)? != StepResult::Done {
        if begun.elapsed() > patience {
            return Err(StoreError::timeout());
        }
        std::thread::sleep(PAUSE);
    }
    drop(backup);
    // One file, without a log beside it.
    copy.pragma_update(None, "journal_mode", "DELETE").map_err(failed)
}

/// Whether the file is a whole database. Reads all of it. Blocks.
pub fn check_sqlite(file: &Path) -> Result<(), StoreError> {
    let broken = |what: &str| StoreError::Settings(format!("The database in the backup is damaged: {what}."));
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let said = database
        .and_then(|database| database.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)));
    match said {
        Ok(said) if said == "ok" => Ok(()),
        Ok(said) => Err(broken(&said)),
        Err(error) => Err(broken(&error.to_string())),
    }
}
