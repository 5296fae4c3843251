//! Logins as rows: one login, many clients.

mod revoke;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use super::kick::{refused, sentence, uuid};
use super::online::{order, unavailable};
use super::{Done, Tag};
use crate::auth::{Identity, Permission, UserKey, masked};
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::page::{List, Paging, filter};
use crate::http::security::{AnyCaller, forbidden, not_for_keys, origin};
use crate::realtime::{Column, OnlineFilter, OnlineQuery};
use crate::services::{KickRefused, Services};
use crate::store::{SessionKind, SessionOrder, SessionQuery, SessionRow};

pub(crate) type Apis = (SessionsApi, revoke::RevokeApi);

pub(crate) const APIS: Apis = (SessionsApi, revoke::RevokeApi);

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
    /// Whether it is the one that asks.
    current: bool,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct EndRequest {
    /// What the user reads; at most 200 characters.
    reason: Option<String>,
    /// That the caller knows it is the session that asks.
    confirm_self: Option<bool>,
}

#[OpenApi(tag = "Tag::Sessions")]
impl SessionsApi {
    /// Sessions
    ///
    /// One's own; those of others, and `all`, need `session:write`, and so does an API key, which has none of its own.
    #[oai(path = "/sessions", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn list(
        &self,
        caller: AnyCaller,
        Data(services): Data<&Services>,
        page: Query<Option<i64>>,
        #[oai(name = "pageSize")] page_size: Query<Option<i64>>,
        /// `createdAt`, `lastSeenAt`, `expiresAt`, `userId` or `ip`; downwards with `-` before it. Default `-createdAt`.
        sort: Query<Option<String>>,
        /// Of this user.
        user: Query<Option<String>>,
        /// Everybody's.
        all: Query<Option<bool>>,
        /// Contained in the username.
        username: Query<Option<String>>,
        /// Contained in the address; of others this needs `online:ip`.
        ip: Query<Option<String>>,
        device: Query<Option<String>>,
        /// `login`, `token` or `foreign`.
        kind: Query<Option<String>>,
        /// Begun before that.
        #[oai(name = "createdBefore")]
        created_before: Query<Option<DateTime<Utc>>>,
        /// Not used since.
        #[oai(name = "seenBefore")]
        seen_before: Query<Option<DateTime<Utc>>>,
    ) -> poem::Result<Json<List<Session>>> {
        let user = whose_list(filter("user", user.0)?, all.0.unwrap_or(false), &caller.0)?;
        let own = user.as_ref() == Some(&caller.0.user);
        let whole_ip = own || caller.0.may(Permission::OnlineIp);
        let ip = filter("ip", ip.0)?;
        if ip.is_some() && !whole_ip {
            return Err(forbidden(Permission::OnlineIp).into());
        }
        let paging = Paging::new(page.0, page_size.0)?;
        let (order, descending) = order(sort.0.as_deref().unwrap_or("-createdAt"), column)?;
        if order == SessionOrder::Ip && !whole_ip {
            return Err(forbidden(Permission::OnlineIp).into());
        }
        let query = SessionQuery {
            user,
            username: filter("username", username.0)?,
            ip,
            device: filter("device", device.0)?,
            kind: filter("kind", kind.0)?.map(|word| kind_of(&word)).transpose()?,
            created_before: created_before.0,
            seen_before: seen_before.0,
            order,
            descending,
            paging: paging.into(),
        };
        let rows = services.store().sessions(&query, services.clock().now()).await.map_err(Problem::from)?;
        let open = open_by_session(services, &rows.list).await?;
        let list = rows.list.into_iter().map(|row| session(row, &open, &caller.0, whole_ip)).collect();
        Ok(Json(paging.list(list, rows.total)))
    }

    /// End a session
    ///
    /// The one that asks only with `confirmSelf`: 409.
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
        let body = body.take()?;
        let reason = sentence("reason", body.reason)?;
        if id == caller.0.session && !body.confirm_self.unwrap_or(false) {
            return Err(refused(KickRefused::Oneself).into());
        }
        let by = origin(request, services).actor(&caller.0);
        let by_operator = row.user != caller.0.user;
        services.log_out(&row.user, id, &reason, &by, by_operator).await.map_err(Problem::from)?;
        Ok(Done::Done)
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

/// The user whose sessions are listed; none for everybody's.
fn whose_list(user: Option<String>, all: bool, caller: &Identity) -> Result<Option<UserKey>, Problem> {
    let user = match user {
        Some(user) => Some(UserKey::from_wire(&user)),
        None if all => None,
        None if caller.user.is_api_key() => return Err(not_for_keys()),
        None => Some(caller.user.clone()),
    };
    if user.as_ref() != Some(&caller.user) && !caller.may(Permission::SessionWrite) {
        return Err(forbidden(Permission::SessionWrite));
    }
    Ok(user)
}

fn column(name: &str) -> Option<SessionOrder> {
    Some(match name {
        "createdAt" => SessionOrder::Created,
        "lastSeenAt" => SessionOrder::LastSeen,
        "expiresAt" => SessionOrder::Expires,
        "userId" => SessionOrder::User,
        "ip" => SessionOrder::Ip,
        _ => return None,
    })
}

fn kind_of(word: &str) -> Result<SessionKind, Problem> {
    let kinds = [SessionKind::Login, SessionKind::Token, SessionKind::Foreign];
    let kind = kinds.into_iter().find(|kind| kind.word() == word);
    kind.ok_or_else(|| Problem::invalid("kind", "is login, token or foreign"))
}

/// Open sockets of each of these sessions.
async fn open_by_session(services: &Services, sessions: &[SessionRow]) -> Result<HashMap<Uuid, u64>, Problem> {
    let users: HashSet<UserKey> = sessions.iter().map(|row| row.user.clone()).collect();
    let query = OnlineQuery {
        filter: OnlineFilter { users: users.into_iter().collect(), ..OnlineFilter::default() },
        sort: Column::Id,
        descending: false,
        offset: 0,
        limit: usize::MAX,
        whole_ip: true,
    };
    let mut open = HashMap::new();
    // A filter without users is none.
    if query.filter.users.is_empty() {
        return Ok(open);
    }
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
        current: row.id == caller.session,
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
