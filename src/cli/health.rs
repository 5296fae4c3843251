//! `rollcall health`: asks the server of these settings whether it is ready, for who watches a container or a service.

use std::time::Duration;

use super::serve::address_of;
use super::{Done, Failure, say};
use crate::config::Config;
use crate::outgoing::install_crypto;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(config: &Config) -> Done {
    let url = format!("{}/health/ready", address_of(config, &config.server.listen));
    match client()?.get(&url).send().await {
        Ok(answer) if answer.status().is_success() => {
            say("ready");
            Ok(())
        }
        Ok(answer) => Err(Failure::new(format!("{url} answers {}: not ready.", answer.status()))),
        Err(_) => Err(Failure::new(format!("Nobody answers at {url}."))),
    }
}

/// For calls to the server of these settings.
pub(super) fn client() -> Result<reqwest::Client, Failure> {
    install_crypto();
    // It is ourselves who answer; the certificate is made for another name than this machine's.
    let client = reqwest::Client::builder().timeout(PATIENCE).tls_danger_accept_invalid_certs(true).no_proxy().build();
    client.map_err(|error| Failure::new(error.to_string()))
}
