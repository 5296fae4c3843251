//! The signing keys that several nodes share, encrypted: what is in them is for `auth`, which has the master key.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;

use super::connection::Write;
use super::{Store, StoreError, counters, settings};
use crate::auth::SealedKey;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) kid: String,
    pub(super) purpose: String,
    pub(super) alg: String,
    pub(super) secret: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) replaced_at: Option<DateTime<Utc>>,
}

super::entity!(SigningKeys);

impl Store {
    /// Every key, oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<SealedKey>, StoreError> {
        all(self.db()).await
    }

    /// Reads the keys, lets `change` make others of them, and writes what differs. No other process changes them meanwhile. Answers
    /// what stands then. A known key's secret never changes.
    pub async fn change_signing_keys<E>(
        &self,
        change: impl FnOnce(&[SealedKey]) -> Result<Vec<SealedKey>, E>,
    ) -> Result<Result<Vec<SealedKey>, E>, StoreError> {
        let tx = self.begin().await?;
        counters::next(&tx, counters::SIGNING_KEYS).await?;
        let before = all(&*tx).await?;
        let after = match change(&before) {
            Ok(after) => after,
            Err(error) => return Ok(Err(error)),
        };
        write(&tx, &before, &after).await?;
        let stands = all(&*tx).await?;
        tx.commit().await?;
        Ok(Ok(stands))
    }

    /// Deletes the keys and what the nodes have agreed on about them (the settings of these names).
    pub async fn forget_signing_keys(&self, agreed: &[&str]) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        counters::next(&tx, counters::SIGNING_KEYS).await?;
        Entity::delete_many().exec(&*tx).await?;
        let agreed = settings::Column::Name.is_in(agreed.iter().copied());
        settings::Entity::delete_many().filter(agreed).exec(&*tx).await?;
        tx.commit().await
    }
}

async fn all(db: &impl ConnectionTrait) -> Result<Vec<SealedKey>, StoreError> {
    let rows = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Kid).all(db).await?;
    Ok(rows.into_iter().map(key).collect())
}

async fn write(tx: &Write, before: &[SealedKey], after: &[SealedKey]) -> Result<(), StoreError> {
    let known: HashMap<&str, &SealedKey> = before.iter().map(|key| (key.kid.as_str(), key)).collect();
    let stay: HashSet<&str> = after.iter().map(|key| key.kid.as_str()).collect();
    for key in after {
        match known.get(key.kid.as_str()) {
            None => drop(Entity::insert(row(key)).exec_without_returning(&**tx).await?),
            Some(known) if known.replaced_at != key.replaced_at => {
                let replaced = ActiveModel { replaced_at: Set(key.replaced_at), ..Default::default() };
                Entity::update_many().set(replaced).filter(Column::Kid.eq(key.kid.as_str())).exec(&**tx).await?;
            }
            Some(_) => {}
        }
    }
    for gone in before.iter().filter(|key| !stay.contains(key.kid.as_str())) {
        Entity::delete_by_id(gone.kid.as_str()).exec(&**tx).await?;
    }
    Ok(())
}

fn row(key: &SealedKey) -> ActiveModel {
    ActiveModel {
        kid: Set(key.kid.clone()),
        purpose: Set(key.purpose.clone()),
        alg: Set(key.alg.clone()),
        secret: Set(key.secret.clone()),
        created_at: Set(key.created_at),
        replaced_at: Set(key.replaced_at),
    }
}

fn key(row: Model) -> SealedKey {
    SealedKey {
        kid: row.kid,
        purpose: row.purpose,
        alg: row.alg,
        secret: row.secret,
        created_at: row.created_at,
        replaced_at: row.replaced_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, store};

    fn key(kid: &str, second: i64) -> SealedKey {
        SealedKey {
            kid: kid.into(),
            purpose: "signing".into(),
            alg: "HS256".into(),
            secret: format!("sealed {second}"),
            created_at: at(second),
            replaced_at: None,
        }
    }

    #[tokio::test]
    async fn keys_come_are_replaced_and_go_as_a_whole_or_not_at_all() {
        let store = store().await;
        let mut old = key("a", 0);
        let made = store.change_signing_keys(|found| Ok::<_, ()>([found, &[key("a", 0)]].concat())).await.unwrap();
        assert_eq!(made, Ok(vec![old.clone()]));
        old.replaced_at = Some(at(10));
        let both = vec![SealedKey { secret: "another".into(), ..old.clone() }, key("b", 10)];
        let rotated = store.change_signing_keys(|_| Ok::<_, ()>(both)).await.unwrap().unwrap();
        assert_eq!(rotated, [old, key("b", 10)], "a secret stays as it was");
        assert_eq!(store.change_signing_keys(|_| Err("no")).await.unwrap(), Err("no"));
        assert_eq!(store.signing_keys().await.unwrap(), rotated);
        store.change_signing_keys(|found| Ok::<_, ()>(found[1..].to_vec())).await.unwrap().unwrap();
        assert_eq!(store.signing_keys().await.unwrap(), [key("b", 10)]);
        store.agree("auth.master_key", "fingerprint", at(0)).await.unwrap();
        store.forget_signing_keys(&["auth.master_key"]).await.unwrap();
        assert!(store.signing_keys().await.unwrap().is_empty());
        assert_eq!(store.setting("auth.master_key").await.unwrap(), None);
    }
}
