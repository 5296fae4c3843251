//! Showing somebody the door: durable first, then at once.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::upstream::Told;
use super::{Origin, Services};
use crate::auth::{Identity, UserKey};
use crate::realtime::{Column, OnlineClient, OnlineFilter, OnlineQuery, PresenceError};
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

/// What an operator asks for.
pub struct Kick<'a> {
    /// Whom.
    pub whom: Whom,
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
    /// Whether the filter sees whole addresses.
    pub whole_ip: bool,
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
    /// Users it is about.
    pub users: Vec<UserKey>,
    /// The end of the lockout.
    pub until: Option<DateTime<Utc>>,
    /// Whether the systems that the users come from know of it.
    pub upstream: Upstream,
}

/// Clients a node has not closed yet.
#[derive(Debug)]
pub struct Pending {
    /// The node.
    pub node: Arc<str>,
    /// How many.
    pub clients: usize,
}

/// Why nobody was shown the door.
#[derive(Debug)]
pub enum KickRefused {
    /// None of the named exists.
    Nobody(&'static str),
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

/// What a kick means, worked out.
struct Plan {
    matched: Vec<OnlineClient>,
    targets: Targets,
    users: Vec<UserKey>,
}

impl Services {
    /// Ends clients, sessions or users' logins as the operator asks.
    pub async fn kick(&self, kick: Kick<'_>) -> Result<Kicked, KickRefused> {
        let plan = self.plan(&kick).await?;
        self.guard(&kick, &plan).await?;
        let now = self.clock().now();
        let until = kick.lockout.map(|lockout| now + TimeDelta::from_std(lockout).unwrap_or(TimeDelta::MAX));
        let mut kicked = Kicked {
            id: None,
            matched: plan.matched.len(),
            closed: 0,
            pending: Vec::new(),
            users: plan.users,
            until,
            upstream: Upstream::None,
        };
        if kick.dry_run {
            return Ok(kicked);
        }
        let revocation = self.write(&kick, plan.targets, &kicked).await?;
        let delivered = self.announce(&revocation).await;
        kicked.id = Some(revocation.id);
        // Who left by themselves in between is gone as well.
        kicked.matched = kicked.matched.max(delivered.clients);
        kicked.closed = kicked.matched - delivered.dropped;
        if delivered.dropped > 0 {
            kicked.pending.push(Pending { node: self.node().clone(), clients: delivered.dropped });
        }
        self.store().set_revocation_outcome(revocation.id, kicked.matched as u64, kicked.closed as u64).await?;
        kicked.upstream = self.await_upstream(revocation.seq).await?;
        Ok(kicked)
    }

    /// Finds everybody it is about: a client's session, so all its tabs; a lockout the whole user.
    async fn plan(&self, kick: &Kick<'_>) -> Result<Plan, KickRefused> {
        let Whom { clients, sessions, users, filter } = &kick.whom;
        let mut named = Vec::new();
        if !clients.is_empty() {
            named.extend(self.online(OnlineFilter { clients: clients.clone(), ..Default::default() }, true).await?);
        }
        if let Some(filter) = filter {
            named.extend(self.online(filter.clone(), kick.whole_ip).await?);
        }
        let mut targets = Targets { sessions: sessions.clone(), users: users.clone(), ..Targets::default() };
        if kick.lockout.is_some() {
            targets.users.extend(named.iter().map(|row| UserKey::from_wire(&row.user_id)));
            targets.users.extend(self.owners(sessions).await?);
        } else if kick.revoke {
            targets.sessions.extend(named.iter().map(|row| row.session_id));
        } else {
            targets.clients.extend(named.iter().map(|row| row.id));
        }
        sort_out(&mut targets);
        let matched = self.affected(&targets).await?;
        let mut everybody: Vec<UserKey> = matched.iter().map(|row| UserKey::from_wire(&row.user_id)).collect();
        everybody.extend(targets.users.iter().cloned());
        everybody.extend(self.owners(&targets.sessions).await?);
        everybody.sort_unstable();
        everybody.dedup();
        Ok(Plan { matched, targets, users: everybody })
    }

    /// Every client that the targets end.
    async fn affected(&self, targets: &Targets) -> Result<Vec<OnlineClient>, KickRefused> {
        let mut rows = Vec::new();
        let Targets { clients, sessions, users, .. } = targets.clone();
        for filter in [
            OnlineFilter { clients, ..Default::default() },
            OnlineFilter { sessions, ..Default::default() },
            OnlineFilter { users, ..Default::default() },
        ] {
            if !(filter.clients.is_empty() && filter.sessions.is_empty() && filter.users.is_empty()) {
                rows.extend(self.online(filter, true).await?);
            }
        }
        rows.sort_unstable_by_key(|row| row.id);
        rows.dedup_by_key(|row| row.id);
        Ok(rows)
    }

    async fn online(&self, filter: OnlineFilter, whole_ip: bool) -> Result<Vec<OnlineClient>, KickRefused> {
        let query = OnlineQuery { filter, sort: Column::Id, descending: false, offset: 0, limit: usize::MAX, whole_ip };
        Ok(self.presence().clients(&query).await.map_err(KickRefused::Presence)?.list)
    }

    async fn owners(&self, sessions: &[Uuid]) -> Result<Vec<UserKey>, KickRefused> {
        let mut owners = Vec::new();
        for session in sessions {
            owners.extend(self.store().session(*session).await?.map(|row| row.user));
        }
        Ok(owners)
    }

    async fn guard(&self, kick: &Kick<'_>, plan: &Plan) -> Result<(), KickRefused> {
        if plan.users.is_empty() && kick.whom.filter.is_none() {
            return Err(KickRefused::Nobody(if kick.whom.sessions.is_empty() { "client" } else { "session" }));
        }
        for user in &plan.users {
            match self.store().rights(user).await? {
                None => return Err(KickRefused::Nobody("user")),
                Some(rights) if rights.is_admin() && !kick.by.rights.is_admin() => {
                    return Err(KickRefused::Administrator);
                }
                Some(_) => {}
            }
        }
        if plan.users.contains(&kick.by.user) && !kick.confirm_self {
            return Err(KickRefused::Oneself);
        }
        Ok(())
    }

    async fn write(&self, kick: &Kick<'_>, targets: Targets, kicked: &Kicked) -> Result<Revocation, StoreError> {
        let names: Vec<&str> = kicked.users.iter().map(UserKey::as_str).collect();
        let detail = json!({
            "matched": kicked.matched, "revoke": kick.revoke, "until": kicked.until, "note": kick.note,
            "clients": targets.clients, "sessions": targets.sessions, "users": names,
        });
        let mut new = NewRevocation::new(Kind::Kick, &kick.origin.actor(kick.by));
        new.ends_sessions = kick.revoke || kick.lockout.is_some();
        if new.ends_sessions {
            let by = &kick.by.rights.username;
            let told = Told { targets: &targets, reason: &kick.reason, by, until: kicked.until };
            new.calls = self.calls_about(&told).await?;
        }
        new.targets = targets;
        new.until = kicked.until;
        new.reason = kick.reason.clone();
        new.audit = Some(Audited { action: "online.kick".to_owned(), target: names.join(" "), detail });
        self.store().revoke(new, self.clock().now()).await
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
