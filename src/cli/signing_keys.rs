//! `rollcall signing-keys`: the keys that several nodes share by their database.

use clap::Subcommand;

use super::{Done, Failure, open, say};
use crate::config::Config;
use crate::services::AGREED_ON_KEYS;

#[derive(Subcommand)]
pub(super) enum What {
    /// Forget them, and which keys every node must have; stop every node first. Everyone logs in again
    Forget {
        /// Whether that is meant
        #[arg(long)]
        force: bool,
    },
}

pub(super) async fn run(config: &Config, What::Forget { force }: What) -> Done {
    if !force {
        return Err(Failure::new("Everyone would have to log in again; stop every node, and say --force."));
    }
    let store = open(config).await?;
    store.forget_signing_keys(&AGREED_ON_KEYS).await?;
    store.close().await;
    say("The first node that starts makes new keys, or says which of the settings the others must have.");
    Ok(())
}
