//! Presence of one node: read straight from the client manager's tables, differences flushed by one task.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use uuid::Uuid;

use super::client::Client;
use super::difference::{Difference, Left, RowPart, Rows};
use super::manager::ClientManager;
use super::presence::{
    Found, Nodes, OnlineClient, OnlineCounts, OnlineQuery, OnlineUser, Page, Presence, PresenceError, StreamState,
    UserQuery, Why,
};
use super::query::{Instant, Matcher, UserRow, evidence, last_seen, order_users, page, row, user_row};
use super::shard::UserEntry;
use super::shards::Whole;
use super::stream::{Changes, Encoded, Stream};
use crate::auth::{Permission, UserKey};

/// Who is connected to this node.
pub struct LocalPresence {
    manager: Arc<ClientManager>,
    node: Arc<str>,
    live_max: usize,
}

impl LocalPresence {
    /// Presence of the node `node`; above `live_max` clients differences carry only counts.
    pub fn new(manager: Arc<ClientManager>, node: Arc<str>, live_max: usize) -> LocalPresence {
        LocalPresence { manager, node, live_max }
    }

    /// Sends the next difference with what comes on top of this node's own: rows of other nodes, how many there are on all, and of how many nodes
    /// that is. Whether anybody looks; otherwise `others` is not asked.
    pub(super) fn flush_with(&self, others: impl FnOnce(OnlineCounts) -> (Rows, OnlineCounts, Option<Nodes>)) -> bool {
        let shards = self.manager.shards();
        let mut stream = shards.stream();
        if !stream.is_due() {
            // Nobody looks; whoever subscribes now begins with the new revision.
            stream.next();
            return stream.subscribers() > 0;
        }
        drop(stream);
        let (mut whole, at) = (shards.whole(), self.instant());
        let Some((changes, subscribers)) = whole.stream.next() else { return true };
        let (rev, counts) = (whole.stream.rev, whole.counts());
        let mut rows = self.rows(&whole, changes, at);
        drop(whole);
        let (more, counts, nodes) = others(counts);
        if let Some(rows) = &mut rows {
            rows.append(more);
        }
        let rows = rows.filter(|_| counts.clients <= self.live_max);
        let difference = Difference { rev, now: at.now, rows, counts, nodes };
        // Encoded without the shards, once per visibility, and sent without any lock.
        let mut encoded = Encoded::new(|whole| difference.message(whole));
        let due = shards.stream().deliver(&subscribers, &mut encoded);
        for (client, message) in due {
            client.send(&message);
        }
        true
    }

    /// The rows that changes are about; none where there are too many clients.
    pub(super) fn rows(&self, whole: &Whole<'_>, changes: Changes, at: Instant) -> Option<Rows> {
        if whole.len() > self.live_max {
            return None;
        }
        let row = |listed| row(listed, true, &self.node, at);
        let listed = |ids: HashSet<Uuid>| ids.into_iter().filter_map(|id| whole.listed(id)).map(row);
        Some(Rows {
            joined: listed(changes.joined).collect(),
            left: changes.left.into_iter().map(|(id, cause)| Left { id, cause }).collect(),
            changed: listed(changes.changed).map(RowPart::from).collect(),
        })
    }

    /// Every user with a client that matches, and those who are `also` asked for.
    pub(super) fn user_rows(&self, query: &UserQuery, also: impl Fn(&UserKey) -> bool) -> (Vec<UserRow>, StreamState) {
        let matcher = Matcher::new(&query.filter, query.whole_ip, &self.node);
        let (whole, at) = (self.manager.shards().whole(), self.instant());
        let mut list = Vec::new();
        for shard in whole.shards() {
            let matching = |entry: &UserEntry| entry.clients.iter().any(|client| matcher.matches(client, entry, shard));
            let users = shard.users.iter().filter(|(user, entry)| matching(entry) || also(user));
            list.extend(users.filter_map(|(user, entry)| user_row(user, entry, at)));
        }
        (list, state(&whole.stream, at))
    }

    /// Where the stream stands now.
    pub(super) fn stream_state(&self) -> StreamState {
        state(&self.manager.shards().stream(), self.instant())
    }

    /// The node's name.
    pub(super) fn node(&self) -> &Arc<str> {
        &self.node
    }

    pub(super) fn manager(&self) -> &Arc<ClientManager> {
        &self.manager
    }

    pub(super) fn live_max(&self) -> usize {
        self.live_max
    }

    pub(super) fn instant(&self) -> Instant {
        Instant::of(self.manager.clock())
    }
}

#[async_trait]
impl Presence for LocalPresence {
    async fn clients(&self, query: &OnlineQuery) -> Result<Page<OnlineClient>, PresenceError> {
        let matcher = Matcher::new(&query.filter, query.whole_ip, &self.node);
        let (whole, at) = (self.manager.shards().whole(), self.instant());
        let (page, total) = page(&whole, &matcher, query);
        let list = page.into_iter().map(|listed| row(listed, query.whole_ip, &self.node, at)).collect();
        Ok(Page { list, total, state: state(&whole.stream, at) })
    }

    async fn users(&self, query: &UserQuery) -> Result<Page<OnlineUser>, PresenceError> {
        let (list, state) = self.user_rows(query, |_| false);
        let mut list: Vec<OnlineUser> = list.into_iter().map(|user| user.row).collect();
        order_users(&mut list, query, |user| user);
        let total = list.len();
        Ok(Page { list: list.into_iter().skip(query.offset).take(query.limit).collect(), total, state })
    }

    fn here(&self) -> OnlineCounts {
        self.manager.shards().whole().counts()
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
            clients: clients.iter().map(|client| evidence(client, leaving.is_some(), &self.node, at)).collect(),
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
        if whole.listed(client.id).is_some() && !client.is_shut() && client.may(Permission::OnlineRead) {
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

    async fn due(&self, window: Duration) {
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

    fn flush(&self) {
        self.flush_with(|counts| (Rows::default(), counts, None));
    }
}

fn state(stream: &Stream, at: Instant) -> StreamState {
    StreamState { rev: stream.rev, as_of: at.now, complete: true, nodes: Nodes::ONE }
}
