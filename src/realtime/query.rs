//! Filters, order and rows of the online list.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::Client;
use super::presence::{
    Column, Evidence, OnlineClient, OnlineFilter, OnlineQuery, OnlineUser, UserColumn, UserQuery, shown_ip,
};
use super::shard::{Shard, UserEntry};
use super::shards::Whole;
use crate::auth::UserKey;
use crate::clock::Clock;

/// The two clocks at one instant: turns monotonic times into wall times.
#[derive(Clone, Copy)]
pub(super) struct Instant {
    pub(super) now: DateTime<Utc>,
    monotonic: std::time::Duration,
}

impl Instant {
    pub(super) fn of(clock: &dyn Clock) -> Instant {
        Instant { now: clock.now(), monotonic: clock.monotonic() }
    }

    pub(super) fn wall(self, at: std::time::Duration) -> DateTime<Utc> {
        let delta = |from: std::time::Duration, to| TimeDelta::from_std(from.saturating_sub(to)).unwrap_or_default();
        (self.now - delta(self.monotonic, at) + delta(at, self.monotonic)).trunc_subsecs(3)
    }
}

/// A filter made ready: what is compared often is prepared once.
pub(super) struct Matcher<'a> {
    filter: &'a OnlineFilter,
    clients: HashSet<Uuid>,
    sessions: HashSet<Uuid>,
    users: HashSet<&'a UserKey>,
    username: Option<String>,
    text: Option<String>,
    /// Whether the text can be a part of an id or of an address, which are made of few letters; most words cannot.
    text_in: (bool, bool),
    whole_ip: bool,
    node: &'a str,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(filter: &'a OnlineFilter, whole_ip: bool, node: &'a str) -> Matcher<'a> {
        let text = filter.text.as_deref().map(str::to_lowercase);
        let made_of = |more: &str| {
            let letter = |letter: char| letter.is_ascii_hexdigit() || more.contains(letter);
            text.as_ref().is_some_and(|text| text.chars().all(letter))
        };
        Matcher {
            text_in: (made_of("-"), made_of(".:/")),
            filter,
            clients: filter.clients.iter().copied().collect(),
            sessions: filter.sessions.iter().copied().collect(),
            users: filter.users.iter().collect(),
            username: filter.username.as_deref().map(str::to_lowercase),
            text,
            whole_ip,
            node,
        }
    }

    /// Those who can match at all: everybody, unless clients or users are named.
    fn candidates<'w>(&'w self, whole: &'w Whole<'_>) -> Box<dyn Iterator<Item = Listed<'w>> + 'w> {
        let of_user = |(entry, shard): (&'w UserEntry, &'w Shard)| {
            entry.clients.iter().map(move |client| (&**client, entry, shard))
        };
        if !self.clients.is_empty() {
            Box::new(self.clients.iter().filter_map(|id| whole.listed(*id)))
        } else if !self.users.is_empty() {
            Box::new(self.users.iter().filter_map(|user| whole.user(user)).flat_map(of_user))
        } else {
            let users = |shard: &'w Shard| shard.users.values().map(move |entry| (entry, shard));
            Box::new(whole.shards().flat_map(users).flat_map(of_user))
        }
    }

    pub(super) fn matches(&self, client: &Client, entry: &UserEntry, shard: &Shard) -> bool {
        let (filter, rooms) = (self.filter, || shard.rooms_of(client.id).iter());
        let in_list = |list: &HashSet<Uuid>, id| list.is_empty() || list.contains(id);
        // Of many clients hardly any is in the processor's cache: what no filter asks for is not touched, and what stands in the user's
        // entry comes first.
        self.username.as_ref().is_none_or(|part| holds(&entry.name, part))
            && filter.username_is.as_ref().is_none_or(|name| **name == *entry.name)
            && !(filter.present && entry.leaving.is_some())
            && filter.node.as_ref().is_none_or(|node| *node == *self.node)
            && in_list(&self.clients, &client.id)
            && in_list(&self.sessions, &client.session)
            && (self.users.is_empty() || self.users.contains(&client.user))
            && filter.app.as_ref().is_none_or(|app| *app == *client.app)
            && filter.room.as_ref().is_none_or(|room| rooms().any(|joined| **joined == **room))
            && filter.role.as_ref().is_none_or(|role| client.rights().roles.iter().any(|has| **has == **role))
            && filter.device.as_ref().is_none_or(|device| *device == client.agent.device)
            && filter.connected_from.is_none_or(|from| client.connected_at >= from)
            && filter.connected_to.is_none_or(|to| client.connected_at <= to)
            && filter.logged_in_from.is_none_or(|from| client.logged_in_at >= from)
            && filter.logged_in_to.is_none_or(|to| client.logged_in_at <= to)
            && filter.ip_in.is_none_or(|network| network.contains(&self.visible(client.ip)))
            && filter.ip_contains.as_ref().is_none_or(|part| shown_ip(client.ip, self.whole_ip).contains(part.as_str()))
            && self.text.as_ref().is_none_or(|part| self.has_text(client, entry, rooms(), part))
    }

    fn has_text<'r>(
        &self,
        client: &Client,
        entry: &UserEntry,
        mut rooms: impl Iterator<Item = &'r Arc<str>>,
        part: &str,
    ) -> bool {
        let (in_id, in_ip) = self.text_in;
        // Browsers are few, and each is in memory once.
        holds(&client.agent.os, part)
            || holds(&client.agent.browser, part)
            || holds(&entry.name, part)
            || holds(client.user.as_str(), part)
            || rooms.any(|room| holds(room, part))
            || (in_ip && shown_ip(client.ip, self.whole_ip).contains(part))
            || (in_id && client.id.to_string().contains(part))
    }

    /// The address a viewer may reason about: the masked one says nothing of the host.
    fn visible(&self, ip: IpAddr) -> IpAddr {
        if self.whole_ip { ip } else { crate::auth::network_of(ip) }
    }
}

/// Whether the text has this part, which is in lower case, whatever the text's case is. Nothing is copied of ASCII, which most is.
fn holds(text: &str, part: &str) -> bool {
    if !text.is_ascii() {
        return text.to_lowercase().contains(part);
    }
    let is_it = |window: &[u8]| window.eq_ignore_ascii_case(part.as_bytes());
    part.is_empty() || text.as_bytes().windows(part.len()).any(is_it)
}

/// What a row is sorted by, read once: a key that changed while sorting would make the order impossible.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Number(i64),
    Address(IpAddr),
    Id(Uuid),
    Text(&'a str),
    Name(Cow<'a, str>),
}

/// A [`Key`] that can travel: of another node's row, for pages far down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Place {
    Number(i64),
    Address(IpAddr),
    Id(Uuid),
    Text(Arc<str>),
}

impl From<Key<'_>> for Place {
    fn from(key: Key<'_>) -> Place {
        match key {
            Key::Number(number) => Place::Number(number),
            Key::Address(ip) => Place::Address(ip),
            Key::Id(id) => Place::Id(id),
            Key::Text(text) => Place::Text(text.into()),
            Key::Name(name) => Place::Text(name.into()),
        }
    }
}

/// A listed client, its user's entry, and the shard both are in.
pub(super) type Listed<'a> = (&'a Client, &'a UserEntry, &'a Shard);

/// The matching clients of a page in order, and how many match. The page is selected before it is sorted, and nothing is copied
/// of the others.
pub(super) fn page<'a>(
    whole: &'a Whole<'_>,
    matcher: &'a Matcher<'_>,
    query: &OnlineQuery,
) -> (Vec<Listed<'a>>, usize) {
    let matching = matcher.candidates(whole).filter(|(client, entry, shard)| matcher.matches(client, entry, shard));
    let mut found: Vec<(Key<'a>, Listed<'a>)> = matching.map(|listed| (key(&listed, query), listed)).collect();
    let total = found.len();
    let order = |a: &(Key<'a>, Listed<'a>), b: &(Key<'a>, Listed<'a>)| {
        let order = if query.descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
        order.then_with(|| a.1.0.id.cmp(&b.1.0.id))
    };
    for end in [query.offset.saturating_add(query.limit), query.offset] {
        if (1..found.len()).contains(&end) {
            found.select_nth_unstable_by(end - 1, order);
        }
        if end > query.offset {
            found.truncate(end);
        }
    }
    let mut page = found.split_off(query.offset.min(found.len()));
    page.sort_unstable_by(order);
    (page.into_iter().map(|(_, listed)| listed).collect(), total)
}

fn key<'a>((client, entry, _): &Listed<'a>, query: &OnlineQuery) -> Key<'a> {
    match query.sort {
        Column::Id => Key::Id(client.id),
        Column::Ip if query.whole_ip => Key::Address(client.ip),
        Column::Ip => Key::Address(crate::auth::network_of(client.ip)),
        Column::Os => Key::Text(&client.agent.os),
        Column::Browser => Key::Text(&client.agent.browser),
        Column::FirstTime => Key::Number(client.logged_in_at.timestamp()),
        // By the clock that all clients of this node have in common.
        Column::HeartbeatTime | Column::LastSeenAt => Key::Number(client.last_frame().as_millis() as i64),
        Column::App => Key::Text(&client.app),
        Column::UserId => user_key(client.user.as_str()),
        Column::Username => Key::Name(lowercase(&entry.name)),
        Column::SessionId => Key::Id(client.session),
        Column::ConnectedAt => Key::Number(client.connected_at.timestamp_millis()),
        Column::Device => Key::Text(&client.agent.device),
        // The same for all of this node.
        Column::Node => Key::Number(0),
        Column::RttMs => Key::Number(client.rtt_ms().map_or(-1, i64::from)),
        Column::FramesIn => Key::Number(client.frames_in() as i64),
        Column::FramesOut => Key::Number(client.frames_out() as i64),
        Column::QueueBytes => Key::Number(client.waiting().1 as i64),
    }
}

/// Where the clients of a page stand.
pub(super) fn places(page: &[Listed<'_>], query: &OnlineQuery, node: &Arc<str>, at: Instant) -> Vec<(Place, Uuid)> {
    let place = |listed: &Listed<'_>| match query.sort {
        Column::Node => Place::Text(node.clone()),
        Column::HeartbeatTime | Column::LastSeenAt => Place::Number(at.wall(listed.0.last_frame()).timestamp_millis()),
        _ => key(listed, query).into(),
    };
    page.iter().map(|listed| (place(listed), listed.0.id)).collect()
}

/// The ids of the page among the first places of each node.
pub(super) fn merged_places(mut places: Vec<(Place, Uuid)>, query: &OnlineQuery) -> Vec<Uuid> {
    places.sort_unstable_by(|a, b| {
        let order = if query.descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
        order.then_with(|| a.1.cmp(&b.1))
    });
    places.into_iter().map(|(_, id)| id).skip(query.offset).take(query.limit).collect()
}

/// The first `offset + limit` rows in order, of rows that were the first of their nodes, without the first `offset`. It is the order
/// of [`page`]; what changed between a row and its key on its node cannot put it out of order here.
pub(super) fn merged(mut rows: Vec<OnlineClient>, query: &OnlineQuery) -> Vec<OnlineClient> {
    let mut places: Vec<usize> = (0..rows.len()).collect();
    {
        let keys: Vec<Key<'_>> = rows.iter().map(|row| row_key(row, query)).collect();
        places.sort_unstable_by(|a, b| {
            let order = if query.descending { keys[*b].cmp(&keys[*a]) } else { keys[*a].cmp(&keys[*b]) };
            order.then_with(|| rows[*a].id.cmp(&rows[*b].id))
        });
    }
    let mut rows: Vec<Option<OnlineClient>> = rows.drain(..).map(Some).collect();
    let page = places.into_iter().skip(query.offset).take(query.limit);
    page.filter_map(|place| rows[place].take()).collect()
}

/// [`key`], of a row.
fn row_key<'a>(row: &'a OnlineClient, query: &OnlineQuery) -> Key<'a> {
    match query.sort {
        Column::Id => Key::Id(row.id),
        // A masked one is a network with its length.
        Column::Ip => match row.ip.split('/').next().and_then(|ip| ip.parse().ok()) {
            Some(ip) => Key::Address(ip),
            None => Key::Text(&row.ip),
        },
        Column::Os => Key::Text(&row.os),
        Column::Browser => Key::Text(&row.browser),
        Column::FirstTime => Key::Number(row.first_time),
        Column::HeartbeatTime | Column::LastSeenAt => Key::Number(row.last_seen_at.timestamp_millis()),
        Column::App => Key::Text(&row.app),
        Column::UserId => user_key(&row.user_id),
        Column::Username => Key::Name(lowercase(&row.username)),
        Column::SessionId => Key::Id(row.session_id),
        Column::ConnectedAt => Key::Number(row.connected_at.timestamp_millis()),
        Column::Device => Key::Text(&row.device),
        Column::Node => Key::Text(&row.node),
        Column::RttMs => Key::Number(row.rtt_ms.map_or(-1, i64::from)),
        Column::FramesIn => Key::Number(row.frames_in as i64),
        Column::FramesOut => Key::Number(row.frames_out as i64),
        Column::QueueBytes => Key::Number(row.queue_bytes as i64),
    }
}

/// Numbers before words.
fn user_key(user: &str) -> Key<'_> {
    user.parse().map_or(Key::Text(user), Key::Number)
}

/// The same name where it is in lower case already, as most are.
fn lowercase(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        name.into()
    } else {
        name.to_lowercase().into()
    }
}

/// The row of a client.
pub(super) fn row((client, entry, shard): Listed<'_>, whole_ip: bool, node: &Arc<str>, at: Instant) -> OnlineClient {
    let seen = at.wall(client.last_frame());
    OnlineClient {
        id: client.id,
        ip: shown_ip(client.ip, whole_ip),
        os: client.agent.os.clone(),
        browser: client.agent.browser.clone(),
        first_time: client.logged_in_at.timestamp(),
        heartbeat_time: seen.timestamp(),
        app: client.app.clone(),
        user_id: client.user.to_string(),
        username: entry.name.clone(),
        avatar: client.avatar.clone(),
        session_id: client.session,
        roles: client.rights().roles.clone(),
        rooms: shard.rooms_of(client.id).to_vec(),
        connected_at: client.connected_at,
        last_seen_at: seen,
        device: client.agent.device.clone(),
        node: node.clone(),
        rtt_ms: client.rtt_ms(),
        frames_in: client.frames_in(),
        frames_out: client.frames_out(),
        queue_bytes: client.waiting().1,
        leaving: entry.leaving.is_some(),
    }
}

/// A user of this node, with the logins: on more than one node each counts once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct UserRow {
    pub(super) row: OnlineUser,
    pub(super) sessions: Vec<Uuid>,
}

/// The row of a user; none without a client.
pub(super) fn user_row(user: &UserKey, entry: &UserEntry, at: Instant) -> Option<UserRow> {
    let newest = entry.clients.last()?;
    let mut sessions: Vec<Uuid> = entry.clients.iter().map(|client| client.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    let row = OnlineUser {
        user: user.clone(),
        username: entry.name.clone(),
        avatar: newest.avatar.clone(),
        roles: newest.rights().roles.clone(),
        sessions: sessions.len(),
        clients: entry.clients.len(),
        first_seen_at: entry.since,
        last_seen_at: last_seen(entry, at)?,
        leaving: entry.leaving.is_some(),
    };
    Some(UserRow { row, sessions })
}

pub(super) fn last_seen(entry: &UserEntry, at: Instant) -> Option<DateTime<Utc>> {
    entry.clients.iter().map(|client| client.last_frame()).max().map(|seen| at.wall(seen))
}

/// Puts users in the order asked.
pub(super) fn order_users<T>(list: &mut [T], query: &UserQuery, row: impl Fn(&T) -> &OnlineUser) {
    let by = |a: &OnlineUser, b: &OnlineUser| match query.sort {
        UserColumn::UserId => a.user.cmp(&b.user),
        UserColumn::Username => a.username.to_lowercase().cmp(&b.username.to_lowercase()),
        UserColumn::Clients => a.clients.cmp(&b.clients),
        UserColumn::Sessions => a.sessions.cmp(&b.sessions),
        UserColumn::FirstSeenAt => a.first_seen_at.cmp(&b.first_seen_at),
        UserColumn::LastSeenAt => a.last_seen_at.cmp(&b.last_seen_at),
    };
    list.sort_unstable_by(|a, b| {
        let (a, b) = (row(a), row(b));
        let order = by(a, b);
        if query.descending { order.reverse() } else { order }.then_with(|| a.user.cmp(&b.user))
    });
}

pub(super) fn evidence(client: &Client, leaving: bool, node: &Arc<str>, at: Instant) -> Evidence {
    let (queue_messages, queue_bytes) = client.waiting();
    Evidence {
        id: client.id,
        node: node.clone(),
        connected_at: client.connected_at,
        last_frame_at: at.wall(client.last_frame()),
        last_pong_at: client.last_pong().map(|pong| at.wall(pong)),
        rtt_ms: client.rtt_ms(),
        queue_messages,
        queue_bytes,
        leaving,
    }
}

#[cfg(test)]
pub(in crate::realtime) mod tests;
