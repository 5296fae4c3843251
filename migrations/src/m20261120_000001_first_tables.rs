//! Users, roles, sessions, revocations, lockouts, logs and settings.
//!
//! Lengths are characters. They are there because MySQL cannot index text without one; the store cuts what is longer.

use async_trait::async_trait;
use sea_orm_migration::schema::{
    big_integer, big_pk_auto, boolean, json, json_null, string_len, string_len_null, text,
};
use sea_orm_migration::sea_orm::{DbErr, JsonValue};
use sea_orm_migration::sea_query::{ForeignKey, ForeignKeyAction, Index, Query, Table as Ddl, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::Table;
use crate::schema::{On, index, seed};

const UUID: u32 = 36;
const ISSUER: u32 = 64;
const USER_ID: u32 = 255;
/// A user as on the wire: issuer, colon, id.
const USER: u32 = ISSUER + 1 + USER_ID;
const NAME: u32 = 128;
const WORD: u32 = 64;
const IP: u32 = 45;
/// The longest sentence an operator may write (protocol: 200 characters).
const SENTENCE: u32 = 200;

/// What this migration makes, in the order in which it can be made.
const TABLES: [Table; 9] = [
    Table::Roles,
    Table::Users,
    Table::UserRoles,
    Table::Sessions,
    Table::Lockouts,
    Table::Revocations,
    Table::LoginLog,
    Table::AuditLog,
    Table::Settings,
];

const INDEXES: &[(Table, &[&str])] = &[
    (Table::UserRoles, &["role"]),
    (Table::Sessions, &["issuer", "user_id"]),
    (Table::Sessions, &["expires_at"]),
    (Table::Sessions, &["revoked_at"]),
    (Table::Lockouts, &["until"]),
    (Table::Revocations, &["created_at"]),
    (Table::LoginLog, &["at"]),
    (Table::AuditLog, &["at"]),
    (Table::AuditLog, &["action"]),
    (Table::AuditLog, &["actor"]),
];

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261120_000001_first_tables"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let on = On::of(manager);
        for table in [
            roles(on),
            users(on),
            user_roles(on),
            sessions(on),
            lockouts(on),
            revocations(on),
            login_log(on),
            audit_log(on),
            settings(on),
        ] {
            manager.create_table(table).await?;
        }
        for (table, columns) in INDEXES {
            index(manager, *table, columns).await?;
        }
        seed(manager, Table::Roles, seed_roles()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES.into_iter().rev() {
            manager.drop_table(Ddl::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

fn roles(on: On) -> TableCreateStatement {
    on.table(Table::Roles)
        .col(string_len("name", WORD).primary_key())
        .col(json("permissions"))
        .col(boolean("seed"))
        .to_owned()
}

fn users(on: On) -> TableCreateStatement {
    on.table(Table::Users)
        .col(big_pk_auto("seq"))
        .col(string_len("issuer", ISSUER))
        .col(string_len("id", USER_ID))
        .col(string_len("username", NAME))
        // Lower case may be longer than what was typed.
        .col(string_len("username_key", 2 * NAME))
        .col(string_len_null("password_hash", 255))
        .col(string_len("avatar", 512))
        .col(on.moment_null("disabled_at"))
        .col(on.moment("created_at"))
        .col(on.moment_null("last_login_at"))
        .index(Index::create().name(Table::Users.index("id")).col("issuer").col("id").unique())
        .index(Index::create().name(Table::Users.index("username")).col("issuer").col("username_key").unique())
        .to_owned()
}

fn user_roles(on: On) -> TableCreateStatement {
    let to_user = ForeignKey::create()
        .name(Table::UserRoles.index("to_user"))
        .from(Table::UserRoles, ("issuer", "user_id"))
        .to(Table::Users, ("issuer", "id"))
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned();
    let to_role = ForeignKey::create()
        .name(Table::UserRoles.index("to_role"))
        .from(Table::UserRoles, "role")
        .to(Table::Roles, "name")
        .to_owned();
    on.table(Table::UserRoles)
        .col(string_len("issuer", ISSUER))
        .col(string_len("user_id", USER_ID))
        .col(string_len("role", WORD))
        .primary_key(Index::create().col("issuer").col("user_id").col("role"))
        .foreign_key(&mut to_user.clone())
        .foreign_key(&mut to_role.clone())
        .to_owned()
}

fn sessions(on: On) -> TableCreateStatement {
    on.table(Table::Sessions)
        .col(string_len("id", UUID).primary_key())
        .col(string_len("issuer", ISSUER))
        .col(string_len("user_id", USER_ID))
        .col(string_len("app", WORD))
        .col(string_len("kind", WORD))
        .col(json_null("scopes"))
        .col(string_len("ip", IP))
        .col(string_len("device", WORD))
        .col(string_len("os", WORD))
        .col(string_len("browser", WORD))
        .col(string_len("user_agent", 512))
        .col(on.moment("created_at"))
        .col(on.moment("last_seen_at"))
        .col(on.moment("expires_at"))
        .col(big_integer("refresh_generation"))
        .col(on.moment("refresh_rotated_at"))
        .col(on.moment("refresh_expires_at"))
        .col(on.moment_null("revoked_at"))
        .col(string_len_null("revoked_cause", WORD))
        .col(string_len_null("revoked_reason", SENTENCE))
        .to_owned()
}

fn lockouts(on: On) -> TableCreateStatement {
    on.table(Table::Lockouts)
        .col(string_len("issuer", ISSUER))
        .col(string_len("user_id", USER_ID))
        .col(on.moment("until"))
        .col(string_len("reason", SENTENCE))
        .col(string_len("set_by", USER))
        .col(string_len("revocation", UUID))
        .primary_key(Index::create().col("issuer").col("user_id"))
        .to_owned()
}

fn revocations(on: On) -> TableCreateStatement {
    on.table(Table::Revocations)
        .col(big_pk_auto("seq"))
        .col(string_len("id", UUID))
        .col(string_len("kind", WORD))
        .col(json("targets"))
        .col(boolean("ends_sessions"))
        .col(on.moment_null("until"))
        .col(string_len("reason", SENTENCE))
        .col(string_len("actor", USER))
        .col(string_len("actor_name", NAME))
        .col(big_integer("matched"))
        .col(big_integer("closed"))
        .col(on.moment("created_at"))
        .index(Index::create().name(Table::Revocations.index("id")).col("id").unique())
        .to_owned()
}

fn login_log(on: On) -> TableCreateStatement {
    on.table(Table::LoginLog)
        .col(string_len("id", UUID).primary_key())
        .col(on.moment("at"))
        .col(string_len_null("user", USER))
        .col(string_len("username", NAME))
        .col(string_len("outcome", WORD))
        .col(string_len_null("session_id", UUID))
        .col(string_len("ip", IP))
        .col(string_len("device", WORD))
        .col(string_len("os", WORD))
        .col(string_len("browser", WORD))
        .col(string_len("request_id", WORD))
        .to_owned()
}

fn audit_log(on: On) -> TableCreateStatement {
    on.table(Table::AuditLog)
        .col(string_len("id", UUID).primary_key())
        .col(on.moment("at"))
        .col(string_len("actor", USER))
        .col(string_len("actor_name", NAME))
        .col(string_len("action", WORD))
        .col(string_len("target", USER))
        .col(string_len("reason", SENTENCE))
        .col(json("detail"))
        .col(string_len("ip", IP))
        .col(string_len("request_id", WORD))
        .to_owned()
}

fn settings(on: On) -> TableCreateStatement {
    on.table(Table::Settings)
        .col(string_len("name", NAME).primary_key())
        .col(text("value"))
        .col(on.moment("updated_at"))
        .to_owned()
}

/// `*` is every permission there is, also those of later releases. Rights of members in rooms come from the rooms.
fn seed_roles() -> sea_orm_migration::sea_query::InsertStatement {
    let operator =
        ["online:read", "online:kick", "push:send", "presence:read", "monitor:read", "notice:send", "notice:read"];
    let seeds = [("admin", &["*"][..]), ("operator", &operator[..]), ("member", &["notice:read", "presence:read"][..])];
    let mut insert = Query::insert().into_table(Table::Roles).columns(["name", "permissions", "seed"]).to_owned();
    for (name, words) in seeds {
        let words = JsonValue::Array(words.iter().map(|word| JsonValue::from(*word)).collect());
        insert.values_panic([name.into(), words.into(), true.into()]);
    }
    insert
}
