//! `rollcall token`: a token for a script is a session of its own, listed and revocable like a login.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Subcommand;
use humantime_serde::re::humantime::{format_duration, parse_duration};
use tokio_util::task::TaskTracker;

use super::{Done, Failure, open_with_keys, say, user};
use crate::auth::{Permission, Permissions, Tokens};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::store::{Actor, Entry, LogWriter, NewAudit, NewSession, SessionKind, Store, User, new_id};

/// How unlike a word may be and still be suggested: 1 is the same, 0 has nothing in common.
const SIMILAR: f64 = 0.7;

#[derive(Subcommand)]
pub(super) enum What {
    /// Issue a token and print it; nothing else is printed
    Issue(Issue),
}

#[derive(clap::Args)]
pub(super) struct Issue {
    /// Whose rights the token narrows
    #[arg(long, value_name = "NAME", default_value = crate::app::ADMIN_NAME)]
    pub(super) user: String,
    /// What the token is for, shown as the app of its session; at most 64 characters
    #[arg(long, value_name = "SCRIPT", default_value = "", hide_default_value = true)]
    pub(super) name: String,
    /// What the token may do, as push:send; may be given again
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',', value_parser = scope)]
    pub(super) scopes: Vec<Permission>,
    /// How long the token lives, as 12h or 30d
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_duration)]
    pub(super) expires: Duration,
}

pub(super) async fn run(config: &Config, What::Issue(wish): What) -> Done {
    say(issue(config, &wish).await?);
    Ok(())
}

/// A new token, with a session of its own.
pub(super) async fn issue(config: &Config, issue: &Issue) -> Result<String, Failure> {
    let now = SystemClock::new().now();
    let (store, keyring) = open_with_keys(config).await?;
    let keyring = Arc::new(keyring);
    let expires_at = expiry(now, issue.expires, keyring.longest_life())?;
    let user = user::find(&store, &issue.user).await?;
    let scopes: Permissions = issue.scopes.iter().copied().collect();
    check_rights(&store, &user, scopes).await?;
    let session = new_session(&user, &issue.name, scopes, expires_at, now);
    let id = session.id;
    store.create_session(session, None, now).await?;
    audit(&store, &user, issue, scopes, now).await;
    let (token, _) = Tokens::new(keyring, &config.auth).issue_for(&user.key, id, now, issue.expires);
    store.close().await;
    Ok(token)
}

fn expiry(now: DateTime<Utc>, life: Duration, longest: Option<Duration>) -> Result<DateTime<Utc>, Failure> {
    if life < Duration::from_secs(1) {
        return Err(Failure::new("--expires: a token lives at least a second."));
    }
    if let Some(longest) = longest.filter(|longest| life > *longest) {
        return Err(Failure::new(format!(
            "--expires: {} is longer than auth.key_overlap ({}), after which its key may be gone; shorten it, or set auth.key_overlap.",
            spoken(life),
            spoken(longest)
        )));
    }
    let end = TimeDelta::from_std(life).ok().and_then(|life| now.checked_add_signed(life));
    end.ok_or_else(|| Failure::new("--expires: that is beyond the calendar."))
}

/// As people write it in the settings: humantime's own months have 30.44 days.
fn spoken(duration: Duration) -> String {
    const DAY: u64 = 86_400;
    match duration.as_secs() {
        seconds if seconds % DAY == 0 => format!("{}d", seconds / DAY),
        _ => format_duration(duration).to_string(),
    }
}

/// A scope the user does not have would be a token that fails later, where nobody knows why.
async fn check_rights(store: &Store, user: &User, scopes: Permissions) -> Done {
    let has = store.rights(&user.key).await?.map(|rights| rights.permissions).unwrap_or_default();
    match scopes.difference(has).words()[..] {
        [] => Ok(()),
        ref missing => Err(Failure::new(format!(
            "--scope: {} may not {} itself; leave that out, or choose another --user.",
            user.username,
            missing.join(", ")
        ))),
    }
}

fn new_session(
    user: &User,
    name: &str,
    scopes: Permissions,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> NewSession {
    NewSession {
        id: new_id(now),
        user: user.key.clone(),
        app: name.to_owned(),
        kind: SessionKind::Token,
        scopes: Some(scopes),
        ip: String::new(),
        device: String::new(),
        os: String::new(),
        browser: String::new(),
        user_agent: String::new(),
        expires_at,
        refresh_expires_at: expires_at,
        external_id: None,
    }
}

async fn audit(store: &Store, user: &User, issue: &Issue, scopes: Permissions, now: DateTime<Utc>) {
    let writer = LogWriter::start(store.clone(), 1, &TaskTracker::new());
    writer.write(Entry::Audit(NewAudit {
        by: Actor::command_line(),
        action: "token.issue".into(),
        target: user.key.to_string(),
        detail: serde_json::json!({ "name": issue.name, "scopes": scopes.words(), "seconds": issue.expires.as_secs() }),
        ..NewAudit::at(now)
    }));
    writer.stop().await;
}

pub(super) fn scope(word: &str) -> Result<Permission, String> {
    word.parse().map_err(|()| {
        let similar = Permission::ALL.iter().map(|known| (strsim::jaro_winkler(word, known.word()), known.word()));
        let best = similar.filter(|(likeness, _)| *likeness >= SIMILAR).max_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((_, known)) => format!("there is no such scope; did you mean {known}?"),
            None => format!("there is no such scope; there are {}", Permissions::all().words().join(", ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_outlive_its_key() {
        let (now, day) = (DateTime::UNIX_EPOCH, Duration::from_secs(86_400));
        assert_eq!(expiry(now, day, Some(day)).unwrap(), now + TimeDelta::days(1));
        assert!(expiry(now, 100 * day, None).is_ok());
        let told = format!("{:?}", expiry(now, 2 * day, Some(day)).unwrap_err());
        assert!(told.contains("2d is longer than auth.key_overlap (1d)"), "{told}");
        assert!(expiry(now, Duration::MAX, None).is_err());
    }

    #[test]
    fn a_misspelled_scope_is_told_the_right_one() {
        assert_eq!(scope("push:send"), Ok(Permission::PushSend));
        assert!(scope("push:sent").unwrap_err().ends_with("did you mean push:send?"));
    }
}
