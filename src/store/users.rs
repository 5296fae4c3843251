//! User accounts. A user is (issuer, id); ids of our own issuer are the row numbers. The default issuer is stored as the
//! empty text: it is our own, unless `auth.default_issuer` says otherwise.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QuerySelect, SqlErr};

use super::connection::Write;
use super::text::{cut, new_id, username_key};
use super::{Actor, NewAudit, Store, StoreError, lockouts, roles, user_roles};
use crate::auth::UserKey;
use crate::config::Secret;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key)]
    pub(super) seq: i64,
    pub(super) issuer: String,
    pub(super) id: String,
    pub(super) username: String,
    pub(super) username_key: String,
    pub(super) password_hash: Option<String>,
    pub(super) avatar: String,
    pub(super) disabled_at: Option<DateTime<Utc>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) last_login_at: Option<DateTime<Utc>>,
    pub(super) tokens_refused_before: Option<DateTime<Utc>>,
    pub(super) foreign_roles: Option<roles::Words>,
    pub(super) display_name: String,
    pub(super) email: String,
    pub(super) must_change_password: bool,
}

super::entity!(Users);

/// An account as it stands.
#[derive(Clone, Debug)]
pub struct User {
    /// Who.
    pub key: UserKey,
    /// As typed when it was created.
    pub username: String,
    /// Names of the roles, sorted.
    pub roles: Vec<String>,
    /// argon2 in PHC form; none for users who log in elsewhere.
    pub password_hash: Option<Secret>,
    /// URL of a picture; empty for none.
    pub avatar: String,
    /// Since when the account is disabled; none is enabled.
    pub disabled_at: Option<DateTime<Utc>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// The last login that made a session.
    pub last_login_at: Option<DateTime<Utc>>,
    /// Until when a kick keeps it out; may lie in the past.
    pub locked_until: Option<DateTime<Utc>>,
    /// How people call the user; empty for none.
    pub display_name: String,
    /// Empty for none.
    pub email: String,
    /// Whether nothing is open until a new password is chosen.
    pub must_change_password: bool,
}

/// An account to be.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// 1 to 128 characters; unique without regard to case and outer spaces.
    pub username: String,
    /// argon2 in PHC form.
    pub password_hash: Option<Secret>,
    /// URL of a picture; empty for none.
    pub avatar: String,
    /// Names of existing roles.
    pub roles: Vec<String>,
    /// How people call the user, at most 128 characters; empty for none.
    pub display_name: String,
    /// At most 254 characters; empty for none.
    pub email: String,
    /// Whether the first login must choose a new password.
    pub must_change_password: bool,
}

impl Store {
    /// Creates an account of our own issuer. [`StoreError::Conflict`] `username`, [`StoreError::NotFound`] `role`,
    /// [`StoreError::Beyond`], [`StoreError::AdministratorsOnly`].
    pub async fn create_user(&self, new: NewUser, by: &Actor, now: DateTime<Utc>) -> Result<User, StoreError> {
        let tx = self.begin().await?;
        let user = create(&tx, self.own_issuer(), &new, by, now).await?;
        tx.commit().await?;
        self.user(&user).await?.ok_or(StoreError::NotFound("user"))
    }

    /// The account, if there is one.
    pub async fn user(&self, user: &UserKey) -> Result<Option<User>, StoreError> {
        let rows = Entity::find().filter(is(user)).all(self.db()).await?;
        Ok(assemble(self.db(), rows).await?.pop())
    }

    /// The account of our own issuer with this name, however it is spelled.
    pub async fn user_named(&self, username: &str) -> Result<Option<User>, StoreError> {
        let named = Condition::all()
            .add(Column::Issuer.eq(self.own_issuer()))
            .add(Column::UsernameKey.eq(username_key(username)));
        let rows = Entity::find().filter(named).all(self.db()).await?;
        Ok(assemble(self.db(), rows).await?.pop())
    }
}

pub(super) fn is(user: &UserKey) -> Condition {
    Condition::all().add(Column::Issuer.eq(user.issuer())).add(Column::Id.eq(user.id()))
}

/// What these users are called.
pub(super) async fn names(
    db: &impl ConnectionTrait,
    users: impl Iterator<Item = &UserKey>,
) -> Result<HashMap<UserKey, String>, StoreError> {
    let rows = Entity::find().filter(Column::Id.is_in(users.map(UserKey::id))).all(db).await?;
    Ok(rows.into_iter().map(|row| (UserKey::new(&row.issuer, &row.id), row.username)).collect())
}

/// The row, locked to the end of the transaction where locks are per row.
pub(super) async fn locked(tx: &Write, user: &UserKey) -> Result<Model, StoreError> {
    let row = Entity::find().filter(is(user)).lock_exclusive().one(&**tx).await?;
    row.ok_or(StoreError::NotFound("user"))
}

/// The role names, sorted, each once.
pub(super) fn distinct(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

/// An account with its roles and its audit row.
pub(super) async fn create(
    tx: &Write,
    issuer: &str,
    new: &NewUser,
    by: &Actor,
    now: DateTime<Utc>,
) -> Result<UserKey, StoreError> {
    let roles = distinct(&new.roles);
    roles::check(tx, &roles, by).await?;
    let user = insert(tx, issuer, new, now).await?;
    user_roles::replace(tx, &user, &roles).await?;
    let detail = serde_json::json!({ "username": new.username, "roles": roles });
    let (by, action, target) = (by.clone(), "user.create".to_owned(), user.to_string());
    let row = NewAudit { by, action, target, detail, ..NewAudit::at(now) };
    tx.log(|rows| rows.audits.push(row));
    Ok(user)
}

/// The id is the row number, which is known only afterwards; until then a random one keeps the key unique.
async fn insert(tx: &Write, issuer: &str, new: &NewUser, now: DateTime<Utc>) -> Result<UserKey, StoreError> {
    let row = ActiveModel {
        seq: NotSet,
        issuer: Set(issuer.to_owned()),
        id: Set(new_id(now).to_string()),
        username: Set(new.username.trim().to_owned()),
        username_key: Set(username_key(&new.username)),
        password_hash: Set(new.password_hash.as_ref().map(|hash| hash.expose().to_owned())),
        avatar: Set(cut(&new.avatar, 512)),
        disabled_at: Set(None),
        created_at: Set(now),
        last_login_at: Set(None),
        tokens_refused_before: Set(None),
        foreign_roles: Set(None),
        display_name: Set(cut(&new.display_name, 128)),
        email: Set(cut(&new.email, 254)),
        must_change_password: Set(new.must_change_password),
    };
    let inserted = Entity::insert(row).exec(&**tx).await.map_err(|error| match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::Conflict("username"),
        _ => error.into(),
    })?;
    let id = inserted.last_insert_id.to_string();
    let named = ActiveModel { id: Set(id.clone()), ..Default::default() };
    Entity::update_many().set(named).filter(Column::Seq.eq(inserted.last_insert_id)).exec(&**tx).await?;
    Ok(UserKey::new(issuer, &id))
}

/// Rows with what other tables know of them.
pub(super) async fn assemble(db: &impl ConnectionTrait, rows: Vec<Model>) -> Result<Vec<User>, StoreError> {
    let keys: Vec<UserKey> = rows.iter().map(|row| UserKey::new(&row.issuer, &row.id)).collect();
    let mut roles = user_roles::of(db, &keys).await?;
    let locked = lockouts::of(db, &keys).await?;
    let user = |(row, key): (Model, UserKey)| User {
        username: row.username,
        roles: all_roles(roles.remove(&key), row.foreign_roles),
        password_hash: row.password_hash.map(Secret::new),
        avatar: row.avatar,
        disabled_at: row.disabled_at,
        created_at: row.created_at,
        last_login_at: row.last_login_at,
        locked_until: locked.get(&key).copied(),
        display_name: row.display_name,
        email: row.email,
        must_change_password: row.must_change_password,
        key,
    };
    Ok(rows.into_iter().zip(keys).map(user).collect())
}

/// Roles given here, and those the other system names.
fn all_roles(ours: Option<Vec<String>>, foreign: Option<roles::Words>) -> Vec<String> {
    let mut all = ours.unwrap_or_default();
    all.extend(foreign.map(|words| words.0).unwrap_or_default());
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, new_user, store};

    #[tokio::test]
    async fn a_name_is_taken_however_it_is_spelled() {
        let store = store().await;
        let alice = new_user(&store, "Alice", &["member"]).await;
        assert_eq!(alice.key.as_str(), "1");
        let again = NewUser { username: " aLICE ".into(), ..Default::default() };
        let refused = store.create_user(again, &Actor::system(), at(1)).await;
        assert!(matches!(refused, Err(StoreError::Conflict("username"))));
        assert_eq!(store.user_named("ALICE").await.unwrap().unwrap().username, "Alice");
        assert!(store.user_named("bob").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_unknown_role_creates_nobody() {
        let store = store().await;
        let new = NewUser { username: "bob".into(), roles: vec!["king".into()], ..Default::default() };
        let refused = store.create_user(new, &Actor::system(), at(0)).await;
        assert!(matches!(refused, Err(StoreError::NotFound("role"))));
        assert!(store.user_named("bob").await.unwrap().is_none());
    }

    #[test]
    fn a_password_hash_is_not_printed() {
        let new = NewUser { password_hash: Some(Secret::new("$argon2id$x")), ..Default::default() };
        assert!(!format!("{new:?}").contains("argon2id"));
    }
}
