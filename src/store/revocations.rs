//! The ordered sequence of what was taken away: kicks, logouts, disabled accounts, changed roles. Every node follows it,
//! so it holds even where the message about it was lost.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{Condition, DbBackend, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::connection::Write;
use super::roles::take_turn;
use super::text::{contains, cut, new_id, uuid};
use super::{Actor, NewAudit, NewCall, Store, StoreError, administrators, counters, lockouts, outbox, sessions};
use crate::auth::UserKey;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) seq: i64,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) targets: Targets,
    pub(super) ends_sessions: bool,
    pub(super) until: Option<DateTime<Utc>>,
    pub(super) reason: String,
    pub(super) actor: String,
    pub(super) actor_name: String,
    pub(super) matched: i64,
    pub(super) closed: i64,
    pub(super) created_at: DateTime<Utc>,
}

super::entity!(Revocations);

macro_rules! kinds {
    ($($name:ident = $word:literal, $sentence:literal;)*) => {
        /// What was taken away, and why a session ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $(#[doc = $sentence] $name,)*
            /// Written by a later release; its targets still hold.
            Other,
        }

        impl Kind {
            /// The word stored and shown.
            pub fn word(self) -> &'static str {
                match self { $(Kind::$name => $word,)* Kind::Other => "other" }
            }

            /// Reads what is stored.
            pub fn from_word(word: &str) -> Kind {
                match word { $($word => Kind::$name,)* _ => Kind::Other }
            }
        }
    };
}

kinds! {
    Kick = "kick", "An operator ended it.";
    Logout = "logout", "The user logged out, or ended one of their sessions.";
    Disable = "disable", "The account was disabled.";
    Delete = "delete", "The account was deleted.";
    Password = "password", "The password was changed.";
    Replaced = "replaced", "A newer login used the limit.";
    RefreshReused = "refreshReused", "A refresh token was used twice: somebody has a copy.";
    Revoked = "revoked", "Another system ended it: its user logged out there, or changed role.";
    Roles = "roles", "Roles changed; nothing ends, rights are read again.";
    Unlock = "unlock", "Failed logins are forgotten.";
    Lift = "lift", "A lockout was lifted.";
}

/// Whom it is about. Clients are gone with their sockets; sessions and users stay revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(default)]
pub struct Targets {
    /// Single sockets.
    pub clients: Vec<Uuid>,
    /// Logins.
    pub sessions: Vec<Uuid>,
    /// Users, with all their logins.
    #[serde(with = "wire")]
    pub users: Vec<UserKey>,
    /// The one login of those users that stays.
    pub except: Option<Uuid>,
    /// Everybody with one of these roles, of which what they allow has changed.
    pub roles: Vec<String>,
}

/// A revocation to be.
#[derive(Clone, Debug)]
pub struct NewRevocation {
    /// What it is.
    pub kind: Kind,
    /// Whom it is about.
    pub targets: Targets,
    /// Whether the sessions named, and all sessions of the users named, are over. Otherwise only their sockets are.
    pub ends_sessions: bool,
    /// Until when the users named are locked out.
    pub until: Option<DateTime<Utc>>,
    /// The operator's sentence, at most 200 characters.
    pub reason: String,
    /// Who does it.
    pub by: Actor,
    /// How it stands in the audit log; none for what needs no row there.
    pub audit: Option<Audited>,
    /// Other systems that are told of it.
    pub calls: Vec<NewCall>,
}

impl NewRevocation {
    /// One that names nobody yet.
    pub fn new(kind: Kind, by: &Actor) -> NewRevocation {
        NewRevocation {
            kind,
            targets: Targets::default(),
            ends_sessions: false,
            until: None,
            reason: String::new(),
            by: by.clone(),
            audit: None,
            calls: Vec::new(),
        }
    }
}

/// The part of an audit row that a revocation does not say already.
#[derive(Clone, Debug)]
pub struct Audited {
    /// What, as `online.kick`.
    pub action: String,
    /// To whom, for people.
    pub target: String,
    /// What else matters.
    pub detail: serde_json::Value,
}

impl Audited {
    /// An action on one user, without detail.
    pub fn of(action: &str, user: &UserKey) -> Audited {
        Audited { action: action.to_owned(), target: user.to_string(), detail: serde_json::json!({}) }
    }
}

/// A revocation as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its place in the sequence: greater is later, and no row appears after a greater one.
    pub seq: i64,
    /// Its public id.
    pub id: Uuid,
    /// What it is.
    pub kind: Kind,
    /// Whom it is about.
    pub targets: Targets,
    /// Whether sessions ended, not only sockets.
    pub ends_sessions: bool,
    /// Until when the users named are locked out.
    pub until: Option<DateTime<Utc>>,
    /// The operator's sentence.
    pub reason: String,
    /// The actor's key.
    pub actor: String,
    /// The actor's name.
    pub actor_name: String,
    /// Clients it was about, as far as known.
    pub matched: u64,
    /// Clients that are gone because of it, as far as known.
    pub closed: u64,
    /// When.
    pub at: DateTime<Utc>,
}

impl Store {
    /// Takes away, in one transaction: the row, the sessions, the lockouts, the audit row.
    /// [`StoreError::LastAdministrator`] when it would lock out everybody who can administrate.
    pub async fn revoke(&self, new: NewRevocation, now: DateTime<Utc>) -> Result<Revocation, StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        if new.until.is_some_and(|until| until > now) {
            administrators::guard(&tx, &new.targets.users, now).await?;
        }
        let revocation = carry_out(&tx, new, now).await?;
        tx.commit().await?;
        Ok(revocation)
    }

    /// The revocation with this id.
    pub async fn revocation(&self, id: Uuid) -> Result<Option<Revocation>, StoreError> {
        let row = Entity::find().filter(Column::Id.eq(id.to_string())).one(self.db()).await?;
        row.map(revocation).transpose()
    }

    /// Notes what became of it.
    pub async fn set_revocation_outcome(&self, id: Uuid, matched: u64, closed: u64) -> Result<(), StoreError> {
        let count = |count: u64| Set(i64::try_from(count).unwrap_or(i64::MAX));
        let outcome = ActiveModel { matched: count(matched), closed: count(closed), ..Default::default() };
        let tx = self.begin().await?;
        Entity::update_many().set(outcome).filter(Column::Id.eq(id.to_string())).exec(&*tx).await?;
        tx.commit().await
    }

    /// At most `limit` revocations after a place in the sequence, in order.
    pub async fn revocations_after(&self, seq: i64, limit: u64) -> Result<Vec<Revocation>, StoreError> {
        let later = Entity::find().filter(Column::Seq.gt(seq)).order_by_asc(Column::Seq).limit(limit);
        later.all(self.db()).await?.into_iter().map(revocation).collect()
    }

    /// The end of the sequence; zero when nothing was ever taken away.
    pub async fn last_revocation_seq(&self) -> Result<i64, StoreError> {
        counters::last(self.db(), counters::REVOCATIONS).await
    }
}

/// Writes all that follows from it. The caller has taken the turn and asked the guard.
pub(super) async fn carry_out(tx: &Write, new: NewRevocation, now: DateTime<Utc>) -> Result<Revocation, StoreError> {
    let (by, audit, calls) = (new.by.clone(), new.audit.clone(), new.calls.clone());
    let revocation = insert(tx, new, now).await?;
    outbox::insert(tx, &calls, revocation.seq, now).await?;
    if revocation.ends_sessions {
        sessions::end(tx, &revocation).await?;
    }
    if let Some(until) = revocation.until {
        lockouts::set(tx, &revocation, until).await?;
    }
    if let Some(Audited { action, target, detail }) = audit {
        let row = NewAudit { at: now, by, action, target, reason: revocation.reason.clone(), detail };
        tx.log(|rows| rows.audits.push(row));
    }
    Ok(revocation)
}

/// Those that name this user among their targets.
pub(super) fn naming(backend: DbBackend, user: &UserKey) -> Condition {
    let text = if backend == DbBackend::MySql { "char" } else { "text" };
    let quoted = serde_json::Value::from(user.as_str()).to_string();
    Expr::col(Column::Targets).cast_as(text).like(contains(&quoted)).into()
}

async fn insert(tx: &Write, new: NewRevocation, now: DateTime<Utc>) -> Result<Revocation, StoreError> {
    let revocation = Revocation {
        seq: counters::next(tx, counters::REVOCATIONS).await?,
        id: new_id(now),
        kind: new.kind,
        targets: new.targets,
        ends_sessions: new.ends_sessions,
        until: new.until,
        reason: cut(&new.reason, 200),
        actor: cut(&new.by.key, 320),
        actor_name: cut(&new.by.name, 128),
        matched: 0,
        closed: 0,
        at: now,
    };
    let row = ActiveModel {
        seq: Set(revocation.seq),
        id: Set(revocation.id.to_string()),
        kind: Set(revocation.kind.word().to_owned()),
        targets: Set(revocation.targets.clone()),
        ends_sessions: Set(revocation.ends_sessions),
        until: Set(revocation.until),
        reason: Set(revocation.reason.clone()),
        actor: Set(revocation.actor.clone()),
        actor_name: Set(revocation.actor_name.clone()),
        matched: Set(0),
        closed: Set(0),
        created_at: Set(now),
    };
    Entity::insert(row).exec_without_returning(&**tx).await?;
    Ok(revocation)
}

fn revocation(row: Model) -> Result<Revocation, StoreError> {
    Ok(Revocation {
        seq: row.seq,
        id: uuid(&row.id)?,
        kind: Kind::from_word(&row.kind),
        targets: row.targets,
        ends_sessions: row.ends_sessions,
        until: row.until,
        reason: row.reason,
        actor: row.actor,
        actor_name: row.actor_name,
        matched: row.matched.try_into().unwrap_or_default(),
        closed: row.closed.try_into().unwrap_or_default(),
        at: row.created_at,
    })
}

/// Users as on the wire.
mod wire {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::auth::UserKey;

    pub(super) fn serialize<S: Serializer>(users: &[UserKey], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(users.iter().map(UserKey::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<UserKey>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        Ok(texts.iter().map(|text| UserKey::from_wire(text)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::store::AuditQuery;
    use crate::store::testing::{at, login, migrated, new_user, shared, store};

    fn kick(targets: Targets, until: Option<DateTime<Utc>>) -> NewRevocation {
        let (key, name, ip, request_id) = ("1".into(), "root".into(), "127.0.0.1".into(), "r1".into());
        let by = Actor { key, name, ip, request_id, ..Actor::system() };
        let audit = Audited { action: "online.kick".into(), target: "bob".into(), detail: serde_json::json!({"n": 1}) };
        NewRevocation {
            targets,
            until,
            ends_sessions: true,
            reason: "spam".into(),
            audit: Some(audit),
            ..NewRevocation::new(Kind::Kick, &by)
        }
    }

    #[tokio::test]
    async fn a_kick_ends_the_sessions_locks_out_and_is_audited() {
        let store = store().await;
        let bob = new_user(&store, "bob", &["member"]).await.key;
        let eve = new_user(&store, "eve", &["member"]).await.key;
        let (first, second, other) =
            (login(&store, &bob, 0).await, login(&store, &bob, 1).await, login(&store, &eve, 1).await);
        let targets = Targets { users: vec![bob.clone()], ..Default::default() };
        let made = store.revoke(kick(targets, Some(at(600))), at(5)).await.unwrap();

        for session in [first, second] {
            let caller = store.caller(session).await.unwrap().unwrap();
            let ended = caller.ended.unwrap();
            assert_eq!((ended.kind, ended.reason.as_str(), ended.at), (Kind::Kick, "spam", at(5)));
            assert_eq!(caller.lockout.unwrap().until, at(600));
        }
        assert!(store.caller(other).await.unwrap().unwrap().ended.is_none());
        assert_eq!(store.user(&bob).await.unwrap().unwrap().locked_until, Some(at(600)));
        assert_eq!(store.revocation(made.id).await.unwrap().unwrap(), made);

        let query = AuditQuery { actor: Some("1".into()), ..Default::default() };
        let audit = store.audit(&query).await.unwrap().list.remove(0);
        assert_eq!(
            (audit.action.as_str(), audit.reason.as_str(), audit.by.request_id.as_str()),
            ("online.kick", "spam", "r1")
        );
        assert_eq!(audit.detail, serde_json::json!({"n": 1}));
    }

    #[tokio::test]
    async fn a_refused_lockout_leaves_nothing_behind() {
        let store = store().await;
        let root = new_user(&store, "root", &["admin"]).await.key;
        let session = login(&store, &root, 0).await;
        let end = store.last_revocation_seq().await.unwrap();
        let targets = Targets { users: vec![root], ..Default::default() };
        let refused = store.revoke(kick(targets, Some(at(600))), at(5)).await;
        assert!(matches!(refused, Err(StoreError::LastAdministrator)));
        assert!(store.caller(session).await.unwrap().unwrap().ended.is_none());
        assert_eq!(store.last_revocation_seq().await.unwrap(), end);
    }

    #[tokio::test]
    async fn a_lifted_lockout_is_over_and_heard_of() {
        let store = store().await;
        let bob = new_user(&store, "bob", &[]).await.key;
        let targets = Targets { users: vec![bob.clone()], ..Default::default() };
        let kicked = store.revoke(kick(targets, Some(at(600))), at(5)).await.unwrap();
        let lifted = store.lift_lockout(&bob, &Actor::system(), "", at(6)).await.unwrap().unwrap();
        assert_eq!(store.user(&bob).await.unwrap().unwrap().locked_until, None);
        assert_eq!(store.revocations_after(kicked.seq, 10).await.unwrap(), [lifted]);
        assert!(store.lift_lockout(&bob, &Actor::system(), "", at(7)).await.unwrap().is_none());
    }

    /// Two transactions that write a row each, the first of which commits last. Whoever follows the sequence meanwhile misses
    /// neither.
    #[tokio::test]
    async fn numbers_become_visible_in_order_though_a_transaction_stays_open() {
        let (mut settings, _file) = shared().await;
        // Longer than the first one takes.
        settings.timeout = Duration::from_secs(60);
        let (store, other) = (migrated(&settings).await, Store::open(&settings).await.unwrap());
        let session = |second| Targets { sessions: vec![new_id(at(second))], ..Default::default() };
        let first = store.revoke(kick(session(0), None), at(0)).await.unwrap().seq;
        let open = store.begin().await.unwrap();
        // It has not even taken its turn: the number alone must do.
        let held = carry_out(&open, kick(session(1), None), at(1)).await.unwrap();

        let tasks = TaskTracker::new();
        // Fewer than the pool has connections: they wait.
        for second in 2..4 {
            let (store, targets) = (other.clone(), session(second));
            tasks.spawn(async move { store.revoke(kick(targets, None), at(second)).await.unwrap() });
        }
        tasks.close();
        let mut followed = vec![first];
        let mut open = Some(open);
        for look in 0.. {
            let rows = other.revocations_after(*followed.last().unwrap(), 10).await.unwrap();
            followed.extend(rows.iter().map(|row| row.seq));
            assert!(look < 3_000, "they do not come: {followed:?}");
            match &open {
                // The others have had their time to go ahead.
                Some(_) if look == 30 => open.take().unwrap().commit().await.unwrap(),
                Some(_) => assert_eq!(followed, [first], "a greater number is visible while {} is not", held.seq),
                None if followed.len() == 4 => break,
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tasks.wait().await;
        let all: Vec<i64> = store.revocations_after(first - 1, 10).await.unwrap().iter().map(|row| row.seq).collect();
        assert_eq!(followed, all);
        assert_eq!(other.last_revocation_seq().await.unwrap(), *all.last().unwrap());
    }

    #[tokio::test]
    async fn what_became_of_a_kick_is_kept() {
        let store = store().await;
        let targets = Targets { clients: vec![new_id(at(0))], ..Default::default() };
        let made = store.revoke(kick(targets.clone(), None), at(5)).await.unwrap();
        store.set_revocation_outcome(made.id, 3, 2).await.unwrap();
        let found = store.revocation(made.id).await.unwrap().unwrap();
        assert_eq!((found.matched, found.closed, found.targets), (3, 2, targets));
    }
}
