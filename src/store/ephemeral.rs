//! Small values that expire, which every node sees: what nodes keep in Redis, while that is away, and what must not be lost with it.
//! Whoever reads compares the end with a clock of its own.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{Condition, QuerySelect};

use super::connection::Write;
use super::roles::take_turn;
use super::{Store, StoreError};
use crate::auth::name_digest;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) name: String,
    pub(super) value: String,
    pub(super) expires_at: DateTime<Utc>,
}

super::entity!(Ephemeral);

/// What the names of locks begin with.
const LOCKED: &str = "locked:";
/// Locked names that are looked at, at most.
const MAX_LOCKED: u64 = 100_000;

/// What a name's failed logins and its lock are kept under, where several nodes have them.
#[expect(missing_docs, reason = "the names say it")]
pub struct NameKeys {
    pub failures: String,
    pub lock: String,
}

impl NameKeys {
    /// `name` is what `username_key` makes of one.
    pub fn of(name: &str) -> NameKeys {
        let digest = name_digest(name);
        NameKeys { failures: format!("failures:{digest}"), lock: format!("{LOCKED}{digest}") }
    }
}

impl Store {
    /// Sets a value until `until`, whatever it was. A name has at most 128 characters, a value 200.
    pub async fn set_ephemeral(&self, name: &str, value: &str, until: DateTime<Utc>) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        set(&tx, name, value, until).await?;
        tx.commit().await
    }

    /// Which of these names have a value, and until when.
    pub async fn ephemeral(
        &self,
        names: &[String],
        now: DateTime<Utc>,
    ) -> Result<HashMap<String, (String, DateTime<Utc>)>, StoreError> {
        let mut found = HashMap::new();
        for names in names.chunks(super::text::CHUNK) {
            let live = Condition::all().add(Column::Name.is_in(names)).add(Column::ExpiresAt.gt(now));
            let rows = Entity::find().filter(live).all(self.db()).await?;
            found.extend(rows.into_iter().map(|row| (row.name, (row.value, row.expires_at))));
        }
        Ok(found)
    }

    /// The value, which is gone then. Of two who ask at once, one gets it.
    pub async fn take_ephemeral(&self, name: &str, now: DateTime<Utc>) -> Result<Option<String>, StoreError> {
        let live = Condition::all().add(Column::Name.eq(name)).add(Column::ExpiresAt.gt(now));
        let Some(row) = Entity::find().filter(live.clone()).one(self.db()).await? else { return Ok(None) };
        let tx = self.begin().await?;
        let taken = Entity::delete_many().filter(live).exec(&*tx).await?.rows_affected == 1;
        tx.commit().await?;
        Ok(taken.then_some(row.value))
    }

    /// Adds one to a number that lives until `until` from its first increment; the sum.
    pub async fn count_ephemeral(
        &self,
        name: &str,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u32, StoreError> {
        let tx = self.begin().await?;
        // Or two who count at once would both find nothing.
        take_turn(&tx).await?;
        let row = Entity::find_by_id(name).one(&*tx).await?.filter(|row| row.expires_at > now);
        let counted = row.as_ref().and_then(|row| row.value.parse::<u32>().ok()).unwrap_or_default();
        let sum = counted.saturating_add(1);
        set(&tx, name, &sum.to_string(), row.map_or(until, |row| row.expires_at)).await?;
        tx.commit().await?;
        Ok(sum)
    }

    /// Removes values; whether there were any.
    pub async fn remove_ephemeral(&self, names: &[String]) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let removed = remove(&tx, names).await?;
        tx.commit().await?;
        Ok(removed)
    }

    /// The digests of the names that are locked by wrong passwords, where several nodes have them.
    pub async fn locked_names(&self, now: DateTime<Utc>) -> Result<HashSet<String>, StoreError> {
        let live = Condition::all().add(Column::Name.starts_with(LOCKED)).add(Column::ExpiresAt.gt(now));
        let rows = Entity::find().filter(live).limit(MAX_LOCKED).all(self.db()).await?;
        Ok(rows.into_iter().filter_map(|row| Some(row.name.strip_prefix(LOCKED)?.to_owned())).collect())
    }

    /// Deletes what has expired.
    pub async fn forget_ephemeral(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let tx = self.begin().await?;
        let deleted = Entity::delete_many().filter(Column::ExpiresAt.lte(now)).exec(&*tx).await?.rows_affected;
        tx.commit().await?;
        Ok(deleted)
    }
}

/// Removes values; whether there were any.
pub(super) async fn remove(tx: &Write, names: &[String]) -> Result<bool, StoreError> {
    Ok(Entity::delete_many().filter(Column::Name.is_in(names)).exec(&**tx).await?.rows_affected > 0)
}

async fn set(tx: &Write, name: &str, value: &str, until: DateTime<Utc>) -> Result<(), StoreError> {
    let row = ActiveModel { name: Set(name.to_owned()), value: Set(value.to_owned()), expires_at: Set(until) };
    let newer = OnConflict::column(Column::Name).update_columns([Column::Value, Column::ExpiresAt]).to_owned();
    Entity::insert(row).on_conflict(newer).exec_without_returning(&**tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::store::testing::{at, store};

    #[tokio::test]
    async fn a_value_is_taken_once_and_not_after_its_end() {
        let store = store().await;
        store.set_ephemeral("a", "1", at(10)).await.unwrap();
        store.set_ephemeral("b", "2", at(10)).await.unwrap();
        let both = tokio::join!(store.take_ephemeral("a", at(9)), store.take_ephemeral("a", at(9)));
        let mut both = [both.0.unwrap(), both.1.unwrap()];
        both.sort();
        assert_eq!(both, [None, Some("1".to_owned())]);
        assert_eq!(store.take_ephemeral("b", at(10)).await.unwrap(), None);
        assert_eq!(
            (store.forget_ephemeral(at(9)).await.unwrap(), store.forget_ephemeral(at(10)).await.unwrap()),
            (0, 1)
        );
    }

    #[tokio::test]
    async fn a_number_lives_from_its_first_increment() {
        let store = store().await;
        assert_eq!(store.count_ephemeral("a", at(10), at(0)).await.unwrap(), 1);
        assert_eq!(store.count_ephemeral("a", at(15), at(5)).await.unwrap(), 2);
        let names = ["a".to_owned(), "b".to_owned()];
        let found = store.ephemeral(&names, at(9)).await.unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("a".to_owned(), ("2".to_owned(), at(10)))]);
        assert_eq!(store.count_ephemeral("a", at(20), at(10)).await.unwrap(), 1);
        assert_eq!(
            (store.remove_ephemeral(&names).await.unwrap(), store.remove_ephemeral(&names).await.unwrap()),
            (true, false)
        );
    }
}
