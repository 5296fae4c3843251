//! Telling other systems what was ended here. A call is written with what it tells, and made by one worker: at once, and
//! again until it succeeds or `outgoing.retry_for` is over.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::Services;
use crate::auth::UserKey;
use crate::config::{Issuer, Secret};
use crate::outgoing::Signer;
use crate::store::{Attempt, Call, NewCall, NewRevocation, StoreError, Upstream};

/// Calls under way at a time.
const AT_ONCE: usize = 16;
/// Between two looks at what is due, when nothing wakes the worker.
const LOOK: Duration = Duration::from_secs(1);
/// How long an operator's kick waits to say "confirmed" rather than "pending".
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest time between two looks of an operator's kick: calls that another node has made settle without a word.
const GLANCE: Duration = Duration::from_millis(250);
/// Longest time between two attempts.
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(10);
/// Logins named in one call.
const MAX_SESSIONS: usize = 100;
/// How a target names an issuer.
const ISSUER: &str = "issuer:";

impl Services {
    /// The calls that tell other systems of what an operator ends of their users' logins. None for users of ours, or of systems
    /// that want to hear nothing.
    pub(super) async fn calls_about(&self, told: &NewRevocation) -> Result<Vec<NewCall>, StoreError> {
        let mut sessions: BTreeMap<UserKey, Vec<String>> = BTreeMap::new();
        for session in &told.targets.sessions {
            if let Some(row) = self.store().session(*session).await?
                && !told.targets.users.contains(&row.user)
            {
                sessions.entry(row.user).or_default().extend(row.external_id);
            }
        }
        let mut calls: Vec<NewCall> = Vec::new();
        for user in &told.targets.users {
            calls.extend(self.call(user, None, told));
        }
        for (user, ids) in &sessions {
            calls.extend(ids.chunks(MAX_SESSIONS).filter_map(|ids| self.call(user, Some(ids), told)));
        }
        Ok(calls)
    }

    fn call(&self, user: &UserKey, sessions: Option<&[String]>, told: &NewRevocation) -> Option<NewCall> {
        let issuer = self.issuers().of(user).filter(|issuer| !issuer.revoke_url.is_empty())?;
        let data = json!({
            "issuer": issuer.name, "user": user.id(), "sessions": sessions,
            "reason": told.reason, "by": told.by.name, "until": told.until,
        });
        let (target, stream) = (format!("{ISSUER}{}", issuer.name), user.to_string());
        Some(NewCall { target, stream, event: "session.revoked".to_owned(), data })
    }

    /// Waits a moment for the calls about a revocation.
    pub(super) async fn await_upstream(&self, revocation: i64) -> Result<Upstream, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        self.0.outbox.due.notify_one();
        loop {
            let settled = self.0.outbox.settled.notified();
            let state = self.store().upstream_of(revocation).await?;
            let now = Instant::now();
            if state != Upstream::Pending || now >= deadline {
                return Ok(state);
            }
            let _ = timeout_at(deadline.min(now + GLANCE), settled).await;
        }
    }

    /// Makes the calls that are due, for ever.
    pub async fn make_calls(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            let room = AT_ONCE - running.len();
            match self.claim(room).await {
                Ok(calls) => running.extend(calls.into_iter().map(|call| self.attempt(call))),
                Err(error) => tracing::debug!(cause = error.cause(), "the outbox cannot be read; trying on"),
            }
            tokio::select! {
                Some(()) = running.next() => self.0.outbox.settled.notify_waiters(),
                () = self.0.outbox.due.notified(), if running.len() < AT_ONCE => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn claim(&self, room: usize) -> Result<Vec<Call>, StoreError> {
        if room == 0 {
            return Ok(Vec::new());
        }
        let now = self.clock().now();
        let lease = now + delta(self.config().outgoing.timeout) + TimeDelta::seconds(5);
        let mut claimed = Vec::new();
        for mut call in self.store().due_calls(now, room as u64).await? {
            if self.store().claim_call(&call, lease).await? {
                call.attempts += 1;
                claimed.push(call);
            }
        }
        Ok(claimed)
    }

    async fn attempt(&self, call: Call) {
        let outcome = self.make(&call).await;
        let now = self.clock().now();
        let attempt = match outcome {
            Ok(()) => Attempt::Done,
            Err(error) if now - call.created_at >= delta(self.config().outgoing.retry_for) => {
                tracing::error!(call.id = %call.id, target = call.target, error, "a call was given up");
                Attempt::Dead(error)
            }
            Err(error) => {
                tracing::warn!(call.id = %call.id, target = call.target, error, "a call failed; it is made again");
                Attempt::Again(now + pause(call.attempts), error)
            }
        };
        if let Err(error) = self.store().settle_call(call.seq, &attempt, now).await {
            // The lease runs out, and it is made again: the receiver knows it by its id.
            tracing::warn!(call.id = %call.id, cause = error.cause(), "the outcome of a call was not written");
        }
    }

    async fn make(&self, call: &Call) -> Result<(), String> {
        let name = call.target.strip_prefix(ISSUER).unwrap_or_default();
        let issuer = self.issuers().named(name).filter(|issuer| !issuer.revoke_url.is_empty());
        let issuer = issuer.ok_or("the settings have no revoke_url for it any more")?;
        let signer = signer(&issuer)?;
        let headers = signer.headers(call.id, self.clock().now(), &call.body);
        let limit = self.config().outgoing.timeout;
        match self.sender().post(&issuer.revoke_url, &headers, call.body.clone(), limit).await {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(format!("answered {}", answer.status)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Wakes the worker, and those who wait for it.
#[derive(Default)]
pub struct Outbox {
    due: tokio::sync::Notify,
    settled: tokio::sync::Notify,
}

fn signer(issuer: &Issuer) -> Result<Signer, String> {
    let secret = if issuer.revoke_secret.is_empty() {
        let path = issuer.revoke_secret_file.display();
        let text = std::fs::read_to_string(&issuer.revoke_secret_file);
        Secret::new(text.map_err(|error| format!("{path} cannot be read: {error}"))?.trim())
    } else {
        issuer.revoke_secret.clone()
    };
    Signer::new(&secret).ok_or_else(|| "revoke_secret is too short or no base64".to_owned())
}

/// Doubling from two seconds, with up to a quarter more so that calls that failed together do not come back together.
fn pause(attempts: u32) -> TimeDelta {
    let pause = TimeDelta::seconds(1 << attempts.min(10)).min(LONGEST_PAUSE);
    pause + TimeDelta::milliseconds(rand::random_range(0..=pause.num_milliseconds() / 4))
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
