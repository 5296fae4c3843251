//! Logs that show when somebody changed them: each row continues a chain, and what is personal stands beside it, where it can be
//! erased. The new columns may be empty, so that the release before still writes rows, which belong to no chain.

use async_trait::async_trait;
use sea_orm_migration::schema::{big_integer, big_integer_null, string_len, string_len_null, text};
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::{ColumnDef, Index, Table as Ddl, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::Table;
use crate::schema::{On, column, index};

const UUID: u32 = 36;
/// A user as on the wire: issuer, colon, id.
const USER: u32 = 64 + 1 + 255;
const NAME: u32 = 128;
/// The log's name, a slash, and the node's name.
const CHAIN: u32 = 16 + NAME;
const WORD: u32 = 64;
const IP: u32 = 45;
const SENTENCE: u32 = 200;
const AGENT: u32 = 512;
/// SHA-256 as hexadecimal digits.
const DIGEST: u32 = 64;

const LOGS: [Table; 2] = [Table::LoginLog, Table::AuditLog];

const INDEXES: &[(Table, &[&str])] = &[
    (Table::LoginLog, &["chain", "seq"]),
    (Table::AuditLog, &["chain", "seq"]),
    (Table::LoginLog, &["user"]),
    (Table::AuditLog, &["target"]),
    (Table::LogPeople, &["subject"]),
    (Table::LogPeople, &["ip"]),
];

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261126_000005_logs"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let on = On::of(manager);
        manager.create_table(log_chains(on)).await?;
        manager.create_table(log_people(on)).await?;
        for (table, definition) in columns() {
            column(manager, table, definition).await?;
        }
        for (table, columns) in INDEXES {
            index(manager, *table, columns).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, columns) in INDEXES.iter().filter(|(table, _)| LOGS.contains(table)) {
            let name = table.index(&format!("by_{}", columns.join("_")));
            if manager.has_index(table.name(), &name).await? {
                manager.drop_index(Index::drop().name(name).table(*table).to_owned()).await?;
            }
        }
        for (table, column) in columns() {
            let name = column.get_column_name();
            if manager.has_column(table.name(), name.clone()).await? {
                manager.alter_table(Ddl::alter().table(table).drop_column(name).to_owned()).await?;
            }
        }
        for table in [Table::LogPeople, Table::LogChains] {
            manager.drop_table(Ddl::drop().table(table).if_exists().to_owned()).await?;
        }
        Ok(())
    }
}

/// Where each chain begins and ends, signed. `seq` and `hash` are those of its last row, `pruned_seq` and `pruned_hash` those of the
/// last row that retention has deleted.
fn log_chains(on: On) -> TableCreateStatement {
    on.table(Table::LogChains)
        .col(string_len("chain", CHAIN).primary_key())
        .col(big_integer("seq"))
        .col(string_len("hash", DIGEST))
        .col(big_integer("pruned_seq"))
        .col(string_len("pruned_hash", DIGEST))
        .col(on.moment_null("pruned_at"))
        .col(string_len("seal", DIGEST))
        .to_owned()
}

/// What is personal in a row: `by` of whoever did it, `about` of whom it was done to. The row keeps a salted digest of it.
fn log_people(on: On) -> TableCreateStatement {
    on.table(Table::LogPeople)
        .col(string_len("row_id", UUID))
        .col(string_len("part", WORD))
        .col(string_len_null("subject", USER))
        .col(string_len("salt", WORD))
        .col(string_len("name", NAME))
        .col(string_len("ip", IP))
        .col(string_len("device", WORD))
        .col(string_len("os", WORD))
        .col(string_len("browser", WORD))
        .col(string_len("user_agent", AGENT))
        .col(string_len("reason", SENTENCE))
        .col(text("detail"))
        .primary_key(Index::create().col("row_id").col("part"))
        .to_owned()
}

fn columns() -> Vec<(Table, ColumnDef)> {
    let of = |table| {
        [
            string_len_null("chain", CHAIN),
            big_integer_null("seq"),
            string_len_null("hash", DIGEST),
            string_len_null("by_digest", DIGEST),
        ]
        .map(|column| (table, column))
    };
    let mut columns: Vec<_> = LOGS.into_iter().flat_map(of).collect();
    columns.push((Table::AuditLog, string_len_null("about_digest", DIGEST)));
    columns
}
