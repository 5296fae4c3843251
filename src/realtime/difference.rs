//! A difference to the online list: what it is made of, and what of it each visibility sees.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::presence::{Cause, Nodes, OnlineClient, OnlineCounts, rfc3339, shown_ip};
use crate::protocol::Message;

/// Who left, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Left {
    pub(super) id: Uuid,
    pub(super) cause: Cause,
}

/// The part of a row that changes while a client stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RowPart {
    pub(super) id: Uuid,
    username: Arc<str>,
    roles: Arc<[Arc<str>]>,
    rooms: Vec<Arc<str>>,
    heartbeat_time: i64,
    #[serde(serialize_with = "rfc3339")]
    last_seen_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<u32>,
    leaving: bool,
}

/// What happened to rows, with whole addresses: they are masked per visibility.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rows {
    pub(super) joined: Vec<OnlineClient>,
    pub(super) left: Vec<Left>,
    pub(super) changed: Vec<RowPart>,
}

/// One difference.
pub(super) struct Difference {
    pub(super) rev: u64,
    pub(super) now: DateTime<Utc>,
    /// None where there are too many.
    pub(super) rows: Option<Rows>,
    pub(super) counts: OnlineCounts,
    /// Of how many nodes, where there may be several.
    pub(super) nodes: Option<Nodes>,
}

#[derive(Serialize)]
struct WithRows<'a> {
    rev: u64,
    prev: u64,
    joined: &'a [OnlineClient],
    left: &'a [Left],
    changed: &'a [RowPart],
    counts: &'a OnlineCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Nodes>,
}

#[derive(Serialize)]
struct CountsOnly<'a> {
    mode: &'static str,
    rev: u64,
    prev: u64,
    counts: &'a OnlineCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Nodes>,
}

impl Difference {
    /// The push, for those who see whole addresses or for the others.
    pub(super) fn message(&self, whole_ip: bool) -> Message {
        let (rev, prev, counts, nodes) = (self.rev, self.rev - 1, &self.counts, self.nodes);
        let at = self.now.timestamp();
        let Some(Rows { joined, left, changed }) = &self.rows else {
            return Message::push("online/diff", Some(&CountsOnly { mode: "counts", rev, prev, counts, nodes }), at);
        };
        let masked: Vec<OnlineClient>;
        let joined = if whole_ip {
            joined
        } else {
            masked = joined.iter().map(masked_row).collect();
            &masked
        };
        Message::push("online/diff", Some(&WithRows { rev, prev, joined, left, changed, counts, nodes }), at)
    }
}

impl Rows {
    /// One after the other.
    pub(super) fn append(&mut self, mut later: Rows) {
        self.joined.append(&mut later.joined);
        self.left.append(&mut later.left);
        self.changed.append(&mut later.changed);
    }
}

impl From<OnlineClient> for RowPart {
    fn from(row: OnlineClient) -> RowPart {
        RowPart {
            id: row.id,
            username: row.username,
            roles: row.roles,
            rooms: row.rooms,
            heartbeat_time: row.heartbeat_time,
            last_seen_at: row.last_seen_at,
            rtt_ms: row.rtt_ms,
            leaving: row.leaving,
        }
    }
}

fn masked_row(row: &OnlineClient) -> OnlineClient {
    // What is no address is masked already.
    let ip = row.ip.parse().map_or_else(|_| row.ip.clone(), |ip| shown_ip(ip, false));
    OnlineClient { ip, ..row.clone() }
}
