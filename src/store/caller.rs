//! Who calls: the session, its user and what that user may do, in one query.

use chrono::{DateTime, Utc};
use sea_orm::{EntityTrait, FromQueryResult, JoinType, QueryFilter, QuerySelect, RelationDef, Select};
use uuid::Uuid;

use super::roles::Words;
use super::sessions::SessionKind;
use super::{Kind, Lockout, Store, StoreError, lockouts, roles, sessions, user_roles, users};
use crate::auth::{Permissions, Rights, UserKey};

/// A session as a request or handshake needs it. Whether it may still be used, the caller judges by its clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerRow {
    /// The session.
    pub session: Uuid,
    /// Whose.
    pub user: UserKey,
    /// The application; empty for our own page.
    pub app: String,
    /// Login or token.
    pub kind: SessionKind,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// Its end, however often it is refreshed.
    pub expires_at: DateTime<Utc>,
    /// How it was revoked; none while it stands.
    pub ended: Option<Ended>,
    /// Whether the account is disabled.
    pub disabled: bool,
    /// A lockout, which may be over.
    pub lockout: Option<Lockout>,
    /// Name, roles and permissions, narrowed by the session's scopes.
    pub rights: Rights,
    /// What the session narrows permissions to; none leaves them whole.
    pub scopes: Option<Permissions>,
    /// URL of a picture; empty for none.
    pub avatar: String,
    /// Tokens of this user issued until then open nothing.
    pub refused_before: Option<DateTime<Utc>>,
    /// Whether nothing is open until the user has chosen a new password.
    pub must_change_password: bool,
}

/// How a session was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: DateTime<Utc>,
    /// By what.
    pub kind: Kind,
    /// The operator's sentence.
    pub reason: String,
}

/// One row per role of the user; at least one.
#[derive(Debug, FromQueryResult)]
struct SessionPart {
    issuer: String,
    user_id: String,
    app: String,
    kind: String,
    scopes: Option<Words>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
    revoked_cause: Option<String>,
    revoked_reason: Option<String>,
    disabled_at: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    lockout_reason: Option<String>,
    avatar: String,
    tokens_refused_before: Option<DateTime<Utc>>,
    must_change_password: bool,
    #[sea_orm(nested)]
    rights: RightsPart,
}

#[derive(Debug, FromQueryResult)]
struct RightsPart {
    username: String,
    foreign_roles: Option<Words>,
    role: Option<String>,
    permissions: Option<Words>,
}

impl Store {
    /// The session and its user; none when there is no such session.
    pub async fn caller(&self, session: Uuid) -> Result<Option<CallerRow>, StoreError> {
        use sessions::Column;
        let select = sessions::Entity::find_by_id(session.to_string())
            .select_only()
            .columns([Column::Issuer, Column::UserId, Column::App, Column::Kind, Column::Scopes])
            .columns([Column::CreatedAt, Column::ExpiresAt])
            .columns([Column::RevokedAt, Column::RevokedCause, Column::RevokedReason])
            .columns([users::Column::DisabledAt, users::Column::Avatar, users::Column::TokensRefusedBefore])
            .column(users::Column::MustChangePassword)
            .column(lockouts::Column::Until)
            .column_as(lockouts::Column::Reason, "lockout_reason")
            .join(JoinType::InnerJoin, user_of_session());
        let select = with_rights(select).join(JoinType::LeftJoin, lockout_of_user());
        Ok(caller(session, select.into_model().all(self.db()).await?))
    }

    /// What a user is called and may do; none when there is no such user. Scopes of a session are not in it.
    pub async fn rights(&self, user: &UserKey) -> Result<Option<Rights>, StoreError> {
        let select = with_rights(users::Entity::find().filter(users::is(user)).select_only());
        Ok(rights(select.into_model().all(self.db()).await?, None))
    }
}

fn caller(session: Uuid, mut rows: Vec<SessionPart>) -> Option<CallerRow> {
    let first = rows.pop()?;
    let ended = first.revoked_at.map(|at| Ended {
        at,
        kind: Kind::from_word(&first.revoked_cause.unwrap_or_default()),
        reason: first.revoked_reason.unwrap_or_default(),
    });
    let reason = first.lockout_reason.unwrap_or_default();
    let scopes = first.scopes.map(|scopes| scopes.permissions());
    let parts = rows.into_iter().map(|row| row.rights).chain([first.rights]).collect();
    Some(CallerRow {
        session,
        user: UserKey::new(&first.issuer, &first.user_id),
        app: first.app,
        kind: SessionKind::from_word(&first.kind),
        created_at: first.created_at,
        expires_at: first.expires_at,
        ended,
        disabled: first.disabled_at.is_some(),
        lockout: first.until.map(|until| Lockout { until, reason }),
        rights: rights(parts, scopes)?,
        scopes,
        avatar: first.avatar,
        refused_before: first.tokens_refused_before,
        must_change_password: first.must_change_password,
    })
}

fn rights(parts: Vec<RightsPart>, scopes: Option<Permissions>) -> Option<Rights> {
    let username = parts.first()?.username.as_str().into();
    let union = |all, part: &RightsPart| all | part.permissions.as_ref().map(Words::permissions).unwrap_or_default();
    let permissions = parts.iter().fold(Permissions::default(), union);
    let foreign = parts.first()?.foreign_roles.iter().flat_map(|roles| roles.0.iter().map(String::as_str));
    let mut roles: Vec<_> =
        parts.iter().filter_map(|part| part.role.as_deref()).chain(foreign).map(Into::into).collect();
    roles.sort();
    let permissions = scopes.map_or(permissions, |scopes| permissions.intersection(scopes));
    Some(Rights { username, roles: roles.into(), permissions })
}

/// The columns of [`RightsPart`] for a query that has users.
fn with_rights<E: EntityTrait>(select: Select<E>) -> Select<E> {
    select
        .column(users::Column::Username)
        .column(users::Column::ForeignRoles)
        .column(user_roles::Column::Role)
        .column(roles::Column::Permissions)
        .join(JoinType::LeftJoin, roles_of_user())
        .join(JoinType::LeftJoin, role_of_user_role())
}

fn user_of_session() -> RelationDef {
    let from = (sessions::Column::Issuer, sessions::Column::UserId);
    sessions::Entity::belongs_to(users::Entity).from(from).to((users::Column::Issuer, users::Column::Id)).into()
}

pub(super) fn roles_of_user() -> RelationDef {
    let to = (user_roles::Column::Issuer, user_roles::Column::UserId);
    users::Entity::belongs_to(user_roles::Entity).from((users::Column::Issuer, users::Column::Id)).to(to).into()
}

fn role_of_user_role() -> RelationDef {
    user_roles::Entity::belongs_to(roles::Entity).from(user_roles::Column::Role).to(roles::Column::Name).into()
}

pub(super) fn lockout_of_user() -> RelationDef {
    let to = (lockouts::Column::Issuer, lockouts::Column::UserId);
    users::Entity::belongs_to(lockouts::Entity).from((users::Column::Issuer, users::Column::Id)).to(to).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Permission;
    use crate::store::testing::{at, login, new_session, new_user, store};

    #[tokio::test]
    async fn a_caller_has_the_union_of_the_roles() {
        let store = store().await;
        let bob = new_user(&store, "bob", &["operator", "member"]).await.key;
        let session = login(&store, &bob, 0).await;
        let caller = store.caller(session).await.unwrap().unwrap();
        assert_eq!((&caller.user, &*caller.rights.username), (&bob, "bob"));
        assert!(caller.rights.permissions.contains(Permission::OnlineKick));
        assert!(!caller.rights.permissions.contains(Permission::UserWrite));
        assert_eq!(store.rights(&bob).await.unwrap().unwrap(), caller.rights);
        assert!(store.caller(Uuid::nil()).await.unwrap().is_none());
        assert!(store.rights(&UserKey::new("shop", "1")).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn somebody_without_roles_may_do_nothing() {
        let store = store().await;
        let bob = new_user(&store, "bob", &[]).await.key;
        let session = login(&store, &bob, 0).await;
        let caller = store.caller(session).await.unwrap().unwrap();
        assert!(caller.rights.roles.is_empty() && caller.rights.permissions == Permissions::default());
    }

    #[tokio::test]
    async fn scopes_narrow_and_never_widen() {
        let store = store().await;
        let bob = new_user(&store, "bob", &["operator"]).await.key;
        let scopes = [Permission::PushSend, Permission::UserWrite].into_iter().collect();
        let new = crate::store::NewSession { scopes: Some(scopes), ..new_session(&bob, 0) };
        let id = new.id;
        store.create_session(new, None, at(0)).await.unwrap();
        let caller = store.caller(id).await.unwrap().unwrap();
        assert_eq!(caller.rights.permissions.words(), ["push:send"]);
    }
}
