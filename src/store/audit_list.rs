//! The audit log as it is read: a row with what stands beside it, newest first.

use chrono::{DateTime, Utc};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use super::audit_log::{Actor, Column, Entity, Model};
use super::log_people::{self, ABOUT, BY};
use super::page::older;
use super::text::uuid;
use super::{Page, Paging, Store, StoreError};

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its key.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// Who, through what. Names and addresses are empty once they are erased.
    pub by: Actor,
    /// What.
    pub action: String,
    /// To whom.
    pub target: String,
    /// Why.
    pub reason: String,
    /// What else matters.
    pub detail: serde_json::Value,
    /// Its chain and its number there, if it has any.
    pub place: Option<(String, i64)>,
    /// Whether something of it was erased.
    pub erased: bool,
}

/// Which rows; what is none filters nothing.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Exactly this action; all that begin with it when it ends with a dot.
    pub action: Option<String>,
    /// Exactly this actor's key.
    pub actor: Option<String>,
    /// Exactly this target.
    pub target: Option<String>,
    /// Exactly this address.
    pub ip: Option<String>,
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub to: Option<DateTime<Utc>>,
    /// Which page.
    pub paging: Paging,
}

impl Store {
    /// A page of the audit log, newest first.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Page<AuditRow>, StoreError> {
        let page = self.page(selected(query), query.paging).await?;
        Ok(Page { list: self.audit_rows(page.list).await?, total: page.total })
    }

    /// The rows that a page would show after this one, at most so many.
    pub async fn audit_after(
        &self,
        query: &AuditQuery,
        after: Option<(DateTime<Utc>, Uuid)>,
        limit: u64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let select = selected(query).filter(older(Column::At, Column::Id, after)).limit(limit);
        self.audit_rows(select.all(self.db()).await?).await
    }

    /// One row.
    pub async fn audit_row(&self, id: Uuid) -> Result<Option<AuditRow>, StoreError> {
        let found = Entity::find_by_id(id.to_string()).all(self.db()).await?;
        Ok(self.audit_rows(found).await?.pop())
    }

    async fn audit_rows(&self, models: Vec<Model>) -> Result<Vec<AuditRow>, StoreError> {
        let ids: Vec<&str> = models.iter().map(|row| row.id.as_str()).collect();
        let mut people = log_people::beside(self.db(), &ids).await?;
        let mut rows = Vec::new();
        for model in models {
            let mut part = |part: &str| people.remove(&(model.id.clone(), part.to_owned()));
            rows.push(row((part(BY), part(ABOUT)), model)?);
        }
        Ok(rows)
    }
}

fn selected(query: &AuditQuery) -> Select<Entity> {
    let action = query.action.as_deref().map(|action| match action.ends_with('.') {
        true => Column::Action.starts_with(action),
        false => Column::Action.eq(action),
    });
    let ip = query.ip.as_deref().map(|ip| {
        let beside = log_people::rows_by(log_people::Column::Ip.eq(ip).into());
        Condition::any().add(Column::Ip.eq(ip)).add(Column::Id.in_subquery(beside))
    });
    let which = Condition::all()
        .add_option(action)
        .add_option(query.actor.as_deref().map(|actor| Column::Actor.eq(actor)))
        .add_option(query.target.as_deref().map(|target| Column::Target.eq(target)))
        .add_option(query.from.map(|from| Column::At.gte(from)))
        .add_option(query.to.map(|to| Column::At.lt(to)))
        .add_option(ip);
    Entity::find().filter(which).order_by_desc(Column::At).order_by_desc(Column::Id)
}

fn row(
    (by, about): (Option<log_people::Model>, Option<log_people::Model>),
    row: Model,
) -> Result<AuditRow, StoreError> {
    let erased = row.by_digest.is_some() && by.is_none() || row.about_digest.is_some() && about.is_none();
    let by = by.unwrap_or_else(|| log_people::Model { name: row.actor_name, ip: row.ip, ..Default::default() });
    let (reason, detail) = match about {
        Some(about) => (about.reason, serde_json::from_str(&about.detail).unwrap_or_default()),
        None => (row.reason, row.detail),
    };
    Ok(AuditRow {
        id: uuid(&row.id)?,
        at: row.at,
        by: Actor {
            key: row.actor,
            name: by.name,
            ip: by.ip,
            user_agent: by.user_agent,
            request_id: row.request_id,
            ..Actor::default()
        },
        action: row.action,
        target: row.target,
        reason,
        detail,
        place: row.chain.zip(row.seq),
        erased,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewAudit;
    use crate::store::testing::{at, store};

    #[tokio::test]
    async fn the_log_is_filtered_by_action_and_actor() {
        let store = store().await;
        let new = |action: &str, key: &str, second| NewAudit {
            action: action.into(),
            by: Actor { key: key.into(), ..Default::default() },
            ..NewAudit::at(at(second))
        };
        let tx = store.begin().await.unwrap();
        tx.log(|rows| rows.audits = vec![new("a", "1", 0), new("b", "1", 1), new("a", "2", 2)]);
        tx.commit().await.unwrap();
        let paging = Paging { page: 1, page_size: 20 };
        let query = AuditQuery { action: Some("a".into()), paging, ..Default::default() };
        let found = store.audit(&query).await.unwrap();
        assert_eq!((found.total, found.list[0].at, found.list[1].at), (2, at(2), at(0)));
        let query = AuditQuery { action: Some("a".into()), actor: Some("1".into()), paging, ..Default::default() };
        assert_eq!(store.audit(&query).await.unwrap().total, 1);
    }
}
