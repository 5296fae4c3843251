//! Sessions: one login, revocable, with many clients. A token made by `rollcall token issue` is one, too.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{Condition, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::connection::Write;
use super::revocations::{self, Kind, NewRevocation, Revocation, Targets};
use super::roles::{Words, take_turn};
use super::text::{CHUNK, cut, uuid};
use super::{Actor, Store, StoreError, foreign, users};
use crate::auth::{Permissions, UserKey};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) id: String,
    pub(super) issuer: String,
    pub(super) user_id: String,
    pub(super) app: String,
    pub(super) kind: String,
    pub(super) scopes: Option<Words>,
    pub(super) ip: String,
    pub(super) device: String,
    pub(super) os: String,
    pub(super) browser: String,
    pub(super) user_agent: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) last_seen_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
    pub(super) refresh_generation: i64,
    pub(super) refresh_rotated_at: DateTime<Utc>,
    pub(super) refresh_expires_at: DateTime<Utc>,
    pub(super) revoked_at: Option<DateTime<Utc>>,
    pub(super) revoked_cause: Option<String>,
    pub(super) revoked_reason: Option<String>,
    pub(super) external_id: Option<String>,
}

super::entity!(Sessions);

/// How a session came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// Somebody logged in; it is kept alive by refreshing.
    Login,
    /// A token was issued for a script; it does not count as a login.
    Token,
    /// A login at another system.
    Foreign,
}

impl SessionKind {
    /// The word in rows and answers.
    pub fn word(self) -> &'static str {
        match self {
            SessionKind::Login => "login",
            SessionKind::Token => "token",
            SessionKind::Foreign => "foreign",
        }
    }

    pub(super) fn from_word(word: &str) -> SessionKind {
        match word {
            "token" => SessionKind::Token,
            "foreign" => SessionKind::Foreign,
            _ => SessionKind::Login,
        }
    }
}

/// A session to be. Texts beyond the columns' lengths are cut.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id, as in the token's `sid`.
    pub id: Uuid,
    /// Whose.
    pub user: UserKey,
    /// The application, at most 64 characters; empty for our own page.
    pub app: String,
    /// Login or token.
    pub kind: SessionKind,
    /// Narrows the user's permissions; none leaves them whole.
    pub scopes: Option<Permissions>,
    /// The address it came from.
    pub ip: String,
    /// As in the online list.
    pub device: String,
    /// Operating system.
    pub os: String,
    /// Browser.
    pub browser: String,
    /// The header as it came, cut at 512 characters.
    pub user_agent: String,
    /// Its end, however often it is refreshed.
    pub expires_at: DateTime<Utc>,
    /// Its end when it is not refreshed; for tokens the same.
    pub refresh_expires_at: DateTime<Utc>,
    /// What the other system calls it; none for our own.
    pub external_id: Option<String>,
}

/// A session as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub user: UserKey,
    /// What the user is called; empty when the account is gone.
    pub username: String,
    /// Login or token.
    pub kind: SessionKind,
    /// The application; empty for our own page.
    pub app: String,
    /// The address of the login.
    pub ip: String,
    /// `pc`, `smartphone`, … or empty.
    pub device: String,
    /// Operating system.
    pub os: String,
    /// Browser.
    pub browser: String,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// Last use, behind by as much as the writer waits.
    pub last_seen_at: DateTime<Utc>,
    /// Its end, however often it is refreshed.
    pub expires_at: DateTime<Utc>,
    /// Since when it is revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// What the other system calls it; none for our own.
    pub external_id: Option<String>,
}

impl Store {
    /// Creates a session. With a limit, the user's oldest logins beyond it end in the same transaction, and the
    /// revocation that says so is returned. [`StoreError::NotFound`] `user`, [`StoreError::Disabled`].
    pub async fn create_session(
        &self,
        new: NewSession,
        max_logins: Option<u32>,
        now: DateTime<Utc>,
    ) -> Result<Option<Revocation>, StoreError> {
        let tx = self.begin().await?;
        if users::locked(&tx, &new.user).await?.disabled_at.is_some() {
            return Err(StoreError::Disabled);
        }
        let (user, kind) = (new.user.clone(), new.kind);
        insert(&tx, new, now).await?;
        let mut replaced = None;
        if kind == SessionKind::Login {
            let seen = users::ActiveModel { last_login_at: Set(Some(now)), ..Default::default() };
            users::Entity::update_many().set(seen).filter(users::is(&user)).exec(&*tx).await?;
            if let Some(max) = max_logins {
                replaced = replace(&tx, &user, max.into(), now).await?;
            }
        }
        tx.commit().await?;
        Ok(replaced)
    }

    /// The session with this id, over or not.
    pub async fn session(&self, id: Uuid) -> Result<Option<SessionRow>, StoreError> {
        let found = Entity::find_by_id(id.to_string()).all(self.db()).await?;
        Ok(assemble(self, found).await?.pop())
    }

    /// Whether the session with this id is neither revoked nor expired.
    pub async fn session_stands(&self, id: Uuid, now: DateTime<Utc>) -> Result<bool, StoreError> {
        Ok(Entity::find_by_id(id.to_string()).filter(live(now)).count(self.db()).await? > 0)
    }

    /// The logins that a revocation has ended: those it names, and those that its users had.
    pub async fn sessions_ended_by(&self, revocation: &Revocation) -> Result<Vec<Uuid>, StoreError> {
        let mut ended = revocation.targets.sessions.clone();
        for users in revocation.targets.users.chunks(CHUNK) {
            let rows: Vec<(String, String, String)> = Entity::find()
                .select_only()
                .columns([Column::Id, Column::Issuer, Column::UserId])
                .filter(Column::UserId.is_in(users.iter().map(UserKey::id)))
                .filter(Column::RevokedAt.eq(revocation.at))
                .filter(Column::RevokedCause.eq(revocation.kind.word()))
                .into_tuple()
                .all(self.db())
                .await?;
            for (id, issuer, user) in rows {
                if users.contains(&UserKey::new(&issuer, &user)) {
                    ended.push(uuid(&id)?);
                }
            }
        }
        ended.sort_unstable();
        ended.dedup();
        Ok(ended)
    }

    /// When each of these users last used any session, over or not; who never did is absent. At most a page of users.
    pub async fn last_seen(&self, users: &[UserKey]) -> Result<HashMap<UserKey, DateTime<Utc>>, StoreError> {
        let rows: Vec<(String, String, DateTime<Utc>)> = Entity::find()
            .select_only()
            .columns([Column::Issuer, Column::UserId])
            .column_as(Column::LastSeenAt.max(), "last")
            .filter(Column::UserId.is_in(users.iter().map(UserKey::id)))
            .group_by(Column::Issuer)
            .group_by(Column::UserId)
            .into_tuple()
            .all(self.db())
            .await?;
        let seen = rows.into_iter().map(|(issuer, id, at)| (UserKey::new(&issuer, &id), at));
        Ok(seen.filter(|(user, _)| users.contains(user)).collect())
    }
}

/// Neither revoked nor expired.
pub(super) fn live(now: DateTime<Utc>) -> Condition {
    let standing = Condition::all().add(Column::RevokedAt.is_null());
    standing.add(Column::ExpiresAt.gt(now)).add(Column::RefreshExpiresAt.gt(now))
}

/// Ends what the revocation names: sessions, and all sessions of users but the excepted one, tokens too.
pub(super) async fn end(tx: &Write, revocation: &Revocation) -> Result<(), StoreError> {
    let Targets { sessions, users, except, .. } = &revocation.targets;
    let ids: Vec<String> = sessions.iter().map(Uuid::to_string).collect();
    for ids in ids.chunks(CHUNK) {
        end_where(tx, Column::Id.is_in(ids).into(), revocation).await?;
    }
    if except.is_none() {
        foreign::refuse_tokens(tx, users, revocation.at).await?;
    }
    for user in users {
        let mut which = of(user);
        if let Some(except) = except {
            which = which.add(Column::Id.ne(except.to_string()));
        }
        end_where(tx, which, revocation).await?;
    }
    Ok(())
}

/// Notes the last use of many sessions. A time never goes back.
pub(super) async fn mark_seen(tx: &Write, seen: BTreeMap<Uuid, DateTime<Utc>>) -> Result<(), StoreError> {
    // A session has sockets on several nodes. Each node takes the rows in the same order, or two would wait for each other for ever.
    let ids: Vec<String> = seen.keys().map(Uuid::to_string).collect();
    for ids in ids.chunks(CHUNK) {
        let rows = Entity::find().select_only().column(Column::Id).filter(Column::Id.is_in(ids));
        rows.order_by_asc(Column::Id).lock_exclusive().into_tuple::<String>().all(&**tx).await?;
    }
    // Whoever reports does so at ticks, so few times stand for many sessions.
    let mut by_time: BTreeMap<DateTime<Utc>, Vec<String>> = BTreeMap::new();
    for (id, at) in seen {
        by_time.entry(at).or_default().push(id.to_string());
    }
    for (at, ids) in by_time {
        for ids in ids.chunks(CHUNK) {
            let update = Entity::update_many().set(ActiveModel { last_seen_at: Set(at), ..Default::default() });
            update.filter(Column::Id.is_in(ids)).filter(Column::LastSeenAt.lt(at)).exec(&**tx).await?;
        }
    }
    Ok(())
}

async fn end_where(tx: &Write, which: Condition, revocation: &Revocation) -> Result<(), StoreError> {
    let over = ActiveModel {
        revoked_at: Set(Some(revocation.at)),
        revoked_cause: Set(Some(revocation.kind.word().to_owned())),
        revoked_reason: Set(Some(revocation.reason.clone())),
        ..Default::default()
    };
    Entity::update_many().set(over).filter(which).filter(Column::RevokedAt.is_null()).exec(&**tx).await?;
    Ok(())
}

pub(super) fn of(user: &UserKey) -> Condition {
    Condition::all().add(Column::Issuer.eq(user.issuer())).add(Column::UserId.eq(user.id()))
}

async fn replace(tx: &Write, user: &UserKey, max: u64, now: DateTime<Utc>) -> Result<Option<Revocation>, StoreError> {
    let logins = Entity::find().filter(live(now)).filter(of(user)).filter(Column::Kind.eq(SessionKind::Login.word()));
    let newest_first = logins.order_by_desc(Column::CreatedAt).order_by_desc(Column::Id);
    let ids: Vec<String> = newest_first.select_only().column(Column::Id).into_tuple().all(&**tx).await?;
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let beyond: Vec<Uuid> = ids.iter().skip(max).map(|id| uuid(id)).collect::<Result<_, _>>()?;
    if beyond.is_empty() {
        return Ok(None);
    }
    take_turn(tx).await?;
    let new = NewRevocation {
        targets: Targets { sessions: beyond, ..Default::default() },
        ends_sessions: true,
        ..NewRevocation::new(Kind::Replaced, &Actor::system())
    };
    Ok(Some(revocations::carry_out(tx, new, now).await?))
}

async fn insert(tx: &Write, new: NewSession, now: DateTime<Utc>) -> Result<(), StoreError> {
    Entity::insert(row(new, now)).exec_without_returning(&**tx).await?;
    Ok(())
}

/// The same, unless it is there already.
pub(super) async fn insert_once(tx: &Write, new: NewSession, now: DateTime<Utc>) -> Result<(), StoreError> {
    let once = OnConflict::column(Column::Id).do_nothing_on([Column::Id]).to_owned();
    Entity::insert(row(new, now)).on_conflict(once).exec_without_returning(&**tx).await?;
    Ok(())
}

fn row(new: NewSession, now: DateTime<Utc>) -> ActiveModel {
    ActiveModel {
        id: Set(new.id.to_string()),
        issuer: Set(new.user.issuer().to_owned()),
        user_id: Set(new.user.id().to_owned()),
        app: Set(cut(&new.app, 64)),
        kind: Set(new.kind.word().to_owned()),
        scopes: Set(new.scopes.map(Words::from)),
        ip: Set(cut(&new.ip, 45)),
        device: Set(cut(&new.device, 64)),
        os: Set(cut(&new.os, 64)),
        browser: Set(cut(&new.browser, 64)),
        user_agent: Set(cut(&new.user_agent, 512)),
        created_at: Set(now),
        last_seen_at: Set(now),
        expires_at: Set(new.expires_at),
        refresh_generation: Set(0),
        refresh_rotated_at: Set(now),
        refresh_expires_at: Set(new.refresh_expires_at.min(new.expires_at)),
        revoked_at: Set(None),
        revoked_cause: Set(None),
        revoked_reason: Set(None),
        external_id: Set(new.external_id.map(|id| cut(&id, 255))),
    }
}

pub(super) async fn assemble(store: &Store, rows: Vec<Model>) -> Result<Vec<SessionRow>, StoreError> {
    let keys: Vec<UserKey> = rows.iter().map(|row| UserKey::new(&row.issuer, &row.user_id)).collect();
    let names = users::names(store.db(), keys.iter()).await?;
    let session = |(row, user): (Model, UserKey)| {
        Ok(SessionRow {
            id: uuid(&row.id)?,
            username: names.get(&user).cloned().unwrap_or_default(),
            user,
            kind: SessionKind::from_word(&row.kind),
            app: row.app,
            ip: row.ip,
            device: row.device,
            os: row.os,
            browser: row.browser,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            external_id: row.external_id,
        })
    };
    rows.into_iter().zip(keys).map(session).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, login, new_session, new_user, store};
    use crate::store::{Paging, SessionQuery};

    async fn standing(store: &Store, user: &UserKey) -> Vec<Uuid> {
        let query = SessionQuery { user: Some(user.clone()), ..SessionQuery::all(Paging { page: 1, page_size: 100 }) };
        store.sessions(&query, at(100)).await.unwrap().list.into_iter().map(|session| session.id).collect()
    }

    #[tokio::test]
    async fn the_oldest_login_beyond_the_limit_is_replaced() {
        let store = store().await;
        let bob = new_user(&store, "bob", &[]).await.key;
        let mut token = new_session(&bob, 0);
        token.kind = SessionKind::Token;
        let script = token.id;
        assert!(store.create_session(token, Some(1), at(0)).await.unwrap().is_none());
        let (first, second) = (login(&store, &bob, 1).await, login(&store, &bob, 2).await);
        let new = new_session(&bob, 3);
        let third = new.id;
        let replaced = store.create_session(new, Some(2), at(3)).await.unwrap().unwrap();
        assert_eq!((replaced.kind, replaced.targets.sessions), (Kind::Replaced, vec![first]));
        assert_eq!(standing(&store, &bob).await, [third, second, script], "a token is no login");
        assert_eq!(store.caller(first).await.unwrap().unwrap().ended.unwrap().kind, Kind::Replaced);
        assert_eq!(store.user(&bob).await.unwrap().unwrap().last_login_at, Some(at(3)));
    }

    #[tokio::test]
    async fn a_disabled_account_gets_no_session() {
        let store = store().await;
        let bob = new_user(&store, "bob", &[]).await.key;
        store.set_disabled(&bob, true, &Actor::system(), "", at(0)).await.unwrap();
        let refused = store.create_session(new_session(&bob, 1), None, at(1)).await;
        assert!(matches!(refused, Err(StoreError::Disabled)));
        let nobody = store.create_session(new_session(&UserKey::new("", "99"), 1), None, at(1)).await;
        assert!(matches!(nobody, Err(StoreError::NotFound("user"))));
    }

    #[tokio::test]
    async fn a_user_was_last_seen_with_the_latest_session() {
        let store = store().await;
        let bob = new_user(&store, "bob", &[]).await.key;
        let eve = new_user(&store, "eve", &[]).await.key;
        login(&store, &bob, 7).await;
        login(&store, &bob, 3).await;
        let seen = store.last_seen(&[bob.clone(), eve]).await.unwrap();
        assert_eq!(seen, HashMap::from([(bob.clone(), at(7))]));
        let query = SessionQuery::all(Paging { page: 1, page_size: 1 });
        let newest = store.sessions(&query, at(8)).await.unwrap().list.remove(0);
        assert_eq!((newest.created_at, newest.username.as_str(), newest.user), (at(7), "bob", bob));
    }

    #[tokio::test]
    async fn what_a_revocation_of_users_has_ended_is_known_without_what_had_ended_before_or_began_later() {
        let store = store().await;
        let (bob, eve) = (new_user(&store, "bob", &[]).await.key, new_user(&store, "eve", &[]).await.key);
        let revoke = async |sessions: &[Uuid], users: &[&UserKey], second| {
            let targets = Targets {
                sessions: sessions.to_vec(),
                users: users.iter().copied().cloned().collect(),
                ..Targets::default()
            };
            let new =
                NewRevocation { targets, ends_sessions: true, ..NewRevocation::new(Kind::Kick, &Actor::system()) };
            store.revoke(new, at(second)).await.unwrap()
        };
        let (before, first, second) =
            (login(&store, &bob, 0).await, login(&store, &bob, 1).await, login(&store, &bob, 1).await);
        let (named, other) = (login(&store, &eve, 1).await, login(&store, &eve, 1).await);
        revoke(&[before], &[], 2).await;
        let kick = revoke(&[named], &[&bob], 5).await;
        let later = login(&store, &bob, 6).await;
        revoke(&[other], &[], 5).await;
        let kick = store.revocation(kick.id).await.unwrap().unwrap();
        let (ended, mut expected) = (store.sessions_ended_by(&kick).await.unwrap(), vec![first, second, named]);
        expected.sort_unstable();
        assert_eq!(ended, expected, "not {before}, {other}, {later}");
    }

    #[tokio::test]
    async fn only_standing_sessions_are_listed() {
        let store = store().await;
        let bob = new_user(&store, "bob", &[]).await.key;
        let mut short = new_session(&bob, 0);
        short.refresh_expires_at = at(100);
        store.create_session(short, None, at(0)).await.unwrap();
        let (ended, stands) = (login(&store, &bob, 1).await, login(&store, &bob, 2).await);
        let mut new = NewRevocation::new(Kind::Logout, &Actor::system());
        new.targets.sessions = vec![ended];
        new.ends_sessions = true;
        store.revoke(new, at(3)).await.unwrap();
        assert_eq!(standing(&store, &bob).await, [stands]);
    }
}
