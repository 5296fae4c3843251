//! The places settings come from, each read into a map from key to value. A key is `section.name`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{ConfigError, DEFAULT_FILE, SECRETS, checks, database_url};

/// What the variables of the environment begin with. Those with one underscore (`ROLLCALL_CONFIG`) are not settings.
const PREFIX: &str = "ROLLCALL__";

/// Likeness, from 0 to 1, from which a known key is worth proposing for an unknown one.
const LIKE: f64 = 0.5;

/// Keys of earlier releases, and what took their place.
const RENAMED: [(&str, &str); 1] = [("socket.max_clients", "limits.clients")];

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Default,
    File(PathBuf),
    Environment(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Environment(name) => write!(f, "environment {name}"),
        }
    }
}

/// A value and its source.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) source: Source,
}

pub(super) type Settings = BTreeMap<String, Setting>;

/// Without the value, which may be a secret.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {}", self.source)
    }
}

impl Setting {
    /// The key and where it was set, as a sentence's subject.
    pub(super) fn named(&self, key: &str) -> String {
        match &self.source {
            Source::Default => format!("{key} (default)"),
            Source::File(path) => format!("{key} in {}", path.display()),
            Source::Environment(name) => format!("{key} from {name}"),
        }
    }

    /// The value as it may be printed, in TOML.
    pub(super) fn shown(&self, key: &str) -> String {
        let text = match self.value.as_str() {
            Some("") if SECRETS.contains(&key) => "(not set)".to_owned(),
            Some(url) if ["cluster.redis_url", "database.url"].contains(&key) => database_url::without_password(url),
            _ if SECRETS.contains(&key) => "(hidden)".to_owned(),
            _ if key == "auth.issuers" => return without_keys(&self.value).to_string(),
            _ => return self.value.to_string(),
        };
        Value::String(text).to_string()
    }

    /// The value is not what the key wants.
    pub(super) fn unexpected(&self, key: &str) -> ConfigError {
        let (named, shown) = (self.named(key), self.shown(key));
        ConfigError(format!("{named} is {shown}, but should be {}.", checks::expected(key)))
    }
}

/// A list of tables with its secrets hidden.
fn without_keys(issuers: &Value) -> Value {
    let mut shown = issuers.clone();
    for issuer in shown.as_array_mut().into_iter().flatten().filter_map(Value::as_table_mut) {
        for name in ["key", "revoke_secret"] {
            if let Some(secret) = issuer.get_mut(name) {
                *secret = Value::from("(hidden)");
            }
        }
    }
    shown
}

/// The embedded file.
pub(super) fn defaults() -> Result<Settings, ConfigError> {
    let sections = parse(DEFAULT_FILE, "the embedded rollcall.toml")?;
    Ok(flatten(sections).into_iter().map(|(key, value)| (key, Setting { value, source: Source::Default })).collect())
}

/// A file of one's own, which has any of the keys `known`.
pub(super) fn from_file(path: &Path, known: &Settings) -> Result<Settings, ConfigError> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("The settings in {shown} cannot be read: {error}.")))?;
    let mut settings = Settings::new();
    for (written, value) in flatten(parse(&text, &shown.to_string())?) {
        let source = Source::File(path.to_owned());
        let (key, from_file) = find(&written, known).ok_or_else(|| misplaced(&written, path, known))?;
        let value = if from_file { secret_file(value.as_str(), &format!("{written} in {shown}"))? } else { value };
        insert(&mut settings, key, Setting { value, source }, &written)?;
    }
    Ok(settings)
}

/// The variables that begin with `ROLLCALL__`, all of which must be one of the keys `known`.
pub(super) fn from_environment(
    env: impl IntoIterator<Item = (String, String)>,
    known: &Settings,
) -> Result<Settings, ConfigError> {
    let mut settings = Settings::new();
    for (name, text) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let written = rest.replace("__", ".").to_lowercase();
        let found = find(&written, known).filter(|_| name == variable(&written));
        let (key, from_file) = found.ok_or_else(|| {
            let way_out = renamed(&written).map_or_else(
                || way_out(nearest(&written, known).map(variable)),
                |key| format!("it is {} now.", variable(key)),
            );
            ConfigError(format!("{name} in the environment is not a key; {way_out}"))
        })?;
        let value = match &known[key].value {
            _ if from_file => secret_file(Some(&text), &name)?,
            kind => typed(&text, kind),
        };
        insert(&mut settings, key, Setting { value, source: Source::Environment(name) }, &written)?;
    }
    Ok(settings)
}

fn parse(text: &str, file: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        // The error's own text would quote the line, which may hold a secret.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let problem = error.message().lines().collect::<Vec<_>>().join(", ");
        ConfigError(format!("{file} is not TOML at line {line}: {problem}."))
    })
}

/// `section.name` of every value, and the bare name of what stands outside a section.
fn flatten(sections: Table) -> Vec<(String, Value)> {
    let mut values = Vec::new();
    for (name, content) in sections {
        match content {
            Value::Table(keys) if is_section(&name) || !keys.is_empty() => below(&name, keys, &mut values),
            value => values.push((name, value)),
        }
    }
    values
}

fn below(section: &str, keys: Table, values: &mut Vec<(String, Value)>) {
    for (name, value) in keys {
        let key = format!("{section}.{name}");
        match value {
            Value::Table(keys) if is_section(&key) => below(&key, keys, values),
            value => values.push((key, value)),
        }
    }
}

fn is_section(name: &str) -> bool {
    DEFAULT_FILE.contains(&format!("\n[{name}]\n"))
}

/// The key that was written, and whether as `…_file`.
fn find<'a>(written: &'a str, known: &Settings) -> Option<(&'a str, bool)> {
    if known.contains_key(written) {
        return Some((written, false));
    }
    let key = written.strip_suffix("_file")?;
    SECRETS.contains(&key).then_some((key, true))
}

fn insert(settings: &mut Settings, key: &str, setting: Setting, written: &str) -> Result<(), ConfigError> {
    let named = setting.named(written);
    match settings.insert(key.to_owned(), setting) {
        None => Ok(()),
        Some(_) => Err(ConfigError(format!("{named} is set beside {key} or {key}_file; keep one of the two."))),
    }
}

fn secret_file(path: Option<&str>, named: &str) -> Result<Value, ConfigError> {
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Err(ConfigError(format!("{named} names no file; give the path of the secret's file, or remove it.")));
    };
    let text = fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{named} names {path}, which cannot be read: {error}.")))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(ConfigError(format!("{named} names {path}, which is empty; put the secret there, or remove it."))),
        secret => Ok(Value::String(secret.to_owned())),
    }
}

/// A variable's text as the kind of value that the default is. What does not fit stays a text, which is refused later.
fn typed(text: &str, kind: &Value) -> Value {
    let trimmed = text.trim();
    let typed = match kind {
        Value::Boolean(_) => trimmed.parse().ok().map(Value::Boolean),
        Value::Integer(_) => trimmed.parse().ok().map(Value::Integer),
        Value::Array(_) if trimmed.starts_with('[') => {
            let list: Option<Table> = format!("list = {trimmed}").parse().ok();
            list.and_then(|mut list| list.remove("list"))
        }
        Value::Array(_) => {
            let items = trimmed.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(Value::from).collect()))
        }
        _ => None,
    };
    typed.unwrap_or_else(|| Value::from(text))
}

fn misplaced(written: &str, path: &Path, known: &Settings) -> ConfigError {
    let path = path.display();
    let section = format!("{written}.");
    if let Some(key) = known.keys().find(|key| key.starts_with(&section)) {
        return ConfigError(format!("{written} in {path} is a section, not a key; write it as [{written}], as {key}."));
    }
    let way_out = renamed(written)
        .map_or_else(|| way_out(nearest(written, known).map(str::to_owned)), |key| format!("it is {key} now."));
    ConfigError(format!("{written} in {path} is not a key; {way_out}"))
}

fn renamed(written: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _)| *old == written).map(|(_, new)| *new)
}

fn way_out(nearest: Option<String>) -> String {
    match nearest {
        Some(key) => format!("did you mean {key}?"),
        None => "`rollcall config print` lists them all.".to_owned(),
    }
}

/// The known key most like the one written; one in the wrong section counts too.
fn nearest<'a>(written: &str, known: &'a Settings) -> Option<&'a str> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let like = |key: &str| {
        let whole = strsim::normalized_damerau_levenshtein(written, key);
        let last = strsim::normalized_damerau_levenshtein(&name(written), &name(key));
        whole.max(last * 0.9)
    };
    let best = known.keys().max_by(|a, b| like(a).total_cmp(&like(b)))?;
    (like(best) >= LIKE).then_some(best)
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}
