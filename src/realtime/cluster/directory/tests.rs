use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const NODES: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Join(usize, u64),
    Leave(usize, u64),
    Lose(usize, u64),
    /// The deltas so far reach everybody; those of the chosen receivers are lost.
    Tell(usize, [bool; NODES]),
    /// A stop without a word: the others hear of it later.
    Die(usize),
    Restart(usize),
    Wake(usize),
}

/// One node of the model: what is true, and what it believes.
struct Node {
    generation: Uuid,
    here: HashSet<u64>,
    leaving: HashSet<u64>,
    directory: Directory,
    edges: Edges,
    alive: bool,
}

impl Node {
    fn new() -> Node {
        let generation = Uuid::now_v7();
        let directory = Directory::new(generation, 3);
        let (here, leaving) = (HashSet::new(), HashSet::new());
        Node { generation, here, leaving, directory, edges: Edges::default(), alive: true }
    }

    fn step(&mut self, user: u64, edge: UserEdge) {
        let key = UserKey::from_wire(&user.to_string());
        self.here.remove(&user);
        self.leaving.remove(&user);
        match edge {
            UserEdge::Here => _ = self.here.insert(user),
            UserEdge::Leaving(_) => _ = self.leaving.insert(user),
            UserEdge::Gone => {}
        }
        // One login a user: the counts of both must agree.
        self.edges.session(session_of(user), edge != UserEdge::Gone);
        self.edges.user(&key, edge);
    }

    fn users(&self) -> HashSet<u64> {
        self.here.union(&self.leaving).copied().collect()
    }

    fn tell(&mut self) -> Delta {
        let tally = Tally { clients: self.users().len(), ..Tally::default() };
        self.directory.own_changes(std::mem::take(&mut self.edges), tally)
    }
}

fn session_of(user: u64) -> Uuid {
    Uuid::from_u128(u128::from(user))
}

fn hash_of(user: u64) -> u64 {
    user_hash(&UserKey::from_wire(&user.to_string()))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (node, user) = (0..NODES, 0..12_u64);
    let step = prop_oneof![
        6 => (node.clone(), user.clone()).prop_map(|(node, user)| Step::Join(node, user)),
        3 => (node.clone(), user.clone()).prop_map(|(node, user)| Step::Leave(node, user)),
        3 => (node.clone(), user).prop_map(|(node, user)| Step::Lose(node, user)),
        4 => (node.clone(), any::<[bool; NODES]>()).prop_map(|(node, lost)| Step::Tell(node, lost)),
        1 => node.clone().prop_map(Step::Die),
        1 => node.clone().prop_map(Step::Restart),
        1 => node.prop_map(Step::Wake),
    ];
    prop::collection::vec(step, 0..80)
}

fn others(nodes: &mut [Node], place: usize) -> impl Iterator<Item = (usize, &mut Node)> {
    nodes.iter_mut().enumerate().filter(move |(other, node)| *other != place && node.alive)
}

fn tell(nodes: &mut [Node], place: usize, lost: [bool; NODES]) {
    let (delta, generation) = (nodes[place].tell(), nodes[place].generation);
    for (_, other) in others(nodes, place).filter(|(other, _)| !lost[*other]) {
        other.directory.apply(generation, &delta);
    }
}

fn bury(nodes: &mut [Node], place: usize) {
    let generation = nodes[place].generation;
    others(nodes, place).for_each(|(_, other)| other.directory.forget(generation, Some(DateTime::UNIX_EPOCH)));
}

fn meet(nodes: &mut [Node]) {
    let alive: Vec<Uuid> = nodes.iter().filter(|node| node.alive).map(|node| node.generation).collect();
    for node in nodes.iter_mut() {
        alive.iter().for_each(|other| node.directory.admit(*other));
    }
}

/// What every node does now and then: tells what is left to tell, says what it has, and sends itself where that is not known.
fn announce(nodes: &mut [Node], place: usize) {
    tell(nodes, place, [false; NODES]);
    let (digest, generation) = (nodes[place].directory.digest(), nodes[place].generation);
    let parts = nodes[place].directory.own().snapshot(2);
    for (_, other) in others(nodes, place) {
        if other.directory.check(generation, &digest) {
            let installed = parts.iter().filter(|part| other.directory.install(generation, (*part).clone())).count();
            assert_eq!(installed, 1, "a snapshot is whole with its last part, and not before");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn after_two_announcements_every_node_knows_who_is_where(steps in steps()) {
        let mut nodes: Vec<Node> = (0..NODES).map(|_| Node::new()).collect();
        meet(&mut nodes);
        for step in steps {
            match step {
                Step::Join(node, user) if nodes[node].alive => nodes[node].step(user, UserEdge::Here),
                Step::Leave(node, user) if nodes[node].alive => nodes[node].step(user, UserEdge::Gone),
                Step::Lose(node, user) if nodes[node].alive && nodes[node].here.contains(&user) => {
                    nodes[node].step(user, UserEdge::Leaving(UserKey::from_wire(&user.to_string())));
                }
                Step::Tell(node, lost) if nodes[node].alive => tell(&mut nodes, node, lost),
                Step::Die(node) if nodes[node].alive => {
                    bury(&mut nodes, node);
                    nodes[node].alive = false;
                }
                // It was paused: the others hear from it again.
                Step::Wake(node) if !nodes[node].alive => {
                    let died: Vec<Uuid> = nodes.iter().filter(|node| !node.alive).map(|node| node.generation).collect();
                    nodes[node].alive = true;
                    died.into_iter().filter(|other| *other != nodes[node].generation)
                        .collect::<Vec<_>>().into_iter().for_each(|other| nodes[node].directory.forget(other, None));
                    let generations: Vec<Uuid> = nodes.iter().map(|node| node.generation).collect();
                    let known: Vec<Uuid> = nodes[node].directory.nodes.keys().copied().collect();
                    known.into_iter().filter(|other| !generations.contains(other)).for_each(|other| nodes[node].directory.forget(other, None));
                    meet(&mut nodes);
                }
                Step::Restart(node) => {
                    if nodes[node].alive {
                        bury(&mut nodes, node);
                    }
                    nodes[node] = Node::new();
                    meet(&mut nodes);
                }
                _ => {}
            }
        }
        for _ in 0..2 {
            (0..NODES).filter(|place| nodes[*place].alive).collect::<Vec<_>>()
                .into_iter().for_each(|place| announce(&mut nodes, place));
        }
        let truth: HashSet<u64> = nodes.iter().filter(|node| node.alive).flat_map(Node::users).collect();
        let clients: usize = nodes.iter().filter(|node| node.alive).map(|node| node.users().len()).sum();
        let asked: Vec<Uuid> = nodes.iter().filter(|node| node.alive).map(|node| node.generation).collect();
        for (place, node) in nodes.iter().enumerate().filter(|(_, node)| node.alive) {
            let counts = node.directory.counts();
            prop_assert_eq!((counts.users, counts.sessions, counts.clients), (truth.len(), truth.len(), clients));
            let others: Vec<Uuid> = asked.iter().copied().filter(|other| *other != node.generation).collect();
            prop_assert_eq!(node.directory.counts_of(&others), counts);
            prop_assert_eq!(node.directory.counts_of(&[]).users, node.users().len());
            for user in 0..12 {
                let hash = hash_of(user);
                let (mut with, mut active) = (0, false);
                for (other, there) in nodes.iter().enumerate().filter(|(_, node)| node.alive) {
                    if other != place {
                        with += usize::from(there.users().contains(&user));
                        active |= there.here.contains(&user);
                    }
                }
                prop_assert_eq!(node.directory.others_with(hash).count(), with);
                prop_assert_eq!(node.directory.is_elsewhere(hash), active);
            }
            prop_assert!(asked.iter().all(|other| node.directory.in_step(*other) || *other == node.generation));
            prop_assert!(node.directory.lost.at.len() <= 3 && node.directory.lost.order.len() <= 3);
        }
    }
}

#[test]
fn the_users_of_a_dead_node_were_lost_unless_another_has_them() {
    let (mut here, mut there) = (Node::new(), Node::new());
    there.step(1, UserEdge::Here);
    there.step(2, UserEdge::Here);
    here.step(2, UserEdge::Here);
    here.tell();
    here.directory.admit(there.generation);
    here.directory.apply(there.generation, &there.tell());
    here.directory.forget(there.generation, Some(DateTime::UNIX_EPOCH));
    let lost: Vec<bool> = (1..4).map(|user| here.directory.lost_at(hash_of(user)).is_some()).collect();
    assert_eq!(lost, [true, false, false]);
    assert_eq!(here.directory.counts().users, 1);
}
