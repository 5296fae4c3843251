//! What one process of several does at a time: migrating, and making the first administrator.

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, Statement, TransactionTrait};

use super::{Store, StoreError, server};

/// Nobody else is at it. Held by a connection of its own, so that neither the pool's size nor its timeouts matter; it ends with
/// the value, and with the process, however that happens.
pub struct Alone {
    /// None for SQLite, whose writers take turns anyway.
    held: Option<(DatabaseTransaction, DatabaseConnection)>,
}

impl Store {
    /// Waits until no other process of this database is at it, for ten minutes at most.
    pub async fn alone(&self) -> Result<Alone, StoreError> {
        let Some(options) = &self.beside else { return Ok(Alone { held: None }) };
        let connection = Database::connect((**options).clone()).await?;
        let tx = connection.begin().await?;
        let mut taken = false;
        for statement in server::lock(self.backend()) {
            let row = tx.query_one_raw(Statement::from_string(self.backend(), statement)).await;
            let row = row.map_err(|error| if server::waited_in_vain(&error) { too_long() } else { error.into() })?;
            taken = row.is_some_and(|row| row.try_get_by(0).is_ok_and(|taken: i64| taken == 1));
        }
        if taken { Ok(Alone { held: Some((tx, connection)) }) } else { Err(too_long()) }
    }
}

impl Alone {
    /// Lets the next one.
    pub async fn end(self) {
        if let Some((tx, connection)) = self.held {
            // The server notices a closed connection by itself.
            let _ = tx.rollback().await;
            let _ = connection.close().await;
        }
    }
}

fn too_long() -> StoreError {
    StoreError::Settings(format!(
        "database.url: another process has been starting on this database for {} minutes; see whether it hangs, stop it, and \
         start again.",
        server::LONGEST_TURN / 60
    ))
}
