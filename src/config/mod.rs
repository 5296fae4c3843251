//! Settings: stand-in, discarded at the merge.
#![expect(missing_docs, reason = "stand-in")]

mod secret;
mod sections;

use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Toml};
pub use secret::Secret;
pub use sections::*;

pub const DEFAULT_FILE: &str = r#"
[server]
listen = "127.0.0.1:8080"
node = ""
allowed_origins = []
trusted_proxies = []
max_body = 1048576
header_timeout = "10s"
request_timeout = "30s"
drain = "5s"
stop_timeout = "30s"
[database]
url = "sqlite://data/rollcall.db"
table_prefix = "rollcall_"
max_connections = 8
timeout = "5s"
log_queue = 10000
keep_logs = "90d"
[data]
dir = "data"
[auth]
issuer = "rollcall"
audience = "rollcall"
algorithm = "HS256"
signing_key = ""
previous_signing_key = ""
key_rotation = "90d"
key_overlap = "40d"
access_ttl = "15m"
refresh_ttl = "30d"
refresh_overlap = "30s"
session_max = "90d"
logins = "many"
access_cookie = false
ticket_ttl = "30s"
max_tickets = 10000
logins_per_address = 60
failures_per_name = 10
lock_time = "15m"
max_failure_entries = 10000
password_queue = 64
follow_interval = "1s"
[socket]
idle_timeout = "300s"
sweep = "*/30 * * * * *"
ping_interval = "20s"
pong_timeout = "10s"
max_frame = 65536
max_rooms = 64
queue_bytes = 1048576
queue_messages = 1000
per_user = 100
per_user_policy = "reject"
per_address = 1000
max_clients = 20000
failed_handshakes = 60
handshakes_per_user = 60
frames_per_second = 50
frame_burst = 100
bad_frames = 10
token_in_query = true
reconnect_min = "500ms"
reconnect_max = "20s"
[online]
live_max = 5000
diff_interval = "250ms"
max_leaves = 10000
[presence]
grace = "10s"
[log]
format = "text"
level = "info"
[docs]
public = true
"#;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

pub struct Loaded {
    pub config: Config,
}

impl Loaded {
    pub fn effective(&self) -> String {
        String::new()
    }
}

pub fn load(file: Option<&Path>, _env: impl Iterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let mut figment = Figment::from(Toml::string(DEFAULT_FILE));
    if let Some(file) = file {
        figment = figment.merge(Toml::file_exact(file));
    }
    let figment = figment.merge(Env::prefixed("ROLLCALL__").split("__"));
    figment.extract().map(|config| Loaded { config }).map_err(|error| ConfigError(error.to_string()))
}

impl Config {
    pub fn defaults() -> Config {
        Figment::from(Toml::string(DEFAULT_FILE)).extract().expect("the stand-in")
    }
}
