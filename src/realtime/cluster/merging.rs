//! Answers of several nodes, made one.

use std::collections::HashMap;

use super::words::SomeUsers;
use crate::auth::UserKey;
use crate::realtime::presence::{Found, LastLeave, OnlineFilter, OnlineUser, UserQuery, Why};
use crate::realtime::query::{UserRow, order_users};

/// A page of users, and how many there are. A user on several nodes is one, with all clients.
pub(super) fn users(parts: Vec<SomeUsers>, query: &UserQuery) -> (Vec<OnlineUser>, usize) {
    let mut total: usize = parts.iter().map(|part| part.alone_total).sum();
    let mut alone = Vec::new();
    let mut shared: HashMap<UserKey, UserRow> = HashMap::new();
    for part in parts {
        alone.extend(part.alone);
        part.shared.into_iter().for_each(|user| add(&mut shared, user));
    }
    total += shared.len();
    // A node that has just lost or won a user may not know yet that it is, or is not, the only one.
    let rows = alone.len() + shared.len();
    alone.into_iter().for_each(|user| add(&mut shared, user));
    total -= rows - shared.len();
    let mut list: Vec<OnlineUser> = shared.into_values().map(|user| user.row).collect();
    order_users(&mut list, query, |user| user);
    (list.into_iter().skip(query.offset).take(query.limit).collect(), total)
}

/// The first users in order, down to the end of the page.
pub(super) fn first(mut users: Vec<UserRow>, query: &UserQuery) -> Vec<UserRow> {
    order_users(&mut users, query, |user| &user.row);
    users.truncate(query.offset.saturating_add(query.limit));
    users
}

fn add(users: &mut HashMap<UserKey, UserRow>, user: UserRow) {
    match users.get_mut(&user.row.user) {
        Some(known) => known.join(user),
        None => _ = users.insert(user.row.user.clone(), user),
    }
}

impl UserRow {
    /// The same user on another node.
    fn join(&mut self, other: UserRow) {
        self.sessions.extend(other.sessions);
        self.sessions.sort_unstable();
        self.sessions.dedup();
        let (row, other) = (&mut self.row, other.row);
        if other.last_seen_at > row.last_seen_at {
            (row.username, row.avatar, row.roles) = (other.username, other.avatar, other.roles);
        }
        row.sessions = self.sessions.len();
        row.clients += other.clients;
        row.first_seen_at = row.first_seen_at.min(other.first_seen_at);
        row.last_seen_at = row.last_seen_at.max(other.last_seen_at);
        row.leaving &= other.leaving;
    }
}

/// Whether it is a client that matches, so that a user may match on one node and not on another.
pub(super) fn is_about_clients(filter: &OnlineFilter) -> bool {
    let of_users = OnlineFilter {
        users: filter.users.clone(),
        username: filter.username.clone(),
        username_is: filter.username_is.clone(),
        role: filter.role.clone(),
        ..OnlineFilter::default()
    };
    *filter != of_users
}

/// The evidence of all nodes; `lost` is the user's end with a dead node, if that was one.
pub(super) fn why(parts: Vec<Why>, lost: Option<LastLeave>) -> Why {
    let mut why = Why { last_leave: lost, ..Why::default() };
    for part in parts {
        why.clients.extend(part.clients);
        why.leaving_until = why.leaving_until.max(part.leaving_until);
        let newest = [why.last_leave.take(), part.last_leave].into_iter().flatten().max_by_key(|leave| leave.at);
        why.last_leave = newest;
    }
    if why.clients.iter().any(|client| !client.leaving) {
        why.leaving_until = None;
    }
    why
}

/// What all nodes found of one user.
pub(super) fn found(parts: impl Iterator<Item = Found>) -> Option<Found> {
    parts.reduce(|a, b| Found {
        online: a.online || b.online,
        clients: a.clients + b.clients,
        last_seen_at: a.last_seen_at.max(b.last_seen_at),
    })
}
