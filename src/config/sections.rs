//! The settings as types, one struct per section of `config/rollcall.toml`, which documents default, unit and reason
//! of each key. There are no defaults here: the embedded file is the only place that has them.

use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use ipnet::IpNet;
use serde::Deserialize;

use super::{ByteSize, Issuer, PublicUrl, Secret};

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the server listens and whom it believes.
    pub server: Server,
    /// Where rows are kept.
    pub database: Database,
    /// Where files are kept.
    pub data: Data,
    /// Logins, tokens and their limits.
    pub auth: Auth,
    /// Sockets and their limits.
    pub socket: Socket,
    /// What this node takes in altogether.
    pub limits: Limits,
    /// The online list and its live differences.
    pub online: Online,
    /// Who counts as gone, and when.
    pub presence: Presence,
    /// Other nodes.
    pub cluster: Cluster,
    /// Calls to other systems.
    pub outgoing: Outgoing,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// What is logged, and how.
    pub log: Log,
    /// The API documentation.
    pub docs: Docs,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address and port.
    pub listen: String,
    /// Connections that the kernel holds until they are accepted, at most.
    pub backlog: u32,
    /// Where people reach us: the one source of base path, cookies, our own origin and links.
    pub public_url: PublicUrl,
    /// Whether passwords may travel over plain http from another machine.
    pub insecure_http: bool,
    /// Origins beside our own that may open sockets, call REST and use the refresh cookie, as `https://admin.example.com`.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. Nobody else's are.
    pub trusted_proxies: Vec<IpNet>,
    /// Bytes of a request body, at most.
    pub max_body: usize,
    /// Time a client has to send its request's head, and that its connection may lie idle before the next.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// Time a request's body may take to come (408), its answer to be found (503), and a reader to go on reading it.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Time over which sockets are sent away when the server stops, or is drained without a rate.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// TLS without a proxy.
    pub tls: Tls,
    /// The zone of cron expressions and of times that are written without one, as HotGo's.
    pub timezone: Tz,
    /// Time after which a stop no longer waits for anybody.
    #[serde(with = "humantime_serde")]
    pub stop_timeout: Duration,
}

/// `[server.tls]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Our certificate and those between it and one that clients know, in PEM; empty speaks plain HTTP.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://PATH`, created when missing; `postgres://…`; `mysql://…`. May hold a password: never printed whole.
    pub url: Secret,
    /// Whether a server's database is migrated at a start. A SQLite file always is.
    pub auto_migrate: bool,
    /// First part of every table's and index's name.
    pub table_prefix: String,
    /// Connections of the pool, at most. An in-memory database always has exactly one.
    pub max_connections: u32,
    /// Connections to a server kept open, at least.
    pub min_connections: u32,
    /// Time to wait for a connection of the pool, for SQLite's lock, and for one statement of a server.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Time after which an idle connection to a server is closed; zero means never.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Age at which a connection to a server is replaced; zero means never.
    #[serde(with = "humantime_serde")]
    pub max_lifetime: Duration,
    /// Encryption of connections to a server.
    pub tls: DatabaseTls,
    /// Certificates a server's is checked against, in PEM; empty means the system's.
    pub tls_ca: PathBuf,
    /// Our own certificate, in PEM; empty means none.
    pub tls_cert: PathBuf,
    /// Its key.
    pub tls_key: PathBuf,
    /// Log rows waiting to be written, at most; what comes beyond is counted as lost.
    pub log_queue: usize,
    /// Time after which login log, audit log, ended sessions and old revocations are deleted.
    #[serde(with = "humantime_serde")]
    pub keep_logs: Duration,
}

/// How connections to a database server are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseTls {
    /// As `database.url` says, which is `prefer` where it says nothing.
    AsUrl,
    /// Never.
    Disable,
    /// Where the server can.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// Always, with a certificate of `database.tls_ca`.
    VerifyCa,
    /// The same, for the host in the URL.
    VerifyFull,
}

/// `[data]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder of the signing keys and of the first administrator's password file.
    pub dir: PathBuf,
}

/// How a signing key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256: one secret signs and verifies.
    HS256,
    /// Ed25519: others may verify with the public key.
    EdDSA,
}

/// What happens to a new socket of a user who has as many as allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionPolicy {
    /// The new one is refused with 409.
    Reject,
    /// The oldest one is closed with 4409.
    Replace,
}

/// `auth.logins`: how many logins a user may have at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logins {
    /// Any number.
    Many,
    /// At most so many; a newer one ends the oldest. `one` is 1.
    AtMost(u32),
}

/// `[auth]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `iss` of the tokens we sign.
    pub issuer: String,
    /// `aud` of the tokens we sign and accept.
    pub audience: String,
    /// How new tokens are signed.
    pub algorithm: Algorithm,
    /// The signing key, instead of the generated one in `data.dir`: at least 32 characters for HS256, a PKCS#8 PEM for
    /// EdDSA. Empty means generated.
    pub signing_key: Secret,
    /// The key before it, accepted but not used to sign. Empty means none.
    pub previous_signing_key: Secret,
    /// What generated keys are encrypted with in the database that several nodes share; at least 32 characters. Empty where a node is
    /// alone.
    pub master_key: Secret,
    /// Age at which a generated key is replaced; zero means never.
    #[serde(with = "humantime_serde")]
    pub key_rotation: Duration,
    /// Time a replaced key still verifies. Longer than any token lives.
    #[serde(with = "humantime_serde")]
    pub key_overlap: Duration,
    /// Life of an access token.
    #[serde(with = "humantime_serde")]
    pub access_ttl: Duration,
    /// Life of an unused refresh token.
    #[serde(with = "humantime_serde")]
    pub refresh_ttl: Duration,
    /// Time in which the previous refresh token gets the same successor: two tabs, or a lost answer.
    #[serde(with = "humantime_serde")]
    pub refresh_overlap: Duration,
    /// Life of a session, however often it is refreshed.
    #[serde(with = "humantime_serde")]
    pub session_max: Duration,
    /// Logins at a time: `many`, `one`, or a number.
    pub logins: Logins,
    /// Whether `GET /socket` reads the cookie `rollcall_access`.
    pub access_cookie: bool,
    /// Life of a ticket.
    #[serde(with = "humantime_serde")]
    pub ticket_ttl: Duration,
    /// Tickets waiting to be used, at most. With other nodes: tickets that this node makes within `ticket_ttl`, at most.
    pub max_tickets: usize,
    /// Logins from one address a minute, at most.
    pub logins_per_address: u32,
    /// Wrong passwords for one name within `lock_time` before the name is locked.
    pub failures_per_name: u32,
    /// Window of the failures, and the time a name stays locked.
    #[serde(with = "humantime_serde")]
    pub lock_time: Duration,
    /// Names and addresses remembered for the limits above, at most; the oldest go first.
    pub max_failure_entries: usize,
    /// Password computations waiting for a thread, at most; beyond, a login is answered 503.
    pub password_queue: usize,
    /// Life of an API key for which no end is asked.
    #[serde(with = "humantime_serde")]
    pub key_ttl: Duration,
    /// API keys that are neither revoked nor expired, at most.
    pub max_keys: usize,
    /// Unknown API keys from one address a minute, at most. A good key is never refused for them.
    pub failed_keys: u32,
    /// Calls of an API key a minute, at most, on all nodes together, where the key says nothing else.
    pub calls_per_key: u32,
    /// How often a change made by another process (the command line, another node) is looked for; those of nodes at least every 2 s.
    #[serde(with = "humantime_serde")]
    pub follow_interval: Duration,
    /// Time after its last look-up in which a session may open sockets while the database is away; zero means never.
    #[serde(with = "humantime_serde")]
    pub remember_sessions: Duration,
    /// The issuer whose users have bare ids; empty is our own login.
    pub default_issuer: String,
    /// Other systems whose tokens are accepted.
    pub issuers: Vec<Issuer>,
}

/// `[socket]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// Time without a frame after which the sweeper evicts a client.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// When the sweeper runs: cron with seconds.
    pub sweep: String,
    /// Time between WebSocket pings.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// Time to wait for any frame after a ping.
    #[serde(with = "humantime_serde")]
    pub pong_timeout: Duration,
    /// Bytes of a message, at most.
    pub max_frame: usize,
    /// Rooms of a client, at most.
    pub max_rooms: usize,
    /// Bytes waiting for a slow reader, at most; beyond, it is closed with 4008.
    pub queue_bytes: usize,
    /// Messages waiting for a slow reader, at most.
    pub queue_messages: usize,
    /// Sockets of one user, at most.
    pub per_user: usize,
    /// What happens to the one beyond.
    pub per_user_policy: ConnectionPolicy,
    /// Sockets of one address (IPv6: per /64), at most.
    pub per_address: usize,
    /// Failed handshakes of one address (IPv6: per /64) a minute, at most. A valid token is never refused for them.
    pub failed_handshakes: u32,
    /// Successful handshakes of one user a minute, at most.
    pub handshakes_per_user: u32,
    /// Frames of a client a second.
    pub frames_per_second: u32,
    /// Frames of a client at once.
    pub frame_burst: u32,
    /// Malformed frames of a client a minute before it is closed with 4400.
    pub bad_frames: u32,
    /// Whether `?authorization=<jwt>` is read, as HotGo's clients send it.
    pub token_in_query: bool,
    /// Shortest time a client is told to wait before it comes back.
    #[serde(with = "humantime_serde")]
    pub reconnect_min: Duration,
    /// Longest time.
    #[serde(with = "humantime_serde")]
    pub reconnect_max: Duration,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Sockets of this node, at most; beyond, a handshake is answered 503 or closed with 4013. Zero, or more than the open files
    /// allow, means as many as those allow.
    pub clients: usize,
    /// Resident memory from which handshakes are refused in the same way; zero means no limit.
    pub memory: ByteSize,
    /// HTTP connections of one address (IPv6: per /64) at a time, at most; sockets and trusted proxies do not count. Zero means
    /// no limit.
    pub connections_per_address: usize,
}

/// `[online]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Online {
    /// Clients up to which differences carry rows; beyond, only counts.
    pub live_max: usize,
    /// Time from a change to the difference that tells it, and whatever else has changed by then.
    #[serde(with = "humantime_serde")]
    pub diff_interval: Duration,
    /// Users whose last leave is remembered for `why`, at most.
    pub max_leaves: usize,
}

/// `[presence]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// Time a user stays online after the last socket was lost. Zero means none.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

/// `[cluster]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The name of this node in lists and answers, no other node's; empty means the host's name.
    pub node: String,
    /// `redis://HOST:PORT`, or `rediss://…` with TLS; empty is one node alone. May hold a password: never printed whole.
    pub redis_url: Secret,
    /// First part of the names of channels and keys in Redis.
    pub prefix: String,
    /// How often a node announces itself to the others.
    #[serde(with = "humantime_serde")]
    pub announce: Duration,
    /// Time without an announcement after which a node is suspect: answers no longer count as complete.
    #[serde(with = "humantime_serde")]
    pub suspect: Duration,
    /// Time without an announcement after which a node is dead and its clients have left.
    #[serde(with = "humantime_serde")]
    pub dead: Duration,
    /// Longest wait for the answers of other nodes to a push, a kick or a list.
    #[serde(with = "humantime_serde")]
    pub answer_timeout: Duration,
    /// Time without the sequence of revocations after which handshakes and REST are refused.
    #[serde(with = "humantime_serde")]
    pub fence: Duration,
    /// Time without it after which the open sockets are closed with 4013.
    #[serde(with = "humantime_serde")]
    pub fence_close: Duration,
}

/// `[outgoing]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outgoing {
    /// Networks that may be called although they are private, and without TLS.
    pub allow: Vec<IpNet>,
    /// Time for one call, from the name's look-up to the end of the answer.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Bytes of an answer, at most.
    pub max_answer: usize,
    /// Certificates that are trusted beside the system's, in PEM; empty means none.
    pub ca_file: PathBuf,
    /// Time after which a call that keeps failing is given up.
    #[serde(with = "humantime_serde")]
    pub retry_for: Duration,
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address and port of `/metrics`; empty is off.
    pub listen: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for machines.
    Json,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// What is logged, as `info` or `info,rollcall=debug`.
    pub level: String,
}

/// `[docs]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Docs {
    /// Whether `/docs`, the OpenAPI and the AsyncAPI document are open to everyone.
    pub public: bool,
}

impl<'de> Deserialize<'de> for Logins {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Logins, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Word(String),
        }
        let written = Written::deserialize(deserializer)?;
        let number = match &written {
            Written::Word(word) if word == "many" => return Ok(Logins::Many),
            Written::Word(word) if word == "one" => Some(1),
            Written::Word(word) => word.parse().ok(),
            Written::Number(number) => Some(*number),
        };
        match number {
            Some(number) if number > 0 => Ok(Logins::AtMost(number)),
            _ => Err(serde::de::Error::custom("expected \"many\", \"one\" or a number above zero")),
        }
    }
}
