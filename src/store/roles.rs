//! Roles: a name and what it allows.

use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};

use super::connection::Write;
use super::{Actor, Store, StoreError};
use crate::auth::Permissions;

/// The role that may do everything; the last user who has it cannot lose it.
pub(super) const ADMIN: &str = "admin";

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) name: String,
    pub(super) permissions: Words,
    pub(super) seed: bool,
    pub(super) description: String,
}

super::entity!(Roles);

/// Permission words as stored. `*` is every permission; words this release does not know allow nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub(super) struct Words(pub(super) Vec<String>);

impl Words {
    pub(super) fn permissions(&self) -> Permissions {
        if self.0.iter().any(|word| word == "*") {
            return Permissions::all();
        }
        self.0.iter().filter_map(|word| word.parse().ok()).collect()
    }
}

impl From<Permissions> for Words {
    fn from(permissions: Permissions) -> Words {
        Words(permissions.words().into_iter().map(str::to_owned).collect())
    }
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name, the key.
    pub name: String,
    /// What it allows.
    pub permissions: Permissions,
    /// Whether it came with the schema.
    pub seed: bool,
    /// What it is for, in a sentence; may be empty.
    pub description: String,
}

impl Store {
    /// Every role, by name.
    pub async fn roles(&self) -> Result<Vec<Role>, StoreError> {
        let rows = Entity::find().order_by_asc(Column::Name).all(self.db()).await?;
        Ok(rows.into_iter().map(Role::from).collect())
    }

    /// The role of this name.
    pub async fn role(&self, name: &str) -> Result<Option<Role>, StoreError> {
        Ok(Entity::find_by_id(name).one(self.db()).await?.map(Role::from))
    }
}

impl From<Model> for Role {
    fn from(row: Model) -> Role {
        let permissions = row.permissions.permissions();
        Role { name: row.name, permissions, seed: row.seed, description: row.description }
    }
}

/// Makes the acts that are heard of through the sequence of revocations, and those that count administrators, take turns
/// across processes too. SQLite does so by itself and ignores the row lock; other databases lock the role `admin`.
pub(super) async fn take_turn(tx: &Write) -> Result<(), StoreError> {
    Entity::find_by_id(ADMIN.to_owned()).lock_exclusive().one(&**tx).await?;
    Ok(())
}

/// Whether somebody may give these roles, which all exist: [`StoreError::NotFound`] `role`, [`StoreError::Beyond`],
/// [`StoreError::AdministratorsOnly`].
pub(super) async fn check(tx: &Write, names: &[String], by: &Actor) -> Result<(), StoreError> {
    let allowed = allowed_by(tx, names).await?;
    within(allowed, by)?;
    if names.iter().any(|name| name == ADMIN) && !by.makes_admins {
        return Err(StoreError::AdministratorsOnly);
    }
    Ok(())
}

/// What these roles allow together; [`StoreError::NotFound`] `role` when one does not exist.
pub(super) async fn allowed_by(tx: &Write, names: &[String]) -> Result<Permissions, StoreError> {
    let known = Entity::find().filter(Column::Name.is_in(names)).all(&**tx).await?;
    if !names.iter().all(|name| known.iter().any(|role| role.name == *name)) {
        return Err(StoreError::NotFound("role"));
    }
    Ok(known.iter().fold(Permissions::default(), |all, role| all | role.permissions.permissions()))
}

/// Nobody hands on what they do not have: [`StoreError::Beyond`].
pub(super) fn within(permissions: Permissions, by: &Actor) -> Result<(), StoreError> {
    match permissions.difference(by.grants).iter().next() {
        Some(missing) => Err(StoreError::Beyond(missing)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::auth::{Permission, Permissions};
    use crate::store::testing::store;

    #[tokio::test]
    async fn the_seed_roles_allow_what_the_protocol_says() {
        let store = store().await;
        let roles = store.roles().await.unwrap();
        let names: Vec<_> = roles.iter().map(|role| role.name.as_str()).collect();
        assert_eq!(names, ["admin", "member", "operator"]);
        assert_eq!(roles[0].permissions, Permissions::all());
        assert_eq!(roles[1].permissions.words(), ["presence:read", "notice:read"]);
        assert_eq!(
            roles[2].permissions.words(),
            ["online:read", "online:kick", "push:send", "presence:read", "monitor:read", "notice:send", "notice:read"]
        );
        assert!(!roles[2].permissions.contains(Permission::OnlineIp));
    }
}
