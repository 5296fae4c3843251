//! What the online resources answer, and what they are asked.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use poem_openapi::Object;

use crate::auth::Identity;
use crate::realtime::{self, StreamState};

/// One client in the online list.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OnlineClient {
    /// The client's id, a UUIDv7.
    pub(crate) id: String,
    /// Masked (/24, /48) without `online:ip`.
    pub(super) ip: String,
    pub(super) os: String,
    pub(super) browser: String,
    /// Unix seconds of the login, as in HotGo.
    pub(super) first_time: i64,
    /// Unix seconds of the last frame from the client.
    pub(super) heartbeat_time: i64,
    /// The application the login belongs to; empty for Rollcall's own page.
    pub(super) app: String,
    pub(super) user_id: String,
    pub(super) username: String,
    pub(super) avatar: String,
    pub(super) session_id: String,
    pub(super) roles: Vec<String>,
    pub(super) rooms: Vec<String>,
    pub(super) connected_at: DateTime<Utc>,
    pub(super) last_seen_at: DateTime<Utc>,
    /// `pc`, `smartphone`, `mobilephone`, `crawler`, `appliance` or empty.
    pub(super) device: String,
    pub(super) node: String,
    /// Last measured round trip; absent before the first.
    #[oai(skip_serializing_if_is_none)]
    pub(super) rtt_ms: Option<u32>,
    pub(super) frames_in: u64,
    pub(super) frames_out: u64,
    /// Bytes waiting for a slow reader.
    pub(super) queue_bytes: u64,
    /// Whether it is a client of the caller's own session.
    #[oai(rename = "self")]
    pub(super) own: bool,
    /// Lost, and still counted for the grace.
    pub(super) leaving: bool,
}

/// A page of clients. Differences with a greater `rev` come on top of it.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct OnlineClients {
    pub(super) list: Vec<OnlineClient>,
    pub(super) page: u64,
    pub(super) page_size: u64,
    pub(super) page_count: u64,
    pub(super) total_count: u64,
    pub(super) rev: u64,
    pub(super) node: String,
    pub(super) as_of: DateTime<Utc>,
    /// Whether it is about every node.
    pub(super) complete: bool,
    pub(super) nodes: Nodes,
}

/// One user in the online list.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct OnlineUser {
    pub(super) user_id: String,
    pub(super) username: String,
    pub(super) avatar: String,
    pub(super) roles: Vec<String>,
    /// Logins with at least one client.
    pub(super) sessions: u64,
    pub(super) clients: u64,
    pub(super) first_seen_at: DateTime<Utc>,
    pub(super) last_seen_at: DateTime<Utc>,
    pub(super) leaving: bool,
    #[oai(rename = "self")]
    pub(super) own: bool,
}

/// Of how many nodes the answer is.
#[derive(Object)]
pub(super) struct Nodes {
    /// Nodes that answered in time, this one among them.
    pub(super) answered: u64,
    /// Nodes that live.
    pub(super) expected: u64,
}

impl From<StreamState> for Nodes {
    fn from(state: StreamState) -> Nodes {
        Nodes { answered: state.nodes.answered as u64, expected: state.nodes.expected as u64 }
    }
}

/// A page of users.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct OnlineUsers {
    pub(super) list: Vec<OnlineUser>,
    pub(super) page: u64,
    pub(super) page_size: u64,
    pub(super) page_count: u64,
    pub(super) total_count: u64,
    pub(super) rev: u64,
    pub(super) node: String,
    pub(super) as_of: DateTime<Utc>,
    /// Whether it is about every node.
    pub(super) complete: bool,
    pub(super) nodes: Nodes,
}

/// How many are online, those in the grace included.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct OnlineCounts {
    pub(super) clients: u64,
    pub(super) sessions: u64,
    pub(super) users: u64,
    /// Clients by role; one with two roles counts twice.
    pub(super) by_role: BTreeMap<String, u64>,
    /// Clients by application.
    pub(super) by_app: BTreeMap<String, u64>,
    pub(super) rev: u64,
    pub(super) node: String,
    pub(super) as_of: DateTime<Utc>,
    /// Whether it is about every node.
    pub(super) complete: bool,
    pub(super) nodes: Nodes,
}

/// One user, online or not.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct OnlineUserDetails {
    pub(super) user_id: String,
    pub(super) username: String,
    pub(super) roles: Vec<String>,
    pub(super) online: bool,
    pub(super) leaving: bool,
    #[oai(skip_serializing_if_is_none)]
    pub(super) first_seen_at: Option<DateTime<Utc>>,
    #[oai(skip_serializing_if_is_none)]
    pub(super) last_seen_at: Option<DateTime<Utc>>,
    pub(super) clients: Vec<OnlineClient>,
    pub(super) rev: u64,
    pub(super) node: String,
    pub(super) as_of: DateTime<Utc>,
    /// Whether it is about every node.
    pub(super) complete: bool,
    pub(super) nodes: Nodes,
}

pub(crate) fn client(row: realtime::OnlineClient, caller: &Identity) -> OnlineClient {
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

pub(super) fn user(row: realtime::OnlineUser, caller: &Identity) -> OnlineUser {
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
