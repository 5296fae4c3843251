//! Changes of accounts that open sockets must hear of: each writes its revocation and its audit row in its transaction,
//! so that it holds on every node, also when the command line made it.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::revocations::{self, Audited, Kind, NewRevocation, Revocation, Targets};
use super::roles::{self, take_turn};
use super::text::username_key;
use super::user_act::Act;
use super::{Actor, NameKeys, Store, StoreError, administrators, ephemeral, lockouts, user_roles, users};
use crate::auth::UserKey;
use crate::config::Secret;

/// What is to change of an account, all of it or nothing; none stays as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// How people call the user; at most 128 characters, empty for none.
    pub display_name: Option<String>,
    /// At most 254 characters; empty for none.
    pub email: Option<String>,
    /// All roles the user shall have. None may be beyond what whoever asks has, unless the user has it already.
    pub roles: Option<Vec<String>>,
    /// Whether the account is disabled.
    pub disabled: Option<bool>,
    /// Whether the next login must choose a new password. Asking for one ends the sessions, so that the next login is now.
    pub must_change_password: Option<bool>,
    /// The operator's sentence.
    pub reason: String,
}

/// A password to be.
#[derive(Debug)]
pub struct NewPassword<'a> {
    /// argon2 in PHC form.
    pub hash: &'a Secret,
    /// Whether it is good for one login only, which must choose another one.
    pub must_change: bool,
    /// The session that asked for it, and stays.
    pub except: Option<Uuid>,
    /// The operator's sentence.
    pub reason: &'a str,
}

impl Store {
    /// Changes an account; what open sockets must hear of comes back, in order. [`StoreError::NotFound`] `user` or `role`,
    /// [`StoreError::LastAdministrator`], [`StoreError::Beyond`], [`StoreError::AdministratorsOnly`], [`StoreError::Elsewhere`].
    pub async fn change_user(
        &self,
        user: &UserKey,
        change: UserChange,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Vec<Revocation>, StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        let row = users::locked(&tx, user).await?;
        let act = Act { tx: &tx, user, by, reason: &change.reason, now };
        act.guard_administrator().await?;
        let mut heard = Vec::new();
        if change.display_name.is_some() || change.email.is_some() {
            act.name(&row, change.display_name, change.email).await?;
        }
        if let Some(roles) = &change.roles {
            heard.extend(act.give_roles(roles).await?);
        }
        if let Some(disabled) = change.disabled.filter(|disabled| *disabled != row.disabled_at.is_some()) {
            heard.extend(act.set_disabled(disabled).await?);
        }
        if let Some(must) = change.must_change_password.filter(|must| *must != row.must_change_password) {
            if row.issuer != self.own_issuer() {
                return Err(StoreError::Elsewhere);
            }
            heard.extend(act.demand_password(must).await?);
        }
        tx.commit().await?;
        Ok(heard)
    }

    /// Disables an account, which ends its sessions, or enables it again, which brings none of them back.
    /// None when enabling, or when nothing changed. Errors as [`Store::change_user`].
    pub async fn set_disabled(
        &self,
        user: &UserKey,
        disabled: bool,
        by: &Actor,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Revocation>, StoreError> {
        let change = UserChange { disabled: Some(disabled), reason: reason.to_owned(), ..UserChange::default() };
        Ok(self.change_user(user, change, by, now).await?.pop())
    }

    /// Gives a user exactly these roles. None when nothing changed. Errors as [`Store::change_user`].
    pub async fn set_roles(
        &self,
        user: &UserKey,
        roles: &[String],
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Option<Revocation>, StoreError> {
        let change = UserChange { roles: Some(roles.to_vec()), ..UserChange::default() };
        Ok(self.change_user(user, change, by, now).await?.pop())
    }

    /// Deletes an account: its sessions and its sockets end, its roles and its lockout are gone, what logs say of it stays. Its id is
    /// never given again. Errors as [`Store::change_user`]; an account of another system would be back with its next token.
    pub async fn delete_user(
        &self,
        user: &UserKey,
        by: &Actor,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Revocation, StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        let row = users::locked(&tx, user).await?;
        let act = Act { tx: &tx, user, by, reason, now };
        act.guard_administrator().await?;
        if row.issuer != self.own_issuer() {
            return Err(StoreError::Elsewhere);
        }
        administrators::guard(&tx, std::slice::from_ref(user), now).await?;
        let roles = user_roles::of(&*tx, std::slice::from_ref(user)).await?.remove(user).unwrap_or_default();
        let detail = json!({ "username": row.username, "roles": roles });
        let new = NewRevocation { ends_sessions: true, ..act.revocation(Kind::Delete, "user.delete", detail) };
        let revocation = revocations::carry_out(&tx, new, now).await?;
        lockouts::forget(&tx, user).await?;
        let NameKeys { failures, lock } = NameKeys::of(&row.username_key);
        ephemeral::remove(&tx, &[failures, lock]).await?;
        user_roles::replace(&tx, user, &[]).await?;
        users::Entity::delete_many().filter(users::is(user)).exec(&*tx).await?;
        tx.commit().await?;
        Ok(revocation)
    }

    /// Sets a password and ends the user's sessions, except the one that asked for it. Somebody else's password opens everything
    /// that they may do, so whoever sets it must have all of that: [`StoreError::Beyond`], [`StoreError::AdministratorsOnly`].
    /// [`StoreError::NotFound`] `user`, [`StoreError::Elsewhere`].
    pub async fn set_password_hash(
        &self,
        user: &UserKey,
        new: NewPassword<'_>,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Revocation, StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        let row = users::locked(&tx, user).await?;
        if row.issuer != self.own_issuer() {
            return Err(StoreError::Elsewhere);
        }
        let act = Act { tx: &tx, user, by, reason: new.reason, now };
        if by.key != user.as_str() {
            let roles = user_roles::of(&*tx, std::slice::from_ref(user)).await?.remove(user).unwrap_or_default();
            roles::check(&tx, &roles, by).await?;
        }
        let set = users::ActiveModel {
            password_hash: Set(Some(new.hash.expose().to_owned())),
            must_change_password: Set(new.must_change),
            ..Default::default()
        };
        users::Entity::update_many().set(set).filter(users::is(user)).exec(&*tx).await?;
        let detail = json!({ "mustChange": new.must_change });
        let mut ended =
            NewRevocation { ends_sessions: true, ..act.revocation(Kind::Password, "user.password", detail) };
        ended.targets.except = new.except;
        let revocation = revocations::carry_out(&tx, ended, now).await?;
        tx.commit().await?;
        Ok(revocation)
    }

    /// Tells every node to forget failed logins of a user: they are counted in memory.
    pub async fn unlock_user(&self, user: &UserKey, by: &Actor, now: DateTime<Utc>) -> Result<Revocation, StoreError> {
        if let Some(user) = self.user(user).await? {
            let NameKeys { failures, lock } = NameKeys::of(&username_key(&user.username));
            self.remove_ephemeral(&[failures, lock]).await?;
        }
        let targets = Targets { users: vec![user.clone()], ..Targets::default() };
        let audit = Some(Audited::of("user.unlock", user));
        self.revoke(NewRevocation { targets, audit, ..NewRevocation::new(Kind::Unlock, by) }, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, login, migrated, new_user, shared, store};

    #[tokio::test]
    async fn a_disabled_users_sessions_are_over_and_stay_so() {
        let store = store().await;
        new_user(&store, "root", &["admin"]).await;
        let bob = new_user(&store, "bob", &["member"]).await.key;
        let session = login(&store, &bob, 0).await;
        let heard = store.last_revocation_seq().await.unwrap();
        let revocation = store.set_disabled(&bob, true, &Actor::system(), "left", at(1)).await.unwrap().unwrap();
        assert_eq!(revocation.kind, Kind::Disable);
        assert_eq!(store.revocations_after(heard, 10).await.unwrap(), [revocation]);
        assert!(store.set_disabled(&bob, false, &Actor::system(), "", at(2)).await.unwrap().is_none());
        let caller = store.caller(session).await.unwrap().unwrap();
        assert!(!caller.disabled);
        assert_eq!(caller.ended.unwrap().kind, Kind::Disable);
    }

    #[tokio::test]
    async fn the_last_administrator_cannot_be_disabled_demoted_or_locked_out() {
        let store = store().await;
        let root = new_user(&store, "root", &["admin"]).await.key;
        let by = Actor::system();
        let last =
            |result: Result<Option<Revocation>, StoreError>| matches!(result, Err(StoreError::LastAdministrator));
        assert!(last(store.set_disabled(&root, true, &by, "", at(0)).await));
        assert!(last(store.set_roles(&root, &["member".into()], &by, at(0)).await));
        let targets = Targets { users: vec![root.clone()], ..Targets::default() };
        let lockout = NewRevocation { until: Some(at(60)), targets, ..NewRevocation::new(Kind::Kick, &by) };
        assert!(last(store.revoke(lockout.clone(), at(0)).await.map(Some)));
        let second = new_user(&store, "second", &["admin"]).await.key;
        store.revoke(lockout, at(0)).await.unwrap();
        assert!(last(store.set_disabled(&second, true, &by, "", at(1)).await), "the other one is locked out");
        store.set_disabled(&second, true, &by, "", at(61)).await.unwrap();
        assert_eq!(store.administrators(at(61)).await.unwrap(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn two_administrators_who_disable_demote_or_delete_each_other_leave_one() {
        let (settings, _file) = shared().await;
        // A second process has its own turns; the database must decide.
        let (store, other) = (migrated(&settings).await, Store::open(&settings).await.unwrap());
        for round in 0..9 {
            let a = new_user(&store, &format!("a{round}"), &["admin"]).await.key;
            let b = new_user(&store, &format!("b{round}"), &["admin"]).await.key;
            // Each act meets each.
            let (first, second) = tokio::join!(take_away(&store, &a, round / 3), take_away(&other, &b, round % 3));
            let refusals: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
            assert!(matches!(refusals[..], [StoreError::LastAdministrator]), "round {round}: {refusals:?}");
            assert_eq!(store.administrators(at(0)).await.unwrap(), 1);
            // The one who is left makes room for the next round through the back door.
            user_roles::Entity::delete_many().exec(store.db()).await.unwrap();
        }
    }

    async fn take_away(store: &Store, admin: &UserKey, how: usize) -> Result<(), StoreError> {
        let by = Actor::system();
        match how {
            0 => store.set_disabled(admin, true, &by, "", at(0)).await.map(drop),
            1 => store.set_roles(admin, &["member".to_owned()], &by, at(0)).await.map(drop),
            _ => store.delete_user(admin, &by, "", at(0)).await.map(drop),
        }
    }

    #[tokio::test]
    async fn a_deleted_account_is_heard_of_and_its_name_is_free() {
        let store = store().await;
        new_user(&store, "root", &["admin"]).await;
        let bob = new_user(&store, "bob", &["member"]).await.key;
        let session = login(&store, &bob, 0).await;
        let heard = store.last_revocation_seq().await.unwrap();
        let revocation = store.delete_user(&bob, &Actor::system(), "left", at(1)).await.unwrap();
        assert_eq!((revocation.kind, revocation.ends_sessions), (Kind::Delete, true));
        assert_eq!(store.revocations_after(heard, 10).await.unwrap(), [revocation]);
        assert!(store.caller(session).await.unwrap().is_none() && store.user(&bob).await.unwrap().is_none());
        assert!(matches!(
            store.delete_user(&bob, &Actor::system(), "", at(1)).await,
            Err(StoreError::NotFound("user"))
        ));
        assert_ne!(new_user(&store, "bob", &[]).await.key, bob);
    }

    #[tokio::test]
    async fn an_account_of_another_system_is_neither_deleted_nor_given_a_password() {
        let store = store().await;
        let shop = UserKey::new("shop", "1");
        store.ensure_foreign(&shop, at(0)).await.unwrap();
        let by = Actor::system();
        assert!(matches!(store.delete_user(&shop, &by, "", at(0)).await, Err(StoreError::Elsewhere)));
        let hash = Secret::new("$argon2id$new");
        let new = NewPassword { hash: &hash, must_change: false, except: None, reason: "" };
        assert!(matches!(store.set_password_hash(&shop, new, &by, at(0)).await, Err(StoreError::Elsewhere)));
        let demand = UserChange { must_change_password: Some(true), ..UserChange::default() };
        assert!(matches!(store.change_user(&shop, demand, &by, at(0)).await, Err(StoreError::Elsewhere)));
    }

    #[tokio::test]
    async fn a_new_password_ends_the_other_sessions() {
        let store = store().await;
        let bob = new_user(&store, "bob", &[]).await.key;
        let (mine, other) = (login(&store, &bob, 0).await, login(&store, &bob, 1).await);
        let hash = Secret::new("$argon2id$new");
        let new = NewPassword { hash: &hash, must_change: false, except: Some(mine), reason: "" };
        let revocation = store.set_password_hash(&bob, new, &Actor::system(), at(2)).await.unwrap();
        assert_eq!(revocation.targets.except, Some(mine));
        assert!(store.caller(mine).await.unwrap().unwrap().ended.is_none());
        assert_eq!(store.caller(other).await.unwrap().unwrap().ended.unwrap().kind, Kind::Password);
        assert_eq!(store.user(&bob).await.unwrap().unwrap().password_hash, Some(hash));
    }

    #[tokio::test]
    async fn new_roles_are_heard_of_and_hold_at_once() {
        let store = store().await;
        let bob = new_user(&store, "bob", &["member"]).await.key;
        let session = login(&store, &bob, 0).await;
        let roles = ["operator".to_owned(), "member".to_owned(), "member".to_owned()];
        let revocation = store.set_roles(&bob, &roles, &Actor::system(), at(1)).await.unwrap().unwrap();
        assert!(revocation.kind == Kind::Roles && !revocation.ends_sessions);
        let caller = store.caller(session).await.unwrap().unwrap();
        assert_eq!(caller.rights.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["member", "operator"]);
        assert!(caller.rights.permissions.contains(crate::auth::Permission::OnlineKick));
        assert!(store.set_roles(&bob, &roles, &Actor::system(), at(2)).await.unwrap().is_none());
        let unknown = store.set_roles(&bob, &["king".to_owned()], &Actor::system(), at(2)).await;
        assert!(matches!(unknown, Err(StoreError::NotFound("role"))));
    }
}
