//! Logins as rows: one login, many clients.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use super::kick::{sentence, uuid};
use super::online::unavailable;
use super::{Done, Tag};
use crate::auth::{Identity, Permission, UserKey, masked};
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::page::{List, Paging, filter};
use crate::http::security::{Caller, forbidden, origin};
use crate::realtime::{Column, OnlineFilter, OnlineQuery};
use crate::services::Services;
use crate::store::{SessionQuery, SessionRow};

pub(crate) struct SessionsApi;

/// One login.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Session {
    id: String,
    user_id: String,
    username: String,
    /// `login`, or `token` for one that was issued for a script.
    kind: String,
    created_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    ip: String,
    device: String,
    os: String,
    browser: String,
    /// Open sockets.
    clients: u64,
    /// Whether it is the caller's own.
    #[oai(rename = "self")]
    own: bool,
}

#[derive(Object)]
struct EndRequest {
    /// What the user reads; at most 200 characters.
    reason: Option<String>,
}

#[OpenApi(tag = "Tag::Sessions")]
impl SessionsApi {
    /// Sessions
    ///
    /// One's own; those of others need `session:write`.
    #[oai(path = "/sessions", method = "get")]
    async fn list(
        &self,
        caller: Caller,
        Data(services): Data<&Services>,
        page: Query<Option<i64>>,
        #[oai(name = "pageSize")] page_size: Query<Option<i64>>,
        user: Query<Option<String>>,
    ) -> poem::Result<Json<List<Session>>> {
        let user = filter("user", user.0)?.map_or_else(|| caller.0.user.clone(), |user| UserKey::from_wire(&user));
        let own = user == caller.0.user;
        if !own && !caller.0.may(Permission::SessionWrite) {
            return Err(forbidden(Permission::SessionWrite).into());
        }
        let paging = Paging::new(page.0, page_size.0)?;
        let query = SessionQuery { user: Some(user.clone()), paging: paging.into() };
        let rows = services.store().sessions(&query, services.clock().now()).await.map_err(Problem::from)?;
        let open = open_by_session(services, user).await?;
        let whole_ip = own || caller.0.may(Permission::OnlineIp);
        let list = rows.list.into_iter().map(|row| session(row, &open, &caller.0, whole_ip)).collect();
        Ok(Json(paging.list(list, rows.total)))
    }

    /// End a session
    #[oai(path = "/sessions/:id", method = "delete")]
    async fn end(
        &self,
        caller: Caller,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
        body: Body<EndRequest>,
    ) -> poem::Result<Done> {
        let id = uuid(&id, "session")?;
        let row = services.store().session(id).await.map_err(Problem::from)?;
        let row = row.filter(|row| row.revoked_at.is_none()).ok_or_else(|| Problem::not_found("session"))?;
        if row.user != caller.0.user {
            if !caller.0.may(Permission::SessionWrite) {
                // Not 403: whether such a session exists is nobody else's business.
                return Err(Problem::not_found("session").into());
            }
            let of_admin = services.store().rights(&row.user).await.map_err(Problem::from)?;
            if of_admin.is_some_and(|rights| rights.is_admin()) && !caller.0.rights.is_admin() {
                return Err(super::kick::refused(crate::services::KickRefused::Administrator).into());
            }
        }
        let reason = sentence("reason", body.take()?.reason)?;
        let by = origin(request, services).actor(&caller.0);
        services.log_out(&row.user, id, &reason, &by).await.map_err(Problem::from)?;
        Ok(Done::Done)
    }
}

async fn open_by_session(services: &Services, user: UserKey) -> Result<HashMap<Uuid, u64>, Problem> {
    let query = OnlineQuery {
        filter: OnlineFilter { users: vec![user], ..OnlineFilter::default() },
        sort: Column::Id,
        descending: false,
        offset: 0,
        limit: usize::MAX,
        whole_ip: true,
    };
    let mut open = HashMap::new();
    for row in services.presence().clients(&query).await.map_err(unavailable)?.list {
        *open.entry(row.session_id).or_default() += u64::from(!row.leaving);
    }
    Ok(open)
}

fn session(row: SessionRow, open: &HashMap<Uuid, u64>, caller: &Identity, whole_ip: bool) -> Session {
    let ip = match row.ip.parse() {
        Ok(ip) if !whole_ip => masked(ip),
        _ => row.ip,
    };
    Session {
        own: row.id == caller.session,
        clients: open.get(&row.id).copied().unwrap_or(0),
        id: row.id.to_string(),
        user_id: row.user.to_string(),
        username: row.username,
        kind: row.kind.word().to_owned(),
        created_at: row.created_at,
        last_seen_at: row.last_seen_at,
        expires_at: row.expires_at,
        ip,
        device: row.device,
        os: row.os,
        browser: row.browser,
    }
}
