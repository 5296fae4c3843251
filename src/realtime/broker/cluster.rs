//! Several nodes: this one's clients are reached directly, the others' over the link. What Redis has to do with it may fail at any
//! time; this node's part never does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::answers::{Asking, Heard, Waiting};
use super::interests::Interests;
use super::memory::{CLOSE_WAIT, MemoryBroker, Reached};
use super::words::{self, Answer, Word};
use super::{Broker, BrokerError, Delivered, Expected, Interest, Payload, Publication, Target};
use crate::cluster::{Away, Channel, Cluster, Link, Mailbox, Received, Topic, hash};
use crate::realtime::manager::ClientManager;

/// Users or rooms of one publication that are reached by their own channels; more are told to every node.
const OWN_CHANNELS: usize = 8;
/// Nodes whose last publication is remembered, before those that are gone are forgotten.
const MAX_ORIGINS: usize = 256;

/// Reaches clients of any node.
pub struct ClusterBroker {
    here: MemoryBroker,
    cluster: Cluster,
    interests: Arc<Interests>,
    asking: Arc<Asking>,
    /// The number of the last publication; held while one is queued, so that numbers leave in order.
    last: Mutex<u64>,
    answer_timeout: Duration,
}

/// A publication on its way to the others.
struct Sent {
    waiting: Waiting,
    passed_on: BoxFuture<'static, Result<(usize, usize), Away>>,
    deadline: Instant,
}

impl ClusterBroker {
    /// The broker of this manager and its node's link. Answers of others are awaited for `answer_timeout`.
    pub fn new(manager: Arc<ClientManager>, cluster: Cluster, answer_timeout: Duration) -> ClusterBroker {
        ClusterBroker {
            interests: Interests::new(cluster.link.clone(), manager.clone()),
            here: MemoryBroker::new(manager),
            cluster,
            asking: Arc::default(),
            last: Mutex::new(0),
            answer_timeout,
        }
    }

    /// Takes what other nodes publish to this one's clients and answers, and subscribes to what concerns them, for as long as it is
    /// polled. Once.
    pub async fn run(&self, mailbox: Mailbox) {
        tokio::join!(self.interests.clone().run(), self.listen(mailbox));
    }

    async fn listen(&self, mut mailbox: Mailbox) {
        let mut last = HashMap::new();
        let mut closing = FuturesUnordered::new();
        loop {
            tokio::select! {
                message = mailbox.next() => {
                    let Some(message) = message else { return };
                    if let Some(closes) = self.hear(&message, &mut last).await {
                        closing.push(closes);
                    }
                }
                Some(()) = closing.next() => {}
            }
        }
    }

    /// One after the other, so that order is kept. To be shut down takes a while, for which nobody else has to wait.
    async fn hear(
        &self,
        message: &Received,
        last: &mut HashMap<Uuid, u64>,
    ) -> Option<impl Future<Output = ()> + use<'_>> {
        let (link, origin) = (&self.cluster.link, message.origin);
        match link.read::<Word>(message)? {
            Word::Answer(answer) => self.asking.hear(answer.id, Heard::Other(origin, answer)),
            Word::Publish { id, .. } if origin == link.generation() => self.asking.hear(id, Heard::Own),
            // A copy from another of its channels.
            Word::Publish { id, .. } if last.get(&origin).is_some_and(|last| id <= *last) => {
                self.answer(origin, Answer { id, ..Answer::default() });
            }
            Word::Publish { id, target, payload } => {
                self.remember(last, origin, id);
                let Some(publication) = words::publication(target, payload, message.rest.clone()) else {
                    link.skip();
                    return None;
                };
                let mut reached = Reached::nobody_yet();
                let Publication { target, payload: Payload::Close { last, reason, cause } } = &publication else {
                    let delivered = self.here.reach(&publication, &mut reached).await;
                    self.answer(origin, Answer::of(id, &delivered, reached));
                    return None;
                };
                let closing = self.here.close(target, last.as_ref(), reason, *cause, &mut reached);
                // In time for the one who asks.
                let patience = CLOSE_WAIT.min(self.answer_timeout * 3 / 4);
                return Some(async move {
                    let delivered = closing.shut(patience).await;
                    self.answer(origin, Answer::of(id, &delivered, reached));
                });
            }
        }
        None
    }

    fn remember(&self, last: &mut HashMap<Uuid, u64>, origin: Uuid, id: u64) {
        if last.len() >= MAX_ORIGINS {
            let live = self.cluster.members.live();
            last.retain(|origin, _| live.iter().any(|member| member.generation == *origin));
        }
        last.insert(origin, id);
    }

    fn answer(&self, origin: Uuid, answer: Answer) {
        drop(self.cluster.link.send(Channel::Node(origin), Topic::Delivery, &Word::Answer(answer), b""));
    }

    /// Sends it on its way, at once and in order.
    fn send(&self, publication: &Publication) -> Sent {
        let channels = channels(&publication.target);
        let link = &self.cluster.link;
        let (target, payload, frame) = words::words(publication);
        let mut last = self.last.lock().expect("nothing panics while holding it");
        *last += 1;
        let id = *last;
        let waiting = self.asking.about(id);
        let message = link.seal(Topic::Delivery, &Word::Publish { id, target, payload }, frame);
        let passed_on = pass_on(link, &channels, &message);
        drop(last);
        Sent { waiting, passed_on: Box::pin(passed_on), deadline: Instant::now() + self.answer_timeout }
    }

    /// Waits for the others, and counts them to what was done here.
    async fn gather(&self, sent: Sent, here: Delivered, reached: Reached) -> Delivered {
        let Sent { mut waiting, passed_on, deadline } = sent;
        let passed_on = timeout_at(deadline, passed_on).await.unwrap_or(Err(Away)).ok();
        if let Some((copies, _)) = passed_on {
            let _ = timeout_at(deadline, waiting.wait(copies)).await;
        }
        let up = self.cluster.link.state().up;
        waiting.sum(here, reached, passed_on.filter(|_| up), &self.cluster.members.live())
    }
}

#[async_trait]
impl Broker for ClusterBroker {
    async fn publish(&self, publication: Publication) -> Result<Delivered, BrokerError> {
        if publication.target.is_empty() {
            return Ok(Delivered::to_nobody());
        }
        let sent = self.send(&publication);
        let mut reached = Reached::nobody_yet();
        let here = self.here.reach(&publication, &mut reached).await;
        Ok(self.gather(sent, here, reached).await)
    }

    fn expect(&self, interest: Interest) -> Option<BoxFuture<'static, Expected>> {
        Some(self.interests.expect(interest, self.answer_timeout))
    }
}

/// How many copies Redis passed on, and how many nodes are connected to it.
fn pass_on(
    link: &Link,
    channels: &[Channel],
    message: &Bytes,
) -> impl Future<Output = Result<(usize, usize), Away>> + Send + use<> {
    let (copies, connected) = (link.publish(channels, message), link.connected());
    async { Ok((copies.await?.iter().sum(), connected.await?)) }
}

/// A node that has none of the users or rooms hears nothing of it.
fn channels(target: &Target) -> Vec<Channel> {
    let mut channels: Vec<Channel> = match target {
        Target::Users(users) | Target::OtherSessions(users, _) if users.len() <= OWN_CHANNELS => {
            users.iter().map(|user| Channel::User(hash(user.as_str()))).collect()
        }
        Target::Rooms(rooms) if rooms.len() <= OWN_CHANNELS => {
            rooms.iter().map(|room| Channel::Room(hash(room))).collect()
        }
        _ => vec![Channel::All],
    };
    channels.sort_unstable();
    channels.dedup();
    channels
}

impl Answer {
    fn of(id: u64, delivered: &Delivered, reached: Reached) -> Answer {
        let Delivered { users, clients, delivered, dropped, .. } = *delivered;
        Answer { id, users, clients, delivered, dropped, who: reached.users() }
    }
}
