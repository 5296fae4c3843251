//! Why there are no keys, for the person who starts the server.

use std::io;
use std::path::PathBuf;

/// Why there are no keys to sign with. Each sentence names the file or the setting and the way out.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file or its folder cannot be read or written.
    #[error("The signing keys in {} cannot be used: {source}. Let the server's user own that folder, or set data.dir to one it may write.", .path.display())]
    File {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the file.
    #[error("The signing keys in {path} can be read by others (mode {mode:o}). Run `chmod 600 {path}`; if somebody may have read them, delete the file instead, and everyone logs in again.", path = .path.display())]
    OpenToOthers {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not what we wrote.
    #[error("The signing keys in {} are damaged at line {line}. Restore the file from a backup, or delete it, and everyone logs in again.", .path.display())]
    Broken {
        /// The key file.
        path: PathBuf,
        /// Where reading stopped.
        line: usize,
    },
    /// The file was removed under a running server.
    #[error("The signing keys in {} have disappeared; the server goes on with those in memory. Restore the file, or restart the server, and everyone logs in again.", .path.display())]
    Gone {
        /// The key file.
        path: PathBuf,
    },
    /// The keys in the database are not what we wrote.
    #[error(
        "The signing keys in the database are damaged (key {kid}). Restore its table signing_keys from a backup, or stop every node and run `rollcall signing-keys forget --force`, and everyone logs in again."
    )]
    Unsealed {
        /// Which.
        kid: String,
    },
    /// A key of this node is not that of the other nodes.
    #[error(
        "{setting} differs from that of the nodes that use this database, which would refuse each other's tokens. Set it as it is there; or, if no node has that one any more, stop every node, run `rollcall signing-keys forget --force`, and everyone logs in again."
    )]
    Differs {
        /// The setting, as `auth.master_key`.
        setting: &'static str,
    },
    /// A key from the settings does not fit.
    #[error("{setting} {problem}")]
    Setting {
        /// The setting, as `auth.signing_key`.
        setting: &'static str,
        /// What is wrong with it and how to mend it.
        problem: &'static str,
    },
}
