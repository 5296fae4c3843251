//! What this node says of itself, and when.

use std::sync::MutexGuard;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::table::{Announcement, MemberEvent};
use super::{Facts, Members, Word};
use crate::cluster::channel::Channel;
use crate::cluster::envelope::Topic;

/// Longest wait for a goodbye to leave.
const GOODBYE: Duration = Duration::from_secs(1);

/// Whether this node announces itself.
pub(super) enum Voice {
    /// Not before it has its name, and not after its goodbye.
    Silent,
    Speaking {
        /// The next announcement asks for everybody else's.
        hello: bool,
    },
}

impl Members {
    /// Says that this node is gone, and gives its name back.
    pub async fn goodbye(&self) {
        let said = {
            let mut voice = self.voice();
            *voice = Voice::Silent;
            self.0.link.send(Channel::All, Topic::Members, &Word::Goodbye, b"")
        };
        let leave = async {
            let _ = said.await;
            self.give_name_back().await;
        };
        let _ = timeout(GOODBYE, leave).await;
    }

    /// Only who holds the name says it, so that the others never hear two processes of one name in turn.
    pub(super) async fn speak(&self) {
        let mut announce = interval(self.0.settings.announce);
        announce.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! { _ = announce.tick() => {}, () = self.0.speak.notified() => {} }
            if matches!(*self.voice(), Voice::Silent) {
                continue;
            }
            match self.claim_name().await {
                Ok(()) => self.announce(),
                Err(taken) => {
                    *self.voice() = Voice::Silent;
                    tracing::error!("{taken} This process ends.");
                    self.tell(&[MemberEvent::Ousted]);
                }
            }
        }
    }

    /// Nobody could have been heard until now, nor have heard us.
    pub(super) fn say_hello(&self) {
        self.table().forgive(self.now());
        if let Voice::Speaking { hello } = &mut *self.voice() {
            *hello = true;
        }
        self.0.speak.notify_one();
    }

    /// Not awaited: whoever is silent is found out by the others.
    fn announce(&self) {
        let mut voice = self.voice();
        if let Voice::Speaking { hello } = &mut *voice {
            let hello = std::mem::take(hello);
            self.say(Channel::All, &Word::Alive(self.announcement(hello)));
        }
    }

    pub(super) fn say(&self, channel: Channel, word: &Word) {
        drop(self.0.link.send(channel, Topic::Members, word, b""));
    }

    pub(super) fn announcement(&self, hello: bool) -> Announcement {
        let Facts { clients, load, draining, moved_away, drain_seconds } =
            self.0.facts.get().map_or_else(Facts::default, |facts| facts());
        Announcement {
            name: self.0.settings.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.0.settings.address.clone(),
            started: self.0.started,
            clients,
            load,
            draining,
            moved_away,
            drain_seconds,
            hello,
        }
    }

    pub(super) fn voice(&self) -> MutexGuard<'_, Voice> {
        self.0.voice.lock().expect("nothing panics while holding the voice")
    }
}
