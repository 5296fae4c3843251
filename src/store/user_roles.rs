//! Which user has which role.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, Condition, QueryOrder};

use super::StoreError;
use super::connection::Write;
use crate::auth::UserKey;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) issuer: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) user_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) role: String,
}

super::entity!(UserRoles);

/// The roles of these users, sorted.
pub(super) async fn of(
    db: &impl ConnectionTrait,
    users: &[UserKey],
) -> Result<HashMap<UserKey, Vec<String>>, StoreError> {
    // One condition per issuer would be exact; ids of another issuer that come along are simply not asked for.
    let ids = users.iter().map(UserKey::id);
    let rows = Entity::find().filter(Column::UserId.is_in(ids)).order_by_asc(Column::Role).all(db).await?;
    let mut roles: HashMap<UserKey, Vec<String>> = HashMap::new();
    for row in rows {
        roles.entry(UserKey::new(&row.issuer, &row.user_id)).or_default().push(row.role);
    }
    Ok(roles)
}

/// The user has exactly these roles from now on.
pub(super) async fn replace(tx: &Write, user: &UserKey, roles: &[String]) -> Result<(), StoreError> {
    Entity::delete_many().filter(is(user)).exec(&**tx).await?;
    let rows = roles.iter().map(|role| ActiveModel {
        issuer: Set(user.issuer().to_owned()),
        user_id: Set(user.id().to_owned()),
        role: Set(role.clone()),
    });
    Entity::insert_many(rows).exec_without_returning(&**tx).await?;
    Ok(())
}

pub(super) fn is(user: &UserKey) -> Condition {
    Condition::all().add(Column::Issuer.eq(user.issuer())).add(Column::UserId.eq(user.id()))
}
