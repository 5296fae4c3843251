//! What every statement passes. A database server may hang without a word (a paused machine, a lost route): no caller waits
//! longer than `database.timeout` for one statement, and while it is away most are told so at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement, Value,
};

/// After a failure nobody asks for so long: a handshake that can do without the database need not wait for it.
const REST: Duration = Duration::from_secs(1);

/// A connection or a transaction whose statements have a limit.
#[derive(Clone)]
pub(in crate::store) struct Guarded<C> {
    pub(super) inner: C,
    pub(super) guard: Guard,
}

/// How long a statement may take, and since when the database is away.
#[derive(Clone)]
pub(super) struct Guard {
    /// None for SQLite, which is in our own process and has a timeout of its own.
    limit: Option<Duration>,
    begun: Instant,
    /// Milliseconds after `begun` until which nobody asks.
    rests_until: Arc<AtomicU64>,
}

impl Guard {
    pub(super) fn new(limit: Option<Duration>) -> Guard {
        Guard { limit, begun: Instant::now(), rests_until: Arc::default() }
    }

    /// The same without a limit, for what may take long: migrations and the deletion of many rows.
    pub(super) fn patient(&self) -> Guard {
        Guard { limit: self.limit.map(|_| Duration::MAX), ..self.clone() }
    }

    pub(super) async fn within<T>(&self, work: impl Future<Output = Result<T, DbErr>> + Send) -> Result<T, DbErr> {
        let Some(limit) = self.limit else { return work.await };
        if self.elapsed() < self.rests_until.load(Ordering::Relaxed) {
            return Err(away());
        }
        let done = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(away()));
        if done.as_ref().is_err_and(is_away) {
            let until = self.elapsed() + REST.as_millis() as u64;
            self.rests_until.store(until, Ordering::Relaxed);
        }
        done
    }

    fn elapsed(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

fn away() -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)
}

fn is_away(error: &DbErr) -> bool {
    use sea_orm::sqlx::Error;
    let below = match error {
        DbErr::ConnectionAcquire(_) => return true,
        DbErr::Conn(RuntimeErr::SqlxError(below))
        | DbErr::Exec(RuntimeErr::SqlxError(below))
        | DbErr::Query(RuntimeErr::SqlxError(below)) => below,
        _ => return false,
    };
    matches!(**below, Error::Io(_) | Error::PoolTimedOut)
}

/// PostgreSQL stores no NUL, so nothing stored matches one; it would fail the query instead of finding nothing.
fn matches_nothing(statement: &Statement) -> bool {
    let nul = |value: &Value| matches!(value, Value::String(Some(text)) if text.contains('\0'));
    statement.db_backend == DbBackend::Postgres && statement.values.iter().any(|values| values.iter().any(nul))
}

#[async_trait]
impl<C: ConnectionTrait> ConnectionTrait for Guarded<C> {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.guard.within(self.inner.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.guard.within(self.inner.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        if matches_nothing(&statement) {
            return Ok(None);
        }
        self.guard.within(self.inner.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        if matches_nothing(&statement) {
            return Ok(Vec::new());
        }
        self.guard.within(self.inner.query_all_raw(statement)).await
    }
}
