//! What HotGo's admin page and its backends call: the same paths, fields and envelope, status 200 for everything handled.
//! Authenticated, unlike the original, and with its faults mended: a page holds exactly `pageSize` rows, an empty list is
//! `[]`, a kick ends the session too, and `response` is delivered as the frame itself.

use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use poem::web::Data;
use poem::{Request, Response, handler};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api;
use super::page::filter;
use super::security::{bearer, origin, request_id};
use super::socket::SocketDoor;
use crate::auth::{Identity, Permission, UserKey};
use crate::realtime::{Column, OnlineClient, OnlineFilter, OnlineQuery, Page, Target};
use crate::services::{Kick, KickRefused, Services, Whom};

/// HotGo's codes: done, failed, not logged in, not permitted.
const OK: i32 = 0;
const FAILED: i32 = -1;
const NOT_LOGGED_IN: i32 = 61;
const NOT_PERMITTED: i32 = 62;
/// Rows of a page, HotGo's bounds.
const PAGE_SIZE: std::ops::RangeInclusive<usize> = 1..=200;

#[derive(Serialize)]
struct Envelope {
    code: i32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    timestamp: i64,
    #[serde(rename = "traceID")]
    trace_id: String,
}

/// A failure in HotGo's words.
struct Failure(i32, String);

/// HotGo's ten columns.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    ip: String,
    os: String,
    browser: String,
    first_time: i64,
    heartbeat_time: i64,
    app: Arc<str>,
    /// A number where it is one.
    user_id: Value,
    username: Arc<str>,
    avatar: Arc<str>,
}

/// HotGo's page posts the whole row; only the id counts.
#[derive(Deserialize)]
struct OfflineRequest {
    id: String,
}

#[derive(Deserialize)]
struct TagRequest {
    tag: String,
    response: TagResponse,
}

#[derive(Deserialize)]
struct TagResponse {
    event: String,
    data: Option<Value>,
}

/// `GET /admin/monitor/userOnlineList`
#[handler]
pub(super) async fn user_online_list(request: &Request, Data(services): Data<&Services>) -> Response {
    answer(request, services, online_list(request, services).await)
}

/// `POST /admin/monitor/userOffline`
#[handler]
pub(super) async fn user_offline(request: &Request, body: Vec<u8>, Data(services): Data<&Services>) -> Response {
    answer(request, services, offline(request, &body, services).await)
}

/// `POST /socket/send/toTag`
#[handler]
pub(super) async fn send_to_tag(
    request: &Request,
    body: Vec<u8>,
    Data(services): Data<&Services>,
    Data(door): Data<&SocketDoor>,
) -> Response {
    answer(request, services, to_tag(request, &body, services, door).await)
}

async fn online_list(request: &Request, services: &Services) -> Result<Value, Failure> {
    let caller = caller(request, services, Permission::OnlineRead).await?;
    let asked: Vec<(String, String)> =
        form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let value = |key: &str| asked.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    let number = |key: &str, default: usize| match value(key).filter(|text| !text.is_empty()) {
        Some(text) => text.parse().ok().filter(|number| *number >= 1).ok_or_else(|| invalid(key)),
        None => Ok(default),
    };
    let (page, size) = (number("page", 1)?, number("pageSize", 10)?);
    if !PAGE_SIZE.contains(&size) {
        return Err(invalid("pageSize"));
    }
    let zone = services.config().server.timezone;
    let checked = |key: &str| filter(key, value(key)).map_err(|_| invalid(key));
    let times: Vec<_> =
        asked.iter().filter(|(name, _)| name.starts_with("firstTime")).map(|(_, value)| time(value, zone)).collect();
    let query = OnlineQuery {
        filter: OnlineFilter {
            users: checked("userId")?.map(|user| UserKey::from_wire(&user)).into_iter().collect(),
            // Exactly this name, as in HotGo; ours looks for a part of it.
            username_is: checked("username")?,
            present: true,
            ip_contains: checked("ip")?,
            logged_in_from: times.first().copied().flatten(),
            logged_in_to: times.get(1).copied().flatten(),
            ..OnlineFilter::default()
        },
        sort: Column::FirstTime,
        descending: false,
        offset: (page - 1).saturating_mul(size),
        limit: size,
        whole_ip: caller.may(Permission::OnlineIp),
    };
    let Page { list, total, .. } = services.presence().clients(&query).await.map_err(|_| failed("数据暂时不可用"))?;
    let list: Vec<Row> = list.into_iter().map(row).collect();
    Ok(json!({"list": list, "page": page, "pageSize": size, "pageCount": total.div_ceil(size), "totalCount": total}))
}

async fn offline(request: &Request, body: &[u8], services: &Services) -> Result<Value, Failure> {
    let caller = caller(request, services, Permission::OnlineKick).await?;
    let OfflineRequest { id } = serde_json::from_slice(body).map_err(|_| invalid("id"))?;
    let id = uuid::Uuid::parse_str(&id).map_err(|_| failed("客户端已离线"))?;
    let from = origin(request, services);
    let whom = Whom { clients: vec![id], ..Whom::default() };
    let refused = |refused| match refused {
        KickRefused::Nobody(_) => failed("客户端已离线"),
        refused => failed(api::refusal_detail(refused)),
    };
    let kick = Kick {
        found: services.find(&whom, &caller, false).await.map_err(refused)?,
        reason: String::new(),
        note: String::new(),
        revoke: true,
        lockout: None,
        // HotGo's page has asked its question already, and knows no second one.
        confirm_self: true,
        dry_run: false,
        by: &caller,
        origin: &from,
    };
    services.kick(kick).await.map_err(refused)?;
    Ok(Value::Null)
}

async fn to_tag(request: &Request, body: &[u8], services: &Services, door: &SocketDoor) -> Result<Value, Failure> {
    caller(request, services, Permission::PushSend).await?;
    let TagRequest { tag, response } =
        serde_json::from_slice(body).map_err(|_| failed("参数错误: tag, response.event"))?;
    api::check_event(&response.event, &door.registry).map_err(|problem| failed(problem.detail()))?;
    let target = Target::Rooms(vec![tag.into()]);
    let delivered = api::publish(services, target, &response.event, response.data.as_ref()).await;
    let delivered = delivered.map_err(|problem| failed(problem.detail()))?;
    Ok(json!({"delivered": delivered.delivered, "dropped": delivered.dropped}))
}

async fn caller(request: &Request, services: &Services, permission: Permission) -> Result<Identity, Failure> {
    let identity = bearer(request, services).await.map_err(|denied| match denied.status() {
        503 => failed("数据暂时不可用"),
        429 => failed("请求过于频繁，请稍后再试"),
        _ if denied.word() == "address_not_allowed" => not_permitted(),
        _ => Failure(NOT_LOGGED_IN, "登录身份已失效，请重新登录！".to_owned()),
    })?;
    if !identity.may(permission) {
        return Err(not_permitted());
    }
    Ok(identity)
}

fn answer(request: &Request, services: &Services, outcome: Result<Value, Failure>) -> Response {
    let (code, message, data) = match outcome {
        Ok(data) => (OK, "操作成功".to_owned(), Some(data)),
        Err(Failure(code, message)) => (code, message, None),
    };
    let envelope =
        Envelope { code, message, data, timestamp: services.clock().now().timestamp(), trace_id: request_id(request) };
    let text = serde_json::to_string(&envelope).expect("text and numbers serialize");
    Response::builder().content_type("application/json; charset=utf-8").body(text)
}

fn row(row: OnlineClient) -> Row {
    Row {
        id: row.id.to_string(),
        ip: row.ip,
        os: row.os,
        browser: row.browser,
        first_time: row.first_time,
        heartbeat_time: row.heartbeat_time,
        app: row.app,
        user_id: row.user_id.parse::<i64>().map_or_else(|_| json!(row.user_id), |number| json!(number)),
        username: row.username,
        avatar: row.avatar,
    }
}

/// `2024-03-09 21:46:48`, a time of `server.timezone`; or Unix seconds or milliseconds. Of the hour that comes twice when
/// clocks go back, the first is meant; a time that clocks going forward leave out is an hour later.
fn time(text: &str, zone: Tz) -> Option<DateTime<Utc>> {
    if let Ok(number) = text.parse::<i64>() {
        return if number > 100_000_000_000 {
            DateTime::from_timestamp_millis(number)
        } else {
            DateTime::from_timestamp(number, 0)
        };
    }
    let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()?;
    let local = |naive: NaiveDateTime| naive.and_local_timezone(zone).earliest();
    local(naive).or_else(|| local(naive + TimeDelta::hours(1))).map(|at| at.to_utc())
}

fn not_permitted() -> Failure {
    Failure(NOT_PERMITTED, "你没有访问权限！".to_owned())
}

fn failed(message: impl Into<String>) -> Failure {
    Failure(FAILED, message.into())
}

fn invalid(field: &str) -> Failure {
    failed(format!("参数错误: {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_of_the_servers_also_when_its_clocks_change() {
        for (zone, text, expected) in [
            (Tz::UTC, "2024-03-09 21:46:48", "2024-03-09T21:46:48Z"),
            (Tz::Asia__Shanghai, "2024-03-09 21:46:48", "2024-03-09T13:46:48Z"),
            (Tz::Europe__Berlin, "2024-07-01 12:00:00", "2024-07-01T10:00:00Z"),
            (Tz::Europe__Berlin, "2024-03-31 02:30:00", "2024-03-31T01:30:00Z"),
            (Tz::Europe__Berlin, "2024-10-27 02:30:00", "2024-10-27T00:30:00Z"),
            (Tz::Asia__Shanghai, "1709992008", "2024-03-09T13:46:48Z"),
            (Tz::Asia__Shanghai, "1709992008000", "2024-03-09T13:46:48Z"),
        ] {
            assert_eq!(time(text, zone), Some(expected.parse().unwrap()), "{text} in {zone}");
        }
        assert_eq!(time("yesterday", Tz::UTC), None);
    }
}
