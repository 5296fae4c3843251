//! Who calls: a token's signature first, then its session, its user, a lockout. Rights come from the session's user as of
//! now, never from a claim.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{KeyDenied, Origin, Services};
use crate::auth::{Identity, Permissions, Recent, TokenError, UserKey, looks_like_api_key};
use crate::clock::Clock;
use crate::store::{CallerRow, Kind, StoreError, Targets};

/// Sessions that stood at their last look-up.
pub struct SeenSessions {
    recent: Recent<Uuid, Arc<Seen>>,
    changes: AtomicU64,
}

/// A session as it was found, and when (`Clock::monotonic`).
struct Seen {
    row: CallerRow,
    identity: Identity,
    at: Duration,
}

impl SeenSessions {
    /// At most `cap` of them, each for `ttl` while the database is away; zero remembers nothing.
    pub fn new(clock: Arc<dyn Clock>, cap: usize, ttl: Duration) -> SeenSessions {
        SeenSessions { recent: Recent::new(clock, cap, ttl), changes: AtomicU64::new(0) }
    }

    /// Sessions remembered.
    #[expect(clippy::len_without_is_empty, reason = "for gauges; nobody asks whether it is empty")]
    pub fn len(&self) -> usize {
        self.recent.len()
    }
}

/// What a credential is shown for. They differ in what comes first: a request is told that its session is over, a
/// handshake that the account is disabled or locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A REST call.
    Request,
    /// `GET /socket`.
    Handshake,
    /// Login or refresh, and a look whether open sockets may stay: what a handshake is told, and never behind a storm of those.
    Login,
}

/// Why a credential opens nothing.
#[derive(Clone, Debug)]
pub enum Denied {
    /// No credential at all.
    Missing,
    /// The token itself is no good.
    Token(TokenError),
    /// A ticket that was used, is too old, or never was.
    Ticket,
    /// The session was revoked, or is over.
    Revoked {
        /// By what; none when it just ended.
        kind: Option<Kind>,
        /// The operator's sentence; may be empty.
        reason: String,
    },
    /// The account is disabled.
    Disabled,
    /// The account is locked out.
    Locked {
        /// The end of it.
        until: DateTime<Utc>,
        /// Seconds to it.
        seconds: u64,
        /// The operator's sentence; may be empty.
        reason: String,
    },
    /// The account needs a new password first.
    PasswordChange,
    /// The API key is no good, or no good here.
    Key(KeyDenied),
    /// The database did not answer.
    Unavailable,
}

impl Denied {
    /// The number people know: 401, 403, 429 or 503.
    pub fn status(&self) -> u16 {
        match self {
            Denied::Missing | Denied::Token(_) | Denied::Ticket | Denied::Revoked { .. } => 401,
            Denied::Disabled | Denied::Locked { .. } | Denied::PasswordChange => 403,
            Denied::Key(denied) => denied.status(),
            Denied::Unavailable => 503,
        }
    }

    /// A stable word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Denied::Missing => "unauthorized",
            Denied::Token(TokenError::Expired) => "token_expired",
            Denied::Token(_) => "token_invalid",
            Denied::Ticket => "ticket_invalid",
            Denied::Revoked { .. } => "session_revoked",
            Denied::Disabled => "account_disabled",
            Denied::Locked { .. } => "locked",
            Denied::PasswordChange => "password_change_required",
            Denied::Key(denied) => denied.word(),
            Denied::Unavailable => "unavailable",
        }
    }

    /// A sentence for people; the operator's own where there is one.
    pub fn sentence(&self) -> String {
        match self {
            Denied::Missing => "This needs a token: log in, and send it as a Bearer.".to_owned(),
            Denied::Token(error) => format!("The token cannot be used: {error}."),
            Denied::Ticket => "The ticket was used already, or is too old; ask for a new one.".to_owned(),
            Denied::Revoked { reason, .. } if reason.is_empty() => "This session is over; log in again.".to_owned(),
            Denied::Revoked { reason, .. } => reason.clone(),
            Denied::Disabled => "This account is disabled.".to_owned(),
            Denied::Locked { reason, .. } if reason.is_empty() => "This account is locked for a while.".to_owned(),
            Denied::Locked { reason, .. } => reason.clone(),
            Denied::PasswordChange => "This account needs a new password first: POST /api/v1/auth/password.".to_owned(),
            Denied::Key(denied) => denied.sentence().to_owned(),
            Denied::Unavailable => "The server cannot reach its data right now; try again in a moment.".to_owned(),
        }
    }
}

impl Services {
    /// The caller behind an access token, at a REST call.
    pub async fn identify(&self, token: &str) -> Result<Identity, Denied> {
        self.identify_at(Door::Request, token, None).await.map(|(identity, _)| identity)
    }

    /// The caller behind an access token, and what its session narrows permissions to. The first token of a login elsewhere
    /// writes its row, with where it comes `from` where that is known. API keys are no tokens: what
    /// takes them asks [`Services::identify_key`].
    pub async fn identify_at(
        &self,
        door: Door,
        token: &str,
        from: Option<&Origin>,
    ) -> Result<(Identity, Permissions), Denied> {
        if looks_like_api_key(token) {
            return Err(Denied::Key(KeyDenied::NoSocket));
        }
        if let Some(foreign) = self.issuers().verify(token, self.clock().now()) {
            return self.identify_foreign(door, token, foreign.map_err(Denied::Token)?, from).await;
        }
        let claims = self.verify_own(token).await.map_err(Denied::Token)?;
        let (identity, scopes) = self.standing(door, claims.session, claims.expires_at).await?;
        // A session id of somebody else under a good signature would be our own mistake: refuse rather than guess.
        if identity.user != claims.user {
            return Err(Denied::Token(TokenError::Malformed));
        }
        Ok((identity, scopes))
    }

    /// The caller behind a session, if it stands.
    pub async fn standing(
        &self,
        door: Door,
        session: Uuid,
        expires_at: DateTime<Utc>,
    ) -> Result<(Identity, Permissions), Denied> {
        let over = Denied::Revoked { kind: None, reason: String::new() };
        let seen = self.look_up(door, session).await?.ok_or(over)?;
        self.check(door, &seen.row)?;
        let mut identity = seen.identity.clone();
        identity.expires_at = expires_at.min(identity.session_expires_at);
        Ok((identity, seen.row.scopes.unwrap_or_else(Permissions::all)))
    }

    /// The session as it is. Where there are no other nodes a handshake makes do with what was found a moment ago: a page with
    /// forty tabs asks once. Whatever is taken away is forgotten at once ([`Services::forget_sessions`]); what the command line
    /// takes away is followed after the same moment. What another node takes away is heard of a moment after that node has said
    /// that it is done, so there only the row counts. While the database is away those that are known still open.
    async fn look_up(&self, door: Door, session: Uuid) -> Result<Option<Arc<Seen>>, Denied> {
        let now = self.clock().monotonic();
        let known = (door != Door::Request).then(|| self.0.sessions.recent.get(&session)).flatten();
        let fresh = if self.shared() { Duration::ZERO } else { self.config().auth.follow_interval };
        if let Some(seen) = known.as_ref().filter(|seen| now.saturating_sub(seen.at) < fresh) {
            return Ok(Some(seen.clone()));
        }
        let changes = self.changes();
        match self.caller_row(door, session).await {
            Ok(row) => {
                let seen = row.map(|row| Arc::new(self.seen(row, now)));
                match &seen {
                    // Only what lets somebody in, and not if something was taken away while we looked.
                    Some(seen) if self.check(door, &seen.row).is_ok() && self.changes() == changes => {
                        self.0.sessions.recent.put(session, seen.clone());
                    }
                    _ => self.0.sessions.recent.remove(&session),
                }
                Ok(seen)
            }
            Err(error) => {
                let known = known.filter(|_| matches!(error, StoreError::Unavailable(_)));
                tracing::warn!(cause = error.cause(), remembered = known.is_some(), "a session could not be looked up");
                known.map(Some).ok_or(Denied::Unavailable)
            }
        }
    }

    pub(super) async fn caller_row(&self, door: Door, session: Uuid) -> Result<Option<CallerRow>, StoreError> {
        let _turn = if door == Door::Handshake { Some(self.turn().await?) } else { None };
        self.store().caller(session).await
    }

    fn seen(&self, row: CallerRow, at: Duration) -> Seen {
        let identity = Identity {
            user: row.user.clone(),
            session: row.session,
            app: self.0.interner.text(&row.app),
            rights: Arc::new(self.with_foreign_roles(&row.user, row.rights.clone())),
            expires_at: row.expires_at,
            session_expires_at: row.expires_at,
            logged_in_at: row.created_at,
            avatar: self.0.interner.text(&row.avatar),
            must_change_password: row.must_change_password,
        };
        Seen { row, identity, at }
    }

    /// Whether a handshake of this session could do without the database.
    pub(super) fn remembered(&self, door: Door, session: Uuid, user: &UserKey) -> bool {
        door == Door::Handshake && self.0.sessions.recent.get(&session).is_some_and(|seen| seen.row.user == *user)
    }

    /// What was taken away is not remembered any longer.
    pub(super) fn forget_sessions(&self, targets: &Targets) {
        // Before the rest, so that who looks after it sees that something changed.
        self.0.sessions.changes.fetch_add(1, Ordering::SeqCst);
        let sessions: HashSet<&Uuid> = targets.sessions.iter().collect();
        let users: HashSet<&UserKey> = targets.users.iter().collect();
        let with_role =
            |seen: &Seen| seen.row.rights.roles.iter().any(|role| targets.roles.iter().any(|name| **role == **name));
        let forgotten =
            |id: &Uuid, seen: &Arc<Seen>| sessions.contains(id) || users.contains(&seen.row.user) || with_role(seen);
        self.0.sessions.recent.forget(forgotten);
    }

    /// How often something was taken away. Who finds the same number after registering as before looking up has missed nothing.
    pub fn changes(&self) -> u64 {
        self.0.sessions.changes.load(Ordering::SeqCst)
    }

    fn check(&self, door: Door, row: &CallerRow) -> Result<(), Denied> {
        let now = self.clock().now();
        let locked = row.lockout.as_ref().filter(|lockout| lockout.until > now).map(|lockout| Denied::Locked {
            until: lockout.until,
            seconds: (lockout.until - now).num_seconds().max(1) as u64,
            reason: lockout.reason.clone(),
        });
        let revoked = match &row.ended {
            Some(ended) => Some(Denied::Revoked { kind: Some(ended.kind), reason: ended.reason.clone() }),
            None if row.expires_at <= now => Some(Denied::Revoked { kind: None, reason: String::new() }),
            None => None,
        };
        let disabled = row.disabled.then_some(Denied::Disabled);
        let first = match door {
            Door::Request => revoked.or(disabled).or(locked),
            Door::Login => disabled.or(locked).or(revoked),
            Door::Handshake => {
                let unchanged = row.must_change_password.then_some(Denied::PasswordChange);
                disabled.or(locked).or(revoked).or(unchanged)
            }
        };
        first.map_or(Ok(()), Err)
    }

    /// The user's roles and permissions as of now; none when there is no such user.
    pub async fn roles_of(&self, user: &UserKey) -> Option<Vec<Arc<str>>> {
        let rights = self.rights(user).await.ok()??;
        Some(rights.roles.to_vec())
    }
}
