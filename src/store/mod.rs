//! The rows: users, roles, sessions, revocations, lockouts, logs and settings, one file per table.
//!
//! **What must not be lost is committed before its function returns** (users, sessions, revocations, the audit of a
//! kick): a kill -9 right after loses nothing that was acknowledged. SQLite runs in WAL mode with `synchronous = NORMAL`,
//! so that holds for the process; a power cut may take the last moments, never the file. Logs go through
//! [`LogWriter`], which may lose rows and counts them.
//!
//! **Writes take turns.** A write transaction locks from its beginning, so what it has read stays true until it commits:
//! that is how "the last administrator stays" holds for two requests at once. Acts that other nodes must hear of write a
//! row of [`Revocation`] in the same transaction, numbered by a counter that is locked until the commit, so the sequence has no
//! row that appears late. They also take turns across processes.
//!
//! Deliberately absent: sockets, requests, the clock (`now` is an argument), and SQL that only one database understands.

mod administrators;
mod api_keys;
mod audit_list;
mod audit_log;
mod backup;
mod caller;
mod connection;
mod counters;
mod ephemeral;
mod erasure;
mod error;
mod foreign;
mod job_runs;
mod jobs;
mod lockouts;
mod log_chains;
mod log_people;
mod log_verify;
mod login_log;
mod nodes;
mod outbox;
mod page;
mod prune;
mod refresh;
mod revocations;
mod role_changes;
mod roles;
mod session_list;
mod sessions;
mod settings;
mod signing_keys;
mod subjects;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod text;
mod user_act;
mod user_changes;
mod user_import;
mod user_list;
mod user_roles;
mod users;
mod writer;

pub use api_keys::ApiKeyRow;
pub use audit_list::{AuditQuery, AuditRow};
pub use audit_log::{Actor, NewAudit};
pub use backup::{check_sqlite, copy_sqlite, sqlite_file};
pub use caller::{CallerRow, Ended};
pub use connection::{Alone, Direction, Store};
pub use ephemeral::NameKeys;
pub use error::{Cause, StoreError};
pub use foreign::{Foreigner, MAX_FOREIGN_ID};
pub use job_runs::{JobRun, KEPT_RUNS};
pub use jobs::{Lease, LeaseRefused, Mark};
pub use lockouts::Lockout;
pub use log_verify::{ChainReport, LogReport};
pub use login_log::{LoginQuery, LoginRow, NewLogin};
pub use nodes::NodeRow;
pub use outbox::{Attempt, Call, NewCall, Upstream};
pub use page::{Page, Paging};
pub use prune::Pruned;
pub use refresh::Refresh;
pub use revocations::{Audited, Kind, NewRevocation, Revocation, Targets};
pub use role_changes::{MAX_ROLES, RoleChange};
pub use roles::Role;
pub use session_list::{SessionOrder, SessionQuery};
pub use sessions::{NewSession, SessionKind, SessionRow};
pub use subjects::{IMPERSONAL, PERSONAL};
pub use text::{new_id, username_key};
pub use user_changes::{NewPassword, UserChange};
pub use user_import::{BadRow, Import};
pub use user_list::{UserOrder, UserQuery};
pub use users::{NewUser, User};
pub use writer::{Entry, LogWriter};

/// What every entity has beside its columns. The table's name carries the configured prefix, which sea-orm's derive
/// cannot know: it wants a literal.
macro_rules! entity {
    ($table:ident) => {
        #[derive(Copy, Clone, Default, Debug, sea_orm::DeriveEntity)]
        pub(super) struct Entity;

        impl sea_orm::EntityName for Entity {
            fn table_name(&self) -> &'static str {
                rollcall_migrations::Table::$table.name()
            }
        }

        #[derive(Copy, Clone, Debug, sea_orm::EnumIter, sea_orm::DeriveRelation)]
        pub(super) enum Relation {}

        impl sea_orm::ActiveModelBehavior for ActiveModel {}
    };
}
use entity;
