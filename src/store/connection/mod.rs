//! The pool and write transactions; the schema's versions in `schema`. What differs between databases is in `sqlite` and `server`.

mod alone;
mod guarded;
mod schema;
mod server;
mod sqlite;

use std::error::Error;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rollcall_migrations::set_table_prefix;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use tokio::sync::OwnedMutexGuard;

use super::StoreError;
use super::log_chains::{self, Chain, Rows};
use crate::config;
pub use alone::Alone;
use guarded::{Guard, Guarded};
pub use schema::Direction;

/// The database. A cheap handle anyone may keep.
#[derive(Clone)]
pub struct Store {
    db: Guarded<DatabaseConnection>,
    /// How to connect beside the pool; none for SQLite.
    beside: Option<Arc<ConnectOptions>>,
    /// SQLite has one writer at a time and lets the others poll; waiting here is fair and costs nothing.
    turn: Arc<tokio::sync::Mutex<()>>,
    timeout: Duration,
    auto_migrate: bool,
    /// What the rows of our own accounts have as issuer.
    own_issuer: Arc<str>,
    /// What this process continues with its rows of the logs.
    chain: Arc<Chain>,
}

impl Store {
    /// Opens the pool. Applies no migration. A SQLite file and its folder are created when missing, `sqlite::memory:` lives as
    /// long as the store; a server need not answer yet.
    pub async fn open(config: &config::Database) -> Result<Store, StoreError> {
        set_table_prefix(&config.table_prefix).map_err(|error| {
            StoreError::Settings(format!("database.table_prefix {:?} does not work: {error}.", config.table_prefix))
        })?;
        let url = config.url.expose();
        // The whole URL may hold a password, so only its scheme is shown.
        let (options, named, limit) = match url.split(':').next().unwrap_or_default() {
            "sqlite" => (sqlite::options(config)?, sqlite::named(url), None),
            "postgres" | "postgresql" => (server::postgres(config)?, server::named(url), Some(config.timeout)),
            "mysql" | "mariadb" => (server::mysql(config)?, server::named(url), Some(config.timeout)),
            scheme => {
                return Err(StoreError::Settings(format!(
                    "database.url begins with {scheme:?}; use sqlite://PATH, postgres://… or mysql://…."
                )));
            }
        };
        let beside = limit.map(|_| Arc::new(server::beside(&options)));
        let db = Database::connect(options).await.map_err(|error| {
            StoreError::Settings(format!("database.url: {named} cannot be used: {}.", innermost(&error)))
        })?;
        let guard = Guard::new(limit);
        let (db, turn) = (Guarded { inner: db, guard }, Arc::default());
        Ok(Store {
            db,
            beside,
            turn,
            timeout: config.timeout,
            auto_migrate: config.auto_migrate,
            own_issuer: "".into(),
            chain: Arc::default(),
        })
    }

    /// The same with another name for our own accounts' issuer; empty is the default issuer.
    pub(super) fn with_own_issuer(mut self, name: &str) -> Store {
        self.own_issuer = name.into();
        self
    }

    /// The same that continues the chain of this node in the logs with the first of these keys; the others only verify. Without,
    /// the chain is that of one process, which nobody can verify later.
    pub fn with_chain(mut self, node: &str, keys: Vec<[u8; 32]>) -> Store {
        self.chain = Arc::new(Chain::new(node, keys));
        self
    }

    pub(super) fn chain(&self) -> &Chain {
        &self.chain
    }

    pub(super) fn own_issuer(&self) -> &str {
        &self.own_issuer
    }

    /// Whether the database answers and can be written to: a write transaction begins and ends.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        if let Some(question) = server::read_only(self.backend()) {
            let row = tx.query_one_raw(Statement::from_string(self.backend(), question)).await?;
            if row.is_some_and(|row| row.try_get_by::<i64, _>(0).is_ok_and(|read_only| read_only != 0)) {
                return Err(StoreError::timeout());
            }
        }
        tx.commit().await
    }

    /// Closes the pool once its connections are back. Later calls are [`StoreError::Unavailable`].
    pub async fn close(&self) {
        // An error here means it is closed already.
        let _ = self.db.inner.close_by_ref().await;
    }

    pub(super) fn db(&self) -> &Guarded<DatabaseConnection> {
        &self.db
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }

    /// Begins a write transaction. On SQLite it holds the write lock from the start. Dropped without `commit`, it is rolled
    /// back.
    pub(super) async fn begin(&self) -> Result<Write, StoreError> {
        self.begin_with(self.db.guard.clone()).await
    }

    /// The same for what may take long.
    pub(super) async fn begin_patient(&self) -> Result<Write, StoreError> {
        self.begin_with(self.db.guard.patient()).await
    }

    async fn begin_with(&self, guard: Guard) -> Result<Write, StoreError> {
        let turn = match self.backend() {
            DbBackend::Sqlite => {
                let turn = tokio::time::timeout(self.timeout, Arc::clone(&self.turn).lock_owned());
                Some(turn.await.map_err(|_| StoreError::timeout())?)
            }
            _ => None,
        };
        let immediate = Some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: immediate, ..Default::default() };
        let tx = self.db.guard.within(self.db.inner.begin_with_options(options)).await?;
        let chain = Arc::clone(&self.chain);
        Ok(Write { tx: Guarded { inner: tx, guard }, chain, rows: Mutex::default(), _turn: turn })
    }
}

/// A write transaction and the turn it holds; fields drop in this order.
pub(super) struct Write {
    tx: Guarded<DatabaseTransaction>,
    chain: Arc<Chain>,
    rows: Mutex<Rows>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Write {
    /// Appends rows to the logs, with the commit: whoever continues a chain holds it to the end of the transaction, so that comes
    /// last, or two transactions could wait for each other.
    pub(super) fn log(&self, append: impl FnOnce(&mut Rows)) {
        append(&mut self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let rows = std::mem::take(&mut *self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        log_chains::append(&self.tx, &self.chain, rows).await?;
        let Write { tx: Guarded { inner, guard }, _turn, .. } = self;
        Ok(guard.within(inner.commit()).await?)
    }
}

impl Deref for Write {
    type Target = Guarded<DatabaseTransaction>;

    fn deref(&self) -> &Guarded<DatabaseTransaction> {
        &self.tx
    }
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, innermost)
}
