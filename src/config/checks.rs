//! What types cannot say: ranges, forms, and settings that must fit each other.

use std::time::Duration;

use chrono_tz::Tz;
use humantime_serde::re::humantime;
use toml::Value;

use super::issuers;
use super::layers::{Setting, Settings, defaults};
use super::{Algorithm, Cluster, Config, ConfigError, Database, Secret, Socket};

/// Largest number: every counter and queue can hold it.
const MAX_NUMBER: i64 = i32::MAX as i64;

/// Longest duration: sums of a few and of today's date never overflow.
const MAX_DURATION: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Shortest duration but zero: anything shorter would be a busy loop.
const MIN_DURATION: Duration = Duration::from_millis(1);

/// The durations and numbers for which zero has a meaning: none, never, or no limit.
const ZERO_MEANS: [&str; 18] = [
    "auth.calls_per_key",
    "auth.failed_keys",
    "auth.failures_per_name",
    "auth.key_rotation",
    "auth.logins_per_address",
    "auth.refresh_overlap",
    "auth.remember_sessions",
    "database.idle_timeout",
    "database.max_lifetime",
    "database.min_connections",
    "limits.clients",
    "limits.connections_per_address",
    "presence.grace",
    "server.drain",
    "socket.bad_frames",
    "socket.failed_handshakes",
    "socket.handshakes_per_user",
    "socket.max_rooms",
];

/// Shortest secret for HS256, in characters. RFC 7518 section 3.2 asks for 256 bits.
const MIN_SECRET: usize = 32;

/// Whether a default reads as a duration, so that its key is one.
fn duration(value: &Value) -> Option<Duration> {
    humantime::parse_duration(value.as_str()?).ok()
}

/// What a key wants, as the end of "… should be".
pub(super) fn expected(key: &str) -> &'static str {
    match key {
        "auth.algorithm" => "\"HS256\" or \"EdDSA\"",
        "auth.default_issuer" => "empty or the name of an entry of auth.issuers",
        "auth.issuers" => "a list of tables, each as [[auth.issuers]]",
        "auth.logins" => "\"many\", \"one\" or a number above zero",
        "database.tls" => "\"as-url\", \"disable\", \"prefer\", \"require\", \"verify-ca\" or \"verify-full\"",
        "limits.memory" => "a size as \"512MiB\" or \"2GiB\", or empty",
        "log.format" => "\"text\" or \"json\"",
        "server.allowed_origins" => "a list of origins as \"https://admin.example.com\", without a path",
        "server.public_url" => {
            "an address as \"https://ops.example.com/rollcall/\", whose path is none of our own (/api/, /admin/, /online/…)"
        }
        "server.timezone" => "a time zone as \"Europe/Berlin\"",
        "metrics.listen" => "an address and a port as \"127.0.0.1:9100\", or empty",
        "server.listen" => "an address and a port as \"127.0.0.1:8080\" or \"[::]:8080\"",
        "outgoing.allow" | "server.trusted_proxies" => {
            "a list of networks as \"10.0.0.0/8\", for one address \"127.0.0.1/32\""
        }
        "socket.per_user_policy" => "\"reject\" or \"replace\"",
        "cluster.node" => "at most 64 letters, digits, -, . and _, or empty",
        "cluster.prefix" => "at most 30 small letters, digits and _",
        "cluster.redis_url" => "an address as \"redis://host:6379\" or \"rediss://user:password@host:6380\", or empty",
        "database.table_prefix" => "at most 30 small letters, digits and _",
        _ => match defaults().ok().and_then(|mut defaults| defaults.remove(key)).map(|setting| setting.value) {
            Some(Value::Boolean(_)) => "true or false",
            Some(Value::Integer(_)) if ZERO_MEANS.contains(&key) => "a whole number from 0 to 2147483647",
            Some(Value::Integer(_)) => "a whole number from 1 to 2147483647",
            Some(Value::Array(_)) => "a list of texts",
            Some(default) if duration(&default).is_none() => "a text in quotes",
            _ if ZERO_MEANS.contains(&key) => "a duration with its unit as \"30s\", at most 3650d, or \"0s\"",
            _ => "a duration with its unit (ms, s, m, h or d) as \"30s\", from 1ms to 3650d",
        },
    }
}

/// Every number and duration in its range, whatever key it belongs to.
pub(super) fn each_value(settings: &Settings) -> Result<(), ConfigError> {
    let defaults = defaults()?;
    for (key, setting) in settings {
        let default = &defaults[key].value;
        let zero = ZERO_MEANS.contains(&key.as_str());
        let fits = match default {
            Value::Integer(_) => setting
                .value
                .as_integer()
                .is_some_and(|number| (1..=MAX_NUMBER).contains(&number) || (zero && number == 0)),
            default if duration(default).is_some() => duration(&setting.value)
                .is_some_and(|time| (MIN_DURATION..=MAX_DURATION).contains(&time) || (zero && time.is_zero())),
            _ => true,
        };
        if !fits {
            return Err(setting.unexpected(key));
        }
        if key == "server.timezone" {
            timezone(setting, key)?;
        }
    }
    Ok(())
}

/// A zone of the tz database; an unknown one is refused with the one most like it.
fn timezone(setting: &Setting, key: &str) -> Result<(), ConfigError> {
    let Some(name) = setting.value.as_str().filter(|name| name.parse::<Tz>().is_err()) else { return Ok(()) };
    let like = |zone: &&Tz| strsim::jaro_winkler(&name.to_lowercase(), &zone.name().to_lowercase());
    let nearest = chrono_tz::TZ_VARIANTS.iter().max_by(|a, b| like(a).total_cmp(&like(b)));
    let nearest = nearest.map_or("UTC", |zone| zone.name());
    Err(ConfigError(format!("{} is {name:?}, which is no time zone; did you mean {nearest:?}?", setting.named(key))))
}

/// The forms of texts, and the settings that must fit each other.
pub(super) fn together(config: &Config, settings: &Settings) -> Result<(), ConfigError> {
    let Config { server, database, auth, socket, metrics, cluster, .. } = config;
    let check = Check { settings };
    check.form("server.listen", is_address(&server.listen))?;
    check.form("metrics.listen", metrics.listen.is_empty() || is_address(&metrics.listen))?;
    check.form("server.allowed_origins", server.allowed_origins.iter().all(|origin| is_origin(origin)))?;
    check.form("database.table_prefix", is_table_prefix(&database.table_prefix))?;
    for key in ["auth.audience", "auth.issuer", "data.dir", "database.url"] {
        check.not_empty(key)?;
    }
    check.cluster(cluster, database, &auth.master_key)?;
    check.form("auth.default_issuer", auth.default_issuer.len() <= 32)?;
    issuers::check(&auth.issuers, &auth.default_issuer).map_err(ConfigError)?;
    if database.tls_cert.as_os_str().is_empty() != database.tls_key.as_os_str().is_empty() {
        return check.refuse("database.tls_cert", "and database.tls_key belong together; set both, or neither.");
    }
    if server.tls.cert.as_os_str().is_empty() != server.tls.key.as_os_str().is_empty() {
        return check.refuse("server.tls.cert", "and server.tls.key belong together; set both, or neither.");
    }
    let connections = ("database.max_connections", database.max_connections);
    check.at_most(("database.min_connections", database.min_connections), connections)?;
    check.signing_key(auth.algorithm, &auth.signing_key)?;
    check.previous_key(&auth.previous_signing_key)?;
    check.at_most(("auth.access_ttl", auth.access_ttl), ("auth.key_overlap", auth.key_overlap))?;
    check.at_most(("auth.access_ttl", auth.access_ttl), ("auth.refresh_ttl", auth.refresh_ttl))?;
    check.at_most(("auth.refresh_ttl", auth.refresh_ttl), ("auth.session_max", auth.session_max))?;
    check.less(("server.drain", server.drain), ("server.stop_timeout", server.stop_timeout))?;
    check.heartbeat(socket)?;
    check.at_most(("socket.max_frame", socket.max_frame), ("socket.queue_bytes", socket.queue_bytes))?;
    check.at_most(("socket.reconnect_min", socket.reconnect_min), ("socket.reconnect_max", socket.reconnect_max))?;
    check.at_most(("socket.frames_per_second", socket.frames_per_second), ("socket.frame_burst", socket.frame_burst))
}

/// Two settings of the same kind are compared by their values and named by their keys.
type Keyed<T> = (&'static str, T);

struct Check<'a> {
    settings: &'a Settings,
}

impl Check<'_> {
    fn form(&self, key: &str, fits: bool) -> Result<(), ConfigError> {
        if fits { Ok(()) } else { Err(self.settings[key].unexpected(key)) }
    }

    fn refuse(&self, key: &str, problem: &str) -> Result<(), ConfigError> {
        Err(ConfigError(format!("{} {problem}", self.settings[key].named(key))))
    }

    fn not_empty(&self, key: &str) -> Result<(), ConfigError> {
        match self.settings[key].value.as_str() {
            Some("") => self.refuse(key, "is empty; give it a value, or remove the line for the default."),
            _ => Ok(()),
        }
    }

    fn at_most<T: PartialOrd>(&self, low: Keyed<T>, high: Keyed<T>) -> Result<(), ConfigError> {
        if low.1 <= high.1 { Ok(()) } else { self.unordered(low.0, "at least", high.0) }
    }

    fn less<T: PartialOrd>(&self, low: Keyed<T>, high: Keyed<T>) -> Result<(), ConfigError> {
        if low.1 < high.1 { Ok(()) } else { self.unordered(low.0, "more than", high.0) }
    }

    /// What several nodes need, and in which order they give each other up.
    fn cluster(&self, cluster: &Cluster, database: &Database, master: &Secret) -> Result<(), ConfigError> {
        self.form("cluster.node", is_node(&cluster.node))?;
        self.form("cluster.prefix", !cluster.prefix.is_empty() && is_table_prefix(&cluster.prefix))?;
        self.less(("cluster.announce", cluster.announce), ("cluster.suspect", cluster.suspect))?;
        self.less(("cluster.suspect", cluster.suspect), ("cluster.dead", cluster.dead))?;
        self.less(("cluster.fence", cluster.fence), ("cluster.fence_close", cluster.fence_close))?;
        let url = cluster.redis_url.expose();
        self.form("cluster.redis_url", url.is_empty() || url.starts_with("redis://") || url.starts_with("rediss://"))?;
        if !url.is_empty() && database.url.expose().starts_with("sqlite:") {
            let problem = "is for several nodes, which share one database, but database.url is a SQLite file; set \
                           database.url to a PostgreSQL or MySQL URL, or leave cluster.redis_url empty.";
            return self.refuse("cluster.redis_url", problem);
        }
        if !url.is_empty() && master.is_empty() {
            let problem = "is set, so auth.master_key must be: the nodes share their signing keys, encrypted with it, by the \
                           database. `openssl rand -base64 48` makes a good one; give every node the same.";
            return self.refuse("cluster.redis_url", problem);
        }
        if master.is_empty() { Ok(()) } else { self.long_enough("auth.master_key", master) }
    }

    /// Who only waits for a ping must not be swept away meanwhile.
    fn heartbeat(&self, socket: &Socket) -> Result<(), ConfigError> {
        if socket.ping_interval + socket.pong_timeout < socket.idle_timeout {
            return Ok(());
        }
        let problem = "should be longer than socket.ping_interval and socket.pong_timeout together, or the sweeper evicts \
                       who only waits for a ping; raise it, or lower one of those.";
        self.refuse("socket.idle_timeout", problem)
    }

    fn unordered(&self, low: &str, relation: &str, high: &str) -> Result<(), ConfigError> {
        let (small, large) = (&self.settings[low], &self.settings[high]);
        Err(ConfigError(format!(
            "{} is {}, but should be {relation} {}, which is {}; raise {high} or lower {low}.",
            large.named(high),
            large.shown(high),
            small.named(low),
            small.shown(low),
        )))
    }

    fn signing_key(&self, algorithm: Algorithm, secret: &Secret) -> Result<(), ConfigError> {
        let key = "auth.signing_key";
        match algorithm {
            _ if secret.is_empty() => Ok(()),
            Algorithm::HS256 if is_pem(secret) => {
                self.refuse(key, "is a PEM, but auth.algorithm is HS256; set auth.algorithm to EdDSA.")
            }
            Algorithm::HS256 => self.long_enough(key, secret),
            Algorithm::EdDSA if is_pem(secret) => Ok(()),
            Algorithm::EdDSA => {
                self.refuse(key, "is no PKCS#8 PEM, which EdDSA needs; `openssl genpkey -algorithm ed25519` makes one.")
            }
        }
    }

    /// Of either algorithm, so that a change of algorithm logs nobody out.
    fn previous_key(&self, secret: &Secret) -> Result<(), ConfigError> {
        if secret.is_empty() || is_pem(secret) { Ok(()) } else { self.long_enough("auth.previous_signing_key", secret) }
    }

    fn long_enough(&self, key: &str, secret: &Secret) -> Result<(), ConfigError> {
        if secret.expose().chars().count() >= MIN_SECRET {
            return Ok(());
        }
        self.refuse(key, "has fewer than 32 characters; `openssl rand -base64 48` makes a good one.")
    }
}

fn is_pem(secret: &Secret) -> bool {
    secret.expose().trim_start().starts_with("-----BEGIN")
}

/// Address or host name, and a port. An IPv6 address needs its brackets, or its last group would be the port.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    };
    host_fits && port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// As a browser writes it into `Origin` (RFC 6454 section 7): scheme, host, a port that is not the scheme's own.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._:[]".contains(c);
    !scheme.is_empty()
        && scheme.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
        && !host.is_empty()
        && host.chars().all(plain)
}

/// The host's name where it is empty.
fn is_node(text: &str) -> bool {
    text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

fn is_table_prefix(text: &str) -> bool {
    text.len() <= 30 && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
