//! Who did what to whom, and why. Acts write their row in their own transaction; what only reads goes through the
//! [`LogWriter`](super::LogWriter).

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;
use uuid::Uuid;

use super::text::{cut, new_id, uuid};
use super::{Page, Paging, Store, StoreError};
use crate::auth::Permissions;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) id: String,
    pub(super) at: DateTime<Utc>,
    pub(super) actor: String,
    pub(super) actor_name: String,
    pub(super) action: String,
    pub(super) target: String,
    pub(super) reason: String,
    pub(super) detail: Json,
    pub(super) ip: String,
    pub(super) request_id: String,
}

super::entity!(AuditLog);

/// Who does something, and through what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The user as on the wire, `key:` and an API key's id, `cli` or `system`.
    pub key: String,
    /// The name shown.
    pub name: String,
    /// The address it came from; empty for none.
    pub ip: String,
    /// The request it came with; empty for none.
    pub request_id: String,
    /// What they may hand on to others: nobody gives what they do not have.
    pub grants: Permissions,
    /// Whether they may make administrators, and change them.
    pub makes_admins: bool,
}

impl Actor {
    /// The server itself: a job, a policy, the first start.
    pub fn system() -> Actor {
        Actor { key: "system".into(), name: "system".into(), ..Actor::almighty() }
    }

    /// Whoever types commands on the machine.
    pub fn command_line() -> Actor {
        Actor { key: "cli".into(), name: "command line".into(), ..Actor::almighty() }
    }

    fn almighty() -> Actor {
        Actor { grants: Permissions::all(), makes_admins: true, ..Actor::default() }
    }
}

/// A row to be. Texts beyond the columns' lengths are cut.
#[derive(Clone, Debug)]
pub struct NewAudit {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub by: Actor,
    /// What, as `user.disable`; at most 64 characters.
    pub action: String,
    /// To whom, at most 320 characters.
    pub target: String,
    /// The operator's sentence, at most 200 characters.
    pub reason: String,
    /// What else matters, by action.
    pub detail: serde_json::Value,
}

impl NewAudit {
    /// An empty row of this time, to be filled.
    pub fn at(at: DateTime<Utc>) -> NewAudit {
        NewAudit {
            at,
            by: Actor::default(),
            action: String::new(),
            target: String::new(),
            reason: String::new(),
            detail: serde_json::json!({}),
        }
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its key.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// Who, through what.
    pub by: Actor,
    /// What.
    pub action: String,
    /// To whom.
    pub target: String,
    /// Why.
    pub reason: String,
    /// What else matters.
    pub detail: serde_json::Value,
}

/// Which rows.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    /// Exactly this action; none for all.
    pub action: Option<String>,
    /// Exactly this actor's key; none for all.
    pub actor: Option<String>,
    /// Which page.
    pub paging: Paging,
}

impl Store {
    /// A page of the audit log, newest first.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Page<AuditRow>, StoreError> {
        let mut select = Entity::find().order_by_desc(Column::At).order_by_desc(Column::Id);
        if let Some(action) = &query.action {
            select = select.filter(Column::Action.eq(action));
        }
        if let Some(actor) = &query.actor {
            select = select.filter(Column::Actor.eq(actor));
        }
        self.page(select, query.paging).await?.try_map(row)
    }
}

/// Writes rows.
pub(super) async fn insert(db: &impl ConnectionTrait, rows: Vec<NewAudit>) -> Result<(), StoreError> {
    let rows = rows.into_iter().map(|new| ActiveModel {
        id: Set(new_id(new.at).to_string()),
        at: Set(new.at),
        actor: Set(cut(&new.by.key, 320)),
        actor_name: Set(cut(&new.by.name, 128)),
        action: Set(cut(&new.action, 64)),
        target: Set(cut(&new.target, 320)),
        reason: Set(cut(&new.reason, 200)),
        detail: Set(new.detail),
        ip: Set(cut(&new.by.ip, 45)),
        request_id: Set(cut(&new.by.request_id, 64)),
    });
    Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}

fn row(row: Model) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        id: uuid(&row.id)?,
        at: row.at,
        by: Actor { key: row.actor, name: row.actor_name, ip: row.ip, request_id: row.request_id, ..Actor::default() },
        action: row.action,
        target: row.target,
        reason: row.reason,
        detail: row.detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, store};

    #[tokio::test]
    async fn the_log_is_filtered_by_action_and_actor() {
        let store = store().await;
        let new = |action: &str, key: &str, second| NewAudit {
            action: action.into(),
            by: Actor { key: key.into(), ..Default::default() },
            ..NewAudit::at(at(second))
        };
        insert(store.db(), vec![new("a", "1", 0), new("b", "1", 1), new("a", "2", 2)]).await.unwrap();
        let paging = Paging { page: 1, page_size: 20 };
        let query = AuditQuery { action: Some("a".into()), actor: None, paging };
        let found = store.audit(&query).await.unwrap();
        assert_eq!((found.total, found.list[0].at, found.list[1].at), (2, at(2), at(0)));
        let query = AuditQuery { action: Some("a".into()), actor: Some("1".into()), paging };
        assert_eq!(store.audit(&query).await.unwrap().total, 1);
    }
}
