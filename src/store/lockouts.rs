//! Users whom a kick keeps out until a time.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::Condition;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

use super::connection::Write;
use super::revocations::{self, Audited, Kind, NewRevocation, Revocation, Targets};
use super::roles::take_turn;
use super::{Actor, Store, StoreError};
use crate::auth::UserKey;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) issuer: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) user_id: String,
    pub(super) until: DateTime<Utc>,
    pub(super) reason: String,
    pub(super) set_by: String,
    pub(super) revocation: String,
}

super::entity!(Lockouts);

/// Being kept out. Over when `until` has passed: whoever reads it compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Until when.
    pub until: DateTime<Utc>,
    /// The operator's sentence.
    pub reason: String,
}

impl Store {
    /// Ends a lockout before its time. None when there was none.
    pub async fn lift_lockout(
        &self,
        user: &UserKey,
        by: &Actor,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Revocation>, StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        if !forget(&tx, user).await? {
            return Ok(None);
        }
        let new = NewRevocation {
            targets: Targets { users: vec![user.clone()], ..Default::default() },
            reason: reason.to_owned(),
            audit: Some(Audited::of("lockout.lift", user)),
            ..NewRevocation::new(Kind::Lift, by)
        };
        let revocation = revocations::carry_out(&tx, new, now).await?;
        tx.commit().await?;
        Ok(Some(revocation))
    }
}

/// Locks out every user the revocation names, until its `until`; a later order replaces an earlier one.
pub(super) async fn set(tx: &Write, revocation: &Revocation, until: DateTime<Utc>) -> Result<(), StoreError> {
    let rows = revocation.targets.users.iter().map(|user| ActiveModel {
        issuer: Set(user.issuer().to_owned()),
        user_id: Set(user.id().to_owned()),
        until: Set(until),
        reason: Set(revocation.reason.clone()),
        set_by: Set(revocation.actor.clone()),
        revocation: Set(revocation.id.to_string()),
    });
    let rows: Vec<ActiveModel> = rows.collect();
    for chunk in rows.chunks(super::text::CHUNK) {
        let newer = OnConflict::columns([Column::Issuer, Column::UserId])
            .update_columns([Column::Until, Column::Reason, Column::SetBy, Column::Revocation])
            .to_owned();
        Entity::insert_many(chunk.to_vec()).on_conflict(newer).exec_without_returning(&**tx).await?;
    }
    Ok(())
}

/// Removes a user's lockout; whether there was one.
pub(super) async fn forget(tx: &Write, user: &UserKey) -> Result<bool, StoreError> {
    Ok(Entity::delete_many().filter(is(user)).exec(&**tx).await?.rows_affected > 0)
}

/// Until when each of these users is or was kept out.
pub(super) async fn of(
    db: &impl ConnectionTrait,
    users: &[UserKey],
) -> Result<HashMap<UserKey, DateTime<Utc>>, StoreError> {
    let rows = Entity::find().filter(Column::UserId.is_in(users.iter().map(UserKey::id))).all(db).await?;
    Ok(rows.into_iter().map(|row| (UserKey::new(&row.issuer, &row.user_id), row.until)).collect())
}

pub(super) fn is(user: &UserKey) -> Condition {
    Condition::all().add(Column::Issuer.eq(user.issuer())).add(Column::UserId.eq(user.id()))
}
