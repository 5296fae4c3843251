//! What the rest of the house holds of the link: it publishes, subscribes, and says whether Redis is there.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use redis::{Client, Cmd, IntoConnectionInfo, ProtocolVersion, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::channel::Channel;
use super::envelope::{self, Received, Topic};
use super::mailbox::{Mailbox, Slot};

/// Commands and subscriptions that wait to be sent, at most.
pub(super) const QUEUE: usize = 8_192;
/// Bytes of commands that wait, at most.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// A cheap handle of this node's connections to Redis.
#[derive(Clone)]
pub struct Link(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) client: Client,
    pub(super) prefix: String,
    pub(super) generation: Uuid,
    pub(super) state: watch::Sender<LinkState>,
    /// Of the connection that stands; none while there is none, so that nobody waits for it.
    pub(super) queues: ArcSwapOption<Queues>,
    pub(super) interests: Mutex<Vec<Interest>>,
    slots: [OnceLock<(Slot, bool)>; Topic::ALL.len()],
    skipped: AtomicU64,
    lost: AtomicU64,
    received: [AtomicU64; Topic::ALL.len()],
}

type Interest = Box<dyn Fn() -> Vec<Channel> + Send + Sync>;

/// Whether Redis is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Connected, and subscribed to everything this node wants to hear. Otherwise other nodes are not reached.
    pub up: bool,
    /// How often it came up; 0 before the first time. Whatever Redis held may be gone when this changes.
    pub times: u64,
}

/// Redis is away, or slower than we are: nothing was sent, or nobody knows whether it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis is away")]
pub struct Away;

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cluster.redis_url cannot be used: {0}. Set it as redis://user:password@host:6379, or rediss://… with TLS.")]
pub struct LinkError(String);

pub(super) struct Queues {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) subscriptions: mpsc::Sender<Subscription>,
    pub(super) bytes: AtomicUsize,
}

/// Commands that go out together, and where their answers go.
pub(super) struct Command {
    pub(super) parts: Vec<Cmd>,
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Vec<Value>>,
}

pub(super) struct Subscription {
    pub(super) begin: bool,
    pub(super) channels: Vec<Channel>,
    pub(super) done: oneshot::Sender<()>,
}

impl Link {
    /// A node's link, not connected until [`Link::run`]. `generation` names this process: what it publishes is known by it.
    pub fn new(url: &str, prefix: &str, generation: Uuid) -> Result<Link, LinkError> {
        let info = url.into_connection_info().map_err(|error| LinkError(error.to_string()))?;
        // Version 3 of the protocol hands pushed messages to us in the task that reads; version 2 would queue them without a bound.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings)).map_err(|error| LinkError(error.to_string()))?;
        Ok(Link(Arc::new(Inner {
            client,
            prefix: prefix.to_owned(),
            generation,
            state: watch::Sender::default(),
            queues: ArcSwapOption::empty(),
            interests: Mutex::default(),
            slots: Default::default(),
            skipped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            received: Default::default(),
        })))
    }

    /// This process, as other nodes know it.
    pub fn generation(&self) -> Uuid {
        self.0.generation
    }

    /// Whether Redis is there, now.
    pub fn state(&self) -> LinkState {
        *self.0.state.borrow()
    }

    /// The same, to wait for a change: of `times`, the moment after which everything is subscribed again.
    pub fn changes(&self) -> watch::Receiver<LinkState> {
        self.0.state.subscribe()
    }

    /// What to subscribe whenever a connection is made, before it counts as up. Asked anew each time, so that nobody keeps a second
    /// copy of what he wants.
    pub fn on_connect(&self, interest: impl Fn() -> Vec<Channel> + Send + Sync + 'static) {
        self.0.interests.lock().expect("nothing panics while holding the interests").push(Box::new(interest));
    }

    /// Takes the messages of a topic, without those of this node itself.
    ///
    /// # Panics
    /// When somebody has taken it already.
    pub fn mailbox(&self, topic: Topic) -> Mailbox {
        self.take(topic, false)
    }

    /// Takes the messages of a topic, with those of this node that Redis brings back.
    ///
    /// # Panics
    /// When somebody has taken it already.
    pub fn mailbox_with_own(&self, topic: Topic) -> Mailbox {
        self.take(topic, true)
    }

    fn take(&self, topic: Topic, own: bool) -> Mailbox {
        let (slot, mailbox) = Mailbox::new();
        assert!(self.0.slots[topic as usize].set((slot, own)).is_ok(), "{topic:?} has a reader");
        mailbox
    }

    /// Makes a message.
    pub fn seal<T: Serialize>(&self, topic: Topic, head: &T, rest: &[u8]) -> Bytes {
        envelope::seal(topic, self.0.generation, head, rest)
    }

    /// The head of a message; what is not understood is counted as skipped.
    pub fn read<T: DeserializeOwned>(&self, message: &Received) -> Option<T> {
        let head = message.read();
        if head.is_none() {
            self.skip();
        }
        head
    }

    /// Counts a message that was not understood.
    pub fn skip(&self) {
        self.0.skipped.fetch_add(1, Relaxed);
    }

    /// Messages of another version, of unknown topics and of unknown kinds that were skipped since the start.
    pub fn skipped(&self) -> u64 {
        self.0.skipped.load(Relaxed)
    }

    /// Messages that Redis brought since the start, by topic; own ones that came back among them.
    pub fn received(&self) -> impl Iterator<Item = (Topic, u64)> {
        Topic::ALL.into_iter().map(|topic| (topic, self.0.received[topic as usize].load(Relaxed)))
    }

    /// Messages that found a mailbox full, since the start.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Relaxed)
    }

    /// Makes a message and publishes it; how many nodes have it, this one included if it has subscribed.
    pub fn send<T: Serialize>(
        &self,
        channel: Channel,
        topic: Topic,
        head: &T,
        rest: &[u8],
    ) -> impl Future<Output = Result<usize, Away>> + Send + use<T> {
        let sent = self.publish(&[channel], &self.seal(topic, head, rest));
        async { Ok(sent.await?.iter().sum()) }
    }

    /// Publishes a message on each channel; how many nodes have it on each. It leaves in the order of the calls, whether or not the
    /// answer is awaited.
    pub fn publish(
        &self,
        channels: &[Channel],
        message: &Bytes,
    ) -> impl Future<Output = Result<Vec<usize>, Away>> + Send + use<> {
        let publish = |channel: &Channel| {
            let mut command = Cmd::with_capacity(3, message.len() + 128);
            command.arg("PUBLISH").arg(channel.name(&self.0.prefix)).arg(&message[..]);
            command
        };
        let answers = self.command(channels.iter().map(publish).collect(), channels.len() * message.len());
        async { Ok(answers.await?.iter().map(count).collect()) }
    }

    /// Nodes that have subscribed to everything they want to hear, this one included. What was published before has been passed on.
    pub fn connected(&self) -> impl Future<Output = Result<usize, Away>> + Send + use<> {
        let mut command = Cmd::new();
        command.arg("PUBSUB").arg("NUMSUB").arg(Channel::All.name(&self.0.prefix));
        let answers = self.command(vec![command], 64);
        async { Ok(answers.await?.first().map_or(0, numbers)) }
    }

    /// Done when Redis has confirmed it.
    pub async fn subscribe(&self, channels: Vec<Channel>) -> Result<(), Away> {
        self.change(true, channels).await
    }

    /// Done when Redis has confirmed it.
    pub async fn unsubscribe(&self, channels: Vec<Channel>) -> Result<(), Away> {
        self.change(false, channels).await
    }

    async fn change(&self, begin: bool, channels: Vec<Channel>) -> Result<(), Away> {
        if channels.is_empty() {
            return Ok(());
        }
        let queues = self.0.queues.load_full().ok_or(Away)?;
        let (done, confirmed) = oneshot::channel();
        queues.subscriptions.send(Subscription { begin, channels, done }).await.map_err(|_| Away)?;
        drop(queues);
        confirmed.await.map_err(|_| Away)
    }

    /// Queues commands, in the order of the calls.
    pub(super) fn command(
        &self,
        parts: Vec<Cmd>,
        bytes: usize,
    ) -> impl Future<Output = Result<Vec<Value>, Away>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        if let Some(queues) = &*self.0.queues.load() {
            let waiting = queues.bytes.fetch_add(bytes, Relaxed);
            let fits = waiting <= QUEUE_BYTES;
            if !fits || queues.commands.try_send(Command { parts, bytes, answer }).is_err() {
                queues.bytes.fetch_sub(bytes, Relaxed);
            }
        }
        // Of a command that was not queued, `answer` is gone.
        async { answered.await.map_err(|_| Away) }
    }

    /// A message that Redis brought.
    pub(super) fn deliver(&self, bytes: Bytes) {
        let Some((topic, message)) = envelope::open(bytes) else { return self.skip() };
        let Some((slot, own)) = self.0.slots[topic as usize].get() else { return self.skip() };
        self.0.received[topic as usize].fetch_add(1, Relaxed);
        if (*own || message.origin != self.0.generation) && !slot.put(message) {
            self.0.lost.fetch_add(1, Relaxed);
        }
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Int(count) => usize::try_from(*count).unwrap_or(0),
        _ => 0,
    }
}

/// The sum of the numbers in an answer of names and numbers.
fn numbers(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(numbers).sum(),
        Value::Map(pairs) => pairs.iter().map(|(_, number)| numbers(number)).sum(),
        number => count(number),
    }
}
