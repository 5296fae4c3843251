//! API keys: what is kept of them is a digest, what they may do, and when they were last used.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, IntoActiveModel, QueryOrder};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::connection::Write;
use super::roles::{Words, take_turn};
use super::text::{cut, new_id, uuid};
use super::{Actor, NewAudit, Page, Paging, Store, StoreError};
use crate::auth::{ApiKey, KeyTerms};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) id: String,
    pub(super) name: String,
    pub(super) hint: String,
    pub(super) digest: String,
    pub(super) scopes: Words,
    pub(super) addresses: Networks,
    pub(super) created_by: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) revoked_at: Option<DateTime<Utc>>,
    pub(super) last_used_at: Option<DateTime<Utc>>,
    pub(super) last_used_ip: String,
    pub(super) calls_per_minute: Option<i32>,
}

super::entity!(ApiKeys);

/// Networks as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub(super) struct Networks(Vec<IpNet>);

/// A key as it stands, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// Its id.
    pub id: Uuid,
    /// What it may do, from where and until when.
    pub terms: KeyTerms,
    /// The key's beginning.
    pub hint: String,
    /// Who made it: an actor's key.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Since when it is revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Its last use, and from where; behind by as much as the writer waits.
    pub last_used: Option<(DateTime<Utc>, String)>,
}

impl Store {
    /// Keeps a new key, with its audit row. [`StoreError::Full`] when `max` keys stand already.
    pub async fn create_api_key(
        &self,
        key: &ApiKey,
        terms: &KeyTerms,
        max: u64,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<ApiKeyRow, StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        if Entity::find().filter(standing(now)).count(&*tx).await? >= max {
            return Err(StoreError::Full("API keys"));
        }
        let row = Model {
            id: new_id(now).to_string(),
            name: terms.name.clone(),
            hint: key.hint().to_owned(),
            digest: key.digest(),
            scopes: terms.scopes.into(),
            addresses: Networks(terms.addresses.clone()),
            created_by: cut(&by.key, 320),
            created_at: now,
            expires_at: terms.expires_at,
            revoked_at: None,
            last_used_at: None,
            last_used_ip: String::new(),
            calls_per_minute: terms.calls_per_minute.and_then(|calls| i32::try_from(calls).ok()),
        };
        Entity::insert(row.clone().into_active_model().reset_all()).exec_without_returning(&*tx).await?;
        let detail = serde_json::json!({
            "scopes": terms.scopes.words(), "addresses": terms.addresses, "expiresAt": terms.expires_at, "hint": row.hint,
            "callsPerMinute": terms.calls_per_minute,
        });
        tx.log(|rows| rows.audits.push(audit("key.create", &row, detail, by, now)));
        tx.commit().await?;
        key_row(row)
    }

    /// The key with this id, over or not.
    pub async fn api_key(&self, id: Uuid) -> Result<Option<ApiKeyRow>, StoreError> {
        Entity::find_by_id(id.to_string()).one(self.db()).await?.map(key_row).transpose()
    }

    /// The key with this digest, over or not: one look-up in an index, for every call with a key.
    pub async fn api_key_by_digest(&self, digest: &str) -> Result<Option<ApiKeyRow>, StoreError> {
        Entity::find().filter(Column::Digest.eq(digest)).one(self.db()).await?.map(key_row).transpose()
    }

    /// A page of keys, newest first; those that are over stay until they are pruned.
    pub async fn api_keys(&self, paging: Paging) -> Result<Page<ApiKeyRow>, StoreError> {
        let select = Entity::find().order_by_desc(Column::CreatedAt).order_by_desc(Column::Id);
        self.page(select, paging).await?.try_map(key_row)
    }

    /// Revokes a key, with its audit row. [`StoreError::NotFound`] when there is none, or it is revoked already.
    pub async fn revoke_api_key(&self, id: Uuid, by: &Actor, now: DateTime<Utc>) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        let stands = Entity::find_by_id(id.to_string()).filter(Column::RevokedAt.is_null());
        let row = stands.one(&*tx).await?.ok_or(StoreError::NotFound("API key"))?;
        let over = ActiveModel { revoked_at: Set(Some(now)), ..Default::default() };
        let which = Entity::update_many().set(over).filter(Column::Id.eq(id.to_string()));
        which.filter(Column::RevokedAt.is_null()).exec(&*tx).await?;
        let detail = serde_json::json!({ "hint": row.hint });
        tx.log(|rows| rows.audits.push(audit("key.revoke", &row, detail, by, now)));
        tx.commit().await
    }
}

/// Notes the last use of keys. A time never goes back.
pub(super) async fn mark_used(tx: &Write, used: BTreeMap<Uuid, (DateTime<Utc>, String)>) -> Result<(), StoreError> {
    for (id, (at, ip)) in used {
        let last = ActiveModel { last_used_at: Set(Some(at)), last_used_ip: Set(cut(&ip, 45)), ..Default::default() };
        let earlier = Condition::any().add(Column::LastUsedAt.is_null()).add(Column::LastUsedAt.lt(at));
        let update = Entity::update_many().set(last).filter(Column::Id.eq(id.to_string()));
        update.filter(earlier).exec(&**tx).await?;
    }
    Ok(())
}

/// Revoked, or at its end, before this moment.
pub(super) fn over_before(moment: DateTime<Utc>) -> Condition {
    Condition::any().add(Column::RevokedAt.lt(moment)).add(Column::ExpiresAt.lt(moment))
}

fn standing(now: DateTime<Utc>) -> Condition {
    let unexpired = Condition::any().add(Column::ExpiresAt.is_null()).add(Column::ExpiresAt.gt(now));
    Condition::all().add(Column::RevokedAt.is_null()).add(unexpired)
}

fn audit(action: &str, row: &Model, detail: serde_json::Value, by: &Actor, now: DateTime<Utc>) -> NewAudit {
    let target = format!("key:{} {}", row.id, row.name);
    NewAudit { by: by.clone(), action: action.to_owned(), target, detail, ..NewAudit::at(now) }
}

fn key_row(row: Model) -> Result<ApiKeyRow, StoreError> {
    Ok(ApiKeyRow {
        id: uuid(&row.id)?,
        terms: KeyTerms {
            name: row.name,
            scopes: row.scopes.permissions(),
            addresses: row.addresses.0,
            expires_at: row.expires_at,
            calls_per_minute: row.calls_per_minute.and_then(|calls| u32::try_from(calls).ok()),
        },
        hint: row.hint,
        created_by: row.created_by,
        created_at: row.created_at,
        revoked_at: row.revoked_at,
        last_used: row.last_used_at.map(|at| (at, row.last_used_ip)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Permission;
    use crate::store::AuditQuery;
    use crate::store::testing::{at, store};

    fn terms(expires_at: Option<DateTime<Utc>>) -> KeyTerms {
        let (scopes, addresses) = ([Permission::PushSend].into_iter().collect(), vec!["10.0.0.0/8".parse().unwrap()]);
        KeyTerms { name: "shop".into(), scopes, addresses, expires_at, calls_per_minute: Some(60) }
    }

    async fn create(store: &Store, max: u64, expires_at: Option<DateTime<Utc>>) -> Result<ApiKeyRow, StoreError> {
        store.create_api_key(&ApiKey::random(), &terms(expires_at), max, &Actor::command_line(), at(0)).await
    }

    #[tokio::test]
    async fn a_key_is_found_by_its_digest_and_leaves_its_secret_nowhere() {
        let store = store().await;
        let key = ApiKey::random();
        let made = store.create_api_key(&key, &terms(None), 9, &Actor::command_line(), at(0)).await.unwrap();
        assert_eq!(store.api_key_by_digest(&key.digest()).await.unwrap().as_ref(), Some(&made));
        assert_eq!((made.created_by.as_str(), made.hint.as_str()), ("cli", key.hint()));
        assert_eq!(made.terms, terms(None));
        store.revoke_api_key(made.id, &Actor::command_line(), at(5)).await.unwrap();
        let again = store.revoke_api_key(made.id, &Actor::command_line(), at(6)).await;
        assert!(matches!(again, Err(StoreError::NotFound(_))));
        assert_eq!(store.api_key(made.id).await.unwrap().unwrap().revoked_at, Some(at(5)));
        let query = AuditQuery { actor: Some("cli".into()), ..Default::default() };
        let audit = store.audit(&query).await.unwrap();
        assert_eq!((audit.list[0].action.as_str(), audit.list[1].action.as_str()), ("key.revoke", "key.create"));
        assert!(!format!("{audit:?}").contains(key.expose()) && !format!("{audit:?}").contains(&key.digest()));
    }

    #[tokio::test]
    async fn keys_that_are_over_are_pruned_like_logs() {
        let store = store().await;
        let (stands, expired, revoked) = (
            create(&store, 9, None).await.unwrap().id,
            create(&store, 9, Some(at(10))).await.unwrap().id,
            create(&store, 9, Some(at(9000))).await.unwrap().id,
        );
        store.revoke_api_key(revoked, &Actor::command_line(), at(20)).await.unwrap();
        let keep = std::time::Duration::from_secs(100);
        assert_eq!(store.prune(at(110), keep, keep).await.unwrap().keys, 0, "as old as what is kept");
        assert_eq!(store.prune(at(121), keep, keep).await.unwrap().keys, 2);
        for (id, kept) in [(stands, true), (expired, false), (revoked, false)] {
            assert_eq!(store.api_key(id).await.unwrap().is_some(), kept);
        }
    }

    #[tokio::test]
    async fn only_keys_that_stand_count_against_their_number() {
        let store = store().await;
        create(&store, 2, Some(at(0))).await.unwrap();
        let revoked = create(&store, 2, None).await.unwrap();
        store.revoke_api_key(revoked.id, &Actor::command_line(), at(0)).await.unwrap();
        create(&store, 2, Some(at(1))).await.unwrap();
        create(&store, 2, None).await.unwrap();
        assert!(matches!(create(&store, 2, None).await, Err(StoreError::Full(_))));
        let page = store.api_keys(Paging { page: 1, page_size: 3 }).await.unwrap();
        assert_eq!((page.list.len(), page.total), (3, 4));
    }
}
