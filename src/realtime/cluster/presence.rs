//! Presence as everybody reads it, of all nodes: each is asked for its part, and the parts are merged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::asking;
use super::merging;
use super::words::{Answer, Question, SomeUsers, Words};
use super::{ClusterPresence, user_hash};
use crate::auth::UserKey;
use crate::realtime::client::Client;
use crate::realtime::presence::{
    Cause, Found, LastLeave, Nodes, OnlineClient, OnlineCounts, OnlineFilter, OnlineQuery, OnlineUser, Page, Presence,
    PresenceError, StreamState, UserQuery, Why,
};
use crate::realtime::query::{Matcher, Place, merged, merged_places, page, places};

/// Rows of a page, or passed over, from which on places travel first and then only the rows of the page.
const FAR: usize = 1_000;

/// The nodes that answered, as far as it matters.
pub(super) struct Heard {
    answers: Vec<(Uuid, Answer)>,
    expected: usize,
}

#[async_trait]
impl Presence for ClusterPresence {
    async fn clients(&self, query: &OnlineQuery) -> Result<Page<OnlineClient>, PresenceError> {
        // From each node as many as from all would be too many to throw away.
        let long = query.limit > FAR && self.directory().clients() > query.limit;
        if query.offset >= FAR || long { self.far_clients(query).await } else { self.near_clients(query).await }
    }

    async fn users(&self, query: &UserQuery) -> Result<Page<OnlineUser>, PresenceError> {
        self.tell();
        let state = self.local.stream_state();
        let mut also: HashSet<u64> = HashSet::new();
        if merging::is_about_clients(&query.filter) {
            let asked = self.ask(Question::Shared(query.clone()));
            also.extend(self.shared(query));
            for (_, answer) in self.heard_of(asked).await.answers {
                if let Answer::Shared(users) = answer {
                    also.extend(users);
                }
            }
        }
        let asked = self.ask(Question::Users { query: query.clone(), also: also.iter().copied().collect() });
        let mut parts = vec![self.some_users(query, &also)];
        let heard = self.heard_of(asked).await;
        let state = self.state(state, &heard);
        parts.extend(heard.answers.into_iter().filter_map(|(_, answer)| match answer {
            Answer::Users(users) => Some(users),
            _ => None,
        }));
        let (list, total) = merging::users(parts, query);
        Ok(Page { list, total, state })
    }

    fn here(&self) -> OnlineCounts {
        self.local.here()
    }

    async fn counts(&self) -> Result<(OnlineCounts, StreamState), PresenceError> {
        self.tell();
        let state = self.local.stream_state();
        let asked = self.ask(Question::Counts);
        let mut heard = self.heard_of(asked).await;
        let directory = self.directory();
        // Of whom something is missing is not counted, rather than counted wrong.
        heard.answers.retain(|(node, _)| directory.in_step(*node));
        let nodes: Vec<Uuid> = heard.answers.iter().map(|(node, _)| *node).collect();
        Ok((directory.counts_of(&nodes), self.state(state, &heard)))
    }

    async fn why(&self, user: &UserKey) -> Result<(Why, StreamState), PresenceError> {
        let state = self.local.stream_state();
        let asked = self.ask(Question::Why(user.clone()));
        let mut parts = vec![self.local.why(user).await?.0];
        let heard = self.heard_of(asked).await;
        let state = self.state(state, &heard);
        parts.extend(heard.answers.into_iter().filter_map(|(_, answer)| match answer {
            Answer::Why(why) => Some(why),
            _ => None,
        }));
        let lost = self.directory().lost_at(user_hash(user));
        let lost = lost.map(|at| LastLeave { cause: Cause::NodeLost, at, client: None });
        Ok((merging::why(parts, lost), state))
    }

    async fn lookup(&self, users: &[UserKey]) -> Result<(Vec<Option<Found>>, StreamState), PresenceError> {
        let (here, state) = self.local.lookup(users).await?;
        let (elsewhere, heard) = self.found_elsewhere(users).await;
        let both = here.into_iter().zip(elsewhere);
        let found = both.map(|(here, elsewhere)| merging::found(here.into_iter().chain(elsewhere))).collect();
        Ok((found, self.state(state, &heard)))
    }

    fn is_elsewhere(&self, user: &UserKey) -> bool {
        self.peers.connected() && self.directory().is_elsewhere(user_hash(user))
    }

    fn told_of(&self, sessions: &[Uuid]) -> Vec<(Uuid, usize)> {
        self.directory().others_with_sessions(sessions)
    }

    async fn subscribe(&self, client: &Arc<Client>) -> Result<(OnlineCounts, StreamState), PresenceError> {
        self.tell();
        let (_, state) = self.local.subscribe(client).await?;
        self.look();
        let nodes = self.nodes();
        let complete = self.peers.connected() && nodes.answered == nodes.expected;
        Ok((self.directory().counts(), StreamState { complete, nodes, ..state }))
    }

    fn release(&self, client: &Client) {
        self.local.release(client);
    }

    fn sizes(&self) -> Vec<(&'static str, usize)> {
        self.directory().sizes().to_vec()
    }

    fn unsubscribe(&self, client: &Client) {
        self.local.unsubscribe(client);
    }

    async fn due(&self, window: Duration) {
        self.local.due(window).await;
    }

    fn flush(&self) {
        // Or the counts would be older than the rows.
        self.tell();
        let looked = self.local.flush_with(|_| {
            let nodes = self.nodes();
            *self.said.lock().expect("nothing panics while holding it") = nodes;
            let rows = self.watching().take();
            let counts = self.directory().counts();
            (rows, counts, Some(nodes))
        });
        if !looked {
            self.watching().take();
        }
    }
}

/// A question that is on its way, to how many nodes.
struct OnTheWay<'a> {
    open: Option<asking::Question<'a>>,
    expected: usize,
}

impl ClusterPresence {
    /// This node's part of an answer.
    pub(super) async fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Clients(query) => {
                let Ok(Page { list, total, .. }) = self.local.clients(&from_the_top(&query)).await else {
                    return Answer::Clients { list: Vec::new(), total: 0 };
                };
                Answer::Clients { list, total }
            }
            Question::Places(query) => {
                let (list, total) = self.places(&query);
                Answer::Places { list, total }
            }
            Question::Users { query, also } => Answer::Users(self.some_users(&query, &also.into_iter().collect())),
            Question::Shared(query) => Answer::Shared(self.shared(&query)),
            Question::Counts => Answer::Counts,
            Question::Why(user) => Answer::Why(self.local.why(&user).await.map(|(why, _)| why).unwrap_or_default()),
            Question::Lookup(users) => {
                Answer::Lookup(self.local.lookup(&users).await.map(|(found, _)| found).unwrap_or_default())
            }
        }
    }

    /// What other nodes say of these users, where the directory says that they have them.
    pub(super) async fn found_elsewhere(&self, users: &[UserKey]) -> (Vec<Option<Found>>, Heard) {
        let mut routes: HashMap<Uuid, Vec<usize>> = HashMap::new();
        {
            let directory = self.directory();
            for (place, user) in users.iter().enumerate() {
                directory.others_with(user_hash(user)).for_each(|node| routes.entry(node).or_default().push(place));
            }
        }
        let asked = self
            .ask_some(&routes, |places| Question::Lookup(places.iter().map(|place| users[*place].clone()).collect()));
        let heard = self.heard_of(asked).await;
        let mut found = vec![None; users.len()];
        for (node, answer) in &heard.answers {
            let Answer::Lookup(entries) = answer else { continue };
            for (place, entry) in routes[node].iter().zip(entries) {
                found[*place] = merging::found(found[*place].into_iter().chain(*entry));
            }
        }
        (found, heard)
    }

    /// Each node's first rows; the page is among them.
    async fn near_clients(&self, query: &OnlineQuery) -> Result<Page<OnlineClient>, PresenceError> {
        let stands = self.local.stream_state();
        let asked = self.ask(Question::Clients(query.clone()));
        let Page { mut list, mut total, .. } = self.local.clients(&from_the_top(query)).await?;
        let heard = self.heard_of(asked).await;
        let state = self.state(stands, &heard);
        for (_, answer) in heard.answers {
            if let Answer::Clients { list: rows, total: there } = answer {
                list.extend(rows);
                total += there;
            }
        }
        Ok(Page { list: merged(list, query), total, state })
    }

    /// Where each node's first rows stand, and then the rows of the page.
    pub(super) async fn far_clients(&self, query: &OnlineQuery) -> Result<Page<OnlineClient>, PresenceError> {
        let stands = self.local.stream_state();
        let asked = self.ask(Question::Places(query.clone()));
        let (mut list, mut total) = self.places(query);
        for (_, answer) in self.heard_of(asked).await.answers {
            if let Answer::Places { list: there, total: more } = answer {
                list.extend(there);
                total += more;
            }
        }
        let ids = merged_places(list, query);
        if ids.is_empty() {
            let page = self.near_clients(&OnlineQuery { offset: 0, limit: 0, ..query.clone() }).await?;
            return Ok(Page { total, ..page });
        }
        let order: HashMap<Uuid, usize> = ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        let rows = OnlineQuery {
            filter: OnlineFilter { clients: ids, ..OnlineFilter::default() },
            offset: 0,
            limit: order.len(),
            ..query.clone()
        };
        let mut page = self.near_clients(&rows).await?;
        page.list.sort_unstable_by_key(|row| order[&row.id]);
        Ok(Page { total, state: StreamState { rev: stands.rev, ..page.state }, ..page })
    }

    fn places(&self, query: &OnlineQuery) -> (Vec<(Place, Uuid)>, usize) {
        let matcher = Matcher::new(&query.filter, query.whole_ip, self.local.node());
        let (whole, at) = (self.local.manager().shards().whole(), self.local.instant());
        let query = from_the_top(query);
        let (listed, total) = page(&whole, &matcher, &query);
        (places(&listed, &query, self.local.node(), at), total)
    }

    /// This node's users that match, and those of `also`.
    fn some_users(&self, query: &UserQuery, also: &HashSet<u64>) -> SomeUsers {
        let asked_for = |user: &UserKey| !also.is_empty() && also.contains(&user_hash(user));
        let (rows, _) = self.local.user_rows(query, asked_for);
        let directory = self.directory();
        let (shared, alone): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|user| directory.others_with(user_hash(&user.row.user)).next().is_some());
        drop(directory);
        let alone_total = alone.len();
        let alone = merging::first(alone, query);
        SomeUsers { alone, alone_total, shared }
    }

    fn shared(&self, query: &UserQuery) -> Vec<u64> {
        let (rows, _) = self.local.user_rows(query, |_| false);
        let directory = self.directory();
        let hashes = rows.iter().map(|user| user_hash(&user.row.user));
        hashes.filter(|user| directory.others_with(*user).next().is_some()).collect()
    }

    /// Asks every node that lives.
    fn ask(&self, question: Question) -> OnTheWay<'_> {
        let others = self.peers.others();
        let expected = others.len();
        if others.is_empty() || !self.peers.connected() {
            return OnTheWay { open: None, expected };
        }
        let asked: Vec<(Uuid, bool)> = others.iter().map(|peer| (peer.generation, !peer.suspect)).collect();
        let open = self.asking.open(&asked);
        let watching = self.watching().looking;
        self.peers.tell(&Words::Question { id: open.id, watching, question });
        OnTheWay { open: Some(open), expected }
    }

    /// Asks some nodes, each of its own places.
    fn ask_some(&self, routes: &HashMap<Uuid, Vec<usize>>, question: impl Fn(&[usize]) -> Question) -> OnTheWay<'_> {
        let expected = routes.len();
        if routes.is_empty() || !self.peers.connected() {
            return OnTheWay { open: None, expected };
        }
        let suspect: HashSet<Uuid> =
            self.peers.others().iter().filter(|peer| peer.suspect).map(|peer| peer.generation).collect();
        let asked: Vec<(Uuid, bool)> = routes.keys().map(|node| (*node, !suspect.contains(node))).collect();
        let open = self.asking.open(&asked);
        let watching = self.watching().looking;
        for (node, places) in routes {
            self.peers.send(*node, &Words::Question { id: open.id, watching, question: question(places) });
        }
        OnTheWay { open: Some(open), expected }
    }

    async fn heard_of(&self, asked: OnTheWay<'_>) -> Heard {
        let answers = match asked.open {
            Some(open) => open.answers(self.answer_timeout).await,
            None => Vec::new(),
        };
        Heard { answers, expected: asked.expected }
    }

    /// Where the stream stood before others were asked, and who of them answered.
    fn state(&self, before: StreamState, heard: &Heard) -> StreamState {
        let answered = heard.answers.len();
        let complete = self.peers.connected() && answered == heard.expected;
        StreamState { complete, nodes: Nodes { answered: 1 + answered, expected: 1 + heard.expected }, ..before }
    }
}

/// Each node answers everything up to the end of the page: all of it may be there.
fn from_the_top(query: &OnlineQuery) -> OnlineQuery {
    OnlineQuery { offset: 0, limit: query.offset.saturating_add(query.limit), ..query.clone() }
}
