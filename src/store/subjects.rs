//! What is kept of one person, told to them; `erasure` erases it. Every table is in one of two lists, or a test fails.

use rollcall_migrations::Table;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait, Func};
use sea_orm::{Condition, QueryOrder, QuerySelect};
use serde_json::Value;

use super::ephemeral::{self, NameKeys};
use super::{
    Store, StoreError, api_keys, audit_log, lockouts, log_people, login_log, outbox, revocations, sessions, user_roles,
    users,
};
use crate::auth::UserKey;

/// Tables that hold something of a person, in the order in which it is told.
pub const PERSONAL: [Table; 11] = [
    Table::Users,
    Table::UserRoles,
    Table::Sessions,
    Table::Lockouts,
    Table::Revocations,
    Table::LoginLog,
    Table::AuditLog,
    Table::LogPeople,
    Table::ApiKeys,
    Table::Outbox,
    Table::Ephemeral,
];

/// Tables that hold nothing of anybody.
pub const IMPERSONAL: [Table; 10] = [
    Table::Migrations,
    Table::Roles,
    Table::Settings,
    Table::Schema,
    Table::Counters,
    Table::SigningKeys,
    Table::Nodes,
    Table::JobLeases,
    Table::JobRuns,
    Table::LogChains,
];

/// Columns that are secrets, or made of them; nobody is told.
const SECRET: [&str; 2] = ["password_hash", "digest"];

/// A person, as rows name them.
pub(super) struct Subject {
    pub(super) key: UserKey,
    /// Whether there is an account.
    pub(super) account: bool,
    /// As people log in here, and as that is compared; none for an account that is gone, and for those of other systems.
    pub(super) names: Option<(String, String)>,
}

impl Store {
    /// What a table holds of somebody, some rows from this one on: fewer than `limit` are the last ones. Empty for somebody unknown.
    pub async fn rows_of(
        &self,
        user: &UserKey,
        table: Table,
        offset: u64,
        limit: u64,
    ) -> Result<Vec<Value>, StoreError> {
        let subject = self.subject(user).await?;
        let db = self.db();
        macro_rules! rows {
            ($select:expr, $by:expr) => {
                $select.order_by_asc($by).offset(offset).limit(limit).into_json().all(db).await?
            };
        }
        let key = user.as_str();
        let mut rows: Vec<Value> = match table {
            Table::Users => rows!(users::Entity::find().filter(users::is(user)), users::Column::Seq),
            Table::UserRoles => {
                rows!(user_roles::Entity::find().filter(user_roles::is(user)), user_roles::Column::Role)
            }
            Table::Sessions => rows!(sessions::Entity::find().filter(sessions::of(user)), sessions::Column::Id),
            Table::Lockouts => rows!(lockouts::Entity::find().filter(lockouts::is(user)), lockouts::Column::Revocation),
            Table::Revocations => {
                let which = revocations::naming(self.backend(), user);
                rows!(revocations::Entity::find().filter(which), revocations::Column::Seq)
            }
            Table::LoginLog => {
                let which = Condition::any().add(login_log::Column::User.eq(key));
                let which = which.add(login_log::Column::Id.in_subquery(log_people::rows_by(subject.in_logs())));
                rows!(login_log::Entity::find().filter(which), login_log::Column::Id)
            }
            Table::AuditLog => {
                let which =
                    Condition::any().add(audit_log::Column::Actor.eq(key)).add(audit_log::Column::Target.eq(key));
                rows!(audit_log::Entity::find().filter(which), audit_log::Column::Id)
            }
            Table::LogPeople => {
                let select = log_people::Entity::find().filter(subject.in_logs());
                rows!(select.order_by_asc(log_people::Column::RowId), log_people::Column::Part)
            }
            Table::ApiKeys => {
                rows!(api_keys::Entity::find().filter(api_keys::Column::CreatedBy.eq(key)), api_keys::Column::Id)
            }
            Table::Outbox => rows!(outbox::Entity::find().filter(outbox::Column::Stream.eq(key)), outbox::Column::Seq),
            Table::Ephemeral => {
                let which = ephemeral::Column::Name.is_in(subject.ephemeral());
                rows!(ephemeral::Entity::find().filter(which), ephemeral::Column::Name)
            }
            _ => Vec::new(),
        };
        for row in rows.iter_mut().filter_map(Value::as_object_mut) {
            for column in SECRET {
                row.remove(column);
            }
        }
        Ok(rows)
    }

    pub(super) async fn subject(&self, user: &UserKey) -> Result<Subject, StoreError> {
        let row = users::Entity::find().filter(users::is(user)).one(self.db()).await?;
        let account = row.is_some();
        let ours = row.filter(|row| row.issuer == self.own_issuer());
        Ok(Subject { key: user.clone(), account, names: ours.map(|row| (row.username, row.username_key)) })
    }
}

impl Subject {
    /// What stands of them beside rows of the logs: also of logins that failed, which had only a name.
    pub(super) fn in_logs(&self) -> Condition {
        use log_people::Column;
        let of_them = Condition::any().add(Column::Subject.eq(self.key.as_str()));
        let Some((name, key)) = &self.names else { return of_them };
        let lower = Expr::expr(Func::lower(Expr::col(Column::Name)));
        let named = Condition::any().add(Column::Name.eq(name)).add(ExprTrait::eq(lower, key.as_str()));
        of_them.add(Condition::all().add(Column::Subject.is_null()).add(Column::Name.ne("")).add(named))
    }

    pub(super) fn ephemeral(&self) -> Vec<String> {
        let keys = self.names.as_ref().map(|(_, key)| NameKeys::of(key));
        keys.into_iter().flat_map(|NameKeys { failures, lock }| [failures, lock]).collect()
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::Iterable;

    use super::*;

    #[test]
    fn every_table_is_known_to_hold_something_of_people_or_nothing() {
        for table in Table::ALL {
            let lists = [PERSONAL.contains(&table), IMPERSONAL.contains(&table)];
            assert_eq!(lists.iter().filter(|listed| **listed).count(), 1, "{table:?}: put it into one of the lists");
        }
    }

    /// What the document says of a table: the words in the column of fields.
    fn documented(table: Table) -> Vec<&'static str> {
        let document = include_str!("../../docs/privacy.md");
        let begins = format!("| `{}` |", table.word());
        let row = document.lines().find(|line| line.starts_with(&begins)).expect("a row for each personal table");
        row.split('|').nth(2).unwrap().split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn every_personal_field_that_is_documented_exists() {
        macro_rules! columns {
            ($($table:ident = $entity:ident),*) => {
                match_columns(&[$((Table::$table, <$entity::Column as Iterable>::iter().map(|column| column.to_string()).collect())),*])
            };
        }
        fn match_columns(tables: &[(Table, Vec<String>)]) {
            assert_eq!(tables.iter().map(|(table, _)| *table).collect::<Vec<_>>(), PERSONAL);
            for (table, columns) in tables {
                for field in documented(*table) {
                    assert!(columns.iter().any(|column| column == field), "{table:?} has no {field}");
                }
            }
        }
        columns!(
            Users = users,
            UserRoles = user_roles,
            Sessions = sessions,
            Lockouts = lockouts,
            Revocations = revocations,
            LoginLog = login_log,
            AuditLog = audit_log,
            LogPeople = log_people,
            ApiKeys = api_keys,
            Outbox = outbox,
            Ephemeral = ephemeral
        );
    }
}
