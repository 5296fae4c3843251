//! Rows that may come late or, counted, not at all: logins tried, audit of what only reads, last use of sessions
//! and keys.
//! One task behind a bounded queue writes them in batches, so no message and no request waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::log_chains::Rows;
use super::{NewAudit, NewLogin, Store, StoreError, api_keys, sessions};

/// A batch is written at this size …
const BATCH: usize = 100;
/// … or at this age.
const DELAY: Duration = Duration::from_millis(100);
/// How often a batch is tried. The pauses between double from [`DELAY`]; each try may also wait for `database.timeout`.
const TRIES: u32 = 5;

/// Something to be written when there is time.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A login that was tried.
    Login(NewLogin),
    /// An act whose row may come after it.
    Audit(NewAudit),
    /// A session was used. Many of one session become one.
    SessionSeen {
        /// Which.
        id: Uuid,
        /// When.
        at: DateTime<Utc>,
    },
    /// An API key was used. Many uses of one key become one.
    KeyUsed {
        /// Which.
        id: Uuid,
        /// When.
        at: DateTime<Utc>,
        /// From where.
        ip: String,
    },
}

/// The way to the writer. A cheap handle anyone may keep.
#[derive(Clone)]
pub struct LogWriter {
    queue: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
    stop: CancellationToken,
    stopped: CancellationToken,
}

#[expect(clippy::large_enum_variant, reason = "nearly every message is an entry")]
enum Message {
    Entry(Entry),
    Flush(oneshot::Sender<()>),
}

impl LogWriter {
    /// Starts the writer on the tracker. `queue` is how many entries may wait (`database.log_queue`), at least one.
    pub fn start(store: Store, queue: usize, tasks: &TaskTracker) -> LogWriter {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let writer = LogWriter {
            queue: sender,
            lost: Arc::default(),
            stop: CancellationToken::new(),
            stopped: CancellationToken::new(),
        };
        let stopped = writer.stopped.clone().drop_guard();
        let run = run(store, receiver, Arc::clone(&writer.lost), writer.stop.clone());
        tasks.spawn(async move {
            run.await;
            drop(stopped);
        });
        writer
    }

    /// Queues an entry. Never waits: with a full queue, or after `stop`, the entry is counted as lost.
    pub fn write(&self, entry: Entry) {
        if self.queue.try_send(Message::Entry(entry)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Entries lost since the start: the queue was full, or the database refused them for too long.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Entries that wait to be written.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Returns when everything queued before is written or counted as lost.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            // An error means that the writer has stopped, and it wrote everything before.
            let _ = wait.await;
        }
    }

    /// Takes no more entries, writes what is queued, and returns when that is done.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.stopped.cancelled().await;
    }
}

async fn run(store: Store, mut queue: mpsc::Receiver<Message>, lost: Arc<AtomicU64>, stop: CancellationToken) {
    let mut batch = Batch::default();
    let mut due = None;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled(), if !queue.is_closed() => queue.close(),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                due = None;
                flush(&store, &mut batch, &lost).await;
            }
            message = queue.recv() => match message {
                None => break,
                Some(Message::Flush(done)) => {
                    due = None;
                    flush(&store, &mut batch, &lost).await;
                    let _ = done.send(()); // whoever asked may have gone
                }
                Some(Message::Entry(entry)) => {
                    batch.add(entry);
                    due = due.or_else(|| Some(Instant::now() + DELAY));
                    if batch.len() >= BATCH {
                        due = None;
                        flush(&store, &mut batch, &lost).await;
                    }
                }
            },
        }
    }
    flush(&store, &mut batch, &lost).await;
}

/// Writes the batch and empties it. A database that is away is tried again a few times; then the rows are counted as lost.
async fn flush(store: &Store, batch: &mut Batch, lost: &AtomicU64) {
    let batch = std::mem::take(batch);
    if batch.len() == 0 {
        return;
    }
    let mut pause = DELAY;
    for attempt in 1..=TRIES {
        match store.write_batch(&batch).await {
            Ok(()) => return,
            Err(StoreError::Unavailable(_)) if attempt < TRIES => sleep(pause).await,
            Err(error) => {
                lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
                let (rows, cause) = (batch.len(), error.cause());
                tracing::error!(rows, cause, "{rows} log rows lost after {attempt} tries: {error}");
                return;
            }
        }
        pause *= 2;
    }
}

#[derive(Clone, Default)]
struct Batch {
    logins: Vec<NewLogin>,
    audits: Vec<NewAudit>,
    seen: BTreeMap<Uuid, DateTime<Utc>>,
    keys: BTreeMap<Uuid, (DateTime<Utc>, String)>,
}

impl Batch {
    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Login(login) => self.logins.push(login),
            Entry::Audit(audit) => self.audits.push(audit),
            Entry::SessionSeen { id, at } => {
                let last = self.seen.entry(id).or_insert(at);
                *last = at.max(*last);
            }
            Entry::KeyUsed { id, at, ip } => match self.keys.get(&id) {
                Some((last, _)) if *last > at => {}
                _ => drop(self.keys.insert(id, (at, ip))),
            },
        }
    }

    fn len(&self) -> usize {
        self.logins.len() + self.audits.len() + self.seen.len() + self.keys.len()
    }
}

impl Store {
    async fn write_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        let Batch { logins, audits, seen, keys } = batch.clone();
        let tx = self.begin().await?;
        tx.log(|rows| *rows = Rows { logins, audits });
        sessions::mark_seen(&tx, seen).await?;
        api_keys::mark_used(&tx, keys).await?;
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::{EntityTrait, PaginatorTrait};

    use super::*;
    use crate::auth::{ApiKey, KeyTerms};
    use crate::store::testing::{at, login, migrated, new_user, shared, store};
    use crate::store::{Actor, login_log};

    fn failed_login(second: i64) -> Entry {
        Entry::Login(NewLogin {
            at: at(second),
            user: None,
            username: "nobody\0".into(),
            outcome: "bad_credentials",
            session: None,
            ip: "::1".into(),
            device: String::new(),
            os: String::new(),
            browser: "x".repeat(1000),
            request_id: String::new(),
        })
    }

    async fn logins(store: &Store) -> u64 {
        login_log::Entity::find().count(store.db()).await.unwrap()
    }

    #[tokio::test]
    async fn everything_queued_is_written_when_the_writer_stops() {
        let (store, tasks) = (store().await, TaskTracker::new());
        let writer = LogWriter::start(store.clone(), 1000, &tasks);
        for second in 0..250 {
            writer.write(failed_login(second));
        }
        writer.stop().await;
        assert_eq!((logins(&store).await, writer.lost()), (250, 0));
        writer.write(failed_login(0));
        assert_eq!(writer.lost(), 1, "after the stop");
        writer.flush().await;
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn a_full_queue_counts_its_losses_and_never_waits() {
        let (store, tasks) = (store().await, TaskTracker::new());
        let turn = store.begin().await.unwrap(); // the writer cannot write
        let writer = LogWriter::start(store.clone(), 10, &tasks);
        for second in 0..500 {
            writer.write(failed_login(second));
        }
        let lost = writer.lost();
        assert!(lost >= 490, "a single thread leaves the writer no time: {lost}");
        drop(turn);
        writer.flush().await;
        assert_eq!(logins(&store).await + lost, 500);
    }

    #[tokio::test]
    async fn uses_of_a_session_become_one_and_never_go_back() {
        let (store, tasks) = (store().await, TaskTracker::new());
        let bob = new_user(&store, "bob", &[]).await.key;
        let session = login(&store, &bob, 0).await;
        let writer = LogWriter::start(store.clone(), 1000, &tasks);
        for second in [5, 9, 7] {
            writer.write(Entry::SessionSeen { id: session, at: at(second) });
        }
        writer.flush().await;
        writer.write(Entry::SessionSeen { id: session, at: at(8) });
        writer.flush().await;
        assert_eq!(store.session(session).await.unwrap().unwrap().last_seen_at, at(9));
    }

    #[tokio::test]
    async fn two_nodes_that_note_the_same_sessions_do_not_lock_each_other_out() {
        let (settings, _file) = shared().await;
        let (one, other) = (migrated(&settings).await, Store::open(&settings).await.unwrap());
        let bob = new_user(&one, "bob", &[]).await.key;
        let mut sessions = Vec::new();
        for second in 0..30 {
            sessions.push(login(&one, &bob, second).await);
        }
        for round in 1..20 {
            // Rows are written by time, and each saw the sessions in another order.
            let seen = |place: usize| at(round * 100 + place as i64);
            let last = sessions.len() - 1;
            let (mut forwards, mut backwards) = (Batch::default(), Batch::default());
            for (place, id) in sessions.iter().enumerate() {
                forwards.add(Entry::SessionSeen { id: *id, at: seen(place) });
                backwards.add(Entry::SessionSeen { id: *id, at: seen(last - place) });
            }
            let (a, b) = tokio::join!(one.write_batch(&forwards), other.write_batch(&backwards));
            a.and(b).unwrap();
        }
    }

    #[tokio::test]
    async fn uses_of_a_key_become_one_and_never_go_back() {
        let (store, tasks) = (store().await, TaskTracker::new());
        let terms = KeyTerms {
            name: "shop".into(),
            scopes: Default::default(),
            addresses: vec![],
            expires_at: None,
            calls_per_minute: None,
        };
        let made = store.create_api_key(&ApiKey::random(), &terms, 1, &Actor::system(), at(0)).await.unwrap();
        let writer = LogWriter::start(store.clone(), 1000, &tasks);
        for (second, ip) in [(5, "::1"), (9, "::2"), (7, "::3")] {
            writer.write(Entry::KeyUsed { id: made.id, at: at(second), ip: ip.into() });
        }
        writer.flush().await;
        writer.write(Entry::KeyUsed { id: made.id, at: at(8), ip: "::4".into() });
        writer.flush().await;
        let row = store.api_key(made.id).await.unwrap().unwrap();
        assert_eq!(row.last_used, Some((at(9), "::2".to_owned())));
    }

    #[tokio::test]
    async fn rows_that_a_closed_database_refuses_are_counted() {
        let (store, tasks) = (store().await, TaskTracker::new());
        let writer = LogWriter::start(store.clone(), 10, &tasks);
        store.close().await;
        writer.write(failed_login(0));
        writer.flush().await;
        assert_eq!(writer.lost(), 1);
    }
}
