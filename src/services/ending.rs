//! Ending sessions: the row is written first, then the sockets are told. What a socket hears depends only on what the row
//! says, so a node that follows the sequence of rows says the same.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::Services;
use crate::auth::UserKey;
use crate::protocol::{CloseCode, CloseReason, LOGGED_OUT, Message};
use crate::realtime::{Cause, Delivered, Payload, Publication, Target};
use crate::store::{
    Actor, Audited, Kind, NewRevocation, Paging, Revocation, SessionQuery, StoreError, Targets, Upstream,
};

/// Logins that end at once for being old, at most.
const MAX_AT_ONCE: u64 = 1_000;

/// `data` of the `kick` push.
#[derive(Serialize)]
struct KickData<'a> {
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
}

/// What became of somebody's logins.
#[derive(Debug)]
pub struct EndedLogins {
    /// The durable row.
    pub id: Uuid,
    /// Sessions that stood.
    pub sessions: u64,
    /// Clients that were open.
    pub clients: usize,
    /// Whether all of those are shut down already.
    pub complete: bool,
    /// Whether the system that the user comes from knows of it.
    pub upstream: Upstream,
}

/// Logins that are older than a time.
#[derive(Debug)]
pub struct OlderLogins {
    /// Begun before that.
    pub before: DateTime<Utc>,
    /// Of this user; none for everybody's.
    pub user: Option<UserKey>,
    /// The one that stays.
    pub but: Option<Uuid>,
    /// Whether those of administrators stay.
    pub spare_admins: bool,
}

/// How an end is told: the close frame, and the cause in lists.
pub fn ended_words(kind: Option<Kind>, reason: &str, until: Option<DateTime<Utc>>) -> (CloseReason, Cause) {
    let (code, cause, sentence) = match kind {
        Some(Kind::Kick) if until.is_some() => (CloseCode::Locked, Cause::Locked, "An operator locked this account."),
        Some(Kind::Kick) => (CloseCode::Kicked, Cause::Kicked, "An operator ended this connection."),
        Some(Kind::Disable) => (CloseCode::Forbidden, Cause::Disabled, "This account is disabled."),
        Some(Kind::Delete) => (CloseCode::Forbidden, Cause::Disabled, "This account was deleted."),
        Some(Kind::Replaced) => (CloseCode::Replaced, Cause::Replaced, "This account was used to log in elsewhere."),
        Some(Kind::Logout) => (CloseCode::Kicked, Cause::Logout, "This session was logged out."),
        Some(Kind::Password) => (CloseCode::Kicked, Cause::Revoked, "The password was changed; log in again."),
        Some(Kind::Revoked) => (CloseCode::Kicked, Cause::Revoked, "This session has ended; log in again."),
        Some(Kind::RefreshReused) => {
            (CloseCode::Kicked, Cause::Revoked, "The session was used from two places and has ended; log in again.")
        }
        _ => (CloseCode::Unauthorized, Cause::Revoked, "This session is over; log in again."),
    };
    let sentence = if reason.is_empty() { sentence } else { reason };
    let mut told = CloseReason { until, ..CloseReason::new(code).text(sentence) };
    if cause == Cause::Logout {
        // The other tabs of a login that its own user ended: they need a login page, not an explanation.
        told.word = LOGGED_OUT;
    }
    (told, cause)
}

/// Whose clients that is, on any node.
fn ended_by(targets: &Targets) -> impl Iterator<Item = Target> + use<> {
    let Targets { users, sessions, clients, except, .. } = targets.clone();
    let users = match except {
        Some(session) => Target::OtherSessions(users, session),
        None => Target::Users(users),
    };
    [users, Target::Sessions(sessions), Target::Clients(clients)].into_iter().filter(|target| !target.is_empty())
}

impl Services {
    /// Writes the row, then closes the sockets it is about.
    pub async fn end(&self, new: NewRevocation) -> Result<(Revocation, Delivered), StoreError> {
        let revocation = self.store().revoke(new, self.clock().now()).await?;
        let delivered = self.announce(&revocation).await;
        Ok((revocation, delivered))
    }

    /// Ends a session, or with none named every session of the user, on behalf of the system where the user logged out or
    /// changed role. Of a user of another issuer every token issued until now is refused, sessions or not; with `tell` that
    /// system is told.
    pub async fn end_logins(
        &self,
        user: &UserKey,
        session: Option<Uuid>,
        reason: &str,
        by: &Actor,
        tell: bool,
    ) -> Result<EndedLogins, StoreError> {
        let one = Paging { page: 1, page_size: 1 };
        let standing = SessionQuery { user: Some(user.clone()), ..SessionQuery::all(one) };
        let sessions = match session {
            Some(id) => u64::from(self.store().session_stands(id, self.clock().now()).await?),
            None => self.store().sessions(&standing, self.clock().now()).await?.total,
        };
        let mut new = NewRevocation::new(Kind::Revoked, by);
        match session {
            Some(id) => new.targets.sessions.push(id),
            None => new.targets.users.push(user.clone()),
        }
        new.ends_sessions = true;
        new.reason = reason.to_owned();
        new.audit = Some(Audited::of("session.revoke", user));
        if tell {
            new.calls = self.calls_about(&new).await?;
        }
        let (revocation, delivered) = self.end(new).await?;
        let (clients, complete) = (delivered.clients, delivered.complete && delivered.dropped == 0);
        let upstream = self.await_upstream(revocation.seq).await?;
        Ok(EndedLogins { id: revocation.id, sessions, clients, complete, upstream })
    }

    /// Ends logins that are older than a time; whether there are more of them. [`EndedLogins::id`] is nil where there were none.
    pub async fn end_older(
        &self,
        which: OlderLogins,
        reason: &str,
        by: &Actor,
    ) -> Result<(EndedLogins, bool), StoreError> {
        let OlderLogins { before, user, but, spare_admins } = which;
        let now = self.clock().now();
        // One more tells whether that is all.
        let mut found =
            self.store().sessions_before(before, user.as_ref(), but, spare_admins, MAX_AT_ONCE + 1, now).await?;
        let more = found.len() as u64 > MAX_AT_ONCE;
        found.truncate(MAX_AT_ONCE as usize);
        let sessions = found.len() as u64;
        if found.is_empty() {
            let none = EndedLogins { id: Uuid::nil(), sessions, clients: 0, complete: true, upstream: Upstream::None };
            return Ok((none, false));
        }
        let target = user.map_or_else(|| "sessions".to_owned(), |user| user.to_string());
        let detail = serde_json::json!({ "createdBefore": before, "sessions": sessions });
        let mut new = NewRevocation::new(Kind::Revoked, by);
        new.targets.sessions = found;
        new.ends_sessions = true;
        new.reason = reason.to_owned();
        new.audit = Some(Audited { action: "session.revokeOlder".to_owned(), target, detail });
        new.calls = self.calls_about(&new).await?;
        let (revocation, delivered) = self.end(new).await?;
        let (clients, complete) = (delivered.clients, delivered.complete && delivered.dropped == 0);
        let upstream = self.await_upstream(revocation.seq).await?;
        Ok((EndedLogins { id: revocation.id, sessions, clients, complete, upstream }, more))
    }

    /// Tells the sockets of a row that is written already.
    pub async fn announce(&self, revocation: &Revocation) -> Delivered {
        let targets = &revocation.targets;
        self.forget_sessions(targets);
        self.tell_of_rows();
        let mut sum = Delivered::to_nobody();
        for target in ended_by(targets) {
            let payload = self.end_payload(revocation);
            match self.broker().publish(Publication { target, payload }).await {
                Ok(delivered) => sum.add(delivered),
                Err(error) => {
                    tracing::warn!(%error, "an end could not be published; nodes follow the rows");
                    sum.complete = false;
                }
            }
        }
        sum
    }

    fn end_payload(&self, revocation: &Revocation) -> Payload {
        let (reason, cause) = ended_words(Some(revocation.kind), &revocation.reason, revocation.until);
        let data = KickData {
            reason: if revocation.reason.is_empty() {
                reason.text.as_deref().unwrap_or("")
            } else {
                &revocation.reason
            },
            until: revocation.until.map(|until| until.to_rfc3339_opts(SecondsFormat::Secs, true)),
            by: (revocation.kind == Kind::Kick).then_some(revocation.actor_name.as_str()),
        };
        let last = Message::push("kick", Some(&data), self.clock().now().timestamp());
        Payload::Close { last: Some(last), reason, cause }
    }
}
