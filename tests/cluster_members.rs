//! Who the other nodes are: coming, silence, goodbyes, and one process for each name.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rollcall::clock::ManualClock;
use rollcall::cluster::{Facts, Link, MemberEvent, MemberState, Members, MembersSettings, NameTaken, Topic};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::{Redis, eventually};

/// Less than a second of a clock that is moved by seconds.
const HEARD: Duration = Duration::from_millis(900);

/// A node that knows nothing but the others; it is killed when dropped.
struct Node {
    members: Members,
    clock: Arc<ManualClock>,
    told: Arc<Mutex<Vec<String>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Node {
    async fn start(redis: &Redis, name: &str) -> Node {
        Node::try_start(redis, name).await.unwrap()
    }

    async fn try_start(redis: &Redis, name: &str) -> Result<Node, NameTaken> {
        let link = Link::new(&redis.url(), "t", Uuid::now_v7()).unwrap();
        let clock = Arc::new(ManualClock::new());
        let settings = MembersSettings {
            name: name.into(),
            address: "127.0.0.1:1".to_owned(),
            announce: Duration::from_millis(20),
            suspect: Duration::from_secs(8),
            dead: Duration::from_secs(12),
        };
        let members = Members::new(link.clone(), clock.clone(), settings);
        let told = Arc::<Mutex<Vec<String>>>::default();
        let hears = told.clone();
        members.observe(move |event| {
            let said = match event {
                MemberEvent::Joined(member) => format!("{} joined", member.said.name),
                MemberEvent::Announced(_) => return,
                MemberEvent::Suspect(member) => format!("{} suspect", member.said.name),
                MemberEvent::Left { member, lost } => {
                    format!("{} {}", member.said.name, if *lost { "lost" } else { "left" })
                }
                other => format!("{other:?}"),
            };
            hears.lock().unwrap().push(said);
        });
        let mailbox = link.mailbox(Topic::Members);
        let tasks =
            [TaskTracker::new().spawn(link.clone().run()), TaskTracker::new().spawn(members.clone().run(mailbox))];
        let node = Node { members, clock, told, tasks };
        link.changes().wait_for(|state| state.up).await.unwrap();
        node.members.start().await?;
        Ok(node)
    }

    /// Waits until the others are these, with their states.
    async fn sees(&self, wanted: &[(&str, MemberState)]) {
        let seen =
            || self.members.others().iter().map(|other| (other.said.name.to_string(), other.state)).collect::<Vec<_>>();
        let wanted: Vec<_> = wanted.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect();
        eventually(&format!("{} sees {wanted:?}", self.members.name()), || async { seen() == wanted }).await;
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// This process stands still for so long, as far as it knows.
    fn pause(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// So much time passes here, in which these are heard.
    async fn pass(&self, seconds: u64, heard: &[&str]) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            // A turn for everything that is due.
            tokio::time::sleep(Duration::from_millis(5)).await;
            eventually("they are heard", || async {
                let others = self.members.others();
                let is_fresh =
                    |name: &&str| others.iter().any(|other| *other.said.name == **name && other.silent < HEARD);
                heard.iter().all(is_fresh)
            })
            .await;
        }
    }
}

#[tokio::test]
async fn nodes_find_each_other_and_say_how_they_are() {
    let redis = Redis::start().await;
    let (a, b) = (Node::start(&redis, "a").await, Node::start(&redis, "b").await);
    let c = Node::start(&redis, "c").await;
    for (node, others) in [(&a, ["b", "c"]), (&b, ["a", "c"]), (&c, ["a", "b"])] {
        node.sees(&others.map(|name| (name, MemberState::Up))).await;
    }
    b.members.set_facts(|| Facts { clients: 7, load: 0.5, draining: true, ..Facts::default() });
    a.sees(&[("b", MemberState::Draining), ("c", MemberState::Up)]).await;
    let said = &a.members.others()[0].said;
    assert_eq!((said.clients, said.load, &*said.address), (7, 0.5, "127.0.0.1:1"));
    b.members.goodbye().await;
    a.sees(&[("c", MemberState::Up)]).await;
    c.sees(&[("a", MemberState::Up)]).await;
    assert_eq!(a.told(), ["b joined", "c joined", "b left"]);
}

#[tokio::test]
async fn a_killed_node_is_suspect_then_dead_by_each_others_own_clock() {
    let redis = Redis::start().await;
    let (a, b) = (Node::start(&redis, "a").await, Node::start(&redis, "b").await);
    let c = Node::start(&redis, "c").await;
    a.sees(&[("b", MemberState::Up), ("c", MemberState::Up)]).await;
    c.sees(&[("a", MemberState::Up), ("b", MemberState::Up)]).await;
    drop(b);
    a.pass(9, &["c"]).await;
    a.sees(&[("b", MemberState::Suspect), ("c", MemberState::Up)]).await;
    a.pass(5, &["c"]).await;
    a.sees(&[("b", MemberState::Dead), ("c", MemberState::Up)]).await;
    assert_eq!(a.told(), ["b joined", "c joined", "b suspect", "b lost"]);
    c.sees(&[("a", MemberState::Up), ("b", MemberState::Up)]).await;
    let _again = Node::start(&redis, "b").await;
    a.sees(&[("b", MemberState::Up), ("c", MemberState::Up)]).await;
    c.sees(&[("a", MemberState::Up), ("b", MemberState::Up)]).await;
    assert_eq!(c.told()[2..], ["b lost", "b joined"], "a new process of the name");
}

#[tokio::test]
async fn a_name_has_one_process() {
    let redis = Redis::start().await;
    let first = Node::start(&redis, "a").await;
    let refused = Node::try_start(&redis, "a").await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "Another node calls itself \"a\" and is alive; set cluster.node to a name of this node's own."
    );
    redis.flush().await;
    eventually("the name is held again", || async { redis.ask::<i64>("EXISTS", &["t:node:a"]).await == 1 }).await;
    assert!(Node::try_start(&redis, "a").await.is_err());
    drop(first);
    let second = Node::start(&redis, "a").await;
    second.members.goodbye().await;
    assert!(Node::try_start(&redis, "a").await.is_ok());
}

#[tokio::test]
async fn a_process_that_was_paused_finds_out() {
    let redis = Redis::start().await;
    let (a, b) = (Node::start(&redis, "a").await, Node::start(&redis, "b").await);
    a.sees(&[("b", MemberState::Up)]).await;
    a.pause(20);
    eventually("it knows", || async { a.told() == ["b joined", "Paused"] }).await;
    a.sees(&[("b", MemberState::Up)]).await;
    b.sees(&[("a", MemberState::Up)]).await;
}

#[tokio::test]
async fn a_process_whose_name_another_took_while_it_stood_still_ends() {
    let redis = Redis::start().await;
    let (a, other) = (Node::start(&redis, "a").await, Node::start(&redis, "b").await);
    // Another process took the name while this one did not answer.
    let taker = Link::new(&redis.url(), "t", Uuid::now_v7()).unwrap();
    let mut mailbox = taker.mailbox(Topic::Members);
    let running = TaskTracker::new().spawn(taker.clone().run());
    taker.changes().wait_for(|state| state.up).await.unwrap();
    let holder = taker.generation().to_string();
    taker.put("node:a", holder.as_bytes(), Duration::from_secs(60)).await.unwrap();
    let answering = TaskTracker::new().spawn(async move {
        while let Some(message) = mailbox.next().await {
            let channel = rollcall::cluster::Channel::Node(message.origin);
            let _ = taker.send(channel, Topic::Members, &serde_json::json!({"kind": "here"}), b"").await;
        }
    });
    eventually("it knows", || async { a.told().contains(&"Ousted".to_owned()) }).await;
    other.pass(14, &[]).await;
    eventually("nobody hears it any more", || async { other.told().contains(&"a lost".to_owned()) }).await;
    answering.abort();
    running.abort();
}

#[tokio::test]
async fn while_redis_is_away_nobody_dies() {
    let mut redis = Redis::start().await;
    let (a, b) = (Node::start(&redis, "a").await, Node::start(&redis, "b").await);
    a.sees(&[("b", MemberState::Up)]).await;
    redis.stop().await;
    a.sees(&[("b", MemberState::Suspect)]).await;
    a.pass(30, &[]).await;
    b.pass(30, &[]).await;
    redis.start_again().await;
    a.sees(&[("b", MemberState::Up)]).await;
    b.sees(&[("a", MemberState::Up)]).await;
    assert_eq!(a.told(), ["b joined"]);
}
