//! Presence on the link: what is told and asked goes over Redis, and who lives is what `cluster::Members` says.

use std::sync::Arc;
use std::time::Duration;

use super::ClusterPresence;
use super::peers::{Peer, Peers};
use super::words::Words;
use crate::cluster::{Channel, Link, Mailbox, MemberEvent, MemberState, Members, Topic};
use crate::realtime::local::LocalPresence;
use uuid::Uuid;

struct Linked {
    link: Link,
    members: Members,
}

impl Peers for Linked {
    fn others(&self) -> Vec<Peer> {
        let peer = |suspect, generation| Peer { generation, suspect };
        let live = self.members.live().into_iter();
        live.map(|member| peer(member.state == MemberState::Suspect, member.generation)).collect()
    }

    fn connected(&self) -> bool {
        self.link.state().up
    }

    // Not awaited: it leaves in the order of the calls, and what is lost is found out by its number.
    fn tell(&self, words: &Words) {
        drop(self.link.send(Channel::Presence, Topic::Presence, words, b""));
    }

    fn send(&self, node: Uuid, words: &Words) {
        drop(self.link.send(Channel::Node(node), Topic::Presence, words, b""));
    }
}

impl ClusterPresence {
    /// Presence of this node, whose own part is `local`, and of the others. Their answers are awaited for `answer_timeout`;
    /// `max_lost` users of dead nodes are remembered.
    pub fn linked(
        local: LocalPresence,
        link: &Link,
        members: &Members,
        answer_timeout: Duration,
        max_lost: usize,
    ) -> Arc<ClusterPresence> {
        let peers = Arc::new(Linked { link: link.clone(), members: members.clone() });
        let presence = Arc::new(ClusterPresence::new(local, peers, link.generation(), answer_timeout, max_lost));
        let observer = Arc::downgrade(&presence);
        members.observe(move |event| {
            if let Some(presence) = observer.upgrade() {
                presence.observe(event);
            }
        });
        presence
    }

    /// Tells the other nodes, listens to them and answers them, for as long as it is polled. Once. `mailbox` is that of
    /// `Topic::Presence`, `announce` the time between two announcements.
    pub async fn run_linked(&self, link: &Link, mut mailbox: Mailbox, announce: Duration) {
        let hear = async {
            while let Some(message) = mailbox.next().await {
                if let Some(words) = link.read(&message) {
                    self.heard(message.origin, words);
                }
            }
        };
        let reconnect = async {
            let (mut changes, mut times) = (link.changes(), 0);
            while changes.changed().await.is_ok() {
                let state = *changes.borrow_and_update();
                if !state.up {
                    self.asking.give_up();
                }
                if state.up && state.times != std::mem::replace(&mut times, state.times) {
                    self.reconnected();
                }
            }
        };
        tokio::join!(hear, reconnect, self.run(announce));
    }

    fn observe(&self, event: &MemberEvent) {
        match event {
            MemberEvent::Joined(member) => self.node_up(member.generation),
            MemberEvent::Left { member, lost } => {
                let now = self.local.manager().clock().now();
                self.node_gone(member.generation, lost.then_some(now));
            }
            // The others have forgotten this node.
            MemberEvent::Paused => self.reconnected(),
            MemberEvent::Announced(_) | MemberEvent::Suspect(_) | MemberEvent::Ousted => {}
        }
    }
}
