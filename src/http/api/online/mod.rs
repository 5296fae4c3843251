//! Who is online.

mod lookup;
mod query;
mod rows;
mod why;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;

use super::{Tag, kick};
use crate::auth::{Permission, UserKey};
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::page::Paging;
use crate::http::security::{MayKick, MayReadOnline};
use crate::realtime::{Column, OnlineFilter, OnlineQuery, Page, PresenceError, UserColumn, UserQuery};
use crate::services::{Services, Whom};
pub(crate) use lookup::LookupApi;
pub(crate) use query::{FilterFields, order};
use query::{column, user_column};
use rows::{OnlineClients, OnlineCounts, OnlineUserDetails, OnlineUsers, client, user};
use why::{OnlineWhy, evidence};

pub(crate) struct OnlineApi;

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
            nodes: state.into(),
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
        let (sort, descending) = order(&sort, user_column)?;
        let query = UserQuery {
            filter: fields.check()?,
            sort,
            descending,
            offset: paging.offset() as usize,
            limit: paging.size as usize,
            whole_ip: caller.0.may(Permission::OnlineIp),
        };
        let Page { list, total, state } = services.presence().users(&query).await.map_err(unavailable)?;
        Ok(Json(OnlineUsers {
            list: list.into_iter().map(|row| user(row, &caller.0)).collect(),
            page: paging.page,
            page_size: paging.size,
            page_count: paging.pages(total as u64),
            total_count: total as u64,
            rev: state.rev,
            node: services.node().to_string(),
            as_of: state.as_of,
            complete: state.complete,
            nodes: state.into(),
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
            nodes: state.into(),
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
        let users = UserQuery {
            filter: filter.clone(),
            sort: UserColumn::UserId,
            descending: false,
            offset: 0,
            limit: 1,
            whole_ip,
        };
        let grouped = services.presence().users(&users).await.map_err(unavailable)?;
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
        let (last_seen, _) = services.presence().lookup(std::slice::from_ref(&key)).await.map_err(unavailable)?;
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
            nodes: state.into(),
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
        options: Body<kick::Options>,
    ) -> poem::Result<kick::KickAnswer> {
        let whom = Whom { users: vec![UserKey::from_wire(&id)], ..Whom::default() };
        kick::kick(services, request, &caller, whom, options, dry_run.0).await
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
}

pub(crate) fn unavailable(error: PresenceError) -> Problem {
    tracing::warn!(%error, "presence failed");
    Problem::unavailable()
}
