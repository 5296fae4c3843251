//! Other systems beside ours: API keys, calls that wait to be made, and until when a foreign user's tokens are refused.

use async_trait::async_trait;
use sea_orm_migration::schema::{
    big_integer, big_pk_auto, integer, json, json_null, string_len, string_len_null, text,
};
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::{ColumnDef, Table as Ddl, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::Table;
use crate::schema::{On, column, index};

const UUID: u32 = 36;
const NAME: u32 = 128;
const WORD: u32 = 64;
/// A user as on the wire: issuer, colon, id.
const USER: u32 = 320;
const EXTERNAL: u32 = 255;
const IP: u32 = 45;
/// SHA-256 in hexadecimal digits.
const DIGEST: u32 = 64;
/// What a failed call is remembered by, cut to this.
const SENTENCE: u32 = 200;

const INDEXES: &[(Table, &[&str])] =
    &[(Table::ApiKeys, &["created_at"]), (Table::Outbox, &["state", "next_at"]), (Table::Outbox, &["about"])];

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261121_000002_other_systems"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let on = On::of(manager);
        manager.create_table(api_keys(on)).await?;
        manager.create_table(outbox(on)).await?;
        for (table, columns) in INDEXES {
            index(manager, *table, columns).await?;
        }
        // One column a statement: SQLite adds no more at once.
        for (table, definition) in columns(on) {
            column(manager, table, definition).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in columns(On::of(manager)) {
            let name = column.get_column_name();
            manager.alter_table(Ddl::alter().table(table).drop_column(name).to_owned()).await?;
        }
        manager.drop_table(Ddl::drop().table(Table::Outbox).to_owned()).await?;
        manager.drop_table(Ddl::drop().table(Table::ApiKeys).to_owned()).await
    }
}

/// What foreign users and their logins have beside ours. A token issued before `tokens_refused_before` opens nothing: most
/// foreign tokens have no row of ours that could be ended. `external_id` is what the other system calls the login.
fn columns(on: On) -> [(Table, ColumnDef); 3] {
    [
        (Table::Users, on.moment_null("tokens_refused_before")),
        (Table::Users, json_null("foreign_roles")),
        (Table::Sessions, string_len_null("external_id", EXTERNAL)),
    ]
}

/// `hint` is the key's beginning, enough to recognize it in a list and useless for anything else.
fn api_keys(on: On) -> TableCreateStatement {
    on.table(Table::ApiKeys)
        .col(string_len("id", UUID).primary_key())
        .col(string_len("name", NAME))
        .col(string_len("hint", WORD))
        .col(string_len("digest", DIGEST).unique_key())
        .col(json("scopes"))
        .col(json("addresses"))
        .col(string_len("created_by", USER))
        .col(on.moment("created_at"))
        .col(on.moment_null("expires_at"))
        .col(on.moment_null("revoked_at"))
        .col(on.moment_null("last_used_at"))
        .col(string_len("last_used_ip", IP))
        .to_owned()
}

/// Calls of one `stream` are made in the order of `seq`; `target` names a setting, so that no secret address is stored.
fn outbox(on: On) -> TableCreateStatement {
    on.table(Table::Outbox)
        .col(big_pk_auto("seq"))
        .col(string_len("id", UUID).unique_key())
        .col(string_len("target", NAME))
        .col(string_len("stream", USER))
        .col(string_len("event", WORD))
        .col(text("body"))
        .col(string_len("state", WORD))
        .col(integer("attempts"))
        .col(on.moment("next_at"))
        .col(string_len("last_error", SENTENCE))
        .col(big_integer("about"))
        .col(on.moment("created_at"))
        .col(on.moment_null("ended_at"))
        .to_owned()
}
