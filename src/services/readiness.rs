//! Whether this node should be sent callers.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{Fence, Services};

/// How long an answer of the database holds: many may ask, and none of them may load it.
const HOLDS: Duration = Duration::from_secs(1);
/// Longest wait for it; whoever balances load does not wait longer either.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a node is that should be sent callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Well.
    Fully,
    /// Redis is away: it serves its own clients, and does not reach those of other nodes.
    Degraded,
}

/// Why this node should be sent nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// It takes nobody in: it stops, or an operator empties it.
    Draining,
    /// The database does not answer, or takes no writes.
    Database,
    /// It has not read the sequence of revocations for `cluster.fence`.
    Fenced,
}

/// The last answer of the database: when, and how long it took; none when it failed.
#[derive(Default)]
pub struct Readiness(Mutex<Option<(Duration, Option<Duration>)>>);

impl Services {
    /// Whether this node can serve.
    pub async fn ready(&self) -> Result<Ready, NotReady> {
        if self.is_draining() {
            return Err(NotReady::Draining);
        }
        self.database_latency().await.ok_or(NotReady::Database)?;
        if self.fence() != Fence::Open {
            return Err(NotReady::Fenced);
        }
        let alone = self.cluster().is_some_and(|cluster| !cluster.link.state().up);
        Ok(if alone { Ready::Degraded } else { Ready::Fully })
    }

    /// How long the database took to begin and end a write; none when it did not. At most a second old.
    pub async fn database_latency(&self) -> Option<Duration> {
        let mut last = self.0.readiness.0.lock().await;
        let now = self.clock().monotonic();
        if let Some((at, answer)) = *last
            && now.saturating_sub(at) < HOLDS
        {
            return answer;
        }
        let answered = timeout(PATIENCE, self.store().ping()).await;
        let took = self.clock().monotonic().saturating_sub(now);
        let answer = matches!(answered, Ok(Ok(()))).then_some(took);
        *last = Some((self.clock().monotonic(), answer));
        answer
    }

    /// Entries of everything that a caller can make grow, by name. Each has a bound in the settings.
    pub async fn entries(&self) -> Vec<(&'static str, usize)> {
        let mut entries = self.manager().sizes();
        entries.extend(self.presence().sizes());
        let (counted, locked) = self.0.failures.len();
        let limits = self.limits();
        entries.extend([
            ("tickets", self.0.tickets.len()),
            ("failed_names", counted),
            ("locked_names", locked),
            ("login_addresses", limits.logins.len()),
            ("failed_handshake_addresses", limits.failed_handshakes.len()),
            ("failed_key_addresses", limits.failed_keys.len()),
            ("calling_keys", limits.keys.len()),
            ("handshake_users", limits.handshakes.len()),
            ("confirmed_tokens", self.0.confirmations.len()),
            ("remembered_sessions", self.0.sessions.len()),
            ("user_agents", self.agents().len()),
            ("interned", self.0.interner.len()),
            ("password_computations", self.passwords().admitted()),
            ("log_rows_waiting", self.writer().waiting()),
        ]);
        if let Ok(Ok(waiting)) = timeout(PATIENCE, self.store().waiting_calls()).await {
            entries.push(("outbox", usize::try_from(waiting).unwrap_or(usize::MAX)));
        }
        entries
    }
}
