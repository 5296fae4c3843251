//! Showing somebody the door: durable first, then at once.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::{Origin, Pending, Services};
use crate::auth::{Identity, UserKey};
use crate::realtime::{Column, OnlineClient, OnlineFilter, OnlineQuery, Page, PresenceError};
use crate::store::{Audited, Kind, NewRevocation, Revocation, StoreError, Targets, Upstream};

/// Whom.
#[derive(Clone, Debug, Default)]
pub struct Whom {
    /// These clients, and with them their sessions unless only the socket shall end.
    pub clients: Vec<Uuid>,
    /// These logins.
    pub sessions: Vec<Uuid>,
    /// These users, with all their logins.
    pub users: Vec<UserKey>,
    /// Every client that matches.
    pub filter: Option<OnlineFilter>,
}

/// Whom that is: what exists of it, and may be ended by who asked.
#[derive(Debug, Default)]
pub struct Found {
    clients: Vec<OnlineClient>,
    sessions: Vec<Uuid>,
    users: Vec<UserKey>,
    /// Every user it would be about.
    everybody: Vec<UserKey>,
    unknown: Vec<String>,
    /// Whether some of the unknown may be on a node that did not answer.
    unheard: bool,
}

/// What an operator asks for.
pub struct Kick<'a> {
    /// Whom.
    pub found: Found,
    /// The sentence the user reads.
    pub reason: String,
    /// For the audit log only; may be empty.
    pub note: String,
    /// Whether sessions end (and so all their tabs), or only the sockets.
    pub revoke: bool,
    /// How long the users stay out.
    pub lockout: Option<Duration>,
    /// The operator knows that it is about themself.
    pub confirm_self: bool,
    /// Only say what would end.
    pub dry_run: bool,
    /// Who asks.
    pub by: &'a Identity,
    /// From where.
    pub origin: &'a Origin,
}

/// What became of it.
#[derive(Debug)]
pub struct Kicked {
    /// The durable row; none for a dry run.
    pub id: Option<Uuid>,
    /// Clients it is about.
    pub matched: usize,
    /// Of them removed and shut down.
    pub closed: usize,
    /// Clients not yet closed, by node.
    pub pending: Vec<Pending>,
    /// Whether nobody is pending, and every node that may have somebody answered.
    pub complete: bool,
    /// Users it is about.
    pub users: Vec<UserKey>,
    /// What was named and does not exist, as on the wire.
    pub unknown: Vec<String>,
    /// The end of the lockout.
    pub until: Option<DateTime<Utc>>,
    /// Whether the systems that the users come from know of it.
    pub upstream: Upstream,
}

/// Clients that a kick is about.
pub(super) struct Affected {
    pub(super) list: Vec<OnlineClient>,
    /// Whether every node answered.
    pub(super) complete: bool,
}

/// Why nobody was shown the door.
#[derive(Debug)]
pub enum KickRefused {
    /// None of the named exists.
    Nobody(&'static str),
    /// None is known of, and not every node answered.
    Unheard,
    /// It is about the operator, who has not said so.
    Oneself,
    /// Only an administrator may kick an administrator.
    Administrator,
    /// The database failed it.
    Store(StoreError),
    /// Presence failed it.
    Presence(PresenceError),
}

impl From<StoreError> for KickRefused {
    fn from(error: StoreError) -> KickRefused {
        KickRefused::Store(error)
    }
}

impl Services {
    /// Finds whom an operator means. Refused when none of the named exists, or one of them is out of the operator's reach.
    /// A filter sees whole addresses only with `whole_ip`.
    pub async fn find(&self, whom: &Whom, by: &Identity, whole_ip: bool) -> Result<Found, KickRefused> {
        let mut found = self.find_named(whom).await?;
        if let Some(filter) = &whom.filter {
            found.clients.extend(self.online(filter.clone(), whole_ip).await?.list);
        }
        found.everybody.extend(found.clients.iter().map(|row| UserKey::from_wire(&row.user_id)));
        found.everybody.sort_unstable();
        found.everybody.dedup();
        if found.everybody.is_empty() && found.unheard {
            return Err(KickRefused::Unheard);
        }
        if found.everybody.is_empty() && whom.filter.is_none() {
            return Err(KickRefused::Nobody(match (whom.users.is_empty(), whom.sessions.is_empty()) {
                (false, _) => "user",
                (true, false) => "session",
                (true, true) => "client",
            }));
        }
        self.guard(&found.everybody, by).await?;
        Ok(found)
    }

    /// Ends clients, sessions or users' logins as the operator asks.
    pub async fn kick(&self, kick: Kick<'_>) -> Result<Kicked, KickRefused> {
        if kick.found.everybody.contains(&kick.by.user) && !kick.confirm_self {
            return Err(KickRefused::Oneself);
        }
        let (targets, now) = (kick.targets(), self.clock().now());
        let affected = self.affected(&targets).await?.list;
        let mut kicked = Kicked {
            id: None,
            matched: affected.len(),
            closed: 0,
            pending: Vec::new(),
            complete: true,
            users: kick.found.everybody.clone(),
            unknown: kick.found.unknown.clone(),
            until: kick.lockout.map(|lockout| now + TimeDelta::from_std(lockout).unwrap_or(TimeDelta::MAX)),
            upstream: Upstream::None,
        };
        if kick.dry_run {
            return Ok(kicked);
        }
        let revocation = self.write(&kick, targets, &kicked).await?;
        let delivered = self.announce(&revocation).await;
        kicked.id = Some(revocation.id);
        kicked.complete = delivered.complete && delivered.dropped == 0;
        kicked.pending = self.pending(&revocation, &delivered, &affected).await?;
        let pending: usize = kicked.pending.iter().map(|left| left.clients).sum();
        // Who left by themselves in between is gone as well.
        kicked.matched = kicked.matched.max(delivered.delivered + pending);
        kicked.closed = kicked.matched - pending;
        self.store().set_revocation_outcome(revocation.id, kicked.matched as u64, kicked.closed as u64).await?;
        kicked.upstream = self.await_upstream(revocation.seq).await?;
        Ok(kicked)
    }

    async fn find_named(&self, whom: &Whom) -> Result<Found, KickRefused> {
        let mut found = Found::default();
        if !whom.clients.is_empty() {
            let filter = OnlineFilter { clients: whom.clients.clone(), ..Default::default() };
            let online = self.online(filter, true).await?;
            (found.clients, found.unheard) = (online.list, !online.state.complete);
            let open: HashSet<Uuid> = found.clients.iter().map(|row| row.id).collect();
            found.unknown.extend(whom.clients.iter().filter(|id| !open.contains(id)).map(Uuid::to_string));
        }
        for session in &whom.sessions {
            match self.store().session(*session).await? {
                Some(row) => {
                    found.sessions.push(*session);
                    found.everybody.push(row.user);
                }
                None => found.unknown.push(session.to_string()),
            }
        }
        for user in &whom.users {
            match self.store().rights(user).await? {
                Some(_) => found.users.push(user.clone()),
                None => found.unknown.push(user.to_string()),
            }
        }
        found.everybody.extend(found.users.iter().cloned());
        Ok(found)
    }

    /// Only an administrator may kick an administrator.
    async fn guard(&self, users: &[UserKey], by: &Identity) -> Result<(), KickRefused> {
        if by.rights.is_admin() {
            return Ok(());
        }
        for user in users {
            if self.store().rights(user).await?.is_some_and(|rights| rights.is_admin()) {
                return Err(KickRefused::Administrator);
            }
        }
        Ok(())
    }

    /// Every client that the targets end, as far as nodes answer.
    pub(super) async fn affected(&self, targets: &Targets) -> Result<Affected, KickRefused> {
        let mut affected = Affected { list: Vec::new(), complete: true };
        let Targets { clients, sessions, users, .. } = targets.clone();
        for filter in [
            OnlineFilter { clients, ..Default::default() },
            OnlineFilter { sessions, ..Default::default() },
            OnlineFilter { users, ..Default::default() },
        ] {
            if !(filter.clients.is_empty() && filter.sessions.is_empty() && filter.users.is_empty()) {
                let online = self.online(filter, true).await?;
                affected.list.extend(online.list);
                affected.complete &= online.state.complete;
            }
        }
        affected.list.sort_unstable_by_key(|row| row.id);
        affected.list.dedup_by_key(|row| row.id);
        Ok(affected)
    }

    async fn online(&self, filter: OnlineFilter, whole_ip: bool) -> Result<Page<OnlineClient>, KickRefused> {
        let query = OnlineQuery { filter, sort: Column::Id, descending: false, offset: 0, limit: usize::MAX, whole_ip };
        self.presence().clients(&query).await.map_err(KickRefused::Presence)
    }

    async fn write(&self, kick: &Kick<'_>, targets: Targets, kicked: &Kicked) -> Result<Revocation, StoreError> {
        let names: Vec<&str> = kicked.users.iter().map(UserKey::as_str).collect();
        let detail = json!({
            "matched": kicked.matched, "revoke": kick.revoke, "until": kicked.until, "note": kick.note,
            "clients": targets.clients, "sessions": targets.sessions, "users": names,
        });
        let mut new = NewRevocation::new(Kind::Kick, &kick.origin.actor(kick.by));
        new.ends_sessions = kick.revoke || kick.lockout.is_some();
        new.targets = targets;
        new.until = kicked.until;
        new.reason = kick.reason.clone();
        if new.ends_sessions {
            new.calls = self.calls_about(&new).await?;
        }
        new.audit = Some(Audited { action: "online.kick".to_owned(), target: names.join(" "), detail });
        self.store().revoke(new, self.clock().now()).await
    }
}

impl Kick<'_> {
    /// What ends: of a client its session, so all its tabs; with a lockout the whole user.
    fn targets(&self) -> Targets {
        let Found { clients, sessions, users, everybody, .. } = &self.found;
        let mut targets = Targets { sessions: sessions.clone(), users: users.clone(), ..Targets::default() };
        if self.lockout.is_some() {
            targets.users.clone_from(everybody);
        } else if self.revoke {
            targets.sessions.extend(clients.iter().map(|row| row.session_id));
        } else {
            targets.clients.extend(clients.iter().map(|row| row.id));
        }
        sort_out(&mut targets);
        targets
    }
}

fn sort_out(targets: &mut Targets) {
    targets.clients.sort_unstable();
    targets.clients.dedup();
    targets.sessions.sort_unstable();
    targets.sessions.dedup();
    targets.users.sort_unstable();
    targets.users.dedup();
}
