//! Why the server does not start: sentences for the person who typed the command.

use std::io;
use std::path::PathBuf;

use crate::auth::{IssuerError, KeyError, PasswordError, PasswordRule};
use crate::cluster::{LinkError, NameTaken};
use crate::http::TlsError;
use crate::store::StoreError;

/// Each names the setting and the way out; none shows a password.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken.
    #[error("{0}: {1} is in use; stop the other program or set {0}.")]
    Busy(&'static str, String),
    /// The address is none of this machine's, or not allowed, or no address.
    #[error(
        "{key}: cannot listen on {address:?}: {source}. Set {key} to an address of this machine, as 127.0.0.1:8080."
    )]
    Listen {
        /// The setting.
        key: &'static str,
        /// As configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The limit of open files leaves nothing for sockets.
    #[error(
        "The process may open {open} files and needs at least {needed}; raise the limit (LimitNOFILE, ulimit -n), or lower \
         database.max_connections."
    )]
    OpenFiles {
        /// As it is.
        open: u64,
        /// As it must be at least.
        needed: u64,
    },
    /// The database cannot be used.
    #[error("{}", database(.0))]
    Database(#[from] StoreError),
    /// There are no keys to sign with.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Another system's key cannot be used.
    #[error(transparent)]
    Issuers(#[from] IssuerError),
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Calls to other systems cannot be made.
    #[error("{0}")]
    Outgoing(String),
    /// Redis cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Another node has the name of this one.
    #[error(transparent)]
    Name(#[from] NameTaken),
    /// A job cannot be planned.
    #[error("{0}")]
    Jobs(String),
    /// `ROLLCALL_ADMIN_PASSWORD` breaks the rule.
    #[error("ROLLCALL_ADMIN_PASSWORD: {0}")]
    AdminPassword(PasswordRule),
    /// The first administrator's password could not be hashed.
    #[error(transparent)]
    Hash(#[from] PasswordError),
    /// There is an account `admin` that is no administrator.
    #[error(
        "Nobody has the role admin, and the account \"admin\" exists already; run `rollcall user add NAME --role admin`."
    )]
    AdminExists,
    /// The file for the first administrator's password could not be written.
    #[error("data.dir: {} cannot be written: {source}. Set data.dir to a folder of the server's user.", .path.display())]
    AdminFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn database(error: &StoreError) -> String {
    match error {
        StoreError::Settings(sentence) => sentence.clone(),
        error => {
            let cause = error.cause();
            let cause = if cause.is_empty() { error.to_string() } else { cause };
            format!(
                "database.url: the database cannot be used: {cause}. See that it runs and may be written, or set database.url."
            )
        }
    }
}
