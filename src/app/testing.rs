//! A house for tests of this crate: database of its own, cheap passwords.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::App;
use crate::auth::Cost;
use crate::clock::{ManualClock, SystemClock};
use crate::config::{Config, Secret};
use crate::services::Services;
use crate::store::testing::{empty, shared_in};

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

/// Nodes on one database, all by this clock.
pub(crate) async fn nodes<const N: usize>(folder: &Path, clock: &Arc<ManualClock>, names: [&str; N]) -> [App; N] {
    let url = shared_in(folder).await;
    let mut apps = Vec::new();
    for name in names {
        let mut config = Config::defaults();
        config.database.url = url.clone();
        config.database.auto_migrate = true;
        config.data.dir = folder.join(name);
        config.cluster.node = name.to_owned();
        // Nobody answers there, and nobody need.
        config.cluster.redis_url = Secret::new("redis://127.0.0.1:1");
        config.auth.master_key = Secret::new("m".repeat(32));
        apps.push(App::build(config, clock.clone(), Cost::MINIMAL, CancellationToken::new()).await.unwrap());
    }
    apps.try_into().unwrap_or_else(|_| unreachable!("as many as names"))
}

pub(crate) async fn services() -> Services {
    let folder = tempfile::tempdir().unwrap();
    app_in(folder.path()).await.services().clone()
}
