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
use crate::auth::{Identity, Issuers, Permission, UserKey, masked};
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::page::{List, Paging, filter};
use crate::http::security::{AnyCaller, MayEndSessions, forbidden, not_for_keys, origin};
use crate::realtime::{Column, OnlineFilter, OnlineQuery};
use crate::services::{KickRefused, Services};
use crate::store::{MAX_FOREIGN_ID, SessionQuery, SessionRow};

pub(crate) struct SessionsApi;

/// One login.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Session {
    id: String,
    user_id: String,
    username: String,
    /// `login`, `token` for one that was issued for a script, or `foreign` for one at another system.
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

/// Whose login is over: a user's, or one session.
#[derive(Object)]
struct RevokeRequest {
    /// Whose user or session it is; absent is the default issuer.
    issuer: Option<String>,
    /// The user's id with that issuer, or, without `issuer`, the user as on the wire; without `session` all logins end, and
    /// tokens of another system issued until now open nothing any more.
    user: Option<String>,
    /// One session, as in `GET /sessions`, or with `issuer` as that system calls it: the `sid` or `jti` of its token, or else
    /// the token's SHA-256 in hexadecimal digits. With `user`, it must be that user's.
    session: Option<String>,
    /// What the user reads; at most 200 characters.
    reason: Option<String>,
}

/// What ended.
#[derive(Object)]
struct RevokeAnswer {
    /// Of the durable row.
    id: String,
    /// Sessions that stood until now.
    sessions: u64,
    /// Open sockets of theirs; each hears `kick` and is closed with 4410.
    clients: u64,
    /// Whether all of these are closed already.
    complete: bool,
    /// Whether the system that the user comes from knows of it: `confirmed`, `pending`, or `none` when there is nobody to tell,
    /// as when an API key says so, which is that system's own.
    upstream: String,
}

#[OpenApi(tag = "Tag::Sessions")]
impl SessionsApi {
    /// Sessions
    ///
    /// One's own; those of others need `session:write`, and so does an API key, which has none of its own.
    #[oai(path = "/sessions", method = "get")]
    async fn list(
        &self,
        caller: AnyCaller,
        Data(services): Data<&Services>,
        page: Query<Option<i64>>,
        #[oai(name = "pageSize")] page_size: Query<Option<i64>>,
        user: Query<Option<String>>,
    ) -> poem::Result<Json<List<Session>>> {
        let user = match filter("user", user.0)? {
            Some(user) => UserKey::from_wire(&user),
            None if caller.0.user.is_api_key() => return Err(not_for_keys().into()),
            None => caller.0.user.clone(),
        };
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

    /// A user logged out or changed role elsewhere
    ///
    /// For the backend whose user it is: ends one session, or all of the user, and their sockets. Asking again is fine.
    #[oai(path = "/sessions/revoke", method = "post")]
    async fn revoke(
        &self,
        caller: MayEndSessions,
        request: &Request,
        Data(services): Data<&Services>,
        body: Body<RevokeRequest>,
    ) -> poem::Result<Json<RevokeAnswer>> {
        let RevokeRequest { issuer, user, session, reason } = body.take()?;
        let (user, session) = whose(services, issuer, user, session).await?;
        guard_administrator(services, &caller.0, &user).await?;
        let reason = sentence("reason", reason)?;
        let by = origin(request, services).actor(&caller.0);
        // A key is the backend that says so; it need not be told.
        let by_operator = !caller.0.user.is_api_key();
        let ended = services.end_logins(&user, session, &reason, &by, by_operator).await.map_err(Problem::from)?;
        Ok(Json(RevokeAnswer {
            id: ended.id.to_string(),
            sessions: ended.sessions,
            clients: ended.clients as u64,
            complete: ended.complete,
            upstream: ended.upstream.word().to_owned(),
        }))
    }

    /// End a session
    #[oai(path = "/sessions/:id", method = "delete")]
    async fn end(
        &self,
        caller: AnyCaller,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
        body: Body<EndRequest>,
    ) -> poem::Result<Done> {
        let others = caller.0.may(Permission::SessionWrite);
        if caller.0.user.is_api_key() && !others {
            return Err(forbidden(Permission::SessionWrite).into());
        }
        let id = uuid(&id, "session")?;
        let row = services.store().session(id).await.map_err(Problem::from)?;
        let row = row.filter(|row| row.revoked_at.is_none()).ok_or_else(|| Problem::not_found("session"))?;
        if row.user != caller.0.user {
            if !others {
                // Not 403: whether such a session exists is nobody else's business.
                return Err(Problem::not_found("session").into());
            }
            guard_administrator(services, &caller.0, &row.user).await?;
        }
        let reason = sentence("reason", body.take()?.reason)?;
        let by = origin(request, services).actor(&caller.0);
        let by_operator = row.user != caller.0.user;
        services.log_out(&row.user, id, &reason, &by, by_operator).await.map_err(Problem::from)?;
        Ok(Done::Done)
    }
}

/// Whose login it is, and which one when one is named; 404 where there is no such.
async fn whose(
    services: &Services,
    issuer: Option<String>,
    user: Option<String>,
    session: Option<String>,
) -> Result<(UserKey, Option<Uuid>), Problem> {
    let issuer = filter("issuer", issuer)?;
    if issuer.as_deref().is_some_and(|issuer| issuer.contains(':')) {
        return Err(Problem::invalid("issuer", "is a word without a colon"));
    }
    let (user, session) = (filter("user", user)?, filter("session", session)?);
    if let Some(issuer) = issuer.as_deref().and_then(|issuer| services.issuers().named(issuer)) {
        return whose_elsewhere(services, &issuer.name, user, session).await;
    }
    let named = user.map(|user| UserKey::new(issuer.as_deref().unwrap_or_default(), &user));
    let Some(session) = session else {
        let user = named.ok_or_else(|| Problem::invalid("user", "is missing; name a user or a session"))?;
        return match services.store().rights(&user).await? {
            Some(_) => Ok((user, None)),
            None => Err(Problem::not_found("user")),
        };
    };
    let id = uuid(&session, "session")?;
    let owner = services.store().session(id).await?.map(|row| row.user);
    let owner = owner.filter(|owner| named.as_ref().is_none_or(|named| named == owner));
    let owner = owner.filter(|owner| issuer.as_deref().is_none_or(|issuer| issuer == owner.issuer()));
    owner.map(|owner| (owner, Some(id))).ok_or_else(|| Problem::not_found("session"))
}

/// The same for a system of `auth.issuers`, in its own words. What never came here is revoked all the same: its tokens
/// are good, and may come yet.
async fn whose_elsewhere(
    services: &Services,
    issuer: &str,
    user: Option<String>,
    session: Option<String>,
) -> Result<(UserKey, Option<Uuid>), Problem> {
    let named = user.and_then(|user| services.issuers().user(issuer, &user));
    if named.as_ref().is_some_and(|user| user.id().chars().count() > MAX_FOREIGN_ID) {
        return Err(Problem::invalid("user", format!("has at most {MAX_FOREIGN_ID} characters")));
    }
    let session = session.map(|session| (Issuers::session(issuer, &session), session));
    let known = match &session {
        Some((id, _)) => services.store().session(*id).await?.map(|row| row.user),
        None => None,
    };
    match (known, named, session) {
        (Some(owner), named, Some((id, _))) if named.as_ref().is_none_or(|named| *named == owner) => {
            Ok((owner, Some(id)))
        }
        (None, Some(user), session) => {
            services.expect_foreign(&user, session.as_ref().map(|(_, name)| name.as_str()), issuer).await?;
            Ok((user, session.map(|(id, _)| id)))
        }
        (None, None, None) => Err(Problem::invalid("user", "is missing; name a user or a session")),
        _ => Err(Problem::not_found("session")),
    }
}

/// Whoever is no administrator ends no administrator's session; an API key may, for it tells what happened elsewhere, and
/// an administrator who is none any more must not stay one here.
async fn guard_administrator(services: &Services, caller: &Identity, user: &UserKey) -> Result<(), Problem> {
    if caller.user.is_api_key() || caller.rights.is_admin() {
        return Ok(());
    }
    match services.store().rights(user).await? {
        Some(rights) if rights.is_admin() => Err(super::kick::refused(KickRefused::Administrator)),
        _ => Ok(()),
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
