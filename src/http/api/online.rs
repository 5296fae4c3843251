//! Who is online.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::{Tag, kick};
use crate::auth::{Permission, UserKey};
use crate::http::Problem;
use crate::http::page::{Paging, filter};
use crate::http::security::{MayKick, MayReadOnline};
use crate::realtime::{self, Cause, Column, OnlineFilter, OnlineQuery, Page, PresenceError, StreamState, Why};
use crate::services::{Services, Whom};

/// Users of a lookup, at most.
const MAX_LOOKUP: usize = 500;

pub(crate) struct OnlineApi;

/// One client in the online list.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OnlineClient {
    /// The client's id, a UUIDv7.
    pub(crate) id: String,
    /// Masked (/24, /48) without `online:ip`.
    ip: String,
    os: String,
    browser: String,
    /// Unix seconds of the login, as in HotGo.
    first_time: i64,
    /// Unix seconds of the last frame from the client.
    heartbeat_time: i64,
    /// The application the login belongs to; empty for Rollcall's own page.
    app: String,
    user_id: String,
    username: String,
    avatar: String,
    session_id: String,
    roles: Vec<String>,
    rooms: Vec<String>,
    connected_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    /// `pc`, `smartphone`, `mobilephone`, `crawler`, `appliance` or empty.
    device: String,
    node: String,
    /// Last measured round trip; absent before the first.
    #[oai(skip_serializing_if_is_none)]
    rtt_ms: Option<u32>,
    frames_in: u64,
    frames_out: u64,
    /// Bytes waiting for a slow reader.
    queue_bytes: u64,
    /// Whether it is a client of the caller's own session.
    #[oai(rename = "self")]
    own: bool,
    /// Lost, and still counted for the grace.
    leaving: bool,
}

/// A page of clients. Differences with a greater `rev` come on top of it.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct OnlineClients {
    list: Vec<OnlineClient>,
    page: u64,
    page_size: u64,
    page_count: u64,
    total_count: u64,
    rev: u64,
    node: String,
    as_of: DateTime<Utc>,
    complete: bool,
}

/// One user in the online list.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct OnlineUser {
    user_id: String,
    username: String,
    avatar: String,
    roles: Vec<String>,
    /// Logins with at least one client.
    sessions: u64,
    clients: u64,
    first_seen_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    leaving: bool,
    #[oai(rename = "self")]
    own: bool,
}

/// A page of users.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct OnlineUsers {
    list: Vec<OnlineUser>,
    page: u64,
    page_size: u64,
    page_count: u64,
    total_count: u64,
    rev: u64,
    node: String,
    as_of: DateTime<Utc>,
    complete: bool,
}

/// How many are online, those in the grace included.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct OnlineCounts {
    clients: u64,
    sessions: u64,
    users: u64,
    /// Clients by role; one with two roles counts twice.
    by_role: BTreeMap<String, u64>,
    /// Clients by application.
    by_app: BTreeMap<String, u64>,
    rev: u64,
    node: String,
    as_of: DateTime<Utc>,
    complete: bool,
}

/// One user, online or not.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct OnlineUserDetails {
    user_id: String,
    username: String,
    roles: Vec<String>,
    online: bool,
    leaving: bool,
    #[oai(skip_serializing_if_is_none)]
    first_seen_at: Option<DateTime<Utc>>,
    #[oai(skip_serializing_if_is_none)]
    last_seen_at: Option<DateTime<Utc>>,
    clients: Vec<OnlineClient>,
    rev: u64,
    node: String,
    as_of: DateTime<Utc>,
    complete: bool,
}

/// The evidence of one client.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Evidence {
    id: String,
    connected_at: DateTime<Utc>,
    last_frame_at: DateTime<Utc>,
    #[oai(skip_serializing_if_is_none)]
    last_pong_at: Option<DateTime<Utc>>,
    #[oai(skip_serializing_if_is_none)]
    rtt_ms: Option<u32>,
    queue_messages: u64,
    queue_bytes: u64,
    leaving: bool,
}

/// How the user went the last time, as far as it is remembered.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct LastLeave {
    /// `closed`, `reload`, `lost`, `timeout`, `kicked`, `locked`, `expired`, `disabled`, `replaced`, `slow`, `badFrames`,
    /// `protocol`, `shutdown`, `logout` or `revoked`.
    cause: String,
    at: DateTime<Utc>,
    client_id: String,
}

/// Why a user counts as online, or not.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct OnlineWhy {
    user_id: String,
    online: bool,
    leaving: bool,
    /// When the grace ends.
    #[oai(skip_serializing_if_is_none)]
    leaving_until: Option<DateTime<Utc>>,
    clients: Vec<Evidence>,
    #[oai(skip_serializing_if_is_none)]
    last_leave: Option<LastLeave>,
    /// The same in one sentence.
    sentence: String,
    rev: u64,
    node: String,
    as_of: DateTime<Utc>,
    complete: bool,
}

/// Whose green dot.
#[derive(Object)]
struct LookupRequest {
    /// At most 500 users.
    users: Vec<String>,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct LookupEntry {
    online: bool,
    /// Sockets that can be reached now.
    clients: u64,
    #[oai(skip_serializing_if_is_none)]
    last_seen_at: Option<DateTime<Utc>>,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct LookupAnswer {
    users: BTreeMap<String, LookupEntry>,
    as_of: DateTime<Utc>,
    complete: bool,
}

/// The filters of the list, as they come.
#[derive(Default, Object)]
#[oai(rename_all = "camelCase", rename = "OnlineFilter")]
pub(crate) struct FilterFields {
    /// The user, exactly.
    pub(crate) user_id: Option<String>,
    /// Contained in the name.
    pub(crate) username: Option<String>,
    /// Contained in the address, or a network as `10.0.0.0/8`.
    pub(crate) ip: Option<String>,
    pub(crate) app: Option<String>,
    pub(crate) room: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) connected_from: Option<DateTime<Utc>>,
    pub(crate) connected_to: Option<DateTime<Utc>>,
    pub(crate) device: Option<String>,
    /// Contained in name, id, address, room, browser or system.
    pub(crate) q: Option<String>,
}

impl FilterFields {
    pub(crate) fn check(self) -> Result<OnlineFilter, Problem> {
        let ip = filter("ip", self.ip)?;
        let ip_in = match ip.as_deref().filter(|ip| ip.contains('/')) {
            Some(text) => Some(
                text.parse::<IpNet>()
                    .map_err(|_| Problem::invalid("ip", "is a part of an address or a network as 10.0.0.0/8"))?,
            ),
            None => None,
        };
        Ok(OnlineFilter {
            users: filter("userId", self.user_id)?.map(|user| UserKey::from_wire(&user)).into_iter().collect(),
            username: filter("username", self.username)?,
            ip_contains: ip.filter(|_| ip_in.is_none()),
            ip_in,
            app: filter("app", self.app)?,
            room: filter("room", self.room)?,
            role: filter("role", self.role)?,
            node: filter("node", self.node)?,
            connected_from: self.connected_from,
            connected_to: self.connected_to,
            device: filter("device", self.device)?,
            text: filter("q", self.q)?,
            ..OnlineFilter::default()
        })
    }

    /// Whether nothing restricts: a kick needs more than that.
    pub(crate) fn is_empty(&self) -> bool {
        let texts = [
            &self.user_id,
            &self.username,
            &self.ip,
            &self.app,
            &self.room,
            &self.role,
            &self.node,
            &self.device,
            &self.q,
        ];
        texts.iter().all(|text| text.as_deref().is_none_or(|text| text.trim().is_empty()))
            && self.connected_from.is_none()
            && self.connected_to.is_none()
    }
}

#[OpenApi(tag = "Tag::Online")]
#[expect(clippy::too_many_arguments, reason = "a query has as many parameters as the list has filters")]
impl OnlineApi {
    /// Clients
    ///
    /// Sorted and filtered; `all=true` answers every row of one instant, up to `online.live_max`.
    #[oai(path = "/online/clients", method = "get")]
    async fn clients(
        &self,
        caller: MayReadOnline,
        Data(services): Data<&Services>,
        page: Query<Option<i64>>,
        #[oai(name = "pageSize")] page_size: Query<Option<i64>>,
        /// A column of the row; `-` in front sorts downwards.
        sort: Query<Option<String>>,
        all: Query<Option<bool>>,
        #[oai(name = "userId")] user_id: Query<Option<String>>,
        username: Query<Option<String>>,
        ip: Query<Option<String>>,
        app: Query<Option<String>>,
        room: Query<Option<String>>,
        role: Query<Option<String>>,
        node: Query<Option<String>>,
        #[oai(name = "connectedFrom")] connected_from: Query<Option<DateTime<Utc>>>,
        #[oai(name = "connectedTo")] connected_to: Query<Option<DateTime<Utc>>>,
        device: Query<Option<String>>,
        q: Query<Option<String>>,
    ) -> poem::Result<Json<OnlineClients>> {
        let fields = FilterFields {
            user_id: user_id.0,
            username: username.0,
            ip: ip.0,
            app: app.0,
            room: room.0,
            role: role.0,
            node: node.0,
            connected_from: connected_from.0,
            connected_to: connected_to.0,
            device: device.0,
            q: q.0,
        };
        let paging = Paging::new(page.0, page_size.0)?;
        let (sort, descending) = order(sort.0.as_deref().unwrap_or("-connectedAt"), column)?;
        let live_max = services.config().online.live_max;
        let all = all.0.unwrap_or(false);
        let query = OnlineQuery {
            filter: fields.check()?,
            sort,
            descending,
            offset: if all { 0 } else { paging.offset() as usize },
            limit: if all { live_max } else { paging.size as usize },
            whole_ip: caller.0.may(Permission::OnlineIp),
        };
        let Page { list, total, state } = services.presence().clients(&query).await.map_err(unavailable)?;
        let rows: Vec<_> = list.into_iter().map(|row| client(row, &caller.0)).collect();
        let (page, size) = if all { (1, rows.len().max(1) as u64) } else { (paging.page, paging.size) };
        Ok(Json(OnlineClients {
            page,
            page_size: size,
            page_count: (total as u64).div_ceil(size),
            list: rows,
            total_count: total as u64,
            rev: state.rev,
            node: services.node().to_string(),
            as_of: state.as_of,
            complete: state.complete,
        }))
    }

    /// Users
    ///
    /// One row a user, however many tabs.
    #[oai(path = "/online/users", method = "get")]
    async fn users(
        &self,
        caller: MayReadOnline,
        Data(services): Data<&Services>,
        page: Query<Option<i64>>,
        #[oai(name = "pageSize")] page_size: Query<Option<i64>>,
        /// `userId`, `username`, `clients`, `sessions`, `firstSeenAt` or `lastSeenAt`; `-` in front sorts downwards.
        sort: Query<Option<String>>,
        #[oai(name = "userId")] user_id: Query<Option<String>>,
        username: Query<Option<String>>,
        role: Query<Option<String>>,
        q: Query<Option<String>>,
    ) -> poem::Result<Json<OnlineUsers>> {
        let fields =
            FilterFields { user_id: user_id.0, username: username.0, role: role.0, q: q.0, ..FilterFields::default() };
        let paging = Paging::new(page.0, page_size.0)?;
        let sort = sort.0.unwrap_or_else(|| "-lastSeenAt".to_owned());
        let (order_by, descending) = order(&sort, user_order)?;
        let whole_ip = caller.0.may(Permission::OnlineIp);
        let Page { mut list, total, state } =
            services.presence().users(&fields.check()?, whole_ip).await.map_err(unavailable)?;
        list.sort_by(|a, b| {
            let ordered = order_by(a, b);
            if descending { ordered.reverse() } else { ordered }.then_with(|| a.user.cmp(&b.user))
        });
        let rows = list.into_iter().skip(paging.offset() as usize).take(paging.size as usize);
        Ok(Json(OnlineUsers {
            list: rows.map(|row| user(row, &caller.0)).collect(),
            page: paging.page,
            page_size: paging.size,
            page_count: paging.pages(total as u64),
            total_count: total as u64,
            rev: state.rev,
            node: services.node().to_string(),
            as_of: state.as_of,
            complete: state.complete,
        }))
    }

    /// Counts
    #[oai(path = "/online/counts", method = "get")]
    async fn counts(
        &self,
        _caller: MayReadOnline,
        Data(services): Data<&Services>,
    ) -> poem::Result<Json<OnlineCounts>> {
        let (counts, state) = services.presence().counts().await.map_err(unavailable)?;
        let by = |map: BTreeMap<std::sync::Arc<str>, usize>| {
            map.into_iter().map(|(key, count)| (key.to_string(), count as u64)).collect()
        };
        Ok(Json(OnlineCounts {
            clients: counts.clients as u64,
            sessions: counts.sessions as u64,
            users: counts.users as u64,
            by_role: by(counts.by_role),
            by_app: by(counts.by_app),
            rev: state.rev,
            node: services.node().to_string(),
            as_of: state.as_of,
            complete: state.complete,
        }))
    }

    /// One user
    #[oai(path = "/online/users/:id", method = "get")]
    async fn one_user(
        &self,
        caller: MayReadOnline,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Json<OnlineUserDetails>> {
        let key = UserKey::from_wire(&id.0);
        let rights = services.store().rights(&key).await.map_err(Problem::from)?;
        let rights = rights.ok_or_else(|| Problem::not_found("user"))?;
        let filter = OnlineFilter { users: vec![key.clone()], ..OnlineFilter::default() };
        let whole_ip = caller.0.may(Permission::OnlineIp);
        let grouped = services.presence().users(&filter, whole_ip).await.map_err(unavailable)?;
        let query = OnlineQuery {
            filter,
            sort: Column::ConnectedAt,
            descending: true,
            offset: 0,
            limit: services.config().socket.per_user.max(1),
            whole_ip,
        };
        let Page { list, state, .. } = services.presence().clients(&query).await.map_err(unavailable)?;
        let online = grouped.list.first();
        let last_seen = services.presence().lookup(std::slice::from_ref(&key)).await.map_err(unavailable)?;
        Ok(Json(OnlineUserDetails {
            user_id: key.to_string(),
            username: rights.username.to_string(),
            roles: rights.roles.iter().map(ToString::to_string).collect(),
            online: online.is_some(),
            leaving: online.is_some_and(|user| user.leaving),
            first_seen_at: online.map(|user| user.first_seen_at),
            last_seen_at: last_seen[0].and_then(|found| found.last_seen_at),
            clients: list.into_iter().map(|row| client(row, &caller.0)).collect(),
            rev: state.rev,
            node: services.node().to_string(),
            as_of: state.as_of,
            complete: state.complete,
        }))
    }

    /// End all of a user
    #[oai(path = "/online/users/:id", method = "delete")]
    async fn end_user(
        &self,
        caller: MayKick,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
        #[oai(name = "dryRun")] dry_run: Query<Option<bool>>,
        options: Json<kick::Options>,
    ) -> poem::Result<kick::KickAnswer> {
        let whom = Whom { users: vec![UserKey::from_wire(&id)], ..Whom::default() };
        kick::kick(services, request, &caller, whom, options.0, dry_run.0).await
    }

    /// Why a user is online
    ///
    /// The evidence (last frame, last pong, round trip, queue) and how the user went the last time.
    #[oai(path = "/online/users/:id/why", method = "get")]
    async fn why(
        &self,
        _caller: MayReadOnline,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Json<OnlineWhy>> {
        let key = UserKey::from_wire(&id.0);
        if services.store().rights(&key).await.map_err(Problem::from)?.is_none() {
            return Err(Problem::not_found("user").into());
        }
        let (why, state) = services.presence().why(&key).await.map_err(unavailable)?;
        Ok(Json(evidence(&key, why, state, services)))
    }

    /// The green dot beside your own users
    #[oai(path = "/online/lookup", method = "post")]
    async fn lookup(
        &self,
        _caller: MayReadOnline,
        Data(services): Data<&Services>,
        request: Json<LookupRequest>,
    ) -> poem::Result<Json<LookupAnswer>> {
        if request.users.len() > MAX_LOOKUP {
            return Err(Problem::invalid("users", format!("has at most {MAX_LOOKUP} entries")).into());
        }
        let keys: Vec<UserKey> = request.users.iter().map(|user| UserKey::from_wire(user)).collect();
        let found = services.presence().lookup(&keys).await.map_err(unavailable)?;
        let unseen: Vec<UserKey> =
            keys.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(key, _)| key.clone()).collect();
        let seen = services.store().last_seen(&unseen).await.map_err(Problem::from)?;
        let entries = request.0.users.into_iter().zip(found).map(|(user, found)| {
            let last_seen_at = match found {
                Some(found) => found.last_seen_at,
                None => seen.get(&UserKey::from_wire(&user)).copied(),
            };
            let clients = found.map_or(0, |found| found.clients as u64);
            (user, LookupEntry { online: found.is_some_and(|found| found.online), clients, last_seen_at })
        });
        Ok(Json(LookupAnswer { users: entries.collect(), as_of: services.clock().now(), complete: true }))
    }
}

pub(crate) fn client(row: realtime::OnlineClient, caller: &crate::auth::Identity) -> OnlineClient {
    OnlineClient {
        own: row.session_id == caller.session,
        id: row.id.to_string(),
        ip: row.ip,
        os: row.os,
        browser: row.browser,
        first_time: row.first_time,
        heartbeat_time: row.heartbeat_time,
        app: row.app.to_string(),
        user_id: row.user_id,
        username: row.username.to_string(),
        avatar: row.avatar.to_string(),
        session_id: row.session_id.to_string(),
        roles: row.roles.iter().map(ToString::to_string).collect(),
        rooms: row.rooms.iter().map(ToString::to_string).collect(),
        connected_at: row.connected_at,
        last_seen_at: row.last_seen_at,
        device: row.device,
        node: row.node.to_string(),
        rtt_ms: row.rtt_ms,
        frames_in: row.frames_in,
        frames_out: row.frames_out,
        queue_bytes: row.queue_bytes as u64,
        leaving: row.leaving,
    }
}

fn user(row: realtime::OnlineUser, caller: &crate::auth::Identity) -> OnlineUser {
    OnlineUser {
        own: row.user == caller.user,
        user_id: row.user.to_string(),
        username: row.username.to_string(),
        avatar: row.avatar.to_string(),
        roles: row.roles.iter().map(ToString::to_string).collect(),
        sessions: row.sessions as u64,
        clients: row.clients as u64,
        first_seen_at: row.first_seen_at,
        last_seen_at: row.last_seen_at,
        leaving: row.leaving,
    }
}

fn evidence(key: &UserKey, why: Why, state: StreamState, services: &Services) -> OnlineWhy {
    let sentence = sentence(&why, state.as_of);
    OnlineWhy {
        user_id: key.to_string(),
        online: !why.clients.is_empty(),
        leaving: why.leaving_until.is_some(),
        leaving_until: why.leaving_until,
        clients: why
            .clients
            .into_iter()
            .map(|client| Evidence {
                id: client.id.to_string(),
                connected_at: client.connected_at,
                last_frame_at: client.last_frame_at,
                last_pong_at: client.last_pong_at,
                rtt_ms: client.rtt_ms,
                queue_messages: client.queue_messages as u64,
                queue_bytes: client.queue_bytes as u64,
                leaving: client.leaving,
            })
            .collect(),
        last_leave: why.last_leave.map(|leave| LastLeave {
            cause: cause_word(leave.cause),
            at: leave.at,
            client_id: leave.client.to_string(),
        }),
        sentence,
        rev: state.rev,
        node: services.node().to_string(),
        as_of: state.as_of,
        complete: state.complete,
    }
}

fn sentence(why: &Why, now: DateTime<Utc>) -> String {
    let ago = |at: DateTime<Utc>| format!("{} s ago", (now - at).num_seconds().max(0));
    let left = why.last_leave.as_ref().map(|leave| format!("{} ({})", ago(leave.at), cause_word(leave.cause)));
    let newest = why.clients.iter().max_by_key(|client| client.last_frame_at);
    match (newest, why.leaving_until, left) {
        (Some(_), Some(until), left) => format!(
            "Leaving: the last client was lost {}; counted for another {} s.",
            left.unwrap_or_default(),
            (until - now).num_seconds().max(0)
        ),
        (Some(client), None, _) => {
            let rtt = client.rtt_ms.map(|rtt| format!(", answered a ping in {rtt} ms")).unwrap_or_default();
            format!(
                "Online: {} open, the last frame came {}{rtt}.",
                clients(why.clients.len()),
                ago(client.last_frame_at)
            )
        }
        (None, _, Some(left)) => format!("Offline: the last client left {left}."),
        (None, _, None) => "Offline: no client since this server started.".to_owned(),
    }
}

fn clients(count: usize) -> String {
    if count == 1 { "1 client".to_owned() } else { format!("{count} clients") }
}

fn cause_word(cause: Cause) -> String {
    serde_json::to_value(cause).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(crate) fn unavailable(error: PresenceError) -> Problem {
    tracing::warn!(%error, "presence failed");
    Problem::unavailable()
}

/// A column by its name, and whether downwards.
pub(crate) fn order<T>(sort: &str, find: impl Fn(&str) -> Option<T>) -> Result<(T, bool), Problem> {
    let (name, descending) = sort.strip_prefix('-').map_or((sort, false), |name| (name, true));
    let found = find(name).ok_or_else(|| Problem::invalid("sort", "is no column of this list"))?;
    Ok((found, descending))
}

fn column(name: &str) -> Option<Column> {
    Some(match name {
        "id" => Column::Id,
        "ip" => Column::Ip,
        "os" => Column::Os,
        "browser" => Column::Browser,
        "firstTime" => Column::FirstTime,
        "heartbeatTime" => Column::HeartbeatTime,
        "app" => Column::App,
        "userId" => Column::UserId,
        "username" => Column::Username,
        "sessionId" => Column::SessionId,
        "connectedAt" => Column::ConnectedAt,
        "lastSeenAt" => Column::LastSeenAt,
        "device" => Column::Device,
        "node" => Column::Node,
        "rttMs" => Column::RttMs,
        "framesIn" => Column::FramesIn,
        "framesOut" => Column::FramesOut,
        "queueBytes" => Column::QueueBytes,
        _ => return None,
    })
}

type UserOrder = fn(&realtime::OnlineUser, &realtime::OnlineUser) -> std::cmp::Ordering;

fn user_order(name: &str) -> Option<UserOrder> {
    Some(match name {
        "userId" => |a, b| a.user.cmp(&b.user),
        "username" => |a, b| a.username.to_lowercase().cmp(&b.username.to_lowercase()),
        "clients" => |a, b| a.clients.cmp(&b.clients),
        "sessions" => |a, b| a.sessions.cmp(&b.sessions),
        "firstSeenAt" => |a, b| a.first_seen_at.cmp(&b.first_seen_at),
        "lastSeenAt" => |a, b| a.last_seen_at.cmp(&b.last_seen_at),
        _ => return None,
    })
}
