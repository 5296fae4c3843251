//! Presence of one node: read straight from the client manager's tables, differences flushed by one task.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::sleep;
use uuid::Uuid;

use super::client::Client;
use super::manager::ClientManager;
use super::presence::{
    Cause, Found, OnlineClient, OnlineCounts, OnlineFilter, OnlineQuery, OnlineUser, Page, Presence, PresenceError,
    StreamState, Why, rfc3339, shown_ip,
};
use super::query::{Instant, Matcher, evidence, page, row};
use super::shard::{Shard, UserEntry};
use super::shards::Whole;
use super::stream::{Changes, Encoded, Stream};
use crate::auth::{Permission, UserKey};
use crate::protocol::Message;

/// Who is connected to this node.
pub struct LocalPresence {
    manager: Arc<ClientManager>,
    node: Arc<str>,
    live_max: usize,
}

#[derive(Serialize)]
struct Left {
    id: Uuid,
    cause: Cause,
}

/// The part of a row that changes while a client stays.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RowPart {
    id: Uuid,
    username: Arc<str>,
    roles: Arc<[Arc<str>]>,
    rooms: Vec<Arc<str>>,
    heartbeat_time: i64,
    #[serde(serialize_with = "rfc3339")]
    last_seen_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<u32>,
    leaving: bool,
}

#[derive(Serialize)]
struct Difference<'a> {
    rev: u64,
    prev: u64,
    joined: Vec<OnlineClient>,
    left: &'a [Left],
    changed: &'a [RowPart],
    counts: &'a OnlineCounts,
}

#[derive(Serialize)]
struct CountsOnly<'a> {
    mode: &'static str,
    rev: u64,
    prev: u64,
    counts: &'a OnlineCounts,
}

/// What a difference is made of, read at one instant; addresses are masked later, per visibility.
struct Snapshot {
    rev: u64,
    now: DateTime<Utc>,
    joined: Vec<(OnlineClient, std::net::IpAddr)>,
    left: Vec<Left>,
    changed: Vec<RowPart>,
    counts: OnlineCounts,
    rows: bool,
}

impl LocalPresence {
    /// Presence of the node `node`; above `live_max` clients differences carry only counts.
    pub fn new(manager: Arc<ClientManager>, node: Arc<str>, live_max: usize) -> LocalPresence {
        LocalPresence { manager, node, live_max }
    }

    /// Waits until a difference is due: `window` after the first change since the last one. Signs of life alone wait as long,
    /// and travel with a change that comes meanwhile: they must not decide where the windows of changes begin.
    pub async fn due(&self, window: Duration) {
        let (changed, stirred) = {
            let stream = self.manager.shards().stream();
            (stream.changed.clone(), stream.stirred.clone())
        };
        tokio::select! {
            biased;
            () = changed.notified() => sleep(window).await,
            () = async { stirred.notified().await; sleep(window).await } => {}
        }
    }

    /// Sends the next difference, where there is any. Called by one task only, so that revisions go out in order.
    pub fn flush(&self) {
        let shards = self.manager.shards();
        let mut stream = shards.stream();
        if !stream.is_due() {
            // Nobody looks; whoever subscribes now begins with the new revision.
            stream.next();
            return;
        }
        drop(stream);
        let (mut whole, at) = (shards.whole(), Instant::of(self.manager.clock()));
        let Some((changes, subscribers)) = whole.stream.next() else { return };
        let snapshot = self.snapshot(&whole, changes, at);
        drop(whole);
        // Encoded without the shards, once per visibility, and sent without any lock.
        let mut encoded = Encoded::new(|whole| snapshot.message(whole));
        let due = shards.stream().deliver(&subscribers, &mut encoded);
        for (client, message) in due {
            client.send(&message);
        }
    }

    fn snapshot(&self, whole: &Whole<'_>, changes: Changes, at: Instant) -> Snapshot {
        let rows = whole.len() <= self.live_max;
        let listed = |ids: std::collections::HashSet<Uuid>| {
            ids.into_iter().filter(move |_| rows).filter_map(|id| whole.client(id))
        };
        let row = |client: &Client, shard: &Shard| row(client, shard, true, &self.node, at);
        Snapshot {
            rev: whole.stream.rev,
            now: at.now,
            joined: listed(changes.joined).map(|(client, shard)| (row(client, shard), client.ip)).collect(),
            left: changes.left.into_iter().map(|(id, cause)| Left { id, cause }).collect(),
            changed: listed(changes.changed).map(|(client, shard)| part(row(client, shard))).collect(),
            counts: whole.counts(),
            rows,
        }
    }

    fn instant(&self) -> Instant {
        Instant::of(self.manager.clock())
    }
}

impl Snapshot {
    fn message(&self, whole_ip: bool) -> Message {
        let (rev, prev, counts) = (self.rev, self.rev - 1, &self.counts);
        if !self.rows {
            let data = CountsOnly { mode: "counts", rev, prev, counts };
            return Message::push("online/diff", Some(&data), self.now.timestamp());
        }
        let joined = self.joined.iter().map(|(row, ip)| OnlineClient { ip: shown_ip(*ip, whole_ip), ..row.clone() });
        let data = Difference { rev, prev, joined: joined.collect(), left: &self.left, changed: &self.changed, counts };
        Message::push("online/diff", Some(&data), self.now.timestamp())
    }
}

#[async_trait]
impl Presence for LocalPresence {
    async fn clients(&self, query: &OnlineQuery) -> Result<Page<OnlineClient>, PresenceError> {
        let matcher = Matcher::new(&query.filter, query.whole_ip, &self.node);
        let (whole, at) = (self.manager.shards().whole(), self.instant());
        let (page, total) = page(&whole, &matcher, query, at);
        let list = page.iter().map(|(client, shard)| row(client, shard, query.whole_ip, &self.node, at)).collect();
        Ok(Page { list, total, state: state(&whole.stream, at) })
    }

    async fn users(&self, filter: &OnlineFilter, whole_ip: bool) -> Result<Page<OnlineUser>, PresenceError> {
        let matcher = Matcher::new(filter, whole_ip, &self.node);
        let (whole, at) = (self.manager.shards().whole(), self.instant());
        let mut list = Vec::new();
        for shard in whole.shards() {
            let matching = |client: &Arc<Client>| matcher.matches(client, shard);
            let users = shard.users.iter().filter(|(_, entry)| entry.clients.iter().any(matching));
            list.extend(users.filter_map(|(user, entry)| online_user(user, entry, at)));
        }
        Ok(Page { total: list.len(), list, state: state(&whole.stream, at) })
    }

    async fn counts(&self) -> Result<(OnlineCounts, StreamState), PresenceError> {
        let whole = self.manager.shards().whole();
        Ok((whole.counts(), state(&whole.stream, self.instant())))
    }

    async fn why(&self, user: &UserKey) -> Result<(Why, StreamState), PresenceError> {
        let (shard, at) = (self.manager.shards().of(user), self.instant());
        let entry = shard.users.get(user);
        let leaving = entry.and_then(|entry| entry.leaving);
        let clients = entry.map_or(&[][..], |entry| &entry.clients);
        let why = Why {
            clients: clients.iter().map(|client| evidence(client, leaving.is_some(), at)).collect(),
            leaving_until: leaving.map(|grace| at.wall(grace.until)),
            last_leave: shard.last_leave(user).cloned(),
        };
        let state = state(&shard.stream(), at);
        Ok((why, state))
    }

    async fn lookup(&self, users: &[UserKey]) -> Result<(Vec<Option<Found>>, StreamState), PresenceError> {
        let (shards, at) = (self.manager.shards(), self.instant());
        let as_of = state(&shards.stream(), at);
        let one = |user| {
            let shard = shards.of(user);
            match shard.users.get(user) {
                Some(entry) => Some(Found {
                    online: true,
                    clients: entry.clients.iter().filter(|client| !client.is_closing()).count(),
                    last_seen_at: last_seen(entry, at),
                }),
                None => shard.last_leave(user).map(|leave| Found {
                    online: false,
                    clients: 0,
                    last_seen_at: Some(leave.at),
                }),
            }
        };
        Ok((users.iter().map(one).collect(), as_of))
    }

    async fn subscribe(&self, client: &Arc<Client>) -> Result<(OnlineCounts, StreamState), PresenceError> {
        let mut whole = self.manager.shards().whole();
        // A socket that has just left must not be listened for, nor one whose rights have just changed.
        if whole.client(client.id).is_some() && !client.is_shut() && client.may(Permission::OnlineRead) {
            whole.stream.subscribe(client);
        }
        Ok((whole.counts(), state(&whole.stream, self.instant())))
    }

    fn release(&self, client: &Client) {
        self.manager.shards().stream().release(client);
    }

    fn unsubscribe(&self, client: &Client) {
        self.manager.shards().stream().unsubscribe(client.id);
    }
}

fn state(stream: &Stream, at: Instant) -> StreamState {
    StreamState { rev: stream.rev, as_of: at.now, complete: true }
}

fn part(row: OnlineClient) -> RowPart {
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

fn last_seen(entry: &UserEntry, at: Instant) -> Option<DateTime<Utc>> {
    entry.clients.iter().map(|client| client.last_frame()).max().map(|seen| at.wall(seen))
}

fn online_user(user: &UserKey, entry: &UserEntry, at: Instant) -> Option<OnlineUser> {
    let newest = entry.clients.last()?;
    let rights = newest.rights();
    let mut sessions: Vec<Uuid> = entry.clients.iter().map(|client| client.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    Some(OnlineUser {
        user: user.clone(),
        username: rights.username.clone(),
        avatar: newest.avatar.clone(),
        roles: rights.roles.clone(),
        sessions: sessions.len(),
        clients: entry.clients.len(),
        first_seen_at: entry.since,
        last_seen_at: last_seen(entry, at)?,
        leaving: entry.leaving.is_some(),
    })
}
