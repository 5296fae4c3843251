//! The pool, its settings, write transactions, and the schema's versions.

use std::error::Error;
use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rollcall_migrations::{MigrationStatus, Migrator, MigratorTrait, set_table_prefix};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::StoreError;
use crate::config;

/// The database. A cheap handle anyone may keep.
#[derive(Clone)]
pub struct Store {
    db: DatabaseConnection,
    /// SQLite has one writer at a time and lets the others poll; waiting here is fair and costs nothing.
    turn: Arc<Mutex<()>>,
    timeout: Duration,
    /// What the rows of our own accounts have as issuer.
    own_issuer: Arc<str>,
}

/// Which way to migrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Everything that is pending.
    Up,
    /// So many of the newest back. Rows of dropped tables are gone.
    Down(u32),
}

impl Store {
    /// Opens the pool and, for SQLite, creates file and folder when missing. Applies no migration.
    /// `sqlite::memory:` lives as long as the store.
    pub async fn open(config: &config::Database) -> Result<Store, StoreError> {
        set_table_prefix(&config.table_prefix).map_err(|error| {
            StoreError::Settings(format!("database.table_prefix {:?} does not work: {error}.", config.table_prefix))
        })?;
        let url = config.url.expose();
        let memory = is_memory(url);
        let file = sqlite_options(url)?;
        if !memory {
            create_file(file.get_filename())?;
        }
        let db = Database::connect(connect_options(config, memory)).await.map_err(|error| {
            let (file, why) = (file.get_filename().display(), innermost(&error));
            StoreError::Settings(format!("database.url: {file} cannot be opened as a SQLite database: {why}."))
        })?;
        Ok(Store { db, turn: Arc::default(), timeout: config.timeout, own_issuer: "".into() })
    }

    /// The same with another name for our own accounts' issuer; empty is the default issuer.
    pub(super) fn with_own_issuer(mut self, name: &str) -> Store {
        self.own_issuer = name.into();
        self
    }

    pub(super) fn own_issuer(&self) -> &str {
        &self.own_issuer
    }

    /// Whether the database answers and can be written to: a write transaction begins and ends.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.begin().await?.commit().await
    }

    /// Closes the pool once its connections are back. Later calls are [`StoreError::Unavailable`].
    pub async fn close(&self) {
        // An error here means it is closed already.
        let _ = self.db.close_by_ref().await;
    }

    /// Applies or takes back migrations, in one transaction: two processes that start together do not meet in the
    /// middle, and a kill leaves the schema as it was. [`StoreError::Settings`] when a later release has been here.
    pub async fn migrate(&self, direction: Direction) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        match direction {
            Direction::Up => Migrator::up(&*tx, None).await,
            Direction::Down(count) => Migrator::down(&*tx, Some(count)).await,
        }
        .map_err(schema_error)?;
        tx.commit().await
    }

    /// Every migration, oldest first, and whether it is applied. Changes nothing.
    pub async fn migration_status(&self) -> Result<Vec<(String, bool)>, StoreError> {
        let migrations = Migrator::get_migration_with_status_read_only(&self.db).await.map_err(schema_error)?;
        let row = |migration: &rollcall_migrations::Migration| {
            (migration.name().to_owned(), migration.status() == MigrationStatus::Applied)
        };
        Ok(migrations.iter().map(row).collect())
    }

    /// How many migrations are not applied yet.
    pub async fn pending_migrations(&self) -> Result<usize, StoreError> {
        Ok(self.migration_status().await?.iter().filter(|(_, applied)| !applied).count())
    }

    pub(super) fn db(&self) -> &DatabaseConnection {
        &self.db
    }

    /// Begins a write transaction that holds the write lock from the start. Dropped without `commit`, it is rolled back.
    pub(super) async fn begin(&self) -> Result<Write, StoreError> {
        let turn = tokio::time::timeout(self.timeout, Arc::clone(&self.turn).lock_owned());
        let turn = turn.await.map_err(|_| StoreError::timeout())?;
        let immediate = Some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: immediate, ..Default::default() };
        let tx = self.db.begin_with_options(options).await?;
        Ok(Write { tx, _turn: turn })
    }
}

/// A write transaction and the turn it holds; fields drop in this order.
pub(super) struct Write {
    tx: DatabaseTransaction,
    _turn: OwnedMutexGuard<()>,
}

impl Write {
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }
}

impl Deref for Write {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.tx
    }
}

/// sea-orm's own word for a migration that is applied and unknown is `Custom`.
fn schema_error(error: DbErr) -> StoreError {
    match error {
        DbErr::Custom(_) => StoreError::Settings(
            "database.url: the database was migrated by a later release of rollcall; use that release, or migrate down with it."
                .to_owned(),
        ),
        error => error.into(),
    }
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, innermost)
}

fn is_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory")
}

fn sqlite_options(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    // The whole URL may hold a password, so only its scheme is shown.
    let scheme = url.split(':').next().unwrap_or_default();
    if scheme != "sqlite" {
        let sentence = format!(
            "database.url begins with {scheme:?}, but this build speaks SQLite: use sqlite://PATH or sqlite::memory:."
        );
        return Err(StoreError::Settings(sentence));
    }
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
