//! `rollcall serve`.

use std::env::VarError;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::lock::Lock;
use super::{Done, Failure, load, say};
use crate::app::{ADMIN_NAME, App, Capacity, FirstAdministrator, Reloader};
use crate::auth::Cost;
use crate::clock::SystemClock;
use crate::config::{Change, Config, Loaded, Secret};
use crate::{jobs, lifecycle, telemetry};

pub(super) const HELP: &str = "\
The first start creates the database, the signing keys and the account admin. Its password is ROLLCALL_ADMIN_PASSWORD (or
what the file ROLLCALL_ADMIN_PASSWORD_FILE names holds), or else a random one: shown once on a terminal, without a terminal
written to admin-password.txt in data.dir.

SIGHUP reads the settings again, and the keys and certificates they name; what cannot be used is refused as a whole. The log
says what changed, and what needs a restart.

SIGTERM or Ctrl-C says goodbye to everyone and stops; a second one stops at once.";

pub(super) async fn run(file: Option<PathBuf>) -> Done {
    let loaded = load(file.clone())?;
    let level = telemetry::start(&loaded.config.log).map_err(Failure::new)?;
    // From now on: a SIGHUP that nobody listens for ends the process.
    let hangups = signal(SignalKind::hangup())?;
    let stop = CancellationToken::new();
    let reading = Reading { file, loaded, level };
    let ended = lifecycle::until_signalled(serve(reading, hangups, stop.clone()), &stop).await?;
    ended.unwrap_or_else(|lifecycle::Insisted| Err(Failure::new("Stopped at once, because a second signal came.")))
}

async fn serve(mut reading: Reading, mut hangups: Signal, stop: CancellationToken) -> Done {
    let config = reading.loaded.config.clone();
    Capacity::raise();
    let given = admin_password()?;
    // First of all, so that a second start on a busy port changes nothing.
    let listener = App::listen("server.listen", &config.server.listen, config.server.backlog).await?;
    let address = listener.local_addr()?;
    let _lock = Lock::shared(&config.data.dir)?;
    let here = address_of(&config, &address.to_string());
    let place =
        config.server.public_url.as_str().map_or_else(|| here.clone(), |url| format!("{url} (listening on {here})"));
    let app = App::build(config, Arc::new(SystemClock::new()), Cost::OWASP, stop).await?;
    introduce(app.first_administrator(given, io::stdout().is_terminal()).await?);
    say(format_args!("Rollcall is at {place} — press Ctrl-C to stop"));
    say(app.capacity());
    let reloader = app.reloader();
    let again = async {
        while hangups.recv().await.is_some() {
            reading.again(&reloader).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        served = app.serve(listener) => Ok(served?),
        never = again => never,
    }
}

/// The settings in use, and where they come from.
struct Reading {
    file: Option<PathBuf>,
    loaded: Loaded,
    level: telemetry::Level,
}

impl Reading {
    /// Reads everything again and says what changed. What cannot be used is refused as a whole.
    async fn again(&mut self, reloader: &Reloader) {
        match self.try_again(reloader).await {
            Ok(changes) => {
                tracing::info!(changes = changes.len(), "settings, keys and certificates were read again");
                for change in changes {
                    tracing::info!("{change}");
                }
            }
            Err(failure) => tracing::error!("nothing was changed by the settings that were read again: {failure}"),
        }
    }

    async fn try_again(&mut self, reloader: &Reloader) -> Result<Vec<Change>, Failure> {
        let new = load(self.file.clone())?;
        telemetry::check(&new.config.log).and_then(|()| jobs::check(&new.config)).map_err(Failure::new)?;
        let (loaded, changes) = self.loaded.take_over(&new)?;
        reloader.reload(loaded.config.clone()).await?;
        self.level.set(&loaded.config.log).map_err(Failure::new)?;
        self.loaded = loaded;
        Ok(changes)
    }
}

/// The password for the first administrator, from where a secret may come.
fn admin_password() -> Result<Option<Secret>, Failure> {
    const NAME: &str = "ROLLCALL_ADMIN_PASSWORD";
    match std::env::var(NAME) {
        Ok(password) => return Ok(Some(Secret::new(password)).filter(|password| !password.is_empty())),
        Err(VarError::NotUnicode(_)) => return Err(Failure::new(format!("{NAME} is not UTF-8; write it anew."))),
        Err(VarError::NotPresent) => {}
    }
    let Some(path) = std::env::var_os(format!("{NAME}_FILE")).filter(|path| !path.is_empty()) else { return Ok(None) };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::new(format!("{NAME}_FILE: {} cannot be read: {error}.", path.display())))?;
    Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
}

fn introduce(first: FirstAdministrator) {
    match first {
        FirstAdministrator::Exists => {}
        FirstAdministrator::WithGivenPassword => {
            tracing::info!("the account {ADMIN_NAME} was created with the given password")
        }
        FirstAdministrator::InFile(path) => {
            tracing::info!(file = %path.display(), "the account {ADMIN_NAME} was created; its password is in the file");
        }
        FirstAdministrator::Show(password) => say(frame(&[
            "The first administrator was created. This is shown once:",
            "",
            &format!("  name      {ADMIN_NAME}"),
            &format!("  password  {}", password.expose()),
        ])),
    }
}

fn frame(lines: &[&str]) -> String {
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let bar = "─".repeat(width + 2);
    let rows: String = lines.iter().map(|line| format!("│ {line:width$} │\n")).collect();
    format!("\n┌{bar}┐\n{rows}└{bar}┘\n")
}

/// Where a browser on this machine finds who listens at this address and port.
pub(super) fn address_of(config: &Config, listen: &str) -> String {
    let scheme = if config.server.tls.cert.as_os_str().is_empty() { "http" } else { "https" };
    let reachable = listen.parse().map(reachable).map_or_else(|_| listen.to_owned(), |address| address.to_string());
    format!("{scheme}://{reachable}")
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_shown_as_one_to_open() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::1]:80".parse().unwrap()).to_string(), "[::1]:80");
    }

    #[test]
    fn the_frame_is_as_wide_as_its_longest_line() {
        assert_eq!(frame(&["ab", "é"]), "\n┌────┐\n│ ab │\n│ é  │\n└────┘\n");
    }
}
