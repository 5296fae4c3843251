//! Who did what.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::Tag;
use crate::http::Problem;
use crate::http::page::{List, Paging, filter};
use crate::http::security::MayReadAudit;
use crate::services::Services;
use crate::store::AuditQuery;

pub(crate) struct AuditApi;

/// One act.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct AuditEntry {
    id: String,
    at: DateTime<Utc>,
    /// The user as on the wire, `key:` and an API key's id, `cli` or `system`.
    actor: String,
    actor_name: String,
    /// As `online.kick`.
    action: String,
    target: String,
    /// The operator's sentence.
    reason: String,
    detail: serde_json::Value,
    ip: String,
    request_id: String,
}

#[OpenApi(tag = "Tag::Audit")]
impl AuditApi {
    /// The audit log, newest first
    #[oai(path = "/audit", method = "get")]
    async fn list(
        &self,
        _caller: MayReadAudit,
        Data(services): Data<&Services>,
        page: Query<Option<i64>>,
        #[oai(name = "pageSize")] page_size: Query<Option<i64>>,
        action: Query<Option<String>>,
        actor: Query<Option<String>>,
    ) -> poem::Result<Json<List<AuditEntry>>> {
        let paging = Paging::new(page.0, page_size.0)?;
        let query = AuditQuery {
            action: filter("action", action.0)?,
            actor: filter("actor", actor.0)?,
            paging: paging.into(),
            ..AuditQuery::default()
        };
        let page = services.store().audit(&query).await.map_err(Problem::from)?;
        let list = page.list.into_iter().map(|row| AuditEntry {
            id: row.id.to_string(),
            at: row.at,
            actor: row.by.key,
            actor_name: row.by.name,
            action: row.action,
            target: row.target,
            reason: row.reason,
            detail: row.detail,
            ip: row.by.ip,
            request_id: row.by.request_id,
        });
        Ok(Json(paging.list(list.collect(), page.total)))
    }
}
