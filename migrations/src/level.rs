//! Which releases fit which schema. A release knows the migrations up to its level; a database says which level it needs at
//! least. Migrations only add, so that is mostly less than the newest: the release before runs beside the new one.

use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use sea_orm_migration::sea_query::Query;

use crate::Table;

/// The number of the newest migration that this release knows.
pub const LEVEL: i32 = 5;

/// The names of the migrations that were applied, those of later releases too. Changes nothing.
pub async fn applied(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    if !SchemaManager::new(db).has_table(Table::Migrations.name()).await? {
        return Ok(Vec::new());
    }
    let names = Query::select().column("version").from(Table::Migrations).to_owned();
    db.query_all(&names).await?.iter().map(|row| row.try_get_by(0)).collect()
}

/// The level that the database needs at least; zero before any said so. Changes nothing.
pub async fn minimum(db: &DatabaseConnection) -> Result<i32, DbErr> {
    if !SchemaManager::new(db).has_table(Table::Schema.name()).await? {
        return Ok(0);
    }
    let minimum = Query::select().column("minimum").from(Table::Schema).to_owned();
    let row = db.query_one(&minimum).await?;
    Ok(row.map(|row| row.try_get_by(0)).transpose()?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Migrator, MigratorTrait};

    #[test]
    fn migrations_are_numbered_without_gaps_up_to_the_level() {
        let migrations = Migrator::migrations();
        let number = |name: &str| name.split('_').nth(1).and_then(|number| number.parse::<i32>().ok());
        let numbers: Vec<_> = migrations.iter().filter_map(|migration| number(migration.name())).collect();
        assert_eq!(numbers, (1..=LEVEL).collect::<Vec<_>>());
    }
}
