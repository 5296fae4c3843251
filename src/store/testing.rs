//! What the tests of this room share.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tempfile::TempDir;
use uuid::Uuid;

#[path = "../../tests/harness/database.rs"]
mod database;

use super::{Actor, Direction, NewSession, NewUser, SessionKind, Store, User, new_id};
use crate::auth::UserKey;
use crate::config::{Config, Database, Secret};

/// A time, in seconds after an arbitrary one.
pub(super) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

pub(super) fn settings(url: &str) -> Database {
    Database {
        url: Secret::new(url),
        max_connections: 4,
        log_queue: 100,
        keep_logs: Duration::from_secs(1),
        ..Config::defaults().database
    }
}

/// A migrated database of its own: in memory, or on the server that tests run on.
pub(super) async fn store() -> Store {
    migrated(&empty().await).await
}

/// An empty database of its own.
pub(crate) async fn empty() -> Database {
    settings(&database::empty().await)
}

/// An empty database that several stores can open, and what must live as long.
pub(super) async fn shared() -> (Database, Option<File>) {
    match database::on_server().await {
        Some(url) => (settings(&url), None),
        None => {
            let file = File::new();
            (file.settings(), Some(file))
        }
    }
}

/// The URL of an empty database that several stores can open: on the server that tests run on, else in this folder.
pub(crate) async fn shared_in(folder: &std::path::Path) -> Secret {
    let url = database::on_server().await;
    Secret::new(url.unwrap_or_else(|| format!("sqlite://{}/shared.db", folder.display())))
}

/// A migrated SQLite database in a folder that is gone with the second value.
pub(super) async fn file_store() -> (Store, File) {
    let file = File::new();
    (migrated(&file.settings()).await, file)
}

pub(super) struct File(TempDir);

impl File {
    /// Where nothing is yet.
    pub(super) fn new() -> File {
        File(tempfile::tempdir().unwrap())
    }

    pub(super) fn settings(&self) -> Database {
        settings(&format!("sqlite://{}", self.path().display()))
    }

    pub(super) fn path(&self) -> std::path::PathBuf {
        self.0.path().join("data/rollcall.db")
    }
}

pub(super) async fn migrated(settings: &Database) -> Store {
    let store = Store::open(settings).await.unwrap();
    store.migrate(Direction::Up).await.unwrap();
    store
}

pub(super) async fn new_user(store: &Store, name: &str, roles: &[&str]) -> User {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    let new = NewUser { username: name.into(), roles, ..Default::default() };
    store.create_user(new, &Actor::system(), at(0)).await.unwrap()
}

/// A login that ends at 5000, refreshed or not.
pub(super) fn new_session(user: &UserKey, second: i64) -> NewSession {
    NewSession {
        id: new_id(at(second)),
        user: user.clone(),
        app: String::new(),
        kind: SessionKind::Login,
        scopes: None,
        ip: "127.0.0.1".into(),
        device: "pc".into(),
        os: "Linux".into(),
        browser: "Firefox".into(),
        user_agent: "Mozilla/5.0".into(),
        expires_at: at(5000),
        refresh_expires_at: at(5000),
        external_id: None,
    }
}

pub(super) async fn login(store: &Store, user: &UserKey, second: i64) -> Uuid {
    let new = new_session(user, second);
    let id = new.id;
    store.create_session(new, None, at(second)).await.unwrap();
    id
}
