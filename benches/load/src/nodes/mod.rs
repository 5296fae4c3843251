//! Several nodes and what they share, on free ports of this machine: a Redis, a PostgreSQL, a secret, and another system that
//! signs tokens for any number of users. All of it ends with the value, and with this process.

mod database;
mod redis;
mod tokens;
mod when;

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub(crate) use database::Database;
pub(crate) use redis::{Redis, Said};
pub(crate) use tokens::{Signer, user};
pub(crate) use when::when;

use crate::process::mortal;
use crate::server::Server;

/// What the nodes stand on. Nodes that are started on it must be dropped before it.
pub(crate) struct Ground {
    binary: PathBuf,
    pub(crate) redis: Redis,
    pub(crate) database: Database,
    folder: TempDir,
}

/// Where a node finds the others.
pub(crate) struct Urls<'a> {
    /// None for one that is alone.
    pub(crate) redis: Option<&'a str>,
    pub(crate) database: &'a str,
}

impl Ground {
    pub(crate) fn start(binary: &Path) -> io::Result<Ground> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("rollcall.toml"), tokens::ISSUER)?;
        let redis = Redis::start(folder.path())?;
        Ok(Ground { binary: binary.to_owned(), redis, database: Database::start()?, folder })
    }

    /// Starts the node of this name, perhaps again.
    pub(crate) fn node(&self, name: &str, urls: &Urls<'_>, settings: &[(&str, &str)]) -> io::Result<Server> {
        let mut command = mortal(&self.binary);
        command.env("ROLLCALL_CONFIG", self.folder.path().join("rollcall.toml"));
        let mut all = vec![
            ("CLUSTER__NODE", name),
            ("DATABASE__URL", urls.database),
            ("DATABASE__AUTO_MIGRATE", "true"),
            ("AUTH__MASTER_KEY", "a master key that the nodes of a measurement share"),
            ("AUTH__ACCESS_TTL", "2h"),
        ];
        all.extend(urls.redis.map(|url| ("CLUSTER__REDIS_URL", url)));
        all.extend(settings);
        Server::start(command, &self.folder.path().join(name), &all)
    }
}
