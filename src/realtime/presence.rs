//! Who is online, as lists, counts and differences say it. Presence is what everybody reads; the client manager is only
//! this node's part of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::Client;
use crate::auth::UserKey;
use std::collections::BTreeMap;

/// Why a client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The client closed with 1000.
    Closed,
    /// The client closed with 1001: a page was reloaded or left.
    Reload,
    /// The network ended it without a word.
    Lost,
    /// No heartbeat.
    Timeout,
    /// An operator ended it.
    Kicked,
    /// An operator ended it and locked the user out.
    Locked,
    /// The token ended and was not renewed.
    Expired,
    /// The account was disabled.
    Disabled,
    /// A newer login or socket took its place.
    Replaced,
    /// It read slower than we wrote.
    Slow,
    /// Too many malformed frames.
    BadFrames,
    /// It broke the WebSocket protocol.
    Protocol,
    /// This node stopped, or was drained: told to come back elsewhere.
    Shutdown,
    /// The user logged out.
    Logout,
    /// The session was revoked.
    Revoked,
    /// Its node died: nobody knows how the socket ended.
    NodeLost,
}

impl Cause {
    /// The word in lists and figures.
    pub fn word(self) -> String {
        let word = serde_json::to_value(self).ok();
        word.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }

    /// Whether the user may be back in a moment, so that the grace applies. Not after a kick, a logout or an explicit leave.
    pub fn waits(self) -> bool {
        !matches!(
            self,
            Cause::Closed
                | Cause::Kicked
                | Cause::Locked
                | Cause::Disabled
                | Cause::Replaced
                | Cause::Logout
                | Cause::Revoked
        )
    }
}

/// One client in the online list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnlineClient {
    /// The client's id.
    pub id: Uuid,
    /// Whole, or masked for viewers without `online:ip`.
    pub ip: String,
    /// Operating system.
    pub os: String,
    /// Browser and version.
    pub browser: String,
    /// Unix seconds of the login, as in HotGo.
    pub first_time: i64,
    /// Unix seconds of the last frame from the client.
    pub heartbeat_time: i64,
    /// The login's application.
    pub app: Arc<str>,
    /// Who.
    pub user_id: String,
    /// Shown name.
    pub username: Arc<str>,
    /// Address of the picture.
    pub avatar: Arc<str>,
    /// The login.
    pub session_id: Uuid,
    /// Names of the roles.
    pub roles: Arc<[Arc<str>]>,
    /// Rooms the client joined.
    pub rooms: Vec<Arc<str>>,
    /// When the socket opened.
    #[serde(serialize_with = "rfc3339")]
    pub connected_at: DateTime<Utc>,
    /// When the last frame came.
    #[serde(serialize_with = "rfc3339")]
    pub last_seen_at: DateTime<Utc>,
    /// Kind of device.
    pub device: String,
    /// The node that holds the socket.
    pub node: Arc<str>,
    /// Last measured round trip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u32>,
    /// Frames received.
    pub frames_in: u64,
    /// Messages sent.
    pub frames_out: u64,
    /// Bytes waiting for a slow reader.
    pub queue_bytes: usize,
    /// Lost, and still counted for the grace.
    pub leaving: bool,
}

/// One user in the online list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnlineUser {
    /// Who.
    pub user: UserKey,
    /// Shown name.
    pub username: Arc<str>,
    /// Address of the picture.
    pub avatar: Arc<str>,
    /// Names of the roles.
    pub roles: Arc<[Arc<str>]>,
    /// Logins with at least one client.
    pub sessions: usize,
    /// Clients.
    pub clients: usize,
    /// When the user came.
    pub first_seen_at: DateTime<Utc>,
    /// The last frame of any client.
    pub last_seen_at: DateTime<Utc>,
    /// In the grace after the last client was lost.
    pub leaving: bool,
}

/// How many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnlineCounts {
    /// Sockets, those in the grace included.
    pub clients: usize,
    /// Logins.
    pub sessions: usize,
    /// Users.
    pub users: usize,
    /// Clients by role; one with two roles counts twice.
    pub by_role: BTreeMap<Arc<str>, usize>,
    /// Clients by application; the empty name is our own page.
    pub by_app: BTreeMap<Arc<str>, usize>,
}

/// The columns of the list that can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of the row")]
pub enum Column {
    Id,
    Ip,
    Os,
    Browser,
    FirstTime,
    HeartbeatTime,
    App,
    UserId,
    Username,
    SessionId,
    ConnectedAt,
    LastSeenAt,
    Device,
    Node,
    RttMs,
    FramesIn,
    FramesOut,
    QueueBytes,
}

/// The columns of the list of users that can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of the row")]
pub enum UserColumn {
    UserId,
    Username,
    Clients,
    Sessions,
    FirstSeenAt,
    LastSeenAt,
}

/// What of the list is asked for. An empty filter matches everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OnlineFilter {
    /// Exactly these clients, sessions or users; an empty list does not restrict.
    pub clients: Vec<Uuid>,
    /// See `clients`.
    pub sessions: Vec<Uuid>,
    /// See `clients`.
    pub users: Vec<UserKey>,
    /// Contained in the name, whatever the case.
    pub username: Option<String>,
    /// The name, exactly.
    pub username_is: Option<String>,
    /// Without those that wait out a grace.
    pub present: bool,
    /// Contained in the address as the viewer sees it.
    pub ip_contains: Option<String>,
    /// The network the address is in.
    pub ip_in: Option<IpNet>,
    /// The application, exactly.
    pub app: Option<String>,
    /// A room the client is in.
    pub room: Option<String>,
    /// A role of the user.
    pub role: Option<String>,
    /// The node.
    pub node: Option<String>,
    /// Connected at or after.
    pub connected_from: Option<DateTime<Utc>>,
    /// Connected before or at.
    pub connected_to: Option<DateTime<Utc>>,
    /// Logged in at or after (HotGo's `firstTime[]`).
    pub logged_in_from: Option<DateTime<Utc>>,
    /// Logged in before or at.
    pub logged_in_to: Option<DateTime<Utc>>,
    /// Kind of device.
    pub device: Option<String>,
    /// Contained in name, id, address, room, browser or system, whatever the case.
    pub text: Option<String>,
}

/// A page of the list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OnlineQuery {
    /// Which rows.
    pub filter: OnlineFilter,
    /// In which order; ids decide between equals.
    pub sort: Column,
    /// Downwards.
    pub descending: bool,
    /// Rows to pass over.
    pub offset: usize,
    /// Rows, at most.
    pub limit: usize,
    /// Whether the viewer sees whole addresses. Without, filters and order see only the masked ones.
    pub whole_ip: bool,
}

/// A page of the list of users.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserQuery {
    /// Users with a client that matches; their other clients count as well.
    pub filter: OnlineFilter,
    /// In which order; ids decide between equals.
    pub sort: UserColumn,
    /// Downwards.
    pub descending: bool,
    /// Rows to pass over.
    pub offset: usize,
    /// Rows, at most.
    pub limit: usize,
    /// Whether the viewer sees whole addresses.
    pub whole_ip: bool,
}

/// Some rows of a list, and how many there are.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub list: Vec<T>,
    /// Of all pages.
    pub total: usize,
    /// What the answer is as of.
    pub state: StreamState,
}

/// Where the stream of differences stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Differences with a greater `rev` come on top of the answer.
    pub rev: u64,
    /// When the answer was true.
    pub as_of: DateTime<Utc>,
    /// Whether it is about every node that lives.
    pub complete: bool,
    /// Of how many nodes it is.
    pub nodes: Nodes,
}

/// Nodes that an answer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Nodes {
    /// Those that answered, this one among them.
    pub answered: usize,
    /// Those that live, as far as is known.
    pub expected: usize,
}

impl Nodes {
    /// This one alone.
    pub(super) const ONE: Nodes = Nodes { answered: 1, expected: 1 };
}

/// The evidence for "online" of one client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The client's id.
    pub id: Uuid,
    /// The node that holds the socket.
    pub node: Arc<str>,
    /// When the socket opened.
    pub connected_at: DateTime<Utc>,
    /// When the last frame came.
    pub last_frame_at: DateTime<Utc>,
    /// When the last pong came.
    pub last_pong_at: Option<DateTime<Utc>>,
    /// Last measured round trip.
    pub rtt_ms: Option<u32>,
    /// Messages waiting for a slow reader.
    pub queue_messages: usize,
    /// Bytes waiting.
    pub queue_bytes: usize,
    /// Lost, and still counted for the grace.
    pub leaving: bool,
}

/// How a user went the last time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastLeave {
    /// Why.
    pub cause: Cause,
    /// When the socket ended.
    pub at: DateTime<Utc>,
    /// Which client was the last; unknown when its node was lost.
    pub client: Option<Uuid>,
}

/// Why a user counts as online, or not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Why {
    /// One entry a client.
    pub clients: Vec<Evidence>,
    /// When the grace ends, for a user in it.
    pub leaving_until: Option<DateTime<Utc>>,
    /// The last leave, as far as it is remembered.
    pub last_leave: Option<LastLeave>,
}

/// Presence could not be read.
#[derive(Debug, thiserror::Error)]
#[error("presence cannot be read: {0}")]
pub struct PresenceError(pub String);

/// Who is online, on all nodes.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// A page of clients.
    async fn clients(&self, query: &OnlineQuery) -> Result<Page<OnlineClient>, PresenceError>;
    /// A page of users.
    async fn users(&self, query: &UserQuery) -> Result<Page<OnlineUser>, PresenceError>;
    /// How many are on this node alone, for its own figures.
    fn here(&self) -> OnlineCounts;
    /// How many.
    async fn counts(&self) -> Result<(OnlineCounts, StreamState), PresenceError>;
    /// The evidence for one user.
    async fn why(&self, user: &UserKey) -> Result<(Why, StreamState), PresenceError>;
    /// Live clients and the last sign of life of each of these users; absent ones are unknown here.
    async fn lookup(&self, users: &[UserKey]) -> Result<(Vec<Option<Found>>, StreamState), PresenceError>;
    /// Whether the user has a client on another node, as far as that has told.
    fn is_elsewhere(&self, _user: &UserKey) -> bool {
        false
    }
    /// By other node: how many of these logins have a client there, as far as the node has told. A node may have told and not answer
    /// any more.
    fn told_of(&self, _sessions: &[Uuid]) -> Vec<(Uuid, usize)> {
        Vec::new()
    }
    /// Starts the differences for this client. They are held back until [`Presence::release`], so that the reply comes first.
    async fn subscribe(&self, client: &Arc<Client>) -> Result<(OnlineCounts, StreamState), PresenceError>;
    /// Sends what was held back since `subscribe`; from now on differences go out as they come.
    fn release(&self, client: &Client);
    /// Entries of what is kept of other nodes, by name.
    fn sizes(&self) -> Vec<(&'static str, usize)> {
        Vec::new()
    }
    /// Stops the differences.
    fn unsubscribe(&self, client: &Client);
    /// Waits until a difference is due: `window` after the first change since the last one. Signs of life alone wait as long, and
    /// travel with a change that comes meanwhile: they must not decide where the windows of changes begin.
    async fn due(&self, window: Duration);
    /// Sends the next difference, where there is any. Called by one task only, so that revisions go out in order.
    fn flush(&self);
}

/// What a lookup says of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Counted as online: has a client, or is in the grace.
    pub online: bool,
    /// Sockets that can be reached.
    pub clients: usize,
    /// The last sign of life.
    pub last_seen_at: Option<DateTime<Utc>>,
}

/// As REST writes times: a page may compare a row of a difference with one it read.
pub(super) fn rfc3339<S: serde::Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&at.to_rfc3339())
}

/// The address as a viewer sees it.
pub(super) fn shown_ip(ip: IpAddr, whole: bool) -> String {
    if whole { ip.to_string() } else { crate::auth::masked(ip) }
}
