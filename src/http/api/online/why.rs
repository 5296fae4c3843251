//! Why a user counts as online, or not: the evidence, and the same in one sentence.

use chrono::{DateTime, Utc};
use poem_openapi::Object;

use super::rows::Nodes;
use crate::auth::UserKey;
use crate::realtime::{Cause, StreamState, Why};
use crate::services::Services;

/// The evidence of one client.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Evidence {
    id: String,
    /// The node that holds the socket.
    node: String,
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
    /// `protocol`, `shutdown`, `logout`, `revoked` or `nodeLost`.
    cause: String,
    at: DateTime<Utc>,
    /// The last client; absent when it was lost with its node.
    #[oai(skip_serializing_if_is_none)]
    client_id: Option<String>,
}

/// Why a user counts as online, or not.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct OnlineWhy {
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
    /// Whether it is about every node.
    complete: bool,
    nodes: Nodes,
}

pub(super) fn evidence(key: &UserKey, why: Why, state: StreamState, services: &Services) -> OnlineWhy {
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
                node: client.node.to_string(),
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
            client_id: leave.client.map(|id| id.to_string()),
        }),
        sentence,
        rev: state.rev,
        node: services.node().to_string(),
        as_of: state.as_of,
        complete: state.complete,
        nodes: state.into(),
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
