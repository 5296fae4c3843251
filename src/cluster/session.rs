//! The connections themselves: made, kept alive, made again. Both live and die together, and whoever waits for an answer of one that
//! died is told so at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, PushInfo, PushKind, RedisError, RedisResult, Value, cmd};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::channel::Channel;
use super::link::{Command, Link, QUEUE, Queues, Subscription};

/// Longest wait for a connection, and for an answer on one.
const PATIENCE: Duration = Duration::from_secs(2);
/// Silence after which a connection is asked whether it still is one.
const IDLE: Duration = Duration::from_secs(1);
/// Commands that go out as one write. What gathers while one such is answered is the next.
const BATCH: usize = 512;
/// Channels of one command; a thousand cost Redis about a millisecond.
const CHANNELS: usize = 1_000;
/// Shortest and longest time before the next attempt, of which a random half is left out: nodes shall not come back together.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Link {
    /// Keeps the link connected for as long as it is polled. Once.
    pub async fn run(self) {
        let mut backoff = BACKOFF.0;
        let mut told = false;
        loop {
            let before = self.state().times;
            let error = match self.connect().await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.0.queues.store(None);
            self.0.state.send_modify(|state| state.up = false);
            if self.state().times > before {
                (backoff, told) = (BACKOFF.0, false);
            }
            if !told {
                told = true;
                tracing::warn!("Redis is away, so that other nodes are not reached; trying on: {error}");
            }
            sleep(backoff.mul_f64(rand::random_range(0.5..1.0))).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    /// Connects, and stays until something breaks.
    async fn connect(&self) -> RedisResult<std::convert::Infallible> {
        let patience = || {
            let config = AsyncConnectionConfig::new();
            config.set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE))
        };
        let client = &self.0.client;
        let broken = Arc::new(Notify::new());
        let heard = patience().set_push_sender(self.ear(broken.clone()));
        let writing = client.get_multiplexed_async_connection_with_config(&patience()).await?;
        let hearing = client.get_multiplexed_async_connection_with_config(&heard).await?;
        let (commands, waiting) = mpsc::channel(QUEUE);
        let (subscriptions, changes) = mpsc::channel(QUEUE);
        let queues = Arc::new(Queues { commands, subscriptions, bytes: AtomicUsize::new(0) });
        // From here on a change of interest waits for its turn; all before is in the interests that are read next.
        self.0.queues.store(Some(queues.clone()));
        tokio::select! {
            error = write(writing, waiting, &queues.bytes) => Err(error),
            error = self.hear(hearing, changes) => error,
            () = broken.notified() => Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset))),
        }
    }

    /// What Redis pushes, in the task that reads it.
    fn ear(&self, broken: Arc<Notify>) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
        let link = self.clone();
        move |push| {
            match (push.kind, push.data.into_iter().next_back()) {
                (PushKind::Message, Some(Value::BulkString(bytes))) => link.deliver(bytes.into()),
                (PushKind::Disconnection, _) => broken.notify_one(),
                _ => {}
            }
            Ok(())
        }
    }

    /// Subscribes to everything that is wanted, then to what changes.
    async fn hear(
        &self,
        mut connection: MultiplexedConnection,
        mut changes: mpsc::Receiver<Subscription>,
    ) -> RedisResult<std::convert::Infallible> {
        for channels in self.wanted().chunks(CHANNELS) {
            connection.subscribe(self.names(channels)).await?;
        }
        self.0.state.send_modify(|state| {
            state.up = true;
            state.times += 1;
        });
        tracing::info!("connected to Redis");
        loop {
            let Ok(change) = timeout(IDLE, changes.recv()).await else {
                ping(&mut connection).await?;
                continue;
            };
            let Some(Subscription { begin, channels, done }) = change else { std::future::pending().await };
            for some in channels.chunks(CHANNELS) {
                match begin {
                    true => connection.subscribe(self.names(some)).await?,
                    false => connection.unsubscribe(self.names(some)).await?,
                }
            }
            let _ = done.send(());
        }
    }

    /// In this order: `All` last.
    fn wanted(&self) -> Vec<Channel> {
        let interests = self.0.interests.lock().expect("nothing panics while holding the interests");
        let mut wanted: Vec<Channel> = interests.iter().flat_map(|interest| interest()).collect();
        wanted.extend([Channel::Presence, Channel::Node(self.0.generation), Channel::All]);
        wanted
    }

    fn names(&self, channels: &[Channel]) -> Vec<String> {
        channels.iter().map(|channel| channel.name(&self.0.prefix)).collect()
    }
}

/// One pipeline at a time: what is queued while it is answered becomes the next, so that order is kept and a busy node writes seldom.
async fn write(
    mut connection: MultiplexedConnection,
    mut commands: mpsc::Receiver<Command>,
    bytes: &AtomicUsize,
) -> RedisError {
    let mut batch = Vec::new();
    loop {
        match timeout(IDLE, commands.recv_many(&mut batch, BATCH)).await {
            Ok(0) => std::future::pending().await,
            Ok(_) => {}
            Err(_) => match ping(&mut connection).await {
                Ok(()) => continue,
                Err(error) => return error,
            },
        }
        let mut pipeline = Pipeline::new();
        let mut answers = Vec::new();
        for Command { parts, bytes: size, answer } in batch.drain(..) {
            bytes.fetch_sub(size, Relaxed);
            answers.push((parts.len(), answer));
            parts.into_iter().for_each(|part| _ = pipeline.add_command(part));
        }
        let mut values = match connection.send_packed_commands(&pipeline, 0, pipeline.len()).await {
            Ok(values) => values.into_iter(),
            Err(error) => return error,
        };
        for (parts, answer) in answers {
            let _ = answer.send(values.by_ref().take(parts).collect());
        }
    }
}

async fn ping(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    cmd("PING").query_async(connection).await
}
