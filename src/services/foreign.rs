//! Callers with a token of another system: what their token says, what that system says of it, and the rows that make them
//! a user and a session like ours.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Denied, Door, Origin, Services};
use crate::auth::{Foreign, Identity, Issuers, Permissions, Rights, TokenError, UserKey};
use crate::config::WhenAway;
use crate::store::{CallerRow, Foreigner, NewSession, SessionKind, StoreError};

/// What another system said of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    good: bool,
    at: DateTime<Utc>,
}

/// Life of a login whose token says nothing of its end; the other system is asked again at each handshake, and at the latest
/// after this.
const UNTIL_ASKED_AGAIN: TimeDelta = TimeDelta::hours(1);

impl Services {
    /// The caller behind a good token of another system.
    pub(super) async fn identify_foreign(
        &self,
        door: Door,
        token: &str,
        foreign: Foreign,
        from: Option<&Origin>,
    ) -> Result<(Identity, Permissions), Denied> {
        let now = self.clock().now();
        let row = match self.caller_row(door, foreign.session).await {
            Err(StoreError::Unavailable(_)) if self.remembered(door, foreign.session, &foreign.user) => {
                self.confirm(token, &foreign, None).await?;
                return self
                    .standing(door, foreign.session, foreign.expires_at.unwrap_or(now + UNTIL_ASKED_AGAIN))
                    .await;
            }
            found => found.map_err(unavailable)?,
        };
        if row.as_ref().is_some_and(|row| row.user != foreign.user) {
            return Err(Denied::Token(TokenError::Malformed));
        }
        let refused_before = match &row {
            Some(row) => row.refused_before,
            None => self.store().tokens_refused_before(&foreign.user).await.map_err(unavailable)?,
        };
        let asked_after = judge_issue(&foreign, refused_before, now)?;
        self.confirm(token, &foreign, asked_after).await?;
        let end = foreign.expires_at.unwrap_or(now + UNTIL_ASKED_AGAIN);
        self.write_down((door, from), &foreign, row, end, now).await.map_err(unavailable)?;
        self.standing(door, foreign.session, end).await
    }

    /// What a user is called and may do as of now, with what the settings give to roles of other systems.
    pub(super) async fn rights(&self, user: &UserKey) -> Result<Option<Rights>, StoreError> {
        Ok(self.store().rights(user).await?.map(|rights| self.with_foreign_roles(user, rights)))
    }

    pub(super) fn with_foreign_roles(&self, user: &UserKey, rights: Rights) -> Rights {
        let permissions = rights.permissions | self.issuers().permissions(user, &rights.roles);
        // Many users have the same roles.
        Rights { permissions, roles: self.0.interner.list(&rights.roles), ..rights }
    }

    /// Makes rows for a user of another system, and a login of theirs, that never came here, so that they can be revoked.
    pub async fn expect_foreign(&self, user: &UserKey, login: Option<&str>, issuer: &str) -> Result<(), StoreError> {
        let now = self.clock().now();
        self.store().ensure_foreign(user, now).await?;
        let Some(login) = login else { return Ok(()) };
        let end = now + TimeDelta::from_std(self.config().auth.session_max).unwrap_or(TimeDelta::MAX);
        self.store().expect_session(foreign_session(user, Issuers::session(issuer, login), login, end), now).await
    }

    /// Asks the other system, unless it said something a moment ago. An answer from before `after` does not count.
    async fn confirm(&self, token: &str, foreign: &Foreign, after: Option<DateTime<Utc>>) -> Result<(), Denied> {
        let issuer = &foreign.issuer;
        if issuer.verify_url.is_empty() {
            return Ok(());
        }
        let (now, digest) = (self.clock().now(), <[u8; 32]>::from(Sha256::digest(token)));
        let fresh = |said: &Confirmation| {
            after.is_none_or(|after| said.at > after)
                && (now - said.at).to_std().is_ok_and(|age| age < issuer.verify_cache)
        };
        let said = match self.0.confirmations.get(&digest).filter(fresh) {
            Some(said) => Some(said.good),
            None => self.ask(token, foreign).await,
        };
        match said {
            Some(true) => Ok(()),
            Some(false) => Err(Denied::Token(TokenError::NotConfirmed)),
            None if issuer.verify_away == WhenAway::Open && after.is_none() => Ok(()),
            None => Err(Denied::Unavailable),
        }
    }

    async fn ask(&self, token: &str, foreign: &Foreign) -> Option<bool> {
        let issuer = &foreign.issuer;
        let answer = self.sender().ask(&issuer.verify_url, token, self.config().outgoing.timeout).await;
        let good = match answer {
            Ok(answer) => verdict(answer.status, &answer.body),
            Err(error) => {
                tracing::warn!(issuer = issuer.name, %error, "verify_url did not answer");
                return None;
            }
        };
        let Some(good) = good else {
            tracing::warn!(issuer = issuer.name, "verify_url answered neither yes nor no");
            return None;
        };
        self.0.confirmations.put(Sha256::digest(token).into(), Confirmation { good, at: self.clock().now() });
        Some(good)
    }

    /// The first token of a login writes its rows; a later one renews them. Requests only write what is missing: which of
    /// two tokens is the newer one is known at handshakes.
    async fn write_down(
        &self,
        (door, from): (Door, Option<&Origin>),
        foreign: &Foreign,
        row: Option<CallerRow>,
        end: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let who =
            Foreigner { user: foreign.user.clone(), username: foreign.username.clone(), roles: foreign.roles.clone() };
        let _turn = if door == Door::Handshake || row.is_none() { Some(self.turn().await?) } else { None };
        let Some(row) = row else {
            let mut session = foreign_session(&foreign.user, foreign.session, &foreign.external_id, end);
            session.app.clone_from(&foreign.app);
            if let Some(from) = from {
                session.ip = from.ip.to_string();
                session.device.clone_from(&from.agent.device);
                session.os.clone_from(&from.agent.os);
                session.browser.clone_from(&from.agent.browser);
                session.user_agent.clone_from(&from.user_agent);
            }
            let before = self.store().rights(&who.user).await?;
            self.store().admit_foreign(&who, session, now).await?;
            // Another login of the user may be open with the roles of an older token.
            if before.is_some() && before != self.store().rights(&who.user).await? {
                self.refresh_rights(&who.user).await;
            }
            return Ok(());
        };
        let later = match foreign.expires_at {
            Some(end) => row.expires_at < end,
            None => row.expires_at < now + UNTIL_ASKED_AGAIN / 2,
        };
        if later && row.ended.is_none() {
            self.store().prolong_session(foreign.session, end).await?;
        }
        if door == Door::Handshake && changed(&who, &row) {
            self.store().renew_foreign(&who, now).await?;
            self.refresh_rights(&who.user).await;
        }
        Ok(())
    }
}

fn foreign_session(user: &UserKey, id: Uuid, external_id: &str, end: DateTime<Utc>) -> NewSession {
    NewSession {
        id,
        user: user.clone(),
        app: String::new(),
        kind: SessionKind::Foreign,
        scopes: None,
        ip: String::new(),
        device: String::new(),
        os: String::new(),
        browser: String::new(),
        user_agent: String::new(),
        expires_at: end,
        refresh_expires_at: end,
        external_id: Some(external_id.to_owned()),
    }
}

/// Refuses what was issued before a revocation of its user. Where the token does not say when that was, the other system must
/// say that it is good, later than the revocation: that time is returned.
fn judge_issue(
    foreign: &Foreign,
    refused_before: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Denied> {
    let Some(refused_before) = refused_before else { return Ok(None) };
    let over = || Err(Denied::Revoked { kind: None, reason: String::new() });
    match foreign.issued_at {
        // Whole seconds in the claim: one from the same second may be from before.
        Some(issued) if issued.timestamp() <= refused_before.timestamp() => over(),
        Some(_) => Ok(None),
        None if !foreign.issuer.verify_url.is_empty() => Ok(Some(refused_before)),
        None => match foreign.issuer.max_age.and_then(|age| TimeDelta::from_std(age).ok()) {
            // No token lives longer than this, so all from before are over.
            Some(age) if refused_before + age < now => Ok(None),
            _ => over(),
        },
    }
}

/// 2xx is yes, unless the body is an envelope whose `code` says no (RuoYi: 200, HotGo: 0). Other answers of the kind "no" are
/// no; the rest says nothing about the token.
fn verdict(status: u16, body: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    struct Envelope {
        code: i64,
    }
    match status {
        200..=299 => Some(serde_json::from_slice::<Envelope>(body).map_or(true, |said| matches!(said.code, 0 | 200))),
        401 | 403 | 404 | 410 => Some(false),
        _ => None,
    }
}

fn changed(who: &Foreigner, row: &CallerRow) -> bool {
    let prefix = who.roles.first().and_then(|role| role.split_once(':')).map(|(issuer, _)| issuer);
    let foreign = |role: &&str| match prefix {
        Some(prefix) => role.split_once(':').is_some_and(|(issuer, _)| issuer == prefix),
        None => role.contains(':'),
    };
    let known: Vec<&str> = row.rights.roles.iter().map(|role| &**role).filter(foreign).collect();
    *row.rights.username != *who.username || !known.iter().eq(who.roles.iter())
}

fn unavailable(error: StoreError) -> Denied {
    tracing::warn!(cause = error.cause(), "a session could not be looked up");
    Denied::Unavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_yes_no_or_says_nothing() {
        for (status, body, expected) in [
            (204, "", Some(true)),
            (200, r#"{"code":200,"user":{}}"#, Some(true)),
            (200, r#"{"code":0}"#, Some(true)),
            (200, r#"{"active":true}"#, Some(true)),
            (200, r#"{"code":401,"msg":"expired"}"#, Some(false)),
            (200, r#"{"code":61}"#, Some(false)),
            (401, "", Some(false)),
            (302, "", None),
            (500, r#"{"code":200}"#, None),
        ] {
            assert_eq!(verdict(status, body.as_bytes()), expected, "{status} {body}");
        }
    }
}
