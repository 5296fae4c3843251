//! Changes of accounts that open sockets must hear of: each writes its revocation and its audit row in its transaction,
//! so that it holds on every node, also when the command line made it.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Expr;
use serde_json::json;
use uuid::Uuid;

use super::connection::Write;
use super::revocations::{self, Audited, Kind, NewRevocation, Revocation, Targets};
use super::roles::{ADMIN, take_turn};
use super::text::username_key;
use super::{Actor, NameKeys, NewAudit, Store, StoreError, administrators, audit_log, user_roles, users};
use crate::auth::UserKey;
use crate::config::Secret;

impl Store {
    /// Disables an account, which ends its sessions, or enables it again, which brings none of them back.
    /// None when enabling, or when nothing changed. [`StoreError::NotFound`] `user`, [`StoreError::LastAdministrator`].
    pub async fn set_disabled(
        &self,
        user: &UserKey,
        disabled: bool,
        by: &Actor,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Revocation>, StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        if users::locked(&tx, user).await?.disabled_at.is_some() == disabled {
            return Ok(None);
        }
        if disabled {
            administrators::guard(&tx, std::slice::from_ref(user), now).await?;
        }
        let since = users::ActiveModel { disabled_at: Set(disabled.then_some(now)), ..Default::default() };
        users::Entity::update_many().set(since).filter(users::is(user)).exec(&*tx).await?;
        let revocation = if disabled {
            let new = NewRevocation { ends_sessions: true, ..act(Kind::Disable, user, by, reason, "user.disable") };
            Some(revocations::carry_out(&tx, new, now).await?)
        } else {
            audit(&tx, user, by, reason, "user.enable", now).await?;
            None
        };
        tx.commit().await?;
        Ok(revocation)
    }

    /// Gives a user exactly these roles. None when nothing changed.
    /// [`StoreError::NotFound`] `user` or `role`, [`StoreError::LastAdministrator`].
    pub async fn set_roles(
        &self,
        user: &UserKey,
        roles: &[String],
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Option<Revocation>, StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        users::locked(&tx, user).await?;
        let roles = users::checked(&tx, roles).await?;
        let before = user_roles::of(&*tx, std::slice::from_ref(user)).await?.remove(user).unwrap_or_default();
        if before == roles {
            return Ok(None);
        }
        if !roles.iter().any(|role| role == ADMIN) {
            administrators::guard(&tx, std::slice::from_ref(user), now).await?;
        }
        user_roles::replace(&tx, user, &roles).await?;
        let audit = Audited { detail: json!({ "before": before, "after": roles }), ..Audited::of("user.roles", user) };
        let new = NewRevocation { audit: Some(audit), ..act(Kind::Roles, user, by, "", "user.roles") };
        let revocation = revocations::carry_out(&tx, new, now).await?;
        tx.commit().await?;
        Ok(Some(revocation))
    }

    /// Sets a password and ends the user's sessions, except the one that asked for it.
    /// [`StoreError::NotFound`] `user`.
    pub async fn set_password_hash(
        &self,
        user: &UserKey,
        hash: &Secret,
        except: Option<Uuid>,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Revocation, StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        users::locked(&tx, user).await?;
        let password = Expr::value(hash.expose());
        let update = users::Entity::update_many().col_expr(users::Column::PasswordHash, password);
        update.filter(users::is(user)).exec(&*tx).await?;
        let mut new = NewRevocation { ends_sessions: true, ..act(Kind::Password, user, by, "", "user.password") };
        new.targets.except = except;
        let revocation = revocations::carry_out(&tx, new, now).await?;
        tx.commit().await?;
        Ok(revocation)
    }

    /// Tells every node to forget failed logins of a user: they are counted in memory.
    pub async fn unlock_user(&self, user: &UserKey, by: &Actor, now: DateTime<Utc>) -> Result<Revocation, StoreError> {
        if let Some(user) = self.user(user).await? {
            let NameKeys { failures, lock } = NameKeys::of(&username_key(&user.username));
            self.remove_ephemeral(&[failures, lock]).await?;
        }
        self.revoke(act(Kind::Unlock, user, by, "", "user.unlock"), now).await
    }
}

fn act(kind: Kind, user: &UserKey, by: &Actor, reason: &str, action: &str) -> NewRevocation {
    NewRevocation {
        targets: Targets { users: vec![user.clone()], ..Default::default() },
        reason: reason.to_owned(),
        audit: Some(Audited::of(action, user)),
        ..NewRevocation::new(kind, by)
    }
}

async fn audit(
    tx: &Write,
    user: &UserKey,
    by: &Actor,
    reason: &str,
    action: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = NewAudit {
        by: by.clone(),
        action: action.to_owned(),
        target: user.to_string(),
        reason: reason.to_owned(),
        ..NewAudit::at(now)
    };
    audit_log::insert(&**tx, vec![row]).await
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
        let lockout = NewRevocation { until: Some(at(60)), ..act(Kind::Kick, &root, &by, "", "online.kick") };
        assert!(last(store.revoke(lockout.clone(), at(0)).await.map(Some)));
        let second = new_user(&store, "second", &["admin"]).await.key;
        store.revoke(lockout, at(0)).await.unwrap();
        assert!(last(store.set_disabled(&second, true, &by, "", at(1)).await), "the other one is locked out");
        store.set_disabled(&second, true, &by, "", at(61)).await.unwrap();
        assert_eq!(store.administrators(at(61)).await.unwrap(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn two_administrators_who_disable_each_other_leave_one() {
        let (settings, _file) = shared().await;
        // A second process has its own turns; the database must decide.
        let (store, other) = (migrated(&settings).await, Store::open(&settings).await.unwrap());
        let member = ["member".to_owned()];
        for round in 0..10 {
            let a = new_user(&store, &format!("a{round}"), &["admin"]).await.key;
            let b = new_user(&store, &format!("b{round}"), &["admin"]).await.key;
            let by = Actor::system();
            let (first, second) =
                tokio::join!(store.set_disabled(&a, true, &by, "", at(0)), other.set_roles(&b, &member, &by, at(0)),);
            let refusals: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
            assert!(matches!(refusals[..], [StoreError::LastAdministrator]), "round {round}: {refusals:?}");
            assert_eq!(store.administrators(at(0)).await.unwrap(), 1);
            // The one who is left makes room for the next round through the back door.
            user_roles::Entity::delete_many().exec(store.db()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_new_password_ends_the_other_sessions() {
        let store = store().await;
        let bob = new_user(&store, "bob", &[]).await.key;
        let (mine, other) = (login(&store, &bob, 0).await, login(&store, &bob, 1).await);
        let hash = Secret::new("$argon2id$new");
        let revocation = store.set_password_hash(&bob, &hash, Some(mine), &Actor::system(), at(2)).await.unwrap();
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
