//! Users and logins of other systems: their first token writes the rows, so that they can be listed, kicked and refused
//! like our own.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

use super::connection::Write;
use super::roles::Words;
use super::sessions::{self, NewSession};
use super::text::cut;
use super::users::{self, is};
use super::{Store, StoreError, erasure};
use crate::auth::UserKey;

/// Longest user id of another system, in characters: with the name it makes the key that is unique.
pub const MAX_FOREIGN_ID: usize = 128;

/// What a foreign token says of its user; the newest one is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreigner {
    /// Who; the id has at most [`MAX_FOREIGN_ID`] characters.
    pub user: UserKey,
    /// What lists show.
    pub username: String,
    /// Names of the roles as in rows and lists, sorted: with the issuer in front, so that none is one of ours.
    pub roles: Vec<String>,
}

impl Store {
    /// Writes a user of another system and a login of theirs; either may be there already.
    pub async fn admit_foreign(&self, who: &Foreigner, new: NewSession, now: DateTime<Utc>) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        if !upsert(&tx, who, now).await? {
            // Refused by what was written when they were erased; nothing else is to be known of it.
            let empty = String::new;
            let nameless =
                NewSession { ip: empty(), device: empty(), os: empty(), browser: empty(), user_agent: empty(), ..new };
            sessions::insert_once(&tx, nameless, now).await?;
            return tx.commit().await;
        }
        sessions::insert_once(&tx, new, now).await?;
        let seen = users::ActiveModel { last_login_at: Set(Some(now)), ..Default::default() };
        users::Entity::update_many().set(seen).filter(is(&who.user)).exec(&*tx).await?;
        tx.commit().await
    }

    /// Renews what a token says of its user.
    pub async fn renew_foreign(&self, who: &Foreigner, now: DateTime<Utc>) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        upsert(&tx, who, now).await?;
        tx.commit().await
    }

    /// Makes sure that a user of another system has a row, so that something can be said of them before they ever came.
    pub async fn ensure_foreign(&self, user: &UserKey, now: DateTime<Utc>) -> Result<(), StoreError> {
        if self.user(user).await?.is_some() {
            return Ok(());
        }
        let who = Foreigner { user: user.clone(), username: user.id().to_owned(), roles: Vec::new() };
        self.renew_foreign(&who, now).await
    }

    /// Writes a login that has not come yet, unless it has.
    pub async fn expect_session(&self, new: NewSession, now: DateTime<Utc>) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        sessions::insert_once(&tx, new, now).await?;
        tx.commit().await
    }

    /// Until when tokens of this user open nothing; none when all do, or nobody knows them.
    pub async fn tokens_refused_before(&self, user: &UserKey) -> Result<Option<DateTime<Utc>>, StoreError> {
        let row = users::Entity::find().filter(is(user)).one(self.db()).await?;
        Ok(row.and_then(|row| row.tokens_refused_before))
    }

    /// Lets a session that stands end later. An end never comes nearer.
    pub async fn prolong_session(&self, session: Uuid, until: DateTime<Utc>) -> Result<(), StoreError> {
        let later =
            sessions::ActiveModel { expires_at: Set(until), refresh_expires_at: Set(until), ..Default::default() };
        let tx = self.begin().await?;
        sessions::Entity::update_many()
            .set(later)
            .filter(sessions::Column::Id.eq(session.to_string()))
            .filter(sessions::Column::ExpiresAt.lt(until))
            .exec(&*tx)
            .await?;
        tx.commit().await
    }
}

/// Refuses every token of these users issued until `at`.
pub(super) async fn refuse_tokens(tx: &Write, users: &[UserKey], at: DateTime<Utc>) -> Result<(), StoreError> {
    for user in users {
        let until = users::ActiveModel { tokens_refused_before: Set(Some(at)), ..Default::default() };
        users::Entity::update_many().set(until).filter(is(user)).exec(&**tx).await?;
    }
    Ok(())
}

/// Of two that come at once, one makes the row and both are right.
/// Not what was erased: that is answered false.
async fn upsert(tx: &Write, who: &Foreigner, now: DateTime<Utc>) -> Result<bool, StoreError> {
    use users::Column;
    let known = users::Entity::find().filter(is(&who.user)).one(&**tx).await?;
    if known.is_some_and(|row| erasure::is_erased(&row)) {
        return Ok(false);
    }
    let row = users::ActiveModel {
        seq: NotSet,
        issuer: Set(who.user.issuer().to_owned()),
        id: Set(who.user.id().to_owned()),
        username: Set(cut(&who.username, 128)),
        username_key: Set(name_key(who)),
        password_hash: Set(None),
        avatar: Set(String::new()),
        disabled_at: Set(None),
        created_at: Set(now),
        last_login_at: Set(None),
        tokens_refused_before: Set(None),
        foreign_roles: Set(Some(Words(who.roles.clone()))),
        display_name: Set(String::new()),
        email: Set(String::new()),
        must_change_password: Set(false),
    };
    let renewed = OnConflict::columns([Column::Issuer, Column::Id])
        .update_columns([Column::Username, Column::UsernameKey, Column::ForeignRoles])
        .to_owned();
    users::Entity::insert(row).on_conflict(renewed).exec_without_returning(&**tx).await?;
    Ok(true)
}

/// For searches, and unique: names of other systems need not be.
fn name_key(who: &Foreigner) -> String {
    format!("{} {}", cut(&super::username_key(&who.username), 120), who.user.id())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::testing::{at, new_session, new_user, store};
    use crate::store::{Actor, Kind, NewRevocation, SessionKind};

    fn bob(roles: &[&str]) -> Foreigner {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Foreigner { user: UserKey::new("shop", "1"), username: "Bob".into(), roles }
    }

    #[tokio::test]
    async fn equal_ids_and_names_of_two_issuers_are_two_users() {
        let store = store().await;
        let ours = new_user(&store, "bob", &["operator"]).await.key;
        let session = NewSession { kind: SessionKind::Foreign, ..new_session(&bob(&[]).user, 0) };
        store.admit_foreign(&bob(&["shop:admin"]), session.clone(), at(0)).await.unwrap();
        let caller = store.caller(session.id).await.unwrap().unwrap();
        assert_eq!((caller.user.as_str(), ours.as_str()), ("shop:1", "1"));
        assert_eq!(*caller.rights.roles, [Arc::<str>::from("shop:admin")]);
        assert!(!caller.rights.is_admin() && caller.rights.permissions.words().is_empty());
        assert_eq!(store.user_named("bob").await.unwrap().unwrap().key, ours);
        let twin = Foreigner { user: UserKey::new("shop", "2"), ..bob(&[]) };
        store.renew_foreign(&twin, at(1)).await.unwrap();
        assert_eq!(store.user(&twin.user).await.unwrap().unwrap().username, "Bob");
    }

    #[tokio::test]
    async fn the_newest_token_is_believed_and_a_login_is_written_once() {
        let store = store().await;
        let session = NewSession { kind: SessionKind::Foreign, ..new_session(&bob(&[]).user, 0) };
        for (roles, second) in [(["shop:a"], 0), (["shop:b"], 9)] {
            store.admit_foreign(&bob(&roles), session.clone(), at(second)).await.unwrap();
        }
        let caller = store.caller(session.id).await.unwrap().unwrap();
        assert_eq!((*caller.rights.roles).to_vec(), [Arc::<str>::from("shop:b")]);
        assert_eq!(caller.created_at, at(0));
        for (until, expected) in [(6000, 6000), (5500, 6000)] {
            store.prolong_session(session.id, at(until)).await.unwrap();
            assert_eq!(store.caller(session.id).await.unwrap().unwrap().expires_at, at(expected));
        }
    }

    #[tokio::test]
    async fn a_revoked_user_is_remembered_even_one_that_never_came() {
        let store = store().await;
        let who = bob(&[]);
        store.ensure_foreign(&who.user, at(0)).await.unwrap();
        let mut new = NewRevocation::new(Kind::Kick, &Actor::system());
        new.targets.users = vec![who.user.clone()];
        new.ends_sessions = true;
        store.revoke(new, at(5)).await.unwrap();
        let session = NewSession { kind: SessionKind::Foreign, ..new_session(&who.user, 6) };
        store.admit_foreign(&who, session.clone(), at(6)).await.unwrap();
        assert_eq!(store.caller(session.id).await.unwrap().unwrap().refused_before, Some(at(5)));
    }
}
