//! What administration needs to know of people, roles and keys. Every column has a default, so that the release before, which does
//! not know them, still writes rows beside the new one.

use async_trait::async_trait;
use sea_orm_migration::schema::{boolean, integer_null, string_len};
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::{ColumnDef, Table as Ddl};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::Table;
use crate::schema::column;

const NAME: u32 = 128;
/// RFC 5321 section 4.5.3.1.3, without the brackets.
const EMAIL: u32 = 254;
const SENTENCE: u32 = 200;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261126_000004_people"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, definition) in columns() {
            column(manager, table, definition).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in columns() {
            let name = column.get_column_name();
            manager.alter_table(Ddl::alter().table(table).drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}

/// `calls_per_minute` is none where `auth.calls_per_key` holds.
fn columns() -> [(Table, ColumnDef); 5] {
    [
        (Table::Users, string_len("display_name", NAME).default("").to_owned()),
        (Table::Users, string_len("email", EMAIL).default("").to_owned()),
        (Table::Users, boolean("must_change_password").default(false).to_owned()),
        (Table::Roles, string_len("description", SENTENCE).default("").to_owned()),
        (Table::ApiKeys, integer_null("calls_per_minute")),
    ]
}
