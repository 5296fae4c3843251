//! SQLite: a file of our own, or memory.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use sea_orm::ConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection};

use super::StoreError;
use crate::config;

/// The options of the pool; the file is created when missing.
pub(super) fn options(config: &config::Database) -> Result<ConnectOptions, StoreError> {
    let url = config.url.expose();
    let memory = url.contains(":memory:") || url.contains("mode=memory");
    if !memory {
        create_file(file(url)?.get_filename())?;
    }
    Ok(connect_options(config, memory))
}

/// What is named in a message: the file, which is no secret.
pub(super) fn named(url: &str) -> String {
    file(url).map_or_else(|_| "the database".to_owned(), |file| file.get_filename().display().to_string())
}

fn file(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    url.parse().map_err(|error| StoreError::Settings(format!("database.url cannot be read: {error}.")))
}

/// Nobody but us reads the file: it has password hashes.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), |folder| DirBuilder::new().recursive(true).mode(0o700).create(folder));
    let made = made.and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop));
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(StoreError::Settings(format!("database.url: {} cannot be created: {error}.", path.display())))
        }
        _ => Ok(()),
    }
}

/// Pragmas go through sqlx's options: as a statement they would reach one connection of the pool only.
fn connect_options(config: &config::Database, memory: bool) -> ConnectOptions {
    let mut options = ConnectOptions::new(config.url.expose());
    let connections = if memory { 1 } else { config.max_connections.max(1) };
    let timeout = config.timeout;
    options
        .max_connections(connections)
        // Not 1: the pool would open that one in the background beside the first that is asked for, and two that turn a
        // new file to WAL together are told "database is locked".
        .min_connections(0)
        .acquire_timeout(timeout)
        // An in-memory database dies with its connection, and a file's connection does not age.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .map_sqlx_sqlite_pool_opts(move |pool| {
            // A connection in memory cannot be replaced, and has no disk that could be full.
            if memory { pool } else { pool.after_release(|connection, _| Box::pin(is_reusable(connection))) }
        })
        .map_sqlx_sqlite_opts(move |file| {
            let file = file.foreign_keys(true).busy_timeout(timeout).synchronous(SqliteSynchronous::Normal);
            if memory { file } else { file.create_if_missing(true).journal_mode(SqliteJournalMode::Wal) }
        });
    options
}

/// Whether a connection that comes back to the pool is out of its transaction. SQLite ends one by itself when the disk is
/// full; sqlx then counts it as open for ever, and every later write on that connection would fail or, worse, wait to be
/// committed by nobody. Such a connection is closed.
async fn is_reusable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if !connection.is_in_transaction() {
        return Ok(true);
    }
    // The rollback of a dropped transaction is on its way to the connection's thread, and a ping comes after it.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}
