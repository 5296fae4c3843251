//! Layers of settings, each value with its source.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::{Config, check};

/// Every key with default, unit and reason.
pub const DEFAULT_FILE: &str = include_str!("../../config/rollcall.toml");

/// First part of an environment variable that is a key: `ROLLCALL__SERVER__LISTEN`.
const PREFIX: &str = "ROLLCALL__";
/// Keys that are never printed, and that may come from a file.
const SECRETS: &[&str] = &["database.url", "auth.signing_key", "auth.previous_signing_key"];
/// How unlike a key may be and still be suggested.
const SIMILAR: f64 = 0.8;

/// One sentence: which key, where it came from, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(super) String);

/// The settings, and where each came from.
pub struct Loaded {
    /// What counts.
    pub config: Config,
    values: BTreeMap<String, Sourced>,
}

struct Sourced {
    value: Value,
    source: Source,
}

enum Source {
    Default,
    File(PathBuf),
    Environment(String),
    /// A secret's own file, and what named it.
    SecretFile(PathBuf, String),
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

/// The embedded file, then `file`, then the variables of `environment` that begin with `ROLLCALL__`.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let mut layers = Layers { values: BTreeMap::new() };
    for (key, value) in flat(parse(DEFAULT_FILE, "the embedded settings")?, "the embedded settings")? {
        layers.values.insert(key, Sourced { value, source: Source::Default });
    }
    if let Some(path) = file {
        layers.file(path)?;
    }
    let mut variables: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, text) in variables {
        layers.variable(&name, &text)?;
    }
    layers.finish()
}

struct Layers {
    values: BTreeMap<String, Sourced>,
}

impl Layers {
    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let shown = path.display().to_string();
        let text = read(path, &format!("the settings file {shown}"))?;
        for (key, value) in flat(parse(&text, &shown)?, &shown)? {
            if let Some(sourced) = self.values.get_mut(&key) {
                *sourced = Sourced { value, source: Source::File(path.to_owned()) };
            } else if let (Some(secret), Some(named)) = (secret_of(&key), value.as_str()) {
                self.secret(secret, Path::new(named), format!("{key} in {shown}"))?;
            } else {
                return Err(self.unknown(&key, &shown, |known| known.to_owned()));
            }
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let key = name[PREFIX.len()..].to_lowercase().replacen("__", ".", 1);
        if let Some(sourced) = self.values.get_mut(&key) {
            let value = like(&sourced.value, text).map_err(|expected| {
                ConfigError(format!("{key} does not fit: the environment variable {name} is not {expected}."))
            })?;
            *sourced = Sourced { value, source: Source::Environment(name.to_owned()) };
            return Ok(());
        }
        match secret_of(&key) {
            Some(secret) => self.secret(secret, Path::new(text), format!("the environment variable {name}")),
            None => Err(self.unknown(&key, "the environment", |known| {
                format!("{PREFIX}{}", known.replacen('.', "__", 1).to_uppercase())
            })),
        }
    }

    fn secret(&mut self, key: &str, path: &Path, named_by: String) -> Result<(), ConfigError> {
        let text = read(path, &format!("the file of {key} ({}), named by {named_by},", path.display()))?;
        let value = Value::String(text.trim_end_matches(['\r', '\n']).to_owned());
        self.values.insert(key.to_owned(), Sourced { value, source: Source::SecretFile(path.to_owned(), named_by) });
        Ok(())
    }

    fn unknown(&self, key: &str, place: &str, written: impl Fn(&str) -> String) -> ConfigError {
        let similar = self.values.keys().map(|known| (strsim::jaro_winkler(key, known), known));
        let nearest = similar.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(similarity, _)| *similarity >= SIMILAR);
        let way_out = match nearest {
            Some((_, known)) => format!("did you mean {}?", written(known)),
            None => "`rollcall config print` shows every key.".to_owned(),
        };
        ConfigError(format!("{} in {place} is not a key; {way_out}", written(key)))
    }

    fn finish(self) -> Result<Loaded, ConfigError> {
        let mut table = Table::new();
        for (key, sourced) in &self.values {
            let (section, name) = key.split_once('.').unwrap_or(("", key));
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            section.as_table_mut().expect("sections are tables").insert(name.to_owned(), sourced.value.clone());
        }
        let config: Config = serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
            let (key, inner) = (error.path().to_string(), error.inner().message().to_owned());
            let source = self.values.get(&key).map(|sourced| format!(" ({})", sourced.source)).unwrap_or_default();
            ConfigError(format!("{key}{source} does not fit: {inner}."))
        })?;
        check::check(&config)?;
        Ok(Loaded { config, values: self.values })
    }
}

impl Loaded {
    /// Every key with its value and source, as TOML; secrets are hidden.
    pub fn effective(&self) -> String {
        let (mut text, mut section) = (String::new(), "");
        for (key, sourced) in &self.values {
            let (of, name) = key.split_once('.').unwrap_or(("", key));
            if of != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}[{of}]\n"));
                section = of;
            }
            text.push_str(&format!("{name} = {}  # {}\n", shown(key, &sourced.value), sourced.source));
        }
        text
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::SecretFile(path, by) => write!(f, "file {}, named by {by}", path.display()),
        }
    }
}

/// A value as it may be shown. Of a database's URL, all but the password.
fn shown(key: &str, value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    if !SECRETS.contains(&key) {
        return value.to_string();
    }
    if key == "database.url" {
        let password = text.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(login, _)| login);
        let hidden = password.and_then(|login| login.split_once(':')).map(|(_, password)| password);
        let text = hidden.map_or_else(|| text.to_owned(), |password| text.replace(password, "(hidden)"));
        return Value::String(text).to_string();
    }
    if text.is_empty() { "\"(not set)\"".to_owned() } else { "\"(hidden)\"".to_owned() }
}

/// The secret that `key` names a file of: `auth.signing_key` for `auth.signing_key_file`.
fn secret_of(key: &str) -> Option<&'static str> {
    let name = key.strip_suffix("_file")?;
    SECRETS.iter().find(|secret| **secret == name).copied()
}

fn read(path: &Path, what: &str) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError(format!("{what} cannot be read: {error}.")))
}

fn parse(text: &str, place: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        ConfigError(format!("{place} is not TOML at line {line}: {}.", error.message()))
    })
}

/// `section.key` and value, of a file with one level of sections.
fn flat(table: Table, place: &str) -> Result<Vec<(String, Value)>, ConfigError> {
    let mut values = Vec::new();
    for (section, value) in table {
        let Value::Table(keys) = value else {
            return Err(ConfigError(format!(
                "{section} in {place} stands in no section; put it below one as [server]."
            )));
        };
        values.extend(keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
    }
    Ok(values)
}

/// The text as a value of the same kind as the default.
fn like(default: &Value, text: &str) -> Result<Value, &'static str> {
    match default {
        Value::Integer(_) => text.trim().parse().map(Value::Integer).map_err(|_| "a whole number"),
        Value::Boolean(_) => text.trim().parse().map(Value::Boolean).map_err(|_| "true or false"),
        Value::Array(_) if text.trim_start().starts_with('[') => {
            #[derive(Deserialize)]
            struct List {
                list: Vec<Value>,
            }
            toml::from_str::<List>(&format!("list = {text}"))
                .map(|parsed| Value::Array(parsed.list))
                .map_err(|_| "a list")
        }
        Value::Array(_) => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            Ok(Value::Array(words.map(|word| Value::String(word.to_owned())).collect()))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::config::Logins;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn from_file(text: &str) -> Result<Loaded, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(Some(file.path()), [])
    }

    fn sentence(loaded: Result<Loaded, ConfigError>) -> String {
        loaded.err().expect("it is refused").to_string()
    }

    #[test]
    fn the_embedded_file_has_every_key_and_says_why() {
        // `deny_unknown_fields` and fields without defaults make the types and the file hold each other.
        let config = Config::defaults();
        assert_eq!(config.server.listen, "127.0.0.1:8080");
        let mut before = "";
        for line in DEFAULT_FILE.lines() {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(before.starts_with('#'), "{line} has no reason above it");
            }
            before = line;
        }
    }

    #[test]
    fn a_file_then_the_environment_override_the_default() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"[socket]\nping_interval = \"20s\"\nmax_rooms = 8\n[auth]\nlogins = 3\n").unwrap();
        let environment = variables(&[
            ("ROLLCALL__SOCKET__MAX_ROOMS", "9"),
            ("ROLLCALL__SERVER__ALLOWED_ORIGINS", "https://a.example, https://b.example"),
            ("ROLLCALL__SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
            ("ROLLCALL__AUTH__ACCESS_COOKIE", "true"),
            ("ROLLCALL_ADMIN_PASSWORD", "not a key"),
            ("PATH", "/bin"),
        ]);
        let loaded = load(Some(file.path()), environment).unwrap();
        let config = &loaded.config;
        assert_eq!((config.socket.ping_interval, config.socket.max_rooms), (Duration::from_secs(20), 9));
        assert_eq!(config.server.allowed_origins, ["https://a.example", "https://b.example"]);
        assert_eq!((config.server.trusted_proxies.len(), config.auth.access_cookie), (1, true));
        assert_eq!(config.auth.logins, Logins::AtMost(3));
        let effective = loaded.effective();
        assert!(effective.contains("max_rooms = 9  # environment ROLLCALL__SOCKET__MAX_ROOMS"), "{effective}");
        assert!(effective.contains("ping_interval = \"20s\"  # file "), "{effective}");
        assert!(effective.contains("pong_timeout = \"10s\"  # default"), "{effective}");
        effective.parse::<Table>().expect("it is TOML");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        assert!(
            sentence(from_file("[server]\nlisen = \"x\"\n")).ends_with("is not a key; did you mean server.listen?")
        );
        let typo = variables(&[("ROLLCALL__SERVER__LISTN", "x")]);
        let refused = sentence(load(None, typo));
        assert_eq!(
            refused,
            "ROLLCALL__SERVER__LISTN in the environment is not a key; did you mean ROLLCALL__SERVER__LISTEN?"
        );
        assert!(sentence(from_file("listen = \"x\"\n")).contains("stands in no section"));
    }

    #[test]
    fn a_bad_value_names_key_source_and_what_was_expected() {
        let refused = sentence(load(None, variables(&[("ROLLCALL__SOCKET__PING_INTERVAL", "25")])));
        assert!(refused.starts_with("socket.ping_interval (environment ROLLCALL__SOCKET__PING_INTERVAL)"), "{refused}");
        let refused = sentence(load(None, variables(&[("ROLLCALL__SOCKET__MAX_ROOMS", "many")])));
        assert!(refused.contains("is not a whole number"), "{refused}");
        assert!(sentence(from_file("[server\n")).contains("is not TOML at line 1"));
    }

    #[test]
    fn a_secret_comes_from_its_own_file_and_is_never_printed() {
        let mut key = tempfile::NamedTempFile::new().unwrap();
        key.write_all(b"0123456789abcdef0123456789abcdef\n").unwrap();
        let path = key.path().display().to_string();
        let environment = variables(&[
            ("ROLLCALL__AUTH__SIGNING_KEY_FILE", &path),
            ("ROLLCALL__DATABASE__URL", "postgres://rollcall:hunter2@db/rollcall"),
        ]);
        let loaded = load(None, environment).unwrap();
        assert_eq!(loaded.config.auth.signing_key.expose(), "0123456789abcdef0123456789abcdef");
        let printed = format!("{}{:?}", loaded.effective(), loaded.config);
        assert!(!printed.contains("0123456789abcdef") && !printed.contains("hunter2"), "{printed}");
        assert!(loaded.effective().contains("signing_key = \"(hidden)\"  # file "));
        let missing = sentence(load(None, variables(&[("ROLLCALL__AUTH__SIGNING_KEY_FILE", "/nowhere/key")])));
        assert!(missing.contains("auth.signing_key") && missing.contains("cannot be read"), "{missing}");
    }
}
