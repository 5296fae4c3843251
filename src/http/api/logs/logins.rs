//! Logins that were tried.

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
use crate::store::{LoginQuery, LoginRow};

pub(crate) struct LoginsApi;

/// A login that was tried. What was erased is empty.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct LoginEntry {
    id: String,
    at: DateTime<Utc>,
    /// Whose it was; none when it failed.
    user_id: Option<String>,
    /// The name as typed.
    username: String,
    /// `ok`, or the code of the problem it was answered with.
    outcome: String,
    /// The session it made.
    session_id: Option<String>,
    /// Masked without `online:ip`.
    ip: String,
    device: String,
    os: String,
    browser: String,
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
    "userId",
    "username",
    "outcome",
    "sessionId",
    "ip",
    "device",
    "os",
    "browser",
    "requestId",
    "chain",
    "seq",
    "erased",
];

#[OpenApi(tag = "Tag::Logs")]
impl LoginsApi {
    /// The login log, newest first
    #[oai(path = "/logs/logins", method = "get")]
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
        /// Exactly this user.
        user: Query<Option<String>>,
        /// Contained in the name as typed.
        username: Query<Option<String>>,
        /// Exactly this one; `failed` is every one but `ok`.
        outcome: Query<Option<String>>,
        /// Exactly this address; takes `online:ip`.
        ip: Query<Option<String>>,
    ) -> poem::Result<Json<List<LoginEntry>>> {
        let paging = Paging::new(page.0, page_size.0)?;
        let mut query = wanted(&caller.0, from.0, to.0, [user.0, username.0, outcome.0, ip.0])?;
        query.paging = paging.into();
        let page = services.store().logins(&query).await.map_err(Problem::from)?;
        let list = page.list.into_iter().map(|row| entry(row, &caller.0)).collect();
        Ok(Json(paging.list(list, page.total)))
    }

    /// The login log as a file
    ///
    /// Everything that the filters let through, newest first. That it was taken stands in the audit log.
    #[oai(path = "/logs/logins/export", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn export(
        &self,
        caller: MayReadAudit,
        request: &Request,
        Data(services): Data<&Services>,
        format: Query<Format>,
        from: Query<Option<DateTime<Utc>>>,
        to: Query<Option<DateTime<Utc>>>,
        user: Query<Option<String>>,
        username: Query<Option<String>>,
        outcome: Query<Option<String>>,
        ip: Query<Option<String>>,
    ) -> poem::Result<File> {
        let query = wanted(&caller.0, from.0, to.0, [user.0, username.0, outcome.0, ip.0])?;
        services.audit_export("logins", &origin(request, services).actor(&caller.0));
        let (store, caller) = (services.store().clone(), caller.0);
        Ok(File::of("rollcall-logins", format.0, FIELDS, None, move |after| {
            let (store, query, caller) = (store.clone(), query.clone(), caller.clone());
            async move {
                let rows = store.logins_after(&query, after, AT_ONCE).await?;
                let Some(last) = rows.last().map(|row| Some((row.at, row.id))) else { return Ok(None) };
                let rows = rows.into_iter().filter_map(|row| entry(row, &caller).to_json()).collect();
                Ok(Some((rows, last)))
            }
        }))
    }

    /// One login that was tried
    #[oai(path = "/logs/logins/:id", method = "get")]
    async fn one(
        &self,
        caller: MayReadAudit,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Json<LoginEntry>> {
        let found = services.store().login_row(uuid(&id, "row")?).await.map_err(Problem::from)?;
        let row = found.ok_or_else(|| Problem::not_found("row"))?;
        Ok(Json(entry(row, &caller.0)))
    }
}

fn wanted(
    caller: &Identity,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    [user, username, outcome, ip]: [Option<String>; 4],
) -> Result<LoginQuery, Problem> {
    check_span(from, to)?;
    Ok(LoginQuery {
        user: filter("user", user)?,
        username: filter("username", username)?,
        outcome: filter("outcome", outcome)?,
        ip: ip_filter(ip, caller)?,
        from,
        to,
        ..LoginQuery::default()
    })
}

fn entry(row: LoginRow, caller: &Identity) -> LoginEntry {
    let (chain, seq) = row.place.unzip();
    LoginEntry {
        id: row.id.to_string(),
        at: row.at,
        user_id: row.user,
        username: row.username,
        outcome: row.outcome,
        session_id: row.session,
        ip: ip_shown(row.ip, caller),
        device: row.device,
        os: row.os,
        browser: row.browser,
        request_id: row.request_id,
        chain,
        seq,
        erased: row.erased,
    }
}
