//! What this node has to hear of: a channel for each user that has a client here, and for each room that has a member. It follows
//! the client manager, whose tables are read anew whenever a channel is taken or given back, so that a subscription cannot be
//! crossed by its end; there is no second copy of names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::auth::UserKey;
use crate::cluster::{Channel, Link, hash};
use crate::realtime::manager::ClientManager;

/// Something that other nodes may publish about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// A user.
    User(UserKey),
    /// A room.
    Room(Arc<str>),
}

impl Interest {
    /// Two with the same hash in 2^64 would share a channel, and its end.
    fn channel(&self) -> Channel {
        match self {
            Interest::User(user) => Channel::User(hash(user.as_str())),
            Interest::Room(room) => Channel::Room(hash(room)),
        }
    }
}

pub(super) struct Interests {
    link: Link,
    manager: Arc<ClientManager>,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    /// Wanted for who is about to come, and how many those are.
    expected: HashMap<Interest, usize>,
    /// To be looked at, and who waits for it. As many as came and went since the last look, which is a moment ago.
    due: Vec<(Interest, Option<oneshot::Sender<()>>)>,
}

/// Somebody is about to come; dropped when he has, or has not.
pub struct Expected {
    interests: Arc<Interests>,
    interest: Interest,
}

impl Interests {
    pub(super) fn new(link: Link, manager: Arc<ClientManager>) -> Arc<Interests> {
        let interests = Arc::new(Interests { link, manager, state: Mutex::default(), wake: Notify::new() });
        // Weak, or the manager would keep itself.
        let weak = Arc::downgrade(&interests);
        interests
            .manager
            .on_gone(move |interest| _ = weak.upgrade().map(|interests| interests.look_at(interest, None)));
        let weak = Arc::downgrade(&interests);
        interests.link.on_connect(move || weak.upgrade().map_or_else(Vec::new, |interests| interests.all()));
        interests
    }

    /// Done when what is published about it from then on arrives here; or after `patience`, when Redis does not answer.
    pub(super) fn expect(self: &Arc<Self>, interest: Interest, patience: Duration) -> BoxFuture<'static, Expected> {
        let expected = Expected { interests: self.clone(), interest: interest.clone() };
        let first = {
            let mut state = self.state();
            let count = state.expected.entry(interest.clone()).or_default();
            *count += 1;
            *count == 1
        };
        // Who is here already has been waited for. Another who is on the way is waited for once more.
        let confirmed = (!first || !self.manager.has(&interest)).then(|| {
            let (done, confirmed) = oneshot::channel();
            self.look_at(interest, Some(done));
            confirmed
        });
        Box::pin(async move {
            if let Some(confirmed) = confirmed {
                let _ = timeout(patience, confirmed).await;
            }
            expected
        })
    }

    /// Takes and gives back channels for as long as it is polled. Once.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            let due = std::mem::take(&mut self.state().due);
            let (mut begin, mut end, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
            for (interest, done) in due {
                // In this order: who has come is no longer expected after he is in the manager. And one lock after the other: a shard
                // is held by who tells us that somebody is gone.
                let expected = self.state().expected.contains_key(&interest);
                let wanted = expected || self.manager.has(&interest);
                if wanted { &mut begin } else { &mut end }.push(interest.channel());
                waiting.extend(done);
            }
            let same = |channels: &mut Vec<Channel>| {
                channels.sort_unstable();
                channels.dedup();
            };
            same(&mut begin);
            same(&mut end);
            // What fails is subscribed with everything else when Redis is back.
            let _ = self.link.subscribe(begin).await;
            waiting.into_iter().for_each(|done| _ = done.send(()));
            let _ = self.link.unsubscribe(end).await;
        }
    }

    fn look_at(&self, interest: Interest, done: Option<oneshot::Sender<()>>) {
        self.state().due.push((interest, done));
        self.wake.notify_one();
    }

    fn all(&self) -> Vec<Channel> {
        let mut all: Vec<Channel> = self.state().expected.keys().map(Interest::channel).collect();
        self.manager.each_interest(|name, user| {
            let hash = hash(name);
            all.push(if user { Channel::User(hash) } else { Channel::Room(hash) });
        });
        all
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding it")
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut state = self.interests.state();
        let last = state.expected.get_mut(&self.interest).is_some_and(|count| {
            *count -= 1;
            *count == 0
        });
        if last {
            state.expected.remove(&self.interest);
            drop(state);
            if !self.interests.manager.has(&self.interest) {
                self.interests.look_at(self.interest.clone(), None);
            }
        }
    }
}
