//! PostgreSQL, and MySQL or MariaDB: a server that others run.

use std::time::Duration;

use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};
use sea_orm::sqlx::{Executor, query};
use sea_orm::{ConnectOptions, DbBackend, DbErr, RuntimeErr};

use super::StoreError;
use crate::config::{self, DatabaseTls};

pub(super) fn postgres(config: &config::Database) -> Result<ConnectOptions, StoreError> {
    // Only to say what is wrong with it: sea-orm parses it again.
    let _: PgConnectOptions = config.url.expose().parse().map_err(unreadable)?;
    let mut options = pool(config, config.url.expose().to_owned());
    let config = config.clone();
    options.map_sqlx_postgres_opts(move |mut options: PgConnectOptions| {
        options = match config.tls {
            DatabaseTls::AsUrl => options,
            DatabaseTls::Disable => options.ssl_mode(PgSslMode::Disable),
            DatabaseTls::Prefer => options.ssl_mode(PgSslMode::Prefer),
            DatabaseTls::Require => options.ssl_mode(PgSslMode::Require),
            DatabaseTls::VerifyCa => options.ssl_mode(PgSslMode::VerifyCa),
            DatabaseTls::VerifyFull => options.ssl_mode(PgSslMode::VerifyFull),
        };
        if is_set(&config.tls_ca) {
            options = options.ssl_root_cert(&config.tls_ca);
        }
        if is_set(&config.tls_cert) {
            options = options.ssl_client_cert(&config.tls_cert).ssl_client_key(&config.tls_key);
        }
        options.application_name("rollcall")
    });
    Ok(options)
}

pub(super) fn mysql(config: &config::Database) -> Result<ConnectOptions, StoreError> {
    let url = config.url.expose();
    let url = url.strip_prefix("mariadb:").map_or_else(|| url.to_owned(), |rest| format!("mysql:{rest}"));
    let _: MySqlConnectOptions = url.parse().map_err(unreadable)?;
    let mut options = pool(config, url);
    let lock_wait = config.timeout.as_secs().max(1);
    options.map_sqlx_mysql_pool_opts(move |pool| {
        // As on PostgreSQL: what another transaction committed is seen by the next statement. Waiting for a row ends sooner
        // than whoever waits gives up.
        let session = format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION innodb_lock_wait_timeout = {lock_wait}"
        );
        pool.after_connect(move |connection, _| {
            let session = session.clone();
            Box::pin(async move {
                for statement in session.split("; ") {
                    connection.execute(query(sea_orm::sqlx::AssertSqlSafe(statement.to_owned()))).await?;
                }
                Ok(())
            })
        })
    });
    let config = config.clone();
    options.map_sqlx_mysql_opts(move |mut options: MySqlConnectOptions| {
        options = match config.tls {
            DatabaseTls::AsUrl => options,
            DatabaseTls::Disable => options.ssl_mode(MySqlSslMode::Disabled),
            DatabaseTls::Prefer => options.ssl_mode(MySqlSslMode::Preferred),
            DatabaseTls::Require => options.ssl_mode(MySqlSslMode::Required),
            DatabaseTls::VerifyCa => options.ssl_mode(MySqlSslMode::VerifyCa),
            DatabaseTls::VerifyFull => options.ssl_mode(MySqlSslMode::VerifyIdentity),
        };
        if is_set(&config.tls_ca) {
            options = options.ssl_ca(&config.tls_ca);
        }
        if is_set(&config.tls_cert) {
            options = options.ssl_client_cert(&config.tls_cert).ssl_client_key(&config.tls_key);
        }
        options
    });
    Ok(options)
}

/// What is named in a message: never the URL, which holds a password.
pub(super) fn named(url: &str) -> String {
    let host = url::Url::parse(url).ok().and_then(|url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}{port}", url.host_str()?))
    });
    format!("the database at {}", host.unwrap_or_else(|| "its server".to_owned()))
}

/// A question whose answer is 1 where nothing can be written: a standby, or a server that was set so.
pub(super) fn read_only(backend: DbBackend) -> Option<&'static str> {
    match backend {
        DbBackend::Postgres => Some("SELECT (current_setting('transaction_read_only') = 'on')::int::bigint"),
        DbBackend::MySql => Some("SELECT CAST(@@global.read_only AS SIGNED)"),
        _ => None,
    }
}

/// Longest wait for another process, in seconds: migrating large tables takes its time.
pub(super) const LONGEST_TURN: u32 = 600;

/// Statements of which the last answers 1 when no other process of this database is at it; when that took too long, 0 or an error
/// ([`waited_in_vain`]). PostgreSQL's lock ends with the transaction, MySQL's with the connection.
pub(super) fn lock(backend: DbBackend) -> Vec<String> {
    match backend {
        DbBackend::Postgres => vec![
            "SET LOCAL idle_in_transaction_session_timeout = 0".to_owned(),
            format!("SET LOCAL lock_timeout = '{LONGEST_TURN}s'"),
            "SELECT 1::bigint FROM \
             (SELECT pg_advisory_xact_lock(hashtextextended('rollcall ' || current_schema(), 0))) AS turn"
                .to_owned(),
        ],
        // Its names have at most 64 characters.
        DbBackend::MySql => {
            vec![format!("SELECT CAST(GET_LOCK(CONCAT('rollcall ', SHA1(DATABASE())), {LONGEST_TURN}) AS SIGNED)")]
        }
        _ => Vec::new(),
    }
}

/// Whether PostgreSQL's `lock_timeout` is over.
pub(super) fn waited_in_vain(error: &DbErr) -> bool {
    let DbErr::Query(RuntimeErr::SqlxError(below)) = error else { return false };
    below.as_database_error().and_then(|error| error.code()).as_deref() == Some("55P03")
}

/// One connection that is not the pool's.
pub(super) fn beside(options: &ConnectOptions) -> ConnectOptions {
    let mut options = options.clone();
    options.max_connections(1).min_connections(0);
    options
}

fn pool(config: &config::Database, url: String) -> ConnectOptions {
    let some = |time: Duration| (!time.is_zero()).then_some(time);
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(config.max_connections)
        .min_connections(config.min_connections)
        .acquire_timeout(config.timeout)
        .idle_timeout(some(config.idle_timeout))
        .max_lifetime(some(config.max_lifetime))
        // A connection that died while it lay idle is found out before it is used.
        .test_before_acquire(true)
        .sqlx_logging(false)
        .record_stmt_in_spans(false);
    options
}

fn unreadable(error: sea_orm::sqlx::Error) -> StoreError {
    StoreError::Settings(format!("database.url cannot be read: {error}."))
}

fn is_set(path: &std::path::Path) -> bool {
    !path.as_os_str().is_empty()
}
