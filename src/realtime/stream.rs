//! The stream of differences to the online list: what has changed since the last one, and who wants to hear of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::Notify;
use uuid::Uuid;

use super::client::Client;
use super::cluster::{Edges, UserEdge};
use super::presence::Cause;
use crate::auth::{Permission, UserKey};
use crate::protocol::Message;

#[derive(Default)]
pub(super) struct Stream {
    /// Number of the last difference.
    pub(super) rev: u64,
    changes: Changes,
    /// There is a change to tell, or only signs of life.
    news: News,
    /// Told of the first change since the last difference.
    pub(super) changed: Arc<Notify>,
    /// Told of the first sign of life since then, when nothing has changed.
    pub(super) stirred: Arc<Notify>,
    subscribers: HashMap<Uuid, Subscriber>,
    /// What is told to the other nodes, where there are any.
    others: Option<Box<Others>>,
}

#[derive(Default, PartialEq, Eq)]
enum News {
    #[default]
    None,
    Life,
    Change,
}

/// What happened since the last difference. A client that joined and left in between stands only in `left`: a page that
/// read the list meanwhile must hear of it.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) joined: HashSet<Uuid>,
    pub(super) left: Vec<(Uuid, Cause)>,
    pub(super) changed: HashSet<Uuid>,
}

/// What happened since the other nodes were told.
#[derive(Default)]
struct Others {
    edges: Edges,
    changes: Changes,
    /// Whether another node wants rows.
    watched: bool,
    dirty: bool,
    due: Arc<Notify>,
}

struct Subscriber {
    client: Arc<Client>,
    /// What came before the reply to the subscription was sent.
    held: Option<Vec<Message>>,
}

/// One difference in its two visibilities, encoded at most once each.
pub(super) struct Encoded<F> {
    encode: F,
    whole: Option<Message>,
    masked: Option<Message>,
}

impl<F: Fn(bool) -> Message> Encoded<F> {
    /// `encode(whole_ip)` makes the message.
    pub(super) fn new(encode: F) -> Encoded<F> {
        Encoded { encode, whole: None, masked: None }
    }

    fn for_viewer(&mut self, client: &Client) -> Message {
        let whole = client.may(Permission::OnlineIp);
        let slot = if whole { &mut self.whole } else { &mut self.masked };
        slot.get_or_insert_with(|| (self.encode)(whole)).clone()
    }
}

impl Changes {
    fn joined(&mut self, id: Uuid) {
        self.joined.insert(id);
    }

    fn left(&mut self, id: Uuid, cause: Cause) {
        self.joined.remove(&id);
        self.changed.remove(&id);
        self.left.push((id, cause));
    }

    /// Whether that is news.
    fn changed(&mut self, id: Uuid) -> bool {
        !self.joined.contains(&id) && self.changed.insert(id)
    }
}

impl Stream {
    pub(super) fn joined(&mut self, id: Uuid) {
        self.soil();
        self.each(|changes| changes.joined(id));
    }

    pub(super) fn left(&mut self, id: Uuid, cause: Cause) {
        self.soil();
        self.each(|changes| changes.left(id, cause));
    }

    pub(super) fn changed(&mut self, id: Uuid) {
        self.soil();
        self.each(|changes| _ = changes.changed(id));
    }

    /// A sign of life: shown with the next difference, no reason for one of its own revision when nobody looks.
    pub(super) fn seen(&mut self, id: Uuid) {
        if !self.subscribers.is_empty() && self.changes.changed(id) && self.news == News::None {
            self.news = News::Life;
            self.stirred.notify_one();
        }
        if let Some(others) = &mut self.others
            && others.watched
            && others.changes.changed(id)
        {
            others.soil();
        }
    }

    /// The user's first client came, the last one went, or waits out the grace.
    pub(super) fn user(&mut self, user: &UserKey, edge: UserEdge) {
        if let Some(others) = &mut self.others {
            others.edges.user(user, edge);
        }
    }

    /// The login's first client came, or the last one went.
    pub(super) fn session(&mut self, session: Uuid, here: bool) {
        if let Some(others) = &mut self.others {
            others.edges.session(session, here);
        }
    }

    /// Those who look: here, and on other nodes.
    fn each(&mut self, mut note: impl FnMut(&mut Changes)) {
        if !self.subscribers.is_empty() {
            note(&mut self.changes);
        }
        if let Some(others) = self.others.as_mut().filter(|others| others.watched) {
            note(&mut others.changes);
        }
    }

    fn soil(&mut self) {
        self.soil_own();
        if let Some(others) = &mut self.others {
            others.soil();
        }
    }

    fn soil_own(&mut self) {
        if std::mem::replace(&mut self.news, News::Change) != News::Change {
            self.changed.notify_one();
        }
    }

    /// From now on other nodes are told; what wakes whoever tells them.
    pub(super) fn share(&mut self) -> Arc<Notify> {
        self.others.get_or_insert_default().due.clone()
    }

    /// Whether other nodes want rows.
    pub(super) fn watch(&mut self, watched: bool) {
        if let Some(others) = &mut self.others
            && std::mem::replace(&mut others.watched, watched) != watched
        {
            others.changes = Changes::default();
        }
    }

    /// What the other nodes do not know yet, where there is anything: changes of rows only where they are wanted.
    pub(super) fn for_others(&mut self) -> Option<(Edges, Option<Changes>)> {
        let others = self.others.as_mut()?;
        if !std::mem::take(&mut others.dirty) {
            return None;
        }
        let changes = others.watched.then(|| std::mem::take(&mut others.changes));
        Some((std::mem::take(&mut others.edges), changes))
    }

    /// Something happened on another node.
    pub(super) fn others_changed(&mut self) {
        self.soil_own();
    }

    /// Something may be missing: a revision is left out, so that every page begins anew.
    pub(super) fn start_over(&mut self) {
        self.rev += 1;
        self.soil_own();
    }

    /// Whether there is a difference that somebody waits for.
    pub(super) fn is_due(&self) -> bool {
        self.news != News::None && !self.subscribers.is_empty()
    }

    /// The next difference, where there is any: what it is made of, and who gets it.
    pub(super) fn next(&mut self) -> Option<(Changes, Vec<Uuid>)> {
        if std::mem::take(&mut self.news) == News::None {
            return None;
        }
        self.rev += 1;
        Some((std::mem::take(&mut self.changes), self.subscribers.keys().copied().collect()))
    }

    /// Hands a difference to those who were subscribed when it was taken. Who still waits for the reply gets it later; what
    /// the others get is to be sent without the lock.
    pub(super) fn deliver<F: Fn(bool) -> Message>(
        &mut self,
        to: &[Uuid],
        difference: &mut Encoded<F>,
    ) -> Vec<(Arc<Client>, Message)> {
        let mut now = Vec::new();
        for id in to {
            let Some(subscriber) = self.subscribers.get_mut(id) else { continue };
            let message = difference.for_viewer(&subscriber.client);
            match &mut subscriber.held {
                Some(held) => held.push(message),
                None => now.push((subscriber.client.clone(), message)),
            }
        }
        now
    }

    pub(super) fn subscribe(&mut self, client: &Arc<Client>) {
        self.subscribers.insert(client.id, Subscriber { client: client.clone(), held: Some(Vec::new()) });
    }

    pub(super) fn release(&mut self, client: &Client) {
        let Some(subscriber) = self.subscribers.get_mut(&client.id) else { return };
        for message in subscriber.held.take().unwrap_or_default() {
            subscriber.client.send(&message);
        }
    }

    /// Who is subscribed, how many.
    pub(super) fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// Whether the client was subscribed.
    pub(super) fn unsubscribe(&mut self, id: Uuid) -> bool {
        let was = self.subscribers.remove(&id).is_some();
        if self.subscribers.is_empty() {
            self.changes = Changes::default();
        }
        was
    }
}

impl Others {
    fn soil(&mut self) {
        if !std::mem::replace(&mut self.dirty, true) {
            self.due.notify_one();
        }
    }
}
