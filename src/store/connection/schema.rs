//! The schema's versions: what is applied, what is missing, and whether this release may use what is there.

use rollcall_migrations::{LEVEL, Migrator, MigratorTrait, applied, minimum};
use sea_orm::DbBackend;

use super::{Store, StoreError};

/// Which way to migrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Everything that is pending.
    Up,
    /// So many of the newest back. Rows of dropped tables are gone.
    Down(u32),
}

/// Every migration that is known or applied, oldest first.
struct Schema(Vec<Step>);

struct Step {
    name: String,
    known: bool,
    applied: bool,
}

impl Store {
    /// Brings the schema up to date before anything else is done. A file of ours is migrated; a server's database, which a team
    /// has its own rules for, only with `database.auto_migrate`: [`StoreError::Settings`] says what to do otherwise. A schema of
    /// a later release is used as it is, if that release allows it.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let pending = self.schema().await?.pending();
        if pending == 0 {
            return Ok(());
        }
        if self.backend() == DbBackend::Sqlite || self.auto_migrate {
            return self.migrate(Direction::Up).await;
        }
        Err(StoreError::Settings(format!(
            "database.url: {pending} migrations are to be applied first; run `rollcall migrate`, or set \
             database.auto_migrate = true."
        )))
    }

    /// Applies or takes back migrations. Processes that start together take turns. In one transaction, so that a kill
    /// leaves the schema as it was; MySQL has no such transactions, there the next `migrate` goes on where this one stopped.
    /// [`StoreError::Settings`] when a later release has been here and something is to be done.
    pub async fn migrate(&self, direction: Direction) -> Result<(), StoreError> {
        let alone = self.alone().await?;
        let migrated = self.migrate_alone(direction).await;
        alone.end().await;
        migrated
    }

    async fn migrate_alone(&self, direction: Direction) -> Result<(), StoreError> {
        let schema = self.schema().await?;
        if schema.is_later() {
            return if direction == Direction::Up && schema.pending() == 0 { Ok(()) } else { Err(later_release()) };
        }
        let tx = self.begin_with(self.db.guard.patient()).await?;
        match direction {
            Direction::Up => Migrator::up(&tx.tx.inner, None).await?,
            Direction::Down(count) => Migrator::down(&tx.tx.inner, Some(count)).await?,
        }
        tx.commit().await
    }

    /// Every migration, oldest first, and whether it is applied; those of a later release too. Changes nothing.
    /// [`StoreError::Settings`] when this release may not use the database any more.
    pub async fn migration_status(&self) -> Result<Vec<(String, bool)>, StoreError> {
        Ok(self.schema().await?.0.into_iter().map(|step| (step.name, step.applied)).collect())
    }

    /// How many migrations are not applied yet.
    pub async fn pending_migrations(&self) -> Result<usize, StoreError> {
        Ok(self.schema().await?.pending())
    }

    async fn schema(&self) -> Result<Schema, StoreError> {
        if minimum(&self.db.inner).await? > LEVEL {
            return Err(later_release());
        }
        let mut applied = applied(&self.db.inner).await?;
        let mut steps = Vec::new();
        for migration in Migrator::get_migration_files() {
            let name = migration.name().to_owned();
            let found = applied.iter().position(|applied| *applied == name).map(|at| applied.swap_remove(at));
            steps.push(Step { name, known: true, applied: found.is_some() });
        }
        applied.sort_unstable();
        steps.extend(applied.into_iter().map(|name| Step { name, known: false, applied: true }));
        Ok(Schema(steps))
    }
}

impl Schema {
    fn pending(&self) -> usize {
        self.0.iter().filter(|step| !step.applied).count()
    }

    /// Whether there are migrations that this release does not know.
    fn is_later(&self) -> bool {
        self.0.iter().any(|step| !step.known)
    }
}

fn later_release() -> StoreError {
    StoreError::Settings(format!(
        "database.url: the database was migrated by a later release of rollcall than {}; use that release, or migrate down with \
         it.",
        env!("CARGO_PKG_VERSION")
    ))
}
