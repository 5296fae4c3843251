//! The log: text for people or JSON for machines, on the standard error stream; what commands answer goes to the other one.

use std::io::IsTerminal;

use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::config::{Log, LogFormat};

/// Libraries whose `info` is news for their own authors. `log.level` may name them and wins.
const QUIET: &[&str] = &["tokio_cron_scheduler=warn", "sea_orm_migration=warn"];

/// What is logged, for who wants to change it.
pub struct Level(Handle<EnvFilter, Registry>);

impl Level {
    /// Logs by another `log.level` from now on. `Err` is a sentence that names it, and nothing changes.
    pub fn set(&self, log: &Log) -> Result<(), String> {
        let filter = filter(&log.level)?;
        self.0.reload(filter).map_err(|error| format!("log.level cannot be changed: {error}."))
    }
}

/// Starts logging as configured, once per process. `Err` is a sentence that names `log.level`.
pub fn start(log: &Log) -> Result<Level, String> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let stderr = std::io::stderr;
    let started = match log.format {
        LogFormat::Text => registry
            .with(fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).with_target(false))
            .try_init(),
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(stderr)).try_init(),
    };
    started.map_err(|error| format!("The log cannot be started: {error}."))?;
    Ok(Level(handle))
}

/// Whether [`start`] would take the settings.
pub fn check(log: &Log) -> Result<(), String> {
    filter(&log.level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let unusable = |part: &str| {
        format!("log.level: {part:?} is no filter; write error, warn, info, debug or trace, or info,rollcall=debug.")
    };
    let mut filter = EnvFilter::default();
    let quiet = QUIET.iter().filter(|quiet| quiet.split('=').next().is_none_or(|name| !level.contains(name)));
    for part in quiet.copied().chain(level.split(',').map(str::trim)) {
        // A bare word would be taken for a module's name, and "inof" would silence everything else.
        let bare = !part.contains(['=', '[']);
        if bare && part.parse::<LevelFilter>().is_err() {
            return Err(unusable(part));
        }
        filter = filter.add_directive(part.parse::<Directive>().map_err(|_| unusable(part))?);
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn levels_and_modules_are_filters() {
        for level in ["info", "off", "info,rollcall=debug", "warn, rollcall::http=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert_eq!(filter("info").unwrap().max_level_hint(), Some(super::LevelFilter::INFO));
    }

    #[test]
    fn a_misspelled_level_is_named() {
        for level in ["inof", "", "info,rollcall=loud"] {
            assert!(filter(level).unwrap_err().starts_with("log.level: "), "{level}");
        }
    }
}
