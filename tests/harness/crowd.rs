//! Many who come and go at several nodes, pages that look on from each of them, and the truth about who is there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::onlooker::{Page, STANDS_STILL, follow, get, ids, next, open};
use super::{Door, Entrance, Nodes, PATIENCE, TestUser, eventually};

/// Callers and pages; they end with the value.
pub(crate) struct Crowd {
    truth: Arc<Truth>,
    admin: TestUser,
    callers: usize,
    _tasks: JoinSet<()>,
}

/// What is so, whatever the nodes say.
#[derive(Default)]
struct Truth {
    /// Where the nodes answer that take callers.
    doors: Mutex<Vec<Option<String>>>,
    calm: watch::Sender<bool>,
    open: Mutex<BTreeMap<String, Here>>,
    /// Clients that went by themselves.
    went: Mutex<HashSet<String>>,
    turns: watch::Sender<usize>,
    /// Sockets of the test's own.
    others: AtomicUsize,
    /// By node: what its page shows.
    pages: Vec<Mutex<Page>>,
}

/// Somebody's open socket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Here {
    pub(crate) user: String,
    pub(crate) node: usize,
}

/// A node's address of this moment.
pub(crate) struct At {
    address: String,
    http: reqwest::Client,
}

impl Door for At {
    fn entrance(&self) -> Entrance {
        Entrance::at(&self.address)
    }

    fn http(&self) -> &reqwest::Client {
        &self.http
    }
}

impl Crowd {
    /// Each user with three sockets at a time, and a page at each node.
    pub(crate) async fn gather(nodes: &Nodes, admin: &TestUser, users: &[TestUser]) -> Crowd {
        let pages = (0..nodes.len()).map(|_| Mutex::default()).collect();
        let (truth, mut tasks) = (Arc::new(Truth { pages, ..Truth::default() }), JoinSet::new());
        for caller in users.iter().flat_map(|user| [user; 3]) {
            tasks.spawn(come_and_go(truth.clone(), caller.clone()));
        }
        for node in 0..nodes.len() {
            tasks.spawn(look_on(truth.clone(), node, admin.clone()));
        }
        let crowd = Crowd { truth, admin: admin.clone(), callers: 3 * users.len(), _tasks: tasks };
        crowd.doors(nodes);
        crowd
    }

    /// From now on callers go to the nodes that run.
    pub(crate) fn doors(&self, nodes: &Nodes) {
        *self.truth.doors.lock().unwrap() = nodes.iter().map(super::nodes::Node::address).collect();
    }

    /// Sockets are opened and left, until so many more were opened.
    pub(crate) async fn churn(&self, turns: usize) {
        self.truth.calm.send_replace(false);
        let (mut counted, begun) = (self.truth.turns.subscribe(), *self.truth.turns.borrow());
        let enough = timeout(2 * PATIENCE, counted.wait_for(|now| *now >= begun + turns)).await;
        enough.expect("callers get in").unwrap();
    }

    /// Nobody leaves any more, and everybody comes.
    pub(crate) async fn calm(&self) {
        self.truth.calm.send_replace(true);
        eventually("everybody is there", || async {
            let doors = self.truth.doors.lock().unwrap().iter().flatten().count();
            let others = self.truth.others.load(Ordering::Relaxed);
            self.open().len() >= self.callers + doors + others
        })
        .await;
    }

    /// Who is there.
    pub(crate) fn open(&self) -> BTreeMap<String, Here> {
        self.truth.open.lock().unwrap().clone()
    }

    /// Somebody of the test's own is there too.
    pub(crate) fn also(&self, id: &str, user: &str, node: usize) {
        self.truth.open.lock().unwrap().insert(id.to_owned(), Here { user: user.to_owned(), node });
        self.truth.others.fetch_add(1, Ordering::Relaxed);
    }

    /// Those on a node that the pages of the others show.
    pub(crate) fn known_on(&self, node: usize) -> BTreeSet<String> {
        let others = || self.truth.pages.iter().enumerate().filter(|(page, _)| *page != node);
        let known = |id: &String| others().all(|(_, page)| page.lock().unwrap().rows.contains(id));
        self.open().into_iter().filter(|(id, here)| here.node == node && known(id)).map(|(id, _)| id).collect()
    }

    /// Waits until the pages of the other nodes were told that these left with their node, but for those who went by themselves.
    pub(crate) async fn were_lost(&self, node: usize, lost: &BTreeSet<String>) {
        for (page, shown) in self.truth.pages.iter().enumerate().filter(|(page, _)| *page != node) {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let wrong: Vec<_> = {
                    let (went, shown) = (self.truth.went.lock().unwrap(), shown.lock().unwrap());
                    let lost = lost.iter().filter(|id| !went.contains(*id));
                    lost.map(|id| (id.clone(), shown.left.get(id).cloned()))
                        .filter(|(_, cause)| cause.as_deref() != Some("nodeLost"))
                        .collect()
                };
                if wrong.is_empty() {
                    break;
                }
                assert!(Instant::now() < deadline, "not lost on the page of n{page}: {wrong:?}");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Waits until every node's list, counts and page are as it is; nobody may have left twice.
    pub(crate) async fn agree(&self, nodes: &Nodes) {
        self.calm().await;
        let all: Vec<usize> = (0..nodes.len()).filter(|node| nodes[*node].address().is_some()).collect();
        self.agree_on(nodes, &all).await;
    }

    /// The same of these nodes, which know only each other.
    pub(crate) async fn agree_on(&self, nodes: &Nodes, these: &[usize]) {
        for node in these {
            let (viewer, deadline) = (self.admin.at(&nodes[*node]), Instant::now() + PATIENCE);
            let mut told = Vec::new();
            while let Err(wrong) = self.compare(&viewer, *node, these).await {
                if told.last() != Some(&wrong) {
                    told.push(wrong);
                }
                assert!(Instant::now() < deadline, "n{node} is wrong:\n{}", told.join("\nthen "));
                sleep(Duration::from_millis(50)).await;
            }
        }
        for (node, page) in self.truth.pages.iter().enumerate() {
            assert_eq!(page.lock().unwrap().twice, Vec::<String>::new(), "left twice on the page of n{node}");
        }
    }

    async fn compare(&self, viewer: &TestUser, node: usize, these: &[usize]) -> Result<(), String> {
        let list = get(viewer, "/api/v1/online/clients?all=true").await?;
        let counts = get(viewer, "/api/v1/online/counts").await?;
        let truth: BTreeMap<_, _> = self.open().into_iter().filter(|(_, here)| these.contains(&here.node)).collect();
        let truth_ids: BTreeSet<String> = truth.keys().cloned().collect();
        let users = truth.values().map(|here| &here.user).collect::<HashSet<_>>().len();
        let told = json!({"answered": these.len(), "expected": these.len()});
        for (what, answer) in [("list", &list), ("counts", &counts)] {
            if answer["complete"] != true || answer["nodes"] != told {
                return Err(format!("the {what} is of {}, complete {}", answer["nodes"], answer["complete"]));
            }
        }
        same("the list", &ids(&list), &truth)?;
        if counts["clients"] != truth_ids.len() || counts["users"] != users {
            return Err(format!("{} clients of {users} users are {counts}", truth_ids.len()));
        }
        same("the page", &self.truth.pages[node].lock().unwrap().rows, &truth)
    }

    /// Where a node answers now, if any takes callers; another one each time.
    pub(crate) fn door(&self) -> Option<At> {
        self.truth.any_door().map(|(_, address)| At { address, http: super::http_client() })
    }
}

fn same(what: &str, shown: &BTreeSet<String>, truth: &BTreeMap<String, Here>) -> Result<(), String> {
    let ghosts: Vec<_> = shown.iter().filter(|id| !truth.contains_key(*id)).collect();
    let missing: Vec<_> = truth.iter().filter(|(id, _)| !shown.contains(*id)).collect();
    let right = ghosts.is_empty() && missing.is_empty();
    if right { Ok(()) } else { Err(format!("{what} shows {ghosts:?}, who are not there, and not {missing:?}")) }
}

impl Truth {
    fn any_door(&self) -> Option<(usize, String)> {
        let doors = self.doors.lock().unwrap();
        let open: Vec<_> = doors.iter().enumerate().filter_map(|(node, door)| Some((node, door.clone()?))).collect();
        (!open.is_empty()).then(|| open[rand::random_range(0..open.len())].clone())
    }

    fn came(&self, id: &str, user: &str, node: usize) {
        self.open.lock().unwrap().insert(id.to_owned(), Here { user: user.to_owned(), node });
        self.turns.send_modify(|turns| *turns += 1);
    }
}

async fn come_and_go(truth: Arc<Truth>, caller: TestUser) {
    loop {
        let door = truth.any_door();
        let Some((node, address)) = door else {
            pause(50).await;
            continue;
        };
        let Ok((mut stream, id)) = open(&address, &caller.token).await else {
            pause(50).await;
            continue;
        };
        truth.came(&id, &caller.id, node);
        let stays = if rand::random_bool(0.3) { 3_000 } else { 600 };
        let mut calm = truth.calm.subscribe();
        let leaves = async {
            pause(rand::random_range(50..stays)).await;
            let _ = calm.wait_for(|calm| !calm).await;
        };
        let told = tokio::select! {
            told = async { loop { if let Err(told) = next(&mut stream).await { break told } } } => Some(told),
            () = leaves => None,
        };
        if told.is_none() {
            truth.went.lock().unwrap().insert(id.clone());
        }
        truth.open.lock().unwrap().remove(&id);
        match told {
            Some(wait) => sleep(wait).await,
            None if rand::random_bool(0.5) => drop(stream),
            None => _ = timeout(STANDS_STILL, stream.close(None)).await,
        }
    }
}

async fn look_on(truth: Arc<Truth>, node: usize, admin: TestUser) {
    loop {
        let door = truth.doors.lock().unwrap().get(node).cloned().flatten();
        let Some(address) = door else {
            pause(50).await;
            continue;
        };
        let Ok((mut stream, id)) = open(&address, &admin.token).await else {
            pause(50).await;
            continue;
        };
        truth.came(&id, &admin.id, node);
        let viewer = admin.at(&At { address, http: super::http_client() });
        let _ = follow(&truth.pages[node], &viewer, &mut stream).await;
        truth.open.lock().unwrap().remove(&id);
    }
}

async fn pause(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds)).await;
}
