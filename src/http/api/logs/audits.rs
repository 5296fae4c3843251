//! Who did what.

use chrono::{DateTime, Utc};
use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
use poem_openapi::{Object, OpenApi};

use super::export::{AT_ONCE, File, Format};
use super::{check_span, ip_filter, ip_shown};
use crate::auth::Identity;
use crate::http::Problem;
use crate::http::api::Tag;
use crate::http::api::kick::uuid;
use crate::http::page::{List, Paging, filter};
use crate::http::security::{MayReadAudit, origin};
use crate::services::Services;
use crate::store::{AuditQuery, AuditRow};

pub(crate) struct AuditsApi;

/// One act. What was erased is empty.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct AuditLogEntry {
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
    /// What was before; none where nothing was changed.
    before: Option<serde_json::Value>,
    /// What is after.
    after: Option<serde_json::Value>,
    /// What else matters.
    detail: serde_json::Value,
    /// Masked without `online:ip`.
    ip: String,
    user_agent: String,
    request_id: String,
    /// The chain that the row is part of, and its number there; none for a row from before there were chains.
    chain: Option<String>,
    seq: Option<i64>,
    /// Whether something of it was erased.
    erased: bool,
}

const FIELDS: &[&str] = &[
    "id",
    "at",
    "actor",
    "actorName",
    "action",
    "target",
    "reason",
    "before",
    "after",
    "detail",
    "ip",
    "userAgent",
    "requestId",
    "chain",
    "seq",
    "erased",
];

#[OpenApi(tag = "Tag::Logs")]
impl AuditsApi {
    /// The audit log, newest first, by everything that a row says
    #[oai(path = "/logs/audit", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn list(
        &self,
        caller: MayReadAudit,
        Data(services): Data<&Services>,
        page: Query<Option<i64>>,
        #[oai(name = "pageSize")] page_size: Query<Option<i64>>,
        /// Not before.
        from: Query<Option<DateTime<Utc>>>,
        /// Before.
        to: Query<Option<DateTime<Utc>>>,
        /// Exactly this one, as on the wire.
        actor: Query<Option<String>>,
        /// Exactly this one; all that begin with it when it ends with a dot, as `user.`.
        action: Query<Option<String>>,
        /// Exactly this one.
        target: Query<Option<String>>,
        /// Exactly this address; takes `online:ip`.
        ip: Query<Option<String>>,
    ) -> poem::Result<Json<List<AuditLogEntry>>> {
        let paging = Paging::new(page.0, page_size.0)?;
        let mut query = wanted(&caller.0, from.0, to.0, [actor.0, action.0, target.0, ip.0])?;
        query.paging = paging.into();
        let page = services.store().audit(&query).await.map_err(Problem::from)?;
        let list = page.list.into_iter().map(|row| entry(row, &caller.0)).collect();
        Ok(Json(paging.list(list, page.total)))
    }

    /// The audit log as a file
    ///
    /// Everything that the filters let through, newest first. That it was taken stands in the audit log.
    #[oai(path = "/logs/audit/export", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn export(
        &self,
        caller: MayReadAudit,
        request: &Request,
        Data(services): Data<&Services>,
        format: Query<Format>,
        from: Query<Option<DateTime<Utc>>>,
        to: Query<Option<DateTime<Utc>>>,
        actor: Query<Option<String>>,
        action: Query<Option<String>>,
        target: Query<Option<String>>,
        ip: Query<Option<String>>,
    ) -> poem::Result<File> {
        let query = wanted(&caller.0, from.0, to.0, [actor.0, action.0, target.0, ip.0])?;
        services.audit_export("audit", &origin(request, services).actor(&caller.0));
        let (store, caller) = (services.store().clone(), caller.0);
        Ok(File::of("rollcall-audit", format.0, FIELDS, None, move |after| {
            let (store, query, caller) = (store.clone(), query.clone(), caller.clone());
            async move {
                let rows = store.audit_after(&query, after, AT_ONCE).await?;
                let Some(last) = rows.last().map(|row| Some((row.at, row.id))) else { return Ok(None) };
                let rows = rows.into_iter().filter_map(|row| entry(row, &caller).to_json()).collect();
                Ok(Some((rows, last)))
            }
        }))
    }

    /// One act
    #[oai(path = "/logs/audit/:id", method = "get")]
    async fn one(
        &self,
        caller: MayReadAudit,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Json<AuditLogEntry>> {
        let found = services.store().audit_row(uuid(&id, "row")?).await.map_err(Problem::from)?;
        let row = found.ok_or_else(|| Problem::not_found("row"))?;
        Ok(Json(entry(row, &caller.0)))
    }
}

fn wanted(
    caller: &Identity,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    [actor, action, target, ip]: [Option<String>; 4],
) -> Result<AuditQuery, Problem> {
    check_span(from, to)?;
    Ok(AuditQuery {
        action: filter("action", action)?,
        actor: filter("actor", actor)?,
        target: filter("target", target)?,
        ip: ip_filter(ip, caller)?,
        from,
        to,
        ..AuditQuery::default()
    })
}

fn entry(mut row: AuditRow, caller: &Identity) -> AuditLogEntry {
    let (chain, seq) = row.place.unzip();
    let mut part = |name: &str| row.detail.as_object_mut().and_then(|detail| detail.remove(name));
    let (before, after) = (part("before"), part("after"));
    AuditLogEntry {
        id: row.id.to_string(),
        at: row.at,
        actor: row.by.key,
        actor_name: row.by.name,
        action: row.action,
        target: row.target,
        reason: row.reason,
        before,
        after,
        detail: row.detail,
        ip: ip_shown(row.by.ip, caller),
        user_agent: row.by.user_agent,
        request_id: row.by.request_id,
        chain,
        seq,
        erased: row.erased,
    }
}
