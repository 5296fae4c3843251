//! What several nodes share: who they are, the keys they sign with, the order of what was taken away, whose turn a job is, small
//! values that expire, and which releases may use this schema.

use async_trait::async_trait;
use sea_orm_migration::schema::{big_integer, boolean, integer, string_len, string_len_null, text};
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::sea_query::{Expr, ExprTrait, Query, Table as Ddl, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::Table;
use crate::schema::{On, index, needs, seed};

const UUID: u32 = 36;
const NAME: u32 = 128;
const WORD: u32 = 64;
/// Host and port.
const ADDRESS: u32 = 300;
/// What a failed run is remembered by, cut to this.
const SENTENCE: u32 = 200;

/// What this migration makes, in the order in which it can be made.
const TABLES: [Table; 7] = [
    Table::Schema,
    Table::Counters,
    Table::SigningKeys,
    Table::Nodes,
    Table::JobLeases,
    Table::JobRuns,
    Table::Ephemeral,
];

const INDEXES: &[(Table, &[&str])] =
    &[(Table::Nodes, &["seen_at"]), (Table::JobRuns, &["job", "started_at"]), (Table::Ephemeral, &["expires_at"])];

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261126_000003_several_nodes"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let on = On::of(manager);
        let tables =
            [schema(on), counters(on), signing_keys(on), nodes(on), job_leases(on), job_runs(on), ephemeral(on)];
        for table in tables {
            manager.create_table(table).await?;
        }
        for (table, columns) in INDEXES {
            index(manager, *table, columns).await?;
        }
        count_on(manager).await?;
        // The release before numbers revocations by itself and would use a number twice.
        needs(manager, 3).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES.into_iter().rev() {
            manager.drop_table(Ddl::drop().table(table).if_exists().to_owned()).await?;
        }
        Ok(())
    }
}

/// One row: the number of the oldest migration whose release can still use this schema.
fn schema(on: On) -> TableCreateStatement {
    on.table(Table::Schema).col(integer("minimum").primary_key()).to_owned()
}

/// A counter is raised in the transaction that uses its number, and so locked until that commits: greater numbers never become
/// visible before smaller ones. No column that counts by itself can say that.
fn counters(on: On) -> TableCreateStatement {
    on.table(Table::Counters).col(string_len("name", WORD).primary_key()).col(big_integer("value")).to_owned()
}

/// `secret` is encrypted with a key that is not in the database.
fn signing_keys(on: On) -> TableCreateStatement {
    on.table(Table::SigningKeys)
        .col(string_len("kid", WORD).primary_key())
        .col(string_len("purpose", WORD))
        .col(string_len("alg", WORD))
        .col(text("secret"))
        .col(on.moment("created_at"))
        .col(on.moment_null("replaced_at"))
        .to_owned()
}

/// A process is a generation: started again under its name, it is another one.
fn nodes(on: On) -> TableCreateStatement {
    on.table(Table::Nodes)
        .col(string_len("generation", UUID).primary_key())
        .col(string_len("name", NAME))
        .col(string_len("version", WORD))
        .col(string_len("address", ADDRESS))
        .col(on.moment("started_at"))
        .col(on.moment("seen_at"))
        .to_owned()
}

/// `token` grows with every holder. `until` grows as long as the holder lives; whoever waits watches it with a clock of its own.
fn job_leases(on: On) -> TableCreateStatement {
    on.table(Table::JobLeases)
        .col(string_len("job", WORD).primary_key())
        .col(on.moment("due_at"))
        .col(string_len("holder", NAME))
        .col(big_integer("token"))
        .col(on.moment("until"))
        .col(boolean("ended"))
        .to_owned()
}

fn job_runs(on: On) -> TableCreateStatement {
    on.table(Table::JobRuns)
        .col(string_len("id", UUID).primary_key())
        .col(string_len("job", WORD))
        .col(string_len("node", NAME))
        .col(on.moment("started_at"))
        .col(big_integer("took_ms"))
        .col(string_len("trigger_word", WORD))
        .col(big_integer("affected"))
        .col(string_len_null("error", SENTENCE))
        .to_owned()
}

/// Locked names, and what is in Redis while that is there: tickets and failed logins. A name says what it is and of whom, as a hash.
fn ephemeral(on: On) -> TableCreateStatement {
    on.table(Table::Ephemeral)
        .col(string_len("name", NAME).primary_key())
        .col(string_len("value", SENTENCE))
        .col(on.moment("expires_at"))
        .to_owned()
}

/// From where the column that counted by itself had come to.
async fn count_on(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let last = Query::select().expr(Expr::col("seq").max()).from(Table::Revocations).to_owned();
    let row = manager.get_connection().query_one(&last).await?;
    let last = row.map(|row| row.try_get_by::<Option<i64>, _>(0)).transpose()?.flatten().unwrap_or_default();
    let mut first = Query::insert().into_table(Table::Counters).columns(["name", "value"]).to_owned();
    first.values_panic(["revocations".into(), last.into()]);
    first.values_panic(["signing keys".into(), 0_i64.into()]);
    seed(manager, Table::Counters, first).await
}
