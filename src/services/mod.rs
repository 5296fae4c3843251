//! The hall: what every endpoint, event and job may use, behind one cheap handle; and the acts that need several rooms at
//! once: finding out who calls, logging in, ending somebody's session. Deliberately absent: HTTP, frames, cron.

mod api_keys;
mod counters;
mod drain;
mod ending;
mod failures;
mod follow;
mod foreign;
mod identify;
mod keys;
mod kick;
mod limits;
mod login;
mod nodes;
mod orders;
mod outcome;
mod overload;
mod places;
mod readiness;
mod rights;
mod subjects;
mod tickets;
mod upstream;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use api_keys::KeyDenied;
pub use counters::Counters;
pub use drain::{Drain, DrainProgress, Stopping};
pub use ending::{EndedLogins, OlderLogins, ended_words};
pub use follow::{Fence, Following};
pub use foreign::Confirmation;
pub use identify::{Denied, Door, SeenSessions};
pub use keys::{AGREED_ON_KEYS, Relearned, open_keys};
pub use kick::{Found, Kick, KickRefused, Kicked, Whom};
pub use limits::Limits;
pub use login::{Attempt, LoggedIn, LoginDenied};
pub use nodes::{Node, NodeRefused, NodeState, ThisNode};
pub use orders::Orders;
pub use outcome::{Outcome, Pending};
pub use overload::Overload;
pub use places::Arrivals;
pub use readiness::{NotReady, Readiness, Ready};
pub use tickets::Ticket;
pub use upstream::Outbox;

use crate::auth::{Failures, Identity, Interner, Issuers, Keyring, Passwords, Recent, RefreshTokens, Tickets, Tokens};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::outgoing::Sender;
use crate::realtime::{Agent, Broker, ClientManager, Presence};
use crate::store::{Actor, LogWriter, Store};

/// The handle everybody keeps.
#[derive(Clone)]
pub struct Services(Arc<Parts>);

/// What the hall is made of; `App` puts it together.
pub struct Parts {
    /// Settings, which a reload replaces as a whole.
    pub config: ArcSwap<Config>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Name of this node.
    pub node: Arc<str>,
    /// Rows.
    pub store: Store,
    /// Login log, audit log, last seen: batched.
    pub writer: LogWriter,
    /// Sockets of this node.
    pub manager: Arc<ClientManager>,
    /// The way to clients on any node.
    pub broker: Arc<dyn Broker>,
    /// The way to clients of this node alone.
    pub local: Arc<dyn Broker>,
    /// The other nodes; none where this one is alone.
    pub cluster: Option<Cluster>,
    /// Who is online on any node.
    pub presence: Arc<dyn Presence>,
    /// How far the sequence of revocations was followed.
    pub following: Following,
    /// Signing keys.
    pub keyring: Arc<Keyring>,
    /// When shared signing keys were last read for an unknown one.
    pub relearned: Relearned,
    /// Access tokens.
    pub tokens: Tokens,
    /// Other systems whose tokens are accepted.
    pub issuers: Issuers,
    /// What they said of their tokens, by the token's SHA-256.
    pub confirmations: Recent<[u8; 32], Confirmation>,
    /// Sessions that stood at their last look-up, for handshakes.
    pub sessions: SeenSessions,
    /// What the `User-Agent`s of late mean, each once.
    pub agents: Recent<String, Arc<Agent>>,
    /// Roles, applications and pictures of clients, each once.
    pub interner: Interner,
    /// Calls to other systems.
    pub sender: Sender,
    /// Wakes the worker that makes the calls of the outbox.
    pub outbox: Outbox,
    /// Refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// Password computations.
    pub passwords: Passwords,
    /// One-use tickets for handshakes, of a node that is alone.
    pub tickets: Tickets<Ticket>,
    /// Wrong passwords by name, of a node that is alone.
    pub failures: Failures,
    /// Logins and handshakes by address and user.
    pub limits: Limits,
    /// When nobody new is taken in.
    pub overload: Overload,
    /// Handshakes by result.
    pub handshakes: Counters,
    /// The last answer of the database.
    pub readiness: Readiness,
    /// Whether this node takes nobody in any more.
    pub drain: Arc<Drain>,
    /// What other nodes were asked to do.
    pub orders: Orders,
    /// What this process is among the nodes.
    pub this_node: ThisNode,
}

/// Who asks, as far as the request itself tells.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The peer, or what a trusted proxy says of it.
    pub ip: IpAddr,
    /// Its browser.
    pub agent: Arc<Agent>,
    /// The header the agent was read from, at most 512 bytes of it.
    pub user_agent: String,
    /// Stands in log lines, audit rows and problems.
    pub request_id: String,
}

impl Origin {
    /// How the audit log names a caller: a user as on the wire and by name; an API key as `key:<id>` and `key:<name>`.
    pub fn actor(&self, identity: &Identity) -> Actor {
        Actor {
            key: identity.user.to_string(),
            name: identity.rights.username.to_string(),
            ip: self.ip.to_string(),
            user_agent: self.user_agent.clone(),
            request_id: self.request_id.clone(),
            grants: identity.rights.permissions,
            makes_admins: identity.rights.is_admin(),
        }
    }
}

impl Services {
    /// The hall, finished.
    pub fn new(parts: Parts) -> Services {
        Services(Arc::new(parts))
    }

    /// Settings as of now. Whoever needs two that fit together keeps the handle.
    pub fn config(&self) -> Arc<Config> {
        self.0.config.load_full()
    }

    /// What the `User-Agent`s of late mean, each once.
    pub fn agents(&self) -> &Recent<String, Arc<Agent>> {
        &self.0.agents
    }

    /// Takes other settings. What was built from the ones before stays as it is.
    pub fn set_config(&self, config: Config) {
        self.0.config.store(Arc::new(config));
    }

    /// Time.
    pub fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// Name of this node.
    pub fn node(&self) -> &Arc<str> {
        &self.0.node
    }

    /// Rows.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The batching log writer.
    pub fn writer(&self) -> &LogWriter {
        &self.0.writer
    }

    /// Sockets of this node: for the socket's own handshake and events. Everybody else publishes.
    pub fn manager(&self) -> &Arc<ClientManager> {
        &self.0.manager
    }

    /// The way to clients.
    pub fn broker(&self) -> &dyn Broker {
        &*self.0.broker
    }

    /// The way to clients of this node alone: for what every node finds out by itself.
    pub fn local(&self) -> &dyn Broker {
        &*self.0.local
    }

    /// Whether there may be other nodes.
    pub fn shared(&self) -> bool {
        self.cluster().is_some()
    }

    /// The other nodes; none where this one is alone.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.0.cluster.as_ref()
    }

    /// Who is online.
    pub fn presence(&self) -> &dyn Presence {
        &*self.0.presence
    }

    /// Signing keys.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.0.keyring
    }

    /// Access tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// Other systems whose tokens are accepted.
    pub fn issuers(&self) -> &Issuers {
        &self.0.issuers
    }

    /// Calls to other systems.
    pub fn sender(&self) -> &Sender {
        &self.0.sender
    }

    /// Password computations.
    pub fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    /// Logins and handshakes by address and user.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Handshakes by result.
    pub fn handshakes(&self) -> &Counters {
        &self.0.handshakes
    }
}
