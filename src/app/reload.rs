//! Settings, keys and certificates that are read again while the server runs: all of it, or, when one cannot be used, none.

use std::sync::Arc;

use super::{App, StartError};
use crate::auth::Issuers;
use crate::config::Config;
use crate::http::Tls;
use crate::services::{Services, open_keys};

/// What of a running server can be replaced.
#[derive(Clone)]
pub struct Reloader {
    services: Services,
    tls: Option<Arc<Tls>>,
}

impl App {
    /// For whoever hears that the settings changed.
    pub fn reloader(&self) -> Reloader {
        Reloader { services: self.services.clone(), tls: self.tls.clone() }
    }
}

impl Reloader {
    /// Takes over settings that were checked, and reads the files they name: signing keys, other systems' keys, our
    /// certificate. An error changes nothing. Blocks for some milliseconds.
    pub async fn reload(&self, config: Config) -> Result<(), StartError> {
        let (auth, server) = (&config.auth, &config.server);
        let keyring = open_keys(&config, self.services.store(), self.services.clock().now()).await??;
        let issuers = Issuers::open(auth, server.timezone)?;
        if let Some(tls) = &self.tls {
            // The last that may fail, so that nothing is half done.
            tls.reload(&server.tls.cert, &server.tls.key)?;
        }
        self.services.keyring().adopt(keyring);
        self.services.issuers().adopt(issuers);
        self.services.set_config(config);
        Ok(())
    }
}
