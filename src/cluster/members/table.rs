//! What this node knows of the others, by its own monotonic clock: whose wall clock says what does not matter.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Dead nodes that are remembered for lists, and replaced ones whose late words are not believed, at most.
const REMEMBERED: usize = 64;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announcement {
    /// The node's name.
    pub name: Arc<str>,
    /// Its release.
    pub version: String,
    /// Where it listens.
    pub address: String,
    /// When the process started, by its own wall clock: shown, never compared.
    pub started: DateTime<Utc>,
    /// Sockets it holds.
    pub clients: usize,
    /// The machine's load of one minute.
    pub load: f64,
    /// Whether it sends its clients away.
    pub draining: bool,
    /// Sockets that it has sent away.
    #[serde(default)]
    pub moved_away: usize,
    /// Until the last one is.
    #[serde(default)]
    pub drain_seconds: u64,
    /// It has just come, or come back, and wants to hear of everybody.
    #[serde(default)]
    pub hello: bool,
}

/// What another node is to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It announces itself.
    Up,
    /// It does, and sends its clients away.
    Draining,
    /// It has not for `cluster.suspect`, or Redis is away: what it has is not known.
    Suspect,
    /// It has not for `cluster.dead`: its clients have left.
    Dead,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its process.
    pub generation: Uuid,
    /// What it said last.
    pub said: Announcement,
    /// How it is.
    pub state: MemberState,
    /// Time since it was heard.
    pub silent: Duration,
}

/// What happened to another node, or to this one.
#[derive(Clone, Debug)]
pub enum MemberEvent {
    /// A node is there, for the first time or after it was dead.
    Joined(Member),
    /// A node that was there announces itself again, with its directory's summary.
    Announced(Member),
    /// A node has been silent.
    Suspect(Member),
    /// A node is gone with everybody it had: by a goodbye, or lost.
    Left {
        /// What was known of it.
        member: Member,
        /// It did not say goodbye.
        lost: bool,
    },
    /// This process stood still for longer than `cluster.dead`: the others have given its clients up.
    Paused,
    /// Another process has this node's name; this one has to end.
    Ousted,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) suspect: Duration,
    pub(super) dead: Duration,
}

#[derive(Default)]
pub(super) struct Table {
    entries: HashMap<Uuid, Entry>,
    /// In the order of their deaths.
    dead: VecDeque<Uuid>,
    /// Processes whose name a newer one took.
    replaced: VecDeque<Uuid>,
}

struct Entry {
    said: Announcement,
    heard: Duration,
    suspect: bool,
    dead: bool,
}

impl Table {
    pub(super) fn hear(&mut self, generation: Uuid, mut said: Announcement, now: Duration) -> Vec<MemberEvent> {
        if self.replaced.contains(&generation) {
            return Vec::new();
        }
        said.hello = false;
        let same_name =
            |(other, entry): (&Uuid, &Entry)| (*other != generation && entry.said.name == said.name).then_some(*other);
        let before: Vec<Uuid> = self.entries.iter().filter_map(same_name).collect();
        let mut events: Vec<MemberEvent> = before.into_iter().filter_map(|other| self.replace(other, now)).collect();
        let known = self.entries.get(&generation).is_some_and(|entry| !entry.dead);
        self.dead.retain(|other| *other != generation);
        self.entries.insert(generation, Entry { said, heard: now, suspect: false, dead: false });
        let member = self.member(generation, now).expect("it was inserted");
        events.push(if known { MemberEvent::Announced(member) } else { MemberEvent::Joined(member) });
        events
    }

    /// The name has a newer process.
    fn replace(&mut self, generation: Uuid, now: Duration) -> Option<MemberEvent> {
        self.replaced.push_back(generation);
        if self.replaced.len() > REMEMBERED {
            self.replaced.pop_front();
        }
        self.leave(generation, now, true)
    }

    /// It is gone; nothing of it is kept.
    pub(super) fn leave(&mut self, generation: Uuid, now: Duration, lost: bool) -> Option<MemberEvent> {
        let member = self.member(generation, now)?;
        self.entries.remove(&generation);
        self.dead.retain(|other| *other != generation);
        (member.state != MemberState::Dead).then_some(MemberEvent::Left { member, lost })
    }

    /// Looks who has been silent.
    pub(super) fn tick(&mut self, now: Duration, patience: Patience) -> Vec<MemberEvent> {
        let mut events = Vec::new();
        let silent: Vec<Uuid> =
            self.entries.iter().filter(|(_, entry)| !entry.dead).map(|(generation, _)| *generation).collect();
        for generation in silent {
            let entry = self.entries.get_mut(&generation).expect("it is there");
            let silence = now.saturating_sub(entry.heard);
            let (dead, suspect) = (silence >= patience.dead, silence >= patience.suspect && !entry.suspect);
            (entry.dead, entry.suspect) = (dead, entry.suspect || suspect);
            let member = self.member(generation, now).expect("it is there");
            if dead {
                self.dead.push_back(generation);
                events.push(MemberEvent::Left { member, lost: true });
            } else if suspect {
                events.push(MemberEvent::Suspect(member));
            }
        }
        while self.dead.len() > REMEMBERED {
            let oldest = self.dead.pop_front().expect("it has some");
            self.entries.remove(&oldest);
        }
        events
    }

    /// Nobody could have been heard: silence begins now.
    pub(super) fn forgive(&mut self, now: Duration) {
        self.entries.values_mut().filter(|entry| !entry.dead).for_each(|entry| entry.heard = now);
    }

    pub(super) fn all(&self, now: Duration) -> Vec<Member> {
        let mut all: Vec<Member> = self.entries.keys().filter_map(|generation| self.member(*generation, now)).collect();
        all.sort_by(|a, b| a.said.name.cmp(&b.said.name).then(a.generation.cmp(&b.generation)));
        all
    }

    pub(super) fn member(&self, generation: Uuid, now: Duration) -> Option<Member> {
        let entry = self.entries.get(&generation)?;
        let state = match entry {
            Entry { dead: true, .. } => MemberState::Dead,
            Entry { suspect: true, .. } => MemberState::Suspect,
            Entry { said, .. } if said.draining => MemberState::Draining,
            _ => MemberState::Up,
        };
        Some(Member { generation, said: entry.said.clone(), state, silent: now.saturating_sub(entry.heard) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { suspect: Duration::from_secs(8), dead: Duration::from_secs(12) };

    fn said(name: &str) -> Announcement {
        Announcement {
            name: name.into(),
            version: "1".to_owned(),
            address: String::new(),
            started: DateTime::default(),
            clients: 0,
            load: 0.0,
            draining: false,
            moved_away: 0,
            drain_seconds: 0,
            hello: false,
        }
    }

    fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn words(events: &[MemberEvent]) -> Vec<String> {
        let word = |event: &MemberEvent| match event {
            MemberEvent::Joined(member) => format!("{} joined", member.said.name),
            MemberEvent::Announced(member) => format!("{} announced", member.said.name),
            MemberEvent::Suspect(member) => format!("{} suspect", member.said.name),
            MemberEvent::Left { member, lost } => format!("{} left {lost}", member.said.name),
            other => format!("{other:?}"),
        };
        events.iter().map(word).collect()
    }

    #[test]
    fn a_silent_node_is_suspect_then_dead_once_and_comes_back_as_new() {
        let (mut table, a) = (Table::default(), Uuid::now_v7());
        assert_eq!(words(&table.hear(a, said("a"), second(0))), ["a joined"]);
        assert_eq!(words(&table.hear(a, said("a"), second(2))), ["a announced"]);
        assert!(table.tick(second(9), PATIENCE).is_empty());
        assert_eq!(words(&table.tick(second(10), PATIENCE)), ["a suspect"]);
        assert!(table.tick(second(13), PATIENCE).is_empty());
        assert_eq!(words(&table.tick(second(14), PATIENCE)), ["a left true"]);
        assert!(table.tick(second(99), PATIENCE).is_empty());
        assert_eq!(table.all(second(99))[0].state, MemberState::Dead);
        assert_eq!(words(&table.hear(a, said("a"), second(100))), ["a joined"]);
        assert_eq!(table.all(second(100))[0].state, MemberState::Up);
    }

    #[test]
    fn a_suspect_node_that_speaks_is_up_again() {
        let (mut table, a) = (Table::default(), Uuid::now_v7());
        table.hear(a, said("a"), second(0));
        table.tick(second(8), PATIENCE);
        assert_eq!(words(&table.hear(a, said("a"), second(9))), ["a announced"]);
        assert_eq!(table.all(second(9))[0].state, MemberState::Up);
    }

    #[test]
    fn a_goodbye_leaves_nothing() {
        let (mut table, a) = (Table::default(), Uuid::now_v7());
        table.hear(a, said("a"), second(0));
        assert_eq!(words(table.leave(a, second(1), false).as_slice()), ["a left false"]);
        assert!(table.leave(a, second(1), false).is_none() && table.all(second(1)).is_empty());
    }

    #[test]
    fn a_new_process_of_a_name_takes_the_place_of_the_old_one() {
        let (mut table, old, new) = (Table::default(), Uuid::now_v7(), Uuid::now_v7());
        table.hear(old, said("a"), second(0));
        assert_eq!(words(&table.hear(new, said("a"), second(1))), ["a left true", "a joined"]);
        assert!(table.hear(old, said("a"), second(2)).is_empty(), "a late word of the old one");
        assert_eq!(table.all(second(2)).len(), 1);
    }

    #[test]
    fn silence_that_nobody_could_have_broken_does_not_count() {
        let (mut table, a) = (Table::default(), Uuid::now_v7());
        table.hear(a, said("a"), second(0));
        table.forgive(second(60));
        assert!(table.tick(second(60), PATIENCE).is_empty());
        assert_eq!(words(&table.tick(second(68), PATIENCE)), ["a suspect"]);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut table = Table::default();
        for number in 0..200 {
            table.hear(Uuid::now_v7(), said(&format!("n{number}")), second(0));
        }
        table.tick(second(20), PATIENCE);
        assert_eq!(table.all(second(20)).len(), REMEMBERED);
        for _ in 0..200 {
            table.hear(Uuid::now_v7(), said("same"), second(21));
        }
        assert_eq!((table.all(second(21)).len(), table.replaced.len()), (REMEMBERED + 1, REMEMBERED));
    }
}
