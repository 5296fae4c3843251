//! Nodes in one process, with a net between them that a test can cut.

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use proptest::prelude::*;
use tokio_util::task::TaskTracker;

use super::peers::Peer;
use super::*;
use crate::clock::ManualClock;
use crate::realtime::presence::{Column, OnlineClient, OnlineFilter, OnlineQuery, Presence, UserColumn, UserQuery};
use crate::realtime::query::tests::seen;
use crate::realtime::testing::{manager, register, wire};
use crate::realtime::{Registration, Wire};

const GRACE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);

type Letter = (Uuid, Vec<u8>);

/// The nodes and what they send each other.
#[derive(Default)]
struct Net {
    nodes: Mutex<Vec<(Uuid, mpsc::UnboundedSender<Letter>)>>,
    /// Nobody hears anybody.
    cut: Mutex<bool>,
    /// Words lost from now on.
    lossy: Mutex<usize>,
}

struct OnNet {
    net: Arc<Net>,
    own: Uuid,
}

struct Node {
    generation: Uuid,
    presence: Arc<ClusterPresence>,
    clock: Arc<ManualClock>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl OnNet {
    fn post(&self, words: &Words, to: impl Fn(Uuid) -> bool) {
        let mut lossy = self.net.lossy.lock().unwrap();
        for (node, letters) in &*self.net.nodes.lock().unwrap() {
            if *node == self.own || !to(*node) || *self.net.cut.lock().unwrap() {
                continue;
            }
            if *lossy > 0 {
                *lossy -= 1;
                continue;
            }
            let _ = letters.send((self.own, serde_json::to_vec(words).unwrap()));
        }
    }
}

impl Peers for OnNet {
    fn others(&self) -> Vec<Peer> {
        let nodes = self.net.nodes.lock().unwrap();
        let others = nodes.iter().filter(|(node, _)| *node != self.own);
        others.map(|(node, _)| Peer { generation: *node, suspect: false }).collect()
    }

    fn connected(&self) -> bool {
        !*self.net.cut.lock().unwrap()
    }

    fn tell(&self, words: &Words) {
        self.post(words, |_| true);
    }

    fn send(&self, node: Uuid, words: &Words) {
        self.post(words, |other| other == node);
    }
}

impl Node {
    /// A node that everybody knows of.
    fn join(net: &Arc<Net>, name: &str, others: &[Node]) -> Node {
        let (generation, clock) = (Uuid::now_v7(), Arc::new(ManualClock::new()));
        let local = LocalPresence::new(manager(&clock, GRACE), name.into(), 1000);
        let peers = Arc::new(OnNet { net: net.clone(), own: generation });
        let presence = Arc::new(ClusterPresence::new(local, peers, generation, Duration::from_secs(20), 100));
        let (letters, mut heard) = mpsc::unbounded_channel::<Letter>();
        net.nodes.lock().unwrap().push((generation, letters));
        for other in others {
            presence.node_up(other.generation);
            other.presence.node_up(generation);
        }
        let (hearing, running) = (presence.clone(), presence.clone());
        let tracker = TaskTracker::new();
        let tasks = vec![
            tracker.spawn(async move {
                while let Some((from, words)) = heard.recv().await {
                    hearing.heard(from, serde_json::from_slice(&words).unwrap());
                }
            }),
            tracker.spawn(async move { running.run(Duration::from_millis(200)).await }),
        ];
        Node { generation, presence, clock, tasks }
    }

    fn connect(&self, somebody: (u8, usize, u8, usize), session: Uuid) -> Registration {
        static WIRE: OnceLock<Arc<Wire>> = OnceLock::new();
        register(self.presence.local.manager(), WIRE.get_or_init(wire), somebody, session)
    }

    async fn users(&self) -> usize {
        self.presence.counts().await.unwrap().0.users
    }

    fn expire(&self) {
        self.presence.local.manager().shards().each().for_each(|mut shard| {
            shard.expire_leaving(crate::clock::Clock::monotonic(&*self.clock));
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn three(net: &Arc<Net>) -> Vec<Node> {
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let node = Node::join(net, name, &nodes);
        nodes.push(node);
    }
    nodes
}

async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("still not true: {what}"));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn asked(column: Column, descending: bool, filter: OnlineFilter) -> OnlineQuery {
    OnlineQuery { filter, sort: column, descending, offset: 0, limit: usize::MAX, whole_ip: true }
}

fn filter() -> impl Strategy<Value = OnlineFilter> {
    prop_oneof![
        Just(OnlineFilter::default()),
        Just(OnlineFilter { username: Some("BO".to_owned()), ..OnlineFilter::default() }),
        Just(OnlineFilter { app: Some("crm".to_owned()), ..OnlineFilter::default() }),
        Just(OnlineFilter { node: Some("b".to_owned()), ..OnlineFilter::default() }),
        Just(OnlineFilter {
            users: vec![UserKey::from_wire("2"), UserKey::from_wire("shop:3")],
            ..OnlineFilter::default()
        }),
    ]
}

/// Read off the row, so that it does not depend on what the server compares.
fn matches(row: &OnlineClient, filter: &OnlineFilter) -> bool {
    filter.username.as_ref().is_none_or(|_| row.username.to_lowercase().contains("bo"))
        && filter.app.as_ref().is_none_or(|app| **app == *row.app)
        && filter.node.as_ref().is_none_or(|node| **node == *row.node)
        && (filter.users.is_empty() || filter.users.iter().any(|user| user.as_str() == row.user_id))
}

/// A user, a node, a name, a login of the user, an application.
type Somebody = (u8, usize, usize, u8, usize);

fn people() -> impl Strategy<Value = Vec<Somebody>> {
    prop::collection::vec((0..6_u8, 0..3_usize, 0..4_usize, 0..2_u8, 0..2_usize), 0..30)
}

fn login(user: u8, login: u8) -> Uuid {
    Uuid::from_u128(u128::from(user) << 8 | u128::from(login))
}

fn seat(nodes: &[Node], people: &[Somebody]) -> Vec<Registration> {
    let one = |(place, &(user, node, _, session, app)): (usize, &Somebody)| {
        // One user has one name, and every client another address.
        nodes[node].connect((user, usize::from(user), place as u8, app), login(user, session))
    };
    people.iter().enumerate().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn pages_over_nodes_hold_every_client_once_in_the_order_of_the_column(
        people in people(),
        (filter, descending) in (filter(), any::<bool>()),
        column in prop::sample::select(&[
            Column::Username, Column::Ip, Column::UserId, Column::App, Column::Id, Column::ConnectedAt, Column::Node,
        ][..]),
        limit in 1_usize..12,
    ) {
        runtime().block_on(async {
            let nodes = three(&Arc::default());
            let _clients = seat(&nodes, &people);
            let mut all = Vec::new();
            for node in &nodes {
                let query = asked(Column::Id, false, OnlineFilter::default());
                all.extend(node.presence.local.clients(&query).await.unwrap().list);
            }
            all.retain(|row| matches(row, &filter));
            let key = |row: &OnlineClient| match column {
                Column::Node => (0, row.node.to_string()),
                column => seen(row, column),
            };
            all.sort_by(|a, b| {
                let order = if descending { key(b).cmp(&key(a)) } else { key(a).cmp(&key(b)) };
                order.then_with(|| a.id.cmp(&b.id))
            });
            let mut near = Vec::new();
            let mut far = Vec::new();
            for offset in (0..=all.len()).step_by(limit) {
                let query = OnlineQuery { offset, limit, ..asked(column, descending, filter.clone()) };
                let page = nodes[1].presence.clients(&query).await.unwrap();
                prop_assert_eq!(page.total, all.len());
                prop_assert_eq!(page.list.len(), limit.min(all.len() - offset));
                prop_assert!(page.state.complete && page.state.nodes.answered == 3);
                near.extend(page.list);
                let page = nodes[2].presence.far_clients(&query).await.unwrap();
                prop_assert_eq!((page.total, page.state.nodes.answered), (all.len(), 3));
                far.extend(page.list);
            }
            let ids = |rows: &[OnlineClient]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
            prop_assert_eq!(ids(&near), ids(&all));
            prop_assert_eq!(ids(&far), ids(&all));
            Ok(())
        })?;
    }

    #[test]
    fn a_user_on_several_nodes_is_one_with_all_clients_and_logins(
        people in people(),
        (app, descending) in (any::<bool>(), any::<bool>()),
        sort in prop::sample::select(&[UserColumn::UserId, UserColumn::Username, UserColumn::Clients, UserColumn::Sessions][..]),
        limit in 1_usize..5,
    ) {
        runtime().block_on(async {
            let nodes = three(&Arc::default());
            let _clients = seat(&nodes, &people);
            let mut truth: BTreeMap<String, (usize, HashSet<Uuid>, bool)> = BTreeMap::new();
            for &(user, _, _, session, application) in &people {
                let key = UserKey::new(["", "shop"][usize::from(user) % 2], &user.to_string()).to_string();
                let entry = truth.entry(key).or_default();
                entry.0 += 1;
                entry.1.insert(login(user, session));
                entry.2 |= application == 1;
            }
            let sessions: usize = truth.values().map(|(_, sessions, _)| sessions.len()).sum();
            let (counts, state) = nodes[0].presence.counts().await.unwrap();
            prop_assert!(state.complete);
            prop_assert_eq!((counts.clients, counts.users, counts.sessions), (people.len(), truth.len(), sessions));
            let app = app.then(|| "crm".to_owned());
            truth.retain(|_, (_, _, has)| app.is_none() || *has);
            let filter = OnlineFilter { app, ..OnlineFilter::default() };
            let mut rows = Vec::new();
            for offset in (0..=truth.len()).step_by(limit) {
                let query = UserQuery { filter: filter.clone(), sort, descending, offset, limit, whole_ip: true };
                let page = nodes[2].presence.users(&query).await.unwrap();
                prop_assert_eq!((page.total, page.list.len()), (truth.len(), limit.min(truth.len() - offset)));
                rows.extend(page.list);
            }
            let in_order = rows.windows(2).all(|pair| {
                let key = |row: &crate::realtime::OnlineUser| match sort {
                    UserColumn::Clients => (row.clients, String::new()),
                    UserColumn::Sessions => (row.sessions, String::new()),
                    UserColumn::Username => (0, row.username.to_lowercase()),
                    _ => (0, row.user.to_string()),
                };
                let (a, b) = (key(&pair[0]), key(&pair[1]));
                let order = if descending { b.cmp(&a) } else { a.cmp(&b) };
                order.then_with(|| pair[0].user.cmp(&pair[1].user)).is_lt()
            });
            prop_assert!(in_order);
            for row in rows {
                let (clients, sessions, _) = truth.remove(row.user.as_str()).expect("each user once");
                prop_assert_eq!((row.clients, row.sessions), (clients, sessions.len()));
            }
            prop_assert!(truth.is_empty());
            Ok(())
        })?;
    }
}

const ANN: (u8, usize, u8, usize) = (2, 0, 1, 0);

#[tokio::test]
async fn whoever_comes_back_on_another_node_within_the_grace_is_never_offline() {
    let nodes = three(&Arc::default());
    let first = nodes[0].connect(ANN, login(2, 0));
    eventually("all know her", || async { nodes[2].users().await == 1 }).await;
    drop(first);
    let (counts, _) = nodes[1].presence.counts().await.unwrap();
    assert_eq!((counts.users, counts.clients, counts.sessions), (1, 1, 1), "she waits out the grace");
    let _second = nodes[1].connect(ANN, login(2, 0));
    eventually("the lost client is gone at once", || async {
        let (counts, _) = nodes[2].presence.counts().await.unwrap();
        assert_eq!((counts.users, counts.sessions), (1, 1));
        counts.clients == 1
    })
    .await;
    assert_eq!(nodes[0].presence.local.manager().len(), 0);
}

#[tokio::test]
async fn a_lost_client_is_not_waited_for_while_another_node_has_its_user() {
    let nodes = three(&Arc::default());
    let (first, _second) = (nodes[0].connect(ANN, login(2, 0)), nodes[1].connect(ANN, login(2, 1)));
    eventually("all know both", || async { nodes[0].presence.counts().await.unwrap().0.sessions == 2 }).await;
    drop(first);
    eventually("one is left", || async { nodes[2].presence.counts().await.unwrap().0.clients == 1 }).await;
    assert_eq!(nodes[2].users().await, 1);
}

#[tokio::test]
async fn whoever_is_lost_on_two_nodes_at_once_waits_out_the_grace_of_the_last() {
    let nodes = three(&Arc::default());
    let clients = (nodes[0].connect(ANN, login(2, 0)), nodes[1].connect(ANN, login(2, 1)));
    eventually("all know both", || async { nodes[0].presence.counts().await.unwrap().0.sessions == 2 }).await;
    drop(clients);
    // More looks than would end a grace.
    sleep(SETTLE * 4).await;
    assert_eq!(nodes[2].users().await, 1, "both wait");
    for node in &nodes[..2] {
        node.clock.advance(GRACE + Duration::from_secs(1));
        node.expire();
    }
    eventually("she is offline", || async { nodes[2].users().await == 0 }).await;
}

#[tokio::test]
async fn what_is_lost_on_the_way_heals_with_an_announcement() {
    let net: Arc<Net> = Arc::default();
    let nodes = three(&net);
    let mut clients = Vec::new();
    for round in 0..5_u8 {
        *net.lossy.lock().unwrap() = 7;
        clients.push(nodes[0].connect((round, 0, round, 0), login(round, 0)));
        clients.push(nodes[1].connect((round, 0, round, 0), login(round, 1)));
        if round % 2 == 1 {
            clients.remove(0);
        }
        sleep(Duration::from_millis(120)).await;
    }
    *net.lossy.lock().unwrap() = 0;
    let right = |node: &Node| {
        let (counts, managers) =
            (node.presence.directory().counts(), nodes.iter().map(|node| node.presence.local.here()));
        let clients: usize = managers.map(|here| here.clients).sum();
        (counts.clients, counts.users) == (clients, 5)
    };
    eventually("all count the same", || async { nodes.iter().all(right) }).await;
    assert!(nodes[2].presence.counts().await.unwrap().1.complete);
}

#[tokio::test]
async fn an_announcement_that_shows_a_loss_makes_pages_begin_anew() {
    let net: Arc<Net> = Arc::default();
    let nodes = three(&net);
    let (here, there) = (&nodes[0], &nodes[1]);
    here.presence.watching().look(true);
    here.presence.heard(there.generation, Words::Watched(Vec::new()));
    assert!(!here.presence.watching().is_deaf(there.generation));
    // Nothing waits in between: what is sent is not heard.
    let said = |node: &Node| Words::Announced { digest: node.presence.directory().digest(), watching: false };
    here.presence.heard(there.generation, said(there));
    assert!(!here.presence.watching().is_deaf(there.generation), "nothing was lost");
    *net.cut.lock().unwrap() = true;
    let _client = there.connect(ANN, login(2, 0));
    there.presence.tell();
    here.presence.heard(there.generation, said(there));
    assert!(here.presence.watching().is_deaf(there.generation), "a row may have been");
}

#[tokio::test]
async fn without_the_others_a_node_lists_its_own_and_says_so() {
    let net: Arc<Net> = Arc::default();
    let nodes = three(&net);
    let _clients = (nodes[0].connect(ANN, login(2, 0)), nodes[1].connect((4, 0, 1, 0), login(4, 0)));
    eventually("both are known", || async { nodes[2].users().await == 2 }).await;
    *net.cut.lock().unwrap() = true;
    let page = nodes[0].presence.clients(&asked(Column::Id, false, OnlineFilter::default())).await.unwrap();
    assert_eq!((page.total, page.state.complete), (1, false));
    assert_eq!((page.state.nodes.answered, page.state.nodes.expected), (1, 3));
    let (counts, state) = nodes[0].presence.counts().await.unwrap();
    assert_eq!((counts.users, counts.clients, state.complete), (1, 1, false), "nothing is invented");
    let _later = nodes[1].connect((6, 0, 1, 0), login(6, 0));
    sleep(TELL * 2).await;
    *net.cut.lock().unwrap() = false;
    nodes.iter().for_each(|node| node.presence.reconnected());
    eventually("all is known again", || async { nodes[0].users().await == 3 && nodes[2].users().await == 3 }).await;
}

#[tokio::test]
async fn why_names_the_lost_node() {
    let net: Arc<Net> = Arc::default();
    let mut nodes = three(&net);
    let _client = nodes[2].connect(ANN, login(2, 0));
    eventually("all know her", || async { nodes[0].presence.directory().counts().users == 1 }).await;
    let dead = nodes.pop().unwrap();
    net.nodes.lock().unwrap().pop();
    let at = crate::clock::Clock::now(&*nodes[0].clock);
    nodes.iter().for_each(|node| node.presence.node_gone(dead.generation, Some(at)));
    let (why, state) = nodes[0].presence.why(&UserKey::from_wire("2")).await.unwrap();
    assert!(state.complete && why.clients.is_empty());
    let leave = why.last_leave.unwrap();
    assert_eq!((leave.cause, leave.client), (crate::realtime::Cause::NodeLost, None));
    assert_eq!(nodes[1].users().await, 0);
}
