//! Settings: the embedded file, then a file of one's own, then the environment; a later one wins key by key. Then checks.
//!
//! Deliberately absent: defaults in code (`config/rollcall.toml` is the only place that has them), and files that are looked for in well-known places: a setting comes from where you said, or is a default.

mod byte_size;
mod checks;
mod database_url;
mod issuers;
mod layers;
mod public_url;
mod reload;
mod secret;
mod sections;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::path::Path;

use toml::{Table, Value};

pub use byte_size::ByteSize;
pub use issuers::{Issuer, IssuerAlgorithm, WhenAway};
pub use public_url::PublicUrl;
pub use reload::Change;
pub use secret::Secret;
pub use sections::*;

use layers::Settings;

/// The embedded `config/rollcall.toml`: every key with default, unit and reason.
pub const DEFAULT_FILE: &str = include_str!("../../config/rollcall.toml");

/// The keys that are never printed, and may be read from a file.
const SECRETS: [&str; 5] =
    ["auth.master_key", "auth.previous_signing_key", "auth.signing_key", "cluster.redis_url", "database.url"];

/// One sentence for people: which key, where it was set, and the way out. Never a secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// The settings, and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings, checked.
    pub config: Config,
    settings: Settings,
}

impl Loaded {
    /// Every key with its value, and its source as a comment: `# default`, `# file PATH` or `# environment NAME`. It is
    /// TOML, but not for loading: a secret reads "(hidden)" or "(not set)", and `database.url` lacks its password.
    pub fn effective(&self) -> String {
        effective(&self.settings)
    }
}

impl Config {
    /// The embedded file alone.
    ///
    /// # Panics
    /// Never: a test reads the embedded file.
    pub fn defaults() -> Config {
        load(None, []).expect("the embedded settings fit").config
    }
}

/// Reads and checks the settings: the embedded file, then `file`, then those of the variables `env` that begin with
/// `ROLLCALL__`. `log.level` and `socket.sweep` are checked by those who use them.
pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let mut settings = layers::defaults()?;
    let mut overrides = match file {
        Some(path) => layers::from_file(path, &settings)?,
        None => Settings::new(),
    };
    overrides.extend(layers::from_environment(env, &settings)?);
    settings.extend(overrides);
    checks::each_value(&settings)?;
    Loaded::new(settings)
}

fn deserialize(settings: &Settings) -> Result<Config, ConfigError> {
    let mut sections = Table::new();
    for (key, setting) in settings {
        let (path, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut sections;
        for section in path.split('.') {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            table = section.as_table_mut().expect("sections are tables");
        }
        table.insert(name.to_owned(), setting.value.clone());
    }
    serde_path_to_error::deserialize(Value::Table(sections)).map_err(
        |error: serde_path_to_error::Error<toml::de::Error>| {
            let path = error.path().to_string();
            if let Some((key, entry)) = path.split_once('[').filter(|(key, _)| *key == "auth.issuers") {
                // The value itself is not shown: it may be a secret.
                let what = error.inner().message().replace('\n', " ");
                return ConfigError(format!("{} cannot be read at [{entry}: {what}.", settings[key].named(key)));
            }
            match settings.get_key_value(path.split('[').next().unwrap_or_default()) {
                Some((key, setting)) => setting.unexpected(key),
                None => ConfigError(format!("{path} cannot be read: {}.", error.inner().message())),
            }
        },
    )
}

fn effective(settings: &Settings) -> String {
    let mut text = String::new();
    let mut current = "";
    let mut sorted: Vec<_> =
        settings.iter().map(|(key, setting)| (key.rsplit_once('.').unwrap_or(("", key)), key, setting)).collect();
    sorted.sort_by_key(|(path, ..)| *path);
    for ((section, name), key, setting) in sorted {
        if section != current {
            let gap = if current.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{section}]");
            current = section;
        }
        let _ = writeln!(text, "{name} = {}  # {}", setting.shown(key), setting.source);
    }
    text
}
