//! What other nodes say became of a publication, until all have or the time is over.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::Delivered;
use super::memory::Reached;
use super::words::Answer;
use crate::cluster::{Member, MemberState};

/// Publications that wait for answers, by number.
#[derive(Default)]
pub(super) struct Asking(Mutex<HashMap<u64, mpsc::UnboundedSender<Heard>>>);

/// A copy of a publication that a node has dealt with.
pub(super) enum Heard {
    /// This node's own, which Redis brought back.
    Own,
    Other(Uuid, Answer),
}

/// One publication's answers; nobody waits for it any more when it is dropped.
pub(super) struct Waiting {
    asking: Arc<Asking>,
    id: u64,
    answers: mpsc::UnboundedReceiver<Heard>,
    copies: usize,
    nodes: HashMap<Uuid, Answer>,
}

impl Asking {
    pub(super) fn about(self: &Arc<Asking>, id: u64) -> Waiting {
        // As many answers as there are nodes and channels, which have bounds.
        let (sender, answers) = mpsc::unbounded_channel();
        self.0.lock().expect("nothing panics while holding it").insert(id, sender);
        Waiting { asking: self.clone(), id, answers, copies: 0, nodes: HashMap::new() }
    }

    pub(super) fn hear(&self, id: u64, heard: Heard) {
        if let Some(waiting) = self.0.lock().expect("nothing panics while holding it").get(&id) {
            let _ = waiting.send(heard);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.asking.0.lock().expect("nothing panics while holding it").remove(&self.id);
    }
}

impl Waiting {
    /// Waits until so many copies have been dealt with.
    pub(super) async fn wait(&mut self, copies: usize) {
        while self.copies < copies {
            let Some(heard) = self.answers.recv().await else { return };
            self.copies += 1;
            if let Heard::Other(node, answer) = heard {
                let sum = self.nodes.entry(node).or_default();
                sum.users += answer.users;
                sum.clients += answer.clients;
                sum.delivered += answer.delivered;
                sum.dropped += answer.dropped;
                // Of several copies one was delivered; the others say that they reached nobody.
                sum.who = match (sum.who.take(), answer.who) {
                    (Some(mut before), Some(more)) => {
                        before.extend(more);
                        Some(before)
                    }
                    (before, more) => before.or(more),
                };
            }
        }
    }

    /// What became of it altogether. `reach` is how many copies Redis passed on and how many nodes are connected to it; none
    /// when Redis is away. `others` are those that are not dead.
    pub(super) fn sum(
        &self,
        here: Delivered,
        reached: Reached,
        reach: Option<(usize, usize)>,
        others: &[Member],
    ) -> Delivered {
        let mut sum = here;
        let mut who = reached.users().map(HashSet::<u64>::from_iter);
        for (node, answer) in &self.nodes {
            sum.users += answer.users;
            sum.clients += answer.clients;
            sum.delivered += answer.delivered;
            sum.dropped += answer.dropped;
            who = who.zip(answer.who.as_ref()).map(|(mut all, some)| {
                all.extend(some);
                all
            });
            let name = others.iter().find(|other| other.generation == *node).map(|other| other.said.name.clone());
            if answer.dropped > 0 {
                sum.dropped_by.push((name.unwrap_or_else(|| node.to_string().into()), answer.dropped));
            }
        }
        sum.users = who.map_or(sum.users, |who| who.len());
        let silent: Vec<&Member> = others.iter().filter(|other| !self.nodes.contains_key(&other.generation)).collect();
        let (unanswered, unreached) = match reach {
            Some((copies, connected)) => {
                (copies.saturating_sub(self.copies), (others.len() + 1).saturating_sub(connected))
            }
            None => (0, silent.len()),
        };
        let missing =
            (unanswered.min(silent.len().max(1)) + unreached).min(silent.len().max(usize::from(unanswered > 0)));
        sum.nodes_answered = 1 + self.nodes.len();
        sum.nodes_expected = sum.nodes_answered + missing;
        let suspect = |member: &&Member| member.state == MemberState::Suspect;
        sum.complete = reach.is_some() && missing == 0 && !others.iter().any(|other| suspect(&other));
        sum.silent = silent
            .iter()
            .filter(|member| missing > 0 || suspect(member))
            .map(|other| other.said.name.clone())
            .collect();
        sum
    }
}
