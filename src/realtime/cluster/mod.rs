//! Presence over nodes. Every node is the truth of its own clients and nobody else's: lists are asked of all that live when they are
//! asked for, and who is on which node is told in numbered deltas ([`directory`]), so that a user on two nodes is one user. What
//! is lost on the way heals with the next announcements; a dead node needs nobody's order to be forgotten.

mod asking;
mod directory;
mod hearing;
mod linked;
mod merging;
mod peers;
mod presence;
mod watching;
mod words;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::Uuid;

pub(super) use directory::{Edges, UserEdge};

use self::asking::Asking;
use self::directory::{Directory, Tally, user_hash};
use self::peers::Peers;
use self::watching::Watching;
use self::words::{Question, Told, Words};
use super::local::LocalPresence;
use super::presence::Nodes;
use crate::auth::UserKey;

/// Shortest time between two deltas.
const TELL: Duration = Duration::from_millis(100);
/// Between two looks at who waits out a grace although another node has him.
const SETTLE: Duration = Duration::from_millis(250);
/// Questions of other nodes that wait, at most. One beyond is not answered, and its answer is incomplete.
const QUESTIONS: usize = 1_024;

/// Who is connected to any node.
pub struct ClusterPresence {
    local: LocalPresence,
    peers: Arc<dyn Peers>,
    directory: Mutex<Directory>,
    watching: Mutex<Watching>,
    /// Users in the grace here.
    leaving: Mutex<HashMap<u64, UserKey>>,
    /// What the last difference said of how many nodes it is.
    said: Mutex<Nodes>,
    /// Held while something is taken and sent, so that it leaves in the order in which it happened.
    telling: Mutex<()>,
    /// Told when this node's users have changed.
    due: Arc<Notify>,
    asking: Asking,
    questions: mpsc::Sender<Asked>,
    waiting: Mutex<Option<mpsc::Receiver<Asked>>>,
    answer_timeout: Duration,
}

/// A question of another node.
struct Asked {
    node: Uuid,
    id: u64,
    question: Question,
}

impl ClusterPresence {
    /// Presence of the node `generation`, whose own part is `local`. Answers of others are awaited for `answer_timeout`; `max_lost`
    /// users of dead nodes are remembered.
    fn new(
        local: LocalPresence,
        peers: Arc<dyn Peers>,
        generation: Uuid,
        answer_timeout: Duration,
        max_lost: usize,
    ) -> ClusterPresence {
        let (questions, waiting) = mpsc::channel(QUESTIONS);
        let due = local.manager().shards().stream().share();
        ClusterPresence {
            local,
            peers,
            directory: Mutex::new(Directory::new(generation, max_lost)),
            watching: Mutex::default(),
            leaving: Mutex::default(),
            said: Mutex::new(Nodes::ONE),
            telling: Mutex::default(),
            due,
            asking: Asking::default(),
            questions,
            waiting: Mutex::new(Some(waiting)),
            answer_timeout,
        }
    }

    /// Tells the other nodes, answers them, and announces this one every `announce`, for as long as it is polled. Once.
    async fn run(&self, announce: Duration) {
        let waiting = self.waiting.lock().expect("nothing panics while holding it").take().expect("it runs once");
        tokio::join!(self.tell_changes(), self.answer_all(waiting), self.announce_all(announce), self.settle_all());
    }

    /// Tells the others what has changed here since the last time.
    fn tell(&self) {
        let _order = self.telling.lock().expect("nothing panics while telling");
        let mut whole = self.local.manager().shards().whole();
        let Some((edges, changes)) = whole.stream.for_others() else { return };
        let counts = whole.counts();
        let rows = changes.and_then(|changes| self.local.rows(&whole, changes, self.local.instant()));
        drop(whole);
        self.note_leaving(&edges);
        let tally = Tally { clients: counts.clients, by_role: counts.by_role, by_app: counts.by_app };
        let (delta, few) = {
            let mut directory = self.directory();
            (directory.own_changes(edges, tally), directory.clients() <= self.local.live_max())
        };
        self.peers.tell(&Words::Told(Told { delta, rows: rows.filter(|_| few) }));
    }

    async fn tell_changes(&self) {
        loop {
            self.due.notified().await;
            self.tell();
            sleep(TELL).await;
        }
    }

    async fn answer_all(&self, mut waiting: mpsc::Receiver<Asked>) {
        while let Some(Asked { node, id, question }) = waiting.recv().await {
            // Whoever asks shall know of everybody who is in the answer.
            self.tell();
            let answer = self.answer(question).await;
            self.peers.send(node, &Words::Answer { id, answer });
        }
    }

    async fn announce_all(&self, period: Duration) {
        let mut periods = interval(period.max(Duration::from_millis(10)));
        periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            periods.tick().await;
            self.announce();
        }
    }

    fn announce(&self) {
        let _order = self.telling.lock().expect("nothing panics while telling");
        // One after the other: two locks in one expression would be held together, and elsewhere in another order.
        let digest = self.directory().digest();
        let watching = self.watching().looking;
        self.peers.tell(&Words::Announced { digest, watching });
    }

    async fn settle_all(&self) {
        loop {
            sleep(SETTLE).await;
            self.settle().await;
            self.look_away();
            let looking = self.watching().looking;
            if looking && *self.said.lock().expect("nothing panics while holding it") != self.nodes() {
                self.local.manager().shards().stream().others_changed();
            }
        }
    }

    /// Ends the grace of those who have a client elsewhere: nobody would miss them. The other node is asked, since what it told may be
    /// older than its own loss of them; of two that lost a user at once neither says that it has him.
    async fn settle(&self) {
        let users: Vec<(u64, UserKey)> = {
            let (leaving, directory) = (self.leaving(), self.directory());
            let elsewhere = leaving.iter().filter(|(hash, _)| directory.is_elsewhere(**hash));
            elsewhere.map(|(hash, user)| (*hash, user.clone())).collect()
        };
        let keys: Vec<UserKey> = users.iter().map(|(_, user)| user.clone()).collect();
        let (found, _) = self.found_elsewhere(&keys).await;
        let settled = users.into_iter().zip(found).filter(|(_, found)| found.is_some_and(|found| found.clients > 0));
        let settled: Vec<UserKey> = {
            let mut leaving = self.leaving();
            settled.filter_map(|((hash, _), _)| leaving.remove(&hash)).collect()
        };
        self.end_graces(settled);
    }

    fn end_graces(&self, users: Vec<UserKey>) {
        for user in users {
            self.local.manager().shards().of(&user).end_grace(&user);
        }
    }

    fn note_leaving(&self, edges: &Edges) {
        let mut leaving = self.leaving();
        for (hash, edge) in edges.users() {
            match edge {
                UserEdge::Leaving(user) => _ = leaving.insert(hash, user.clone()),
                UserEdge::Here | UserEdge::Gone => _ = leaving.remove(&hash),
            }
        }
    }

    /// Asks the other nodes for their rows, if nobody has looked before.
    fn look(&self) {
        let mut watching = self.watching();
        if watching.look(true) {
            self.peers.tell(&Words::Watch(true));
        }
    }

    /// Tells them that nobody looks any more.
    fn look_away(&self) {
        let mut watching = self.watching();
        if watching.looking && self.local.manager().shards().stream().subscribers() == 0 {
            watching.look(false);
            self.peers.tell(&Words::Watch(false));
        }
    }

    /// Of how many nodes what is told to pages is, right now.
    fn nodes(&self) -> Nodes {
        let others = self.peers.others();
        let heard = others.iter().filter(|peer| !peer.suspect && self.peers.connected()).count();
        Nodes { answered: 1 + heard, expected: 1 + others.len() }
    }

    /// Every page that looks begins anew.
    fn start_over(&self) {
        self.local.manager().shards().stream().start_over();
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().expect("nothing panics while holding the directory")
    }

    fn watching(&self) -> MutexGuard<'_, Watching> {
        self.watching.lock().expect("nothing panics while holding it")
    }

    fn leaving(&self) -> MutexGuard<'_, HashMap<u64, UserKey>> {
        self.leaving.lock().expect("nothing panics while holding it")
    }
}

#[cfg(test)]
mod tests;
