//! Rollcall's schema: one dated file per change, applied in order, each with its way back.
//!
//! Migrations only add; what is no longer needed is removed a release later, so that the previous release still runs
//! on the new schema. Deliberately absent: entities and queries (`src/store` has them), and SQL of one database only.

mod level;
mod m20261120_000001_first_tables;
mod m20261121_000002_other_systems;
mod m20261126_000003_several_nodes;
mod m20261126_000004_people;
mod m20261126_000005_logs;
mod names;
mod schema;

pub use level::{LEVEL, applied, minimum};
pub use names::{DEFAULT_PREFIX, PrefixError, Table, set_table_prefix};
pub use sea_orm_migration::{Migration, MigrationStatus, MigratorTrait};

use sea_orm_migration::sea_query::IntoIden;
use sea_orm_migration::{MigrationTrait, sea_orm::DynIden};

/// Every migration, oldest first.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_000001_first_tables::Migration),
            Box::new(m20261121_000002_other_systems::Migration),
            Box::new(m20261126_000003_several_nodes::Migration),
            Box::new(m20261126_000004_people::Migration),
            Box::new(m20261126_000005_logs::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        Table::Migrations.into_iden()
    }
}
