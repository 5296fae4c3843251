//! A house for tests of this crate: database in memory, cheap passwords.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::App;
use crate::auth::Cost;
use crate::clock::SystemClock;
use crate::config::{Config, Secret};
use crate::services::Services;

/// Keys and files in `folder`.
pub(crate) async fn app_in(folder: &Path) -> App {
    let mut config = Config::defaults();
    config.database.url = Secret::new("sqlite::memory:");
    config.data.dir = folder.to_owned();
    App::build(config, Arc::new(SystemClock::new()), Cost::MINIMAL, CancellationToken::new()).await.unwrap()
}

pub(crate) async fn services() -> Services {
    let folder = tempfile::tempdir().unwrap();
    app_in(folder.path()).await.services().clone()
}
