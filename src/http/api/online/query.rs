//! Filters and order of the online list, as they come and as they are checked.

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use poem_openapi::Object;

use crate::auth::UserKey;
use crate::http::Problem;
use crate::http::page::filter;
use crate::realtime::{Column, OnlineFilter, UserColumn};

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

/// A column by its name, and whether downwards.
pub(crate) fn order<T>(sort: &str, find: impl Fn(&str) -> Option<T>) -> Result<(T, bool), Problem> {
    let (name, descending) = sort.strip_prefix('-').map_or((sort, false), |name| (name, true));
    let found = find(name).ok_or_else(|| Problem::invalid("sort", "is no column of this list"))?;
    Ok((found, descending))
}

pub(super) fn column(name: &str) -> Option<Column> {
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

pub(super) fn user_column(name: &str) -> Option<UserColumn> {
    Some(match name {
        "userId" => UserColumn::UserId,
        "username" => UserColumn::Username,
        "clients" => UserColumn::Clients,
        "sessions" => UserColumn::Sessions,
        "firstSeenAt" => UserColumn::FirstSeenAt,
        "lastSeenAt" => UserColumn::LastSeenAt,
        _ => return None,
    })
}
