//! Who the other nodes are. Each announces itself; each judges the others' silence by its own monotonic clock; nobody leads.
//!
//! A node is a name and a generation, a UUID made at its start. The name is held in Redis, by a key that expires, only to find
//! out that two processes have it: Redis may forget it at any time, and the next announcement takes it again.

mod name;
mod table;
mod voice;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::channel::Channel;
use super::envelope::Received;
use super::link::Link;
use super::mailbox::Mailbox;
use crate::clock::Clock;
use table::{Patience, Table};
use voice::Voice;

pub use name::NameTaken;
pub use table::{Announcement, Member, MemberEvent, MemberState};

/// Longest time between two looks at the clock.
const LOOK: Duration = Duration::from_millis(250);

/// The nodes, as this one knows them: a cheap handle.
#[derive(Clone)]
pub struct Members(Arc<Inner>);

struct Inner {
    link: Link,
    clock: Arc<dyn Clock>,
    settings: MembersSettings,
    started: DateTime<Utc>,
    table: Mutex<Table>,
    observers: Mutex<Vec<Observer>>,
    facts: OnceLock<Box<dyn Fn() -> Facts + Send + Sync>>,
    /// Somebody answered that it has this node's name.
    here: Notify,
    /// An announcement is due before its time.
    speak: Notify,
    /// Held while one leaves, so that none leaves after the goodbye.
    voice: Mutex<Voice>,
}

type Observer = Box<dyn Fn(&MemberEvent) + Send + Sync>;

/// `[cluster]`, as far as it is about nodes.
#[derive(Clone, Debug)]
pub struct MembersSettings {
    /// Of this node.
    pub name: Arc<str>,
    /// Where it listens, for lists.
    pub address: String,
    /// How often it announces itself.
    pub announce: Duration,
    /// Silence until suspicion.
    pub suspect: Duration,
    /// Silence until death.
    pub dead: Duration,
}

/// What a node says of itself and changes all the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Sockets.
    pub clients: usize,
    /// The machine's load of one minute.
    pub load: f64,
    /// Whether it sends its clients away.
    pub draining: bool,
    /// Sockets that it has sent away.
    pub moved_away: usize,
    /// Until the last one is.
    pub drain_seconds: u64,
}

/// What nodes tell each other about themselves.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
enum Word {
    Alive(Announcement),
    Goodbye,
    /// Is there a process behind this generation? Answered with `Here`.
    Who,
    Here,
}

impl Members {
    /// Nobody yet. Takes the link's mailbox of this topic when it runs.
    pub fn new(link: Link, clock: Arc<dyn Clock>, settings: MembersSettings) -> Members {
        let started = clock.now();
        Members(Arc::new(Inner {
            link,
            clock,
            settings,
            started,
            table: Mutex::default(),
            observers: Mutex::default(),
            facts: OnceLock::new(),
            here: Notify::new(),
            speak: Notify::new(),
            voice: Mutex::new(Voice::Silent),
        }))
    }

    /// What the announcements say of this node's clients; nothing before.
    pub fn set_facts(&self, facts: impl Fn() -> Facts + Send + Sync + 'static) {
        let _ = self.0.facts.set(Box::new(facts));
    }

    /// Calls `observer` for everything that happens, in order and one at a time. It must be quick, and must not change what it is
    /// told of.
    pub fn observe(&self, observer: impl Fn(&MemberEvent) + Send + Sync + 'static) {
        self.0.observers.lock().expect("no observer panics").push(Box::new(observer));
    }

    /// Name of this node.
    pub fn name(&self) -> &Arc<str> {
        &self.0.settings.name
    }

    /// This process.
    pub fn generation(&self) -> Uuid {
        self.0.link.generation()
    }

    /// This node as the others see it.
    pub fn me(&self) -> Member {
        let said = self.announcement(false);
        let state = if said.draining { MemberState::Draining } else { MemberState::Up };
        Member { generation: self.generation(), said, state, silent: Duration::ZERO }
    }

    /// The others by name, dead ones too. All are suspect while Redis is away.
    pub fn others(&self) -> Vec<Member> {
        let mut others = self.table().all(self.now());
        if !self.0.link.state().up {
            others
                .iter_mut()
                .filter(|other| other.state != MemberState::Dead)
                .for_each(|other| other.state = MemberState::Suspect);
        }
        others
    }

    /// The others that are not dead.
    pub fn live(&self) -> Vec<Member> {
        self.others().into_iter().filter(|other| other.state != MemberState::Dead).collect()
    }

    /// Listens and judges, and announces once it has [`Members::start`]ed, for as long as it is polled. Once.
    pub async fn run(self, mailbox: Mailbox) {
        tokio::select! { () = self.listen(mailbox) => {}, () = self.speak() => {} }
    }

    /// Takes this node's name and begins to announce it. While [`Members::run`] is polled.
    pub async fn start(&self) -> Result<(), NameTaken> {
        self.claim_name().await?;
        *self.voice() = Voice::Speaking { hello: true };
        self.0.speak.notify_one();
        Ok(())
    }

    async fn listen(&self, mut mailbox: Mailbox) {
        let mut looks = interval(self.0.settings.announce.min(LOOK));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut changes, mut looked) = (self.0.link.changes(), self.now());
        loop {
            tokio::select! {
                biased;
                _ = looks.tick() => self.look(&mut looked),
                changed = changes.changed() => {
                    let Ok(()) = changed else { return };
                    if changes.borrow_and_update().up {
                        self.say_hello();
                    }
                }
                message = mailbox.next() => {
                    let Some(message) = message else { return };
                    self.hear(&message);
                }
            }
        }
    }

    /// Who has been silent; or whether it was this process that stood still.
    fn look(&self, looked: &mut Duration) {
        let (now, patience) = (self.now(), self.patience());
        let stood = now.saturating_sub(std::mem::replace(looked, now)) >= patience.dead;
        if stood {
            tracing::warn!(
                "this process stood still for longer than cluster.dead; the other nodes have given its clients up"
            );
            self.tell(&[MemberEvent::Paused]);
            self.say_hello();
        } else if self.0.link.state().up {
            let events = self.table().tick(now, patience);
            self.tell(&events);
        }
    }

    fn hear(&self, message: &Received) {
        match self.0.link.read::<Word>(message) {
            Some(Word::Alive(said)) => {
                // Whether we still are who we say, and the newcomer's wish to hear us.
                if said.hello || said.name == self.0.settings.name {
                    self.0.speak.notify_one();
                }
                let events = self.table().hear(message.origin, said, self.now());
                self.tell(&events);
            }
            Some(Word::Goodbye) => {
                let left = self.table().leave(message.origin, self.now(), false);
                self.tell(left.as_slice());
            }
            Some(Word::Who) if !matches!(*self.voice(), Voice::Silent) => {
                self.say(Channel::Node(message.origin), &Word::Here)
            }
            Some(Word::Here) => self.0.here.notify_waiters(),
            Some(Word::Who) | None => {}
        }
    }

    fn tell(&self, events: &[MemberEvent]) {
        for event in events {
            match event {
                MemberEvent::Joined(member) => tracing::info!(node = %member.said.name, "a node is there"),
                MemberEvent::Suspect(member) => tracing::warn!(node = %member.said.name, "a node is silent"),
                MemberEvent::Left { member, lost: true } => tracing::warn!(node = %member.said.name, "a node is lost"),
                MemberEvent::Left { member, .. } => tracing::info!(node = %member.said.name, "a node said goodbye"),
                _ => {}
            }
            self.0.observers.lock().expect("no observer panics").iter().for_each(|observer| observer(event));
        }
    }

    fn patience(&self) -> Patience {
        Patience { suspect: self.0.settings.suspect, dead: self.0.settings.dead }
    }

    fn now(&self) -> Duration {
        self.0.clock.monotonic()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().expect("nothing panics while holding the table of nodes")
    }
}
