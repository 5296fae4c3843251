//! What only prints: the two interface documents and the settings.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use super::{Done, Failure, load, say};
use crate::app::App;
use crate::auth::Cost;
use crate::clock::SystemClock;
use crate::config::{Config, DEFAULT_FILE, Secret};
use crate::{events, http, jobs, telemetry};

#[derive(Subcommand)]
pub(super) enum What {
    /// Say whether the server would take the settings
    Check,
    /// Print every setting with its default, unit and reason
    Print {
        /// The values in force instead, and where each comes from
        #[arg(long)]
        effective: bool,
    },
}

pub(super) fn openapi() -> Done {
    say(http::openapi_document("/").trim_end());
    Ok(())
}

/// The registry belongs to a hall, so an empty one is built in memory; nothing is read or written.
pub(super) async fn asyncapi() -> Done {
    let mut config = Config::defaults();
    config.database.url = Secret::new("sqlite::memory:");
    config.auth.signing_key = Secret::new("signs nothing, for nobody shows a token here");
    let app = App::build(config, Arc::new(SystemClock::new()), Cost::MINIMAL, CancellationToken::new()).await?;
    say(format_args!("{:#}", events::document(app.registry())));
    Ok(())
}

pub(super) fn config(file: Option<PathBuf>, what: &What) -> Done {
    match what {
        What::Print { effective: false } => say(DEFAULT_FILE.trim_end()),
        What::Print { effective: true } => say(load(file)?.effective()),
        What::Check => {
            let config = load(file)?.config;
            telemetry::check(&config.log).and_then(|()| jobs::check(&config)).map_err(Failure::new)?;
            say("The settings are fine.");
        }
    }
    Ok(())
}
