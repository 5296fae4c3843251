//! What a migration is made of, on each database. MySQL ends a transaction with every change of schema, so a migration that was
//! interrupted is begun again there: whatever exists already is left as it is.

use sea_orm_migration::SchemaManager;
use sea_orm_migration::schema::{timestamp_with_time_zone, timestamp_with_time_zone_null};
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::sea_query::{
    Alias, ColumnDef, Index, IndexCreateStatement, InsertStatement, Query, Table as Ddl, TableCreateStatement,
};

use crate::Table;

/// The database a migration is for.
#[derive(Clone, Copy)]
pub(crate) struct On(DbBackend);

impl On {
    pub(crate) fn of(manager: &SchemaManager<'_>) -> On {
        On(manager.get_database_backend())
    }

    /// A table without columns yet. Texts compare by their characters, as on the other databases: MySQL's own rule would make
    /// `A`, `a` and `ä` the same name.
    pub(crate) fn table(self, table: Table) -> TableCreateStatement {
        let mut statement = Ddl::create().table(table).if_not_exists().to_owned();
        if self.0 == DbBackend::MySql {
            statement.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
        }
        statement
    }

    /// A point in time, to the microsecond.
    pub(crate) fn moment(self, name: &'static str) -> ColumnDef {
        match self.0 {
            // MySQL's timestamp ends in 2038 and has whole seconds unless told.
            DbBackend::MySql => ColumnDef::new(name).custom(Alias::new("datetime(6)")).not_null().to_owned(),
            _ => timestamp_with_time_zone(name),
        }
    }

    /// A point in time, or none.
    pub(crate) fn moment_null(self, name: &'static str) -> ColumnDef {
        match self.0 {
            DbBackend::MySql => ColumnDef::new(name).custom(Alias::new("datetime(6)")).null().to_owned(),
            _ => timestamp_with_time_zone_null(name),
        }
    }
}

/// Creates an index that is not there yet, named after its columns.
pub(crate) async fn index(manager: &SchemaManager<'_>, table: Table, columns: &[&'static str]) -> Result<(), DbErr> {
    let name = table.index(&format!("by_{}", columns.join("_")));
    if manager.has_index(table.name(), &name).await? {
        return Ok(());
    }
    let mut index: IndexCreateStatement = Index::create().name(name).table(table).to_owned();
    for column in columns {
        index.col(*column);
    }
    manager.create_index(index).await
}

/// Adds a column that is not there yet.
pub(crate) async fn column(manager: &SchemaManager<'_>, table: Table, column: ColumnDef) -> Result<(), DbErr> {
    if manager.has_column(table.name(), column.get_column_name()).await? {
        return Ok(());
    }
    manager.alter_table(Ddl::alter().table(table).add_column(column).to_owned()).await
}

/// Fills a table that is still empty.
pub(crate) async fn seed(manager: &SchemaManager<'_>, table: Table, rows: InsertStatement) -> Result<(), DbErr> {
    use sea_orm_migration::sea_query::Expr;
    let any = Query::select().expr(Expr::val(1)).from(table).limit(1).to_owned();
    match manager.get_connection().query_one(&any).await? {
        Some(_) => Ok(()),
        None => manager.execute(rows).await,
    }
}

/// From here on releases that do not know this migration refuse to start. Its way back must set the number before again.
pub(crate) async fn needs(manager: &SchemaManager<'_>, minimum: i32) -> Result<(), DbErr> {
    manager.execute(Query::delete().from_table(Table::Schema).to_owned()).await?;
    let mut row = Query::insert().into_table(Table::Schema).columns(["minimum"]).to_owned();
    row.values_panic([minimum.into()]);
    manager.execute(row).await
}
