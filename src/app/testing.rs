//! A house for tests of this crate: database of its own, cheap passwords.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::App;
use crate::auth::Cost;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::services::Services;
use crate::store::testing::empty;

/// Keys and files in `folder`.
pub(crate) async fn app_in(folder: &Path) -> App {
    app_in_with(folder, |_| ()).await
}

/// The same with other settings; the goodbye is short.
pub(crate) async fn app_in_with(folder: &Path, change: impl FnOnce(&mut Config)) -> App {
    let mut config = Config::defaults();
    config.database.url = empty().await.url;
    config.database.auto_migrate = true;
    config.data.dir = folder.to_owned();
    config.server.drain = Duration::from_millis(100);
    change(&mut config);
    App::build(config, Arc::new(SystemClock::new()), Cost::MINIMAL, CancellationToken::new()).await.unwrap()
}

pub(crate) async fn services() -> Services {
    let folder = tempfile::tempdir().unwrap();
    app_in(folder.path()).await.services().clone()
}
