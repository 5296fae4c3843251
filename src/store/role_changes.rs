//! Making, changing and deleting roles. A change is a row of the sequence of revocations: every node reads the roles again and gives
//! its open sockets what they now allow.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::{QuerySelect, SqlErr};
use serde_json::json;

use super::connection::Write;
use super::revocations::{self, Audited, Kind, NewRevocation, Revocation, Targets};
use super::roles::{ADMIN, ActiveModel, Column, Entity, Model, Words, take_turn, within};
use super::{Actor, NewAudit, Role, Store, StoreError, user_roles};
use crate::auth::Permissions;

/// Roles, at most.
pub const MAX_ROLES: u64 = 200;

/// What is to change of a role; none stays as it is.
#[derive(Clone, Debug, Default)]
pub struct RoleChange {
    /// Everything it shall allow.
    pub permissions: Option<Permissions>,
    /// At most 200 characters.
    pub description: Option<String>,
}

impl Store {
    /// Makes a role. [`StoreError::Beyond`], [`StoreError::Conflict`] `role`, [`StoreError::Full`].
    pub async fn create_role(&self, role: &Role, by: &Actor, now: DateTime<Utc>) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        within(role.permissions, by)?;
        if Entity::find_by_id(role.name.as_str()).one(&*tx).await?.is_some() {
            return Err(StoreError::Conflict("role"));
        }
        if Entity::find().count(&*tx).await? >= MAX_ROLES {
            return Err(StoreError::Full("roles"));
        }
        let row = ActiveModel {
            name: Set(role.name.clone()),
            permissions: Set(role.permissions.into()),
            seed: Set(false),
            description: Set(role.description.clone()),
        };
        Entity::insert(row).exec_without_returning(&*tx).await?;
        let detail = json!({ "permissions": role.permissions.words() });
        audit(&tx, "role.create", &role.name, "", detail, by, now);
        tx.commit().await
    }

    /// Changes a role; none when what it allows stays the same, so that nobody need hear of it. Whoever changes it may add only what
    /// they have. [`StoreError::NotFound`], [`StoreError::AdminRole`], [`StoreError::Beyond`].
    pub async fn change_role(
        &self,
        name: &str,
        change: RoleChange,
        by: &Actor,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Revocation>, StoreError> {
        let tx = self.begin().await?;
        let row = changeable(&tx, name).await?;
        let before = row.permissions.permissions();
        let after = change.permissions.unwrap_or(before);
        within(after.difference(before), by)?;
        let mut changed: ActiveModel = Default::default();
        if after != before {
            changed.permissions = Set(keeping_unknown(&row.permissions, after));
        }
        let described = change.description.filter(|text| *text != row.description);
        if let Some(description) = &described {
            changed.description = Set(description.clone());
        }
        if after == before && described.is_none() {
            return Ok(None);
        }
        Entity::update_many().set(changed).filter(Column::Name.eq(name)).exec(&*tx).await?;
        let detail = json!({
            "gained": after.difference(before).words(), "lost": before.difference(after).words(), "description": described,
        });
        let told = if after == before {
            audit(&tx, "role.change", name, reason, detail, by, now);
            None
        } else {
            let new = NewRevocation {
                targets: Targets { roles: vec![name.to_owned()], ..Targets::default() },
                reason: reason.to_owned(),
                audit: Some(Audited { action: "role.change".into(), target: name.to_owned(), detail }),
                ..NewRevocation::new(Kind::Roles, by)
            };
            Some(revocations::carry_out(&tx, new, now).await?)
        };
        tx.commit().await?;
        Ok(told)
    }

    /// Deletes a role that nobody has. [`StoreError::NotFound`], [`StoreError::AdminRole`], [`StoreError::InUse`].
    pub async fn delete_role(
        &self,
        name: &str,
        by: &Actor,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        let row = changeable(&tx, name).await?;
        let used = user_roles::Entity::find().filter(user_roles::Column::Role.eq(name)).count(&*tx).await?;
        if used > 0 {
            return Err(StoreError::InUse("role"));
        }
        let deleted = Entity::delete_many().filter(Column::Name.eq(name)).exec(&*tx).await;
        deleted.map_err(|error| match error.sql_err() {
            // Somebody was given it at this moment.
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => StoreError::InUse("role"),
            _ => error.into(),
        })?;
        let detail = json!({ "permissions": row.permissions.permissions().words() });
        audit(&tx, "role.delete", name, reason, detail, by, now);
        tx.commit().await
    }

    /// How many users were given each role; who has it from another system is not counted.
    pub async fn users_by_role(&self) -> Result<HashMap<String, u64>, StoreError> {
        let counted: Vec<(String, i64)> = user_roles::Entity::find()
            .select_only()
            .column(user_roles::Column::Role)
            .column_as(user_roles::Column::UserId.count(), "users")
            .group_by(user_roles::Column::Role)
            .into_tuple()
            .all(self.db())
            .await?;
        Ok(counted.into_iter().map(|(role, users)| (role, users.unsigned_abs())).collect())
    }
}

async fn changeable(tx: &Write, name: &str) -> Result<Model, StoreError> {
    take_turn(tx).await?;
    let row = Entity::find_by_id(name).one(&**tx).await?.ok_or(StoreError::NotFound("role"))?;
    if name == ADMIN { Err(StoreError::AdminRole) } else { Ok(row) }
}

/// Words of a later release stay: this one neither knows nor shows them.
fn keeping_unknown(before: &Words, after: Permissions) -> Words {
    let unknown = before.0.iter().filter(|word| word.parse::<crate::auth::Permission>().is_err() && *word != "*");
    Words(after.words().into_iter().map(str::to_owned).chain(unknown.cloned()).collect())
}

fn audit(
    tx: &Write,
    action: &str,
    role: &str,
    reason: &str,
    detail: serde_json::Value,
    by: &Actor,
    now: DateTime<Utc>,
) {
    let (by, action, target, reason) = (by.clone(), action.to_owned(), role.to_owned(), reason.to_owned());
    let row = NewAudit { at: now, by, action, target, reason, detail };
    tx.log(|rows| rows.audits.push(row));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Permission;
    use crate::store::testing::{at, new_user, store};

    fn role(name: &str, permissions: &[Permission]) -> Role {
        let permissions = permissions.iter().copied().collect();
        Role { name: name.into(), permissions, seed: false, description: String::new() }
    }

    #[tokio::test]
    async fn nobody_makes_or_widens_a_role_beyond_what_they_have() {
        let store = store().await;
        let by = Actor { grants: [Permission::OnlineRead].into_iter().collect(), ..Actor::default() };
        let kicker = role("kicker", &[Permission::OnlineRead, Permission::OnlineKick]);
        let refused = store.create_role(&kicker, &by, at(0)).await;
        assert!(matches!(refused, Err(StoreError::Beyond(Permission::OnlineKick))));
        store.create_role(&kicker, &Actor::system(), at(0)).await.unwrap();
        let to = |permissions: &[Permission]| RoleChange {
            permissions: Some(permissions.iter().copied().collect()),
            ..RoleChange::default()
        };
        // What it has already is not handed on, and taking away hands nothing on.
        let same = store.change_role("kicker", to(&[Permission::OnlineKick]), &by, "", at(1)).await.unwrap().unwrap();
        assert_eq!(same.targets.roles, ["kicker"]);
        let refused =
            store.change_role("kicker", to(&[Permission::OnlineKick, Permission::PushSend]), &by, "", at(1)).await;
        assert!(matches!(refused, Err(StoreError::Beyond(Permission::PushSend))));
    }

    #[tokio::test]
    async fn words_of_a_later_release_outlive_a_change() {
        let before = Words(vec!["online:read".into(), "weather:make".into()]);
        let after = keeping_unknown(&before, [Permission::PushSend].into_iter().collect());
        assert_eq!(after.0, ["push:send", "weather:make"]);
    }

    #[tokio::test]
    async fn a_role_somebody_has_and_the_role_admin_stay() {
        let store = store().await;
        let by = Actor::system();
        new_user(&store, "bob", &["member"]).await;
        assert!(matches!(store.delete_role("member", &by, "", at(0)).await, Err(StoreError::InUse("role"))));
        assert!(matches!(store.delete_role("admin", &by, "", at(0)).await, Err(StoreError::AdminRole)));
        assert!(matches!(store.delete_role("king", &by, "", at(0)).await, Err(StoreError::NotFound("role"))));
        let none = RoleChange { permissions: Some(Permissions::default()), ..RoleChange::default() };
        assert!(matches!(store.change_role("admin", none, &by, "", at(0)).await, Err(StoreError::AdminRole)));
        store.delete_role("operator", &by, "", at(0)).await.unwrap();
        assert_eq!(store.roles().await.unwrap().len(), 2);
        assert_eq!(store.users_by_role().await.unwrap(), HashMap::from([("member".to_owned(), 1)]));
    }
}
