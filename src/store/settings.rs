//! Settings that change while the server runs: a name and a value, whose meaning belongs to whoever reads it.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

use super::{Store, StoreError};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) name: String,
    pub(super) value: String,
    pub(super) updated_at: DateTime<Utc>,
}

super::entity!(Settings);

impl Store {
    /// The value, or none when it was never set.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(Entity::find_by_id(name).one(self.db()).await?.map(|row| row.value))
    }

    /// Gives the bare ids to this issuer; empty is our own. [`StoreError::Settings`] when there are users already who would
    /// turn into others.
    pub async fn with_default_issuer(self, name: &str, now: DateTime<Utc>) -> Result<Store, StoreError> {
        const NAME: &str = "auth.default_issuer";
        let known = match self.setting(NAME).await? {
            None if super::users::Entity::find().one(self.db()).await?.is_some() => Some(String::new()),
            known => known,
        };
        match known {
            Some(known) if known != name => {
                return Err(StoreError::Settings(format!(
                    "auth.default_issuer is {name:?}, but this database was begun with {known:?}; users would turn into \
                     others. Set it back, or begin with an empty database."
                )));
            }
            Some(_) => {}
            // Another process that starts at the same time may be faster.
            None if self.agree(NAME, name, now).await? != name => {
                return Box::pin(self.with_default_issuer(name, now)).await;
            }
            None => {}
        }
        let own = if name.is_empty() { "" } else { crate::auth::OWN_ISSUER };
        Ok(self.with_own_issuer(own))
    }

    /// Sets a value that was never set; the one that stands then, which is that of whoever came first.
    pub async fn agree(&self, name: &str, value: &str, now: DateTime<Utc>) -> Result<String, StoreError> {
        let row = ActiveModel { name: Set(name.to_owned()), value: Set(value.to_owned()), updated_at: Set(now) };
        let once = OnConflict::column(Column::Name).do_nothing_on([Column::Name]).to_owned();
        let tx = self.begin().await?;
        Entity::insert(row).on_conflict(once).exec_without_returning(&*tx).await?;
        let stands = Entity::find_by_id(name).one(&*tx).await?;
        tx.commit().await?;
        stands.map(|row| row.value).ok_or(StoreError::NotFound("setting"))
    }

    /// Sets a value. A name has at most 128 characters.
    pub async fn set_setting(&self, name: &str, value: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
        let row = ActiveModel { name: Set(name.to_owned()), value: Set(value.to_owned()), updated_at: Set(now) };
        let newer = OnConflict::column(Column::Name).update_columns([Column::Value, Column::UpdatedAt]).to_owned();
        let tx = self.begin().await?;
        Entity::insert(row).on_conflict(newer).exec_without_returning(&*tx).await?;
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use crate::store::testing::{at, store};

    #[tokio::test]
    async fn the_last_value_counts() {
        let store = store().await;
        assert_eq!(store.setting("retention").await.unwrap(), None);
        store.set_setting("retention", "30", at(0)).await.unwrap();
        store.set_setting("retention", "60", at(1)).await.unwrap();
        assert_eq!(store.setting("retention").await.unwrap().as_deref(), Some("60"));
    }

    #[tokio::test]
    async fn whoever_comes_first_says_what_is_agreed_on() {
        let store = store().await;
        assert_eq!(store.agree("key", "one", at(0)).await.unwrap(), "one");
        assert_eq!(store.agree("key", "two", at(1)).await.unwrap(), "one");
        assert_eq!(store.setting("key").await.unwrap().as_deref(), Some("one"));
    }
}
