//! Logging in, staying logged in, logging out.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Denied, Door, Origin, Services};
use crate::auth::{Identity, PasswordError, UserKey, limit_key};
use crate::config::Logins;
use crate::store::{
    Entry, Kind, NewLogin, NewRevocation, NewSession, Refresh, SessionKind, StoreError, User, username_key,
};

/// Somebody who says who they are.
pub struct Attempt<'a> {
    /// As typed.
    pub username: &'a str,
    /// As typed; never logged.
    pub password: &'a str,
    /// From where.
    pub origin: &'a Origin,
}

/// A login, or a refreshed one.
pub struct LoggedIn {
    /// The access token.
    pub access: String,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// The refresh token, for its cookie.
    pub refresh: String,
    /// When that ends if it is not used.
    pub refresh_expires_at: DateTime<Utc>,
    /// Who.
    pub identity: Identity,
}

/// Why nobody was logged in.
#[derive(Debug)]
pub enum LoginDenied {
    /// Unknown name or wrong password: the same for both.
    Credentials,
    /// Too many logins from this address; seconds to wait.
    TooMany(u64),
    /// The name or the account is locked, the account disabled, the session over, or the database away.
    Denied(Denied),
    /// Too many passwords are being computed.
    Overloaded,
}

impl LoginDenied {
    /// For the login log.
    fn word(&self) -> &'static str {
        match self {
            LoginDenied::Credentials => "bad_credentials",
            LoginDenied::TooMany(_) => "rate_limited",
            LoginDenied::Overloaded => "overloaded",
            LoginDenied::Denied(denied) => denied.word(),
        }
    }
}

impl From<StoreError> for LoginDenied {
    fn from(error: StoreError) -> LoginDenied {
        match error {
            StoreError::Disabled => LoginDenied::Denied(Denied::Disabled),
            // Deleted while the password was being computed.
            StoreError::NotFound("user") => LoginDenied::Credentials,
            error => {
                tracing::warn!(cause = error.cause(), "the database failed a login");
                LoginDenied::Denied(Denied::Unavailable)
            }
        }
    }
}

impl Services {
    /// Checks a password and makes a session. Every attempt stands in the login log.
    pub async fn login(&self, attempt: Attempt<'_>) -> Result<LoggedIn, LoginDenied> {
        let outcome = self.try_login(&attempt).await;
        let (user, session, word) = match &outcome {
            Ok(login) => (Some(login.identity.user.clone()), Some(login.identity.session), "ok"),
            Err(denied) => (None, None, denied.word()),
        };
        let origin = attempt.origin;
        self.writer().write(Entry::Login(NewLogin {
            at: self.clock().now(),
            user,
            username: attempt.username.to_owned(),
            outcome: word,
            session,
            ip: origin.ip.to_string(),
            device: origin.agent.device.clone(),
            os: origin.agent.os.clone(),
            browser: origin.agent.browser.clone(),
            request_id: origin.request_id.clone(),
        }));
        outcome
    }

    async fn try_login(&self, attempt: &Attempt<'_>) -> Result<LoggedIn, LoginDenied> {
        if let Err(wait) = self.limits().logins.check(&limit_key(attempt.origin.ip)) {
            return Err(LoginDenied::TooMany(wait.as_secs() + 1));
        }
        let name = username_key(attempt.username);
        if let Some(until) = self.locked_until(&name).await? {
            return Err(self.locked(until, String::new()));
        }
        let user = self.store().user_named(attempt.username).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.as_ref());
        let right = self.passwords().verify(hash.map(crate::config::Secret::expose), attempt.password).await;
        match (user, right) {
            (_, Err(PasswordError::Overloaded)) => Err(LoginDenied::Overloaded),
            (_, Err(error)) => {
                tracing::error!(%error, "a password could not be checked");
                Err(LoginDenied::Denied(Denied::Unavailable))
            }
            (Some(user), Ok(true)) => match self.name_succeeded(&name).await? {
                None => self.admit(user, attempt.origin).await,
                Some(until) => Err(self.locked(until, String::new())),
            },
            (_, Ok(_)) => match self.name_failed(&name).await? {
                Some(until) => Err(self.locked(until, String::new())),
                None => Err(LoginDenied::Credentials),
            },
        }
    }

    fn locked(&self, until: DateTime<Utc>, reason: String) -> LoginDenied {
        let seconds = (until - self.clock().now()).num_seconds().max(1) as u64;
        LoginDenied::Denied(Denied::Locked { until, seconds, reason })
    }

    async fn admit(&self, user: User, origin: &Origin) -> Result<LoggedIn, LoginDenied> {
        let now = self.clock().now();
        if user.disabled_at.is_some() {
            return Err(LoginDenied::Denied(Denied::Disabled));
        }
        if let Some(until) = user.locked_until.filter(|until| *until > now) {
            return Err(self.locked(until, String::new()));
        }
        let auth = &self.config().auth;
        let (session_end, refresh_end) = (now + delta(auth.session_max), now + delta(auth.refresh_ttl));
        let session = NewSession {
            id: Uuid::now_v7(),
            user: user.key,
            app: String::new(),
            kind: SessionKind::Login,
            scopes: None,
            ip: origin.ip.to_string(),
            device: origin.agent.device.clone(),
            os: origin.agent.os.clone(),
            browser: origin.agent.browser.clone(),
            user_agent: origin.user_agent.clone(),
            expires_at: session_end,
            refresh_expires_at: refresh_end,
            external_id: None,
        };
        let (id, most) = (
            session.id,
            match auth.logins {
                Logins::Many => None,
                Logins::AtMost(most) => Some(most),
            },
        );
        if let Some(replaced) = self.store().create_session(session, most, now).await? {
            self.announce(&replaced).await;
        }
        self.hand_out(id, 0).await
    }

    /// New tokens for a session that stands.
    async fn hand_out(&self, session: Uuid, generation: i64) -> Result<LoggedIn, LoginDenied> {
        let now = self.clock().now();
        let far = now + delta(self.config().auth.session_max);
        let (identity, _) = self.standing(Door::Login, session, far).await.map_err(LoginDenied::Denied)?;
        let left = (identity.session_expires_at - now).to_std().unwrap_or_default();
        let ttl = self.config().auth.access_ttl.min(left);
        let (access, expires_at) = self.tokens().issue_for(&identity.user, session, now, ttl);
        let refresh = self.0.refresh_tokens.token(session, generation);
        let refresh_expires_at = (now + delta(self.config().auth.refresh_ttl)).min(identity.session_expires_at);
        let identity = Identity { expires_at, ..identity };
        Ok(LoggedIn { access, expires_at, refresh, refresh_expires_at, identity })
    }

    /// Exchanges a refresh token. Its previous one gets the same successor for a while; an older one ends the session.
    pub async fn refresh(&self, token: &str) -> Result<LoggedIn, LoginDenied> {
        let over = || LoginDenied::Denied(Denied::Revoked { kind: None, reason: String::new() });
        let (session, generation) = self.0.refresh_tokens.parse(token).map_err(|_| over())?;
        let (auth, now) = (&self.config().auth, self.clock().now());
        // A disabled or locked account is told so, rather than that its session is over.
        self.standing(Door::Login, session, now).await.map_err(LoginDenied::Denied)?;
        let refreshed =
            self.store().refresh_session(session, generation, now, auth.refresh_overlap, auth.refresh_ttl).await?;
        match refreshed {
            Refresh::Refreshed { generation, .. } | Refresh::SameSuccessor { generation, .. } => {
                self.hand_out(session, generation).await
            }
            Refresh::Reused(revocation) => {
                tracing::warn!(session.id = %session, "a refresh token was used twice; the session is over");
                self.announce(&revocation).await;
                Err(over())
            }
            _ => Err(over()),
        }
    }

    /// Ends sessions of oneself, or of others by somebody who may; with `tell` the system that the user comes from is told.
    pub async fn log_out(
        &self,
        user: &UserKey,
        session: Uuid,
        reason: &str,
        by: &crate::store::Actor,
        tell: bool,
    ) -> Result<(), StoreError> {
        let mut revocation = NewRevocation::new(Kind::Logout, by);
        revocation.targets.sessions.push(session);
        revocation.ends_sessions = true;
        revocation.reason = reason.to_owned();
        revocation.audit = Some(crate::store::Audited::of("session.end", user));
        if tell {
            revocation.calls = self.calls_about(&revocation).await?;
        }
        self.end(revocation).await.map(drop)
    }
}

fn delta(duration: std::time::Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
