//! Somebody must be able to administrate at any time.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, JoinType, PaginatorTrait, QueryFilter, QuerySelect};

use super::caller::{lockout_of_user, roles_of_user};
use super::connection::Write;
use super::roles::ADMIN;
use super::{Store, StoreError, lockouts, user_roles, users};
use crate::auth::UserKey;

impl Store {
    /// Whether nobody has the role `admin` yet, so that the first start must create somebody.
    pub async fn first_admin_needed(&self) -> Result<bool, StoreError> {
        let count = user_roles::Entity::find().filter(user_roles::Column::Role.eq(ADMIN)).count(self.db()).await?;
        Ok(count == 0)
    }

    /// How many administrators are enabled and not locked out.
    pub async fn administrators(&self, now: DateTime<Utc>) -> Result<usize, StoreError> {
        Ok(able(self.db(), now).await?.len())
    }
}

/// Refuses what would leave no able administrator because all of them are among `losing`. Counts inside the
/// transaction, after `take_turn`, so two requests at once cannot each remove the other's last one.
pub(super) async fn guard(tx: &Write, losing: &[UserKey], now: DateTime<Utc>) -> Result<(), StoreError> {
    let able = able(&**tx, now).await?;
    let touched = able.iter().any(|admin| losing.contains(admin));
    if touched && able.iter().all(|admin| losing.contains(admin)) { Err(StoreError::LastAdministrator) } else { Ok(()) }
}

async fn able(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<Vec<UserKey>, StoreError> {
    let found: Vec<(String, String, Option<DateTime<Utc>>)> = users::Entity::find()
        .select_only()
        .columns([users::Column::Issuer, users::Column::Id])
        .column(lockouts::Column::Until)
        .join(JoinType::InnerJoin, roles_of_user())
        .join(JoinType::LeftJoin, lockout_of_user())
        .filter(user_roles::Column::Role.eq(ADMIN))
        .filter(users::Column::DisabledAt.is_null())
        .into_tuple()
        .all(db)
        .await?;
    let free = found.into_iter().filter(|(_, _, until)| until.is_none_or(|until| until <= now));
    Ok(free.map(|(issuer, id, _)| UserKey::new(&issuer, &id)).collect())
}
