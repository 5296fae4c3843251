//! What can go wrong with rows, in words that fit a log line and an answer alike.

use std::error::Error;

use sea_orm::sqlx::Error as SqlxError;
use sea_orm::sqlx::error::DatabaseError;
use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, SqlxMySqlError, SqlxPostgresError, SqlxSqliteError};

use crate::auth::Permission;

/// The error below, for the log only: it may name columns.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why a row was not read or written. `Display` never contains SQL; the causes are behind `source()`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing, as `NotFound("user")`.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Somebody else has it already, as `Conflict("username")`.
    #[error("the {0} is taken")]
    Conflict(&'static str),
    /// There are as many as there may be, as `Full("API keys")`.
    #[error("there are too many {0}")]
    Full(&'static str),
    /// The account was disabled while its login was under way.
    #[error("the account is disabled")]
    Disabled,
    /// It would leave nobody who can administrate: none enabled, or all locked out.
    #[error("the last administrator must stay")]
    LastAdministrator,
    /// It would hand on what whoever asks does not have.
    #[error("this needs the permission {0}")]
    Beyond(Permission),
    /// Whoever asks is no administrator, and it is about one.
    #[error("only an administrator may make or change an administrator")]
    AdministratorsOnly,
    /// The role `admin` is as it is.
    #[error("the role admin can neither be changed nor deleted")]
    AdminRole,
    /// Somebody or something has it still, as `InUse("role")`.
    #[error("the {0} is in use")]
    InUse(&'static str),
    /// The account belongs to another system, which keeps its name, its password and its life.
    #[error("the account belongs to another system")]
    Elsewhere,
    /// A setting does not work; the sentence names its key and the way out.
    #[error("{0}")]
    Settings(String),
    /// Locked, full, unreachable or closed: the same call may work later, without a restart.
    #[error("the database is not available")]
    Unavailable(#[source] Cause),
    /// A query or a row that should not be: a defect, or somebody else's hand in our tables.
    #[error("the database refused a query")]
    Failed(#[source] Cause),
}

impl StoreError {
    /// Nobody gave us a connection or our turn in time.
    pub fn timeout() -> StoreError {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout).into()
    }

    /// What lies below, for the log. Empty when the error says all.
    pub fn cause(&self) -> String {
        self.source().map(ToString::to_string).unwrap_or_default()
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> StoreError {
        let passing = match &error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
            DbErr::Exec(RuntimeErr::SqlxError(below)) | DbErr::Query(RuntimeErr::SqlxError(below)) => passes(below),
            _ => false,
        };
        if passing { StoreError::Unavailable(Box::new(error)) } else { StoreError::Failed(Box::new(error)) }
    }
}

/// Whether the cause lies outside of the query and may go away.
fn passes(error: &SqlxError) -> bool {
    match error {
        SqlxError::Io(_)
        | SqlxError::Tls(_)
        | SqlxError::Protocol(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed => true,
        SqlxError::Database(error) => code_passes(&**error),
        _ => false,
    }
}

fn code_passes(error: &dyn DatabaseError) -> bool {
    if let Some(error) = error.try_downcast_ref::<SqlxMySqlError>() {
        return mysql_code_passes(error.number());
    }
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<SqlxPostgresError>().is_some() {
        return postgres_code_passes(&code);
    }
    error.try_downcast_ref::<SqlxSqliteError>().is_some() && code.parse().is_ok_and(sqlite_code_passes)
}

/// Primary result codes of <https://www.sqlite.org/rescode.html>: BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN.
/// The upper bits of an extended code say more precisely why.
fn sqlite_code_passes(code: i32) -> bool {
    matches!(code & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14)
}

/// Classes and codes of <https://www.postgresql.org/docs/current/errcodes-appendix.html>: connection, resources, shutdown
/// and start, read-only, deadlock and lock.
fn postgres_code_passes(code: &str) -> bool {
    ["08", "53", "57P"].iter().any(|class| code.starts_with(class))
        || matches!(code, "25006" | "40001" | "40P01" | "55P03")
}

/// Numbers of <https://mariadb.com/kb/en/mariadb-error-code-reference/>: full, out of memory, too many connections, shutdown,
/// lock wait, deadlock, read-only.
fn mysql_code_passes(number: u16) -> bool {
    matches!(number, 1021 | 1037 | 1040 | 1041 | 1053 | 1114 | 1203 | 1205 | 1213 | 1226 | 1290 | 1836 | 1927 | 3024)
}
