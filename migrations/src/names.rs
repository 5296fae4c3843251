//! Names of tables and indexes, all behind one prefix, so that Rollcall can live in a database that has tables of its
//! own called `users`, `roles` or `sessions`.

use std::fmt;
use std::sync::OnceLock;

use sea_orm_migration::sea_query::Iden;

/// The prefix when none is set.
pub const DEFAULT_PREFIX: &str = "rollcall_";

/// Longest prefix. With our longest index name it stays below the 63 bytes of PostgreSQL's identifiers.
const MAX_PREFIX: usize = 30;

/// The one value of this program that is set once for the whole process: sea-orm asks an entity *type* for its table
/// (`EntityName::table_name(&self) -> &'static str` on a unit struct), so a prefix from the settings cannot travel with
/// a connection. It never changes once a name has been used.
static PREFIX: OnceLock<String> = OnceLock::new();
static NAMES: OnceLock<[String; Table::ALL.len()]> = OnceLock::new();

/// Sets the prefix of every table and index: at most 30 characters of `a-z`, `0-9` and `_`; empty means none.
/// Setting it again to the same value is fine; to another one, or after a name was used, is an error.
pub fn set_table_prefix(prefix: &str) -> Result<(), PrefixError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if prefix.len() > MAX_PREFIX || !prefix.chars().all(allowed) {
        return Err(PrefixError::Unusable);
    }
    if PREFIX.get_or_init(|| prefix.to_owned()) == prefix { Ok(()) } else { Err(PrefixError::AlreadySet) }
}

/// Why a prefix was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// Too long, or other characters than allowed.
    Unusable,
    /// This process already uses another one.
    AlreadySet,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrefixError::Unusable => "use at most 30 characters of a-z, 0-9 and _",
            PrefixError::AlreadySet => "another prefix is already in use in this process",
        })
    }
}

impl std::error::Error for PrefixError {}

macro_rules! tables {
    ($($name:ident = $word:literal),* $(,)?) => {
        /// A table. As an identifier it is its whole name, prefix included.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Table { $(#[doc = concat!("`", $word, "`")] $name),* }

        impl Table {
            /// Every table, in the order in which they can be created.
            pub const ALL: [Table; [$($word),*].len()] = [$(Table::$name),*];

            /// The name without the prefix.
            pub const fn word(self) -> &'static str {
                match self { $(Table::$name => $word),* }
            }
        }
    };
}

tables! {
    Migrations = "migrations",
    Roles = "roles",
    Users = "users",
    UserRoles = "user_roles",
    Sessions = "sessions",
    Lockouts = "lockouts",
    Revocations = "revocations",
    LoginLog = "login_log",
    AuditLog = "audit_log",
    Settings = "settings",
    ApiKeys = "api_keys",
    Outbox = "outbox",
    Schema = "schema",
    Counters = "counters",
    SigningKeys = "signing_keys",
    Nodes = "nodes",
    JobLeases = "job_leases",
    JobRuns = "job_runs",
    Ephemeral = "ephemeral",
    LogChains = "log_chains",
    LogPeople = "log_people",
}

impl Table {
    /// The name as the database knows it.
    pub fn name(self) -> &'static str {
        let names = NAMES.get_or_init(|| {
            let prefix = PREFIX.get_or_init(|| DEFAULT_PREFIX.to_owned());
            Table::ALL.map(|table| format!("{prefix}{}", table.word()))
        });
        &names[self as usize]
    }

    /// The name of one of its indexes or constraints. They share one namespace per schema, so they carry the prefix too.
    pub fn index(self, columns: &str) -> String {
        format!("{}_{columns}", self.name())
    }
}

impl Iden for Table {
    fn unquoted(&self) -> &str {
        self.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_set_once_and_only_with_harmless_characters() {
        assert_eq!(set_table_prefix("Rollcall_"), Err(PrefixError::Unusable));
        assert_eq!(set_table_prefix("x\"; drop"), Err(PrefixError::Unusable));
        assert_eq!(set_table_prefix(&"x".repeat(31)), Err(PrefixError::Unusable));
        assert_eq!(set_table_prefix("house_"), Ok(()));
        assert_eq!(set_table_prefix("house_"), Ok(()));
        assert_eq!(set_table_prefix("other_"), Err(PrefixError::AlreadySet));
        assert_eq!(Table::UserRoles.name(), "house_user_roles");
        assert_eq!(Table::Users.index("name"), "house_users_name");
    }
}
