//! The live list: what a page builds from `online/subscribe`, one read of the list and the differences after it equals what
//! REST answers, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp, TestSocket, TestUser, eventually};

/// The parts of a row that do not change by themselves.
const STABLE: &[&str] =
    &["id", "ip", "userId", "username", "roles", "rooms", "sessionId", "connectedAt", "leaving", "browser"];

/// A page: subscribed, with the rows it knows.
pub(crate) struct Page {
    pub(crate) socket: TestSocket,
    rev: u64,
    /// The revision of the list that was read.
    known: u64,
    /// Where there are other nodes, which are asked for their rows when somebody looks, a revision may be missing.
    may_miss: bool,
    pub(crate) rows: BTreeMap<String, Value>,
    pub(crate) counts: Value,
}

impl Page {
    async fn open(app: &TestApp, viewer: &TestUser) -> Page {
        let mut page = Page::begin(app, viewer).await;
        page.catch_up(viewer, page.known).await;
        page
    }

    /// The same before the differences are read of which the list knew already.
    pub(crate) async fn begin(app: &TestApp, viewer: &TestUser) -> Page {
        let socket = viewer.connect(app).await;
        let may_miss = app.services.shared();
        let mut page = Page { socket, rev: 0, known: 0, may_miss, rows: BTreeMap::new(), counts: Value::Null };
        page.subscribe(viewer).await;
        page
    }

    /// Begins anew.
    async fn subscribe(&mut self, viewer: &TestUser) {
        let subscribed = self.socket.ask("online/subscribe", json!({})).await;
        let list = viewer.get("/api/v1/online/clients?all=true").await.body;
        self.rows = list["list"].as_array().unwrap().iter().map(|row| (id(row), row.clone())).collect();
        self.rev = subscribed["data"]["rev"].as_u64().unwrap();
        self.counts = subscribed["data"]["counts"].clone();
        self.known = list["rev"].as_u64().unwrap();
    }

    /// The next difference, applied; none when none comes for a while. Where a revision is missing the page begins anew, as in a
    /// browser.
    pub(crate) async fn next(&mut self, viewer: &TestUser) -> Option<Value> {
        let diff = tokio::time::timeout(Duration::from_millis(100), self.socket.push("online/diff")).await.ok()?;
        self.take(viewer, &diff).await;
        Some(diff)
    }

    /// Reads differences up to a revision.
    async fn catch_up(&mut self, viewer: &TestUser, rev: u64) {
        while self.rev < rev {
            let diff = self.socket.push("online/diff").await;
            self.take(viewer, &diff).await;
        }
    }

    async fn take(&mut self, viewer: &TestUser, diff: &Value) {
        let rev = diff["rev"].as_u64().unwrap();
        if diff["prev"].as_u64().unwrap() > self.rev {
            assert!(self.may_miss, "a revision is missing between {} and {diff}", self.rev);
            self.subscribe(viewer).await;
        } else if rev > self.rev {
            self.rev = rev;
            self.counts = diff["counts"].clone();
            if rev > self.known {
                self.apply(diff);
            }
        }
    }

    fn apply(&mut self, diff: &Value) {
        let entries = |key: &str| diff[key].as_array().cloned().unwrap_or_default();
        for row in entries("joined") {
            self.rows.insert(id(&row), row);
        }
        for part in entries("changed") {
            if let Some(row) = self.rows.get_mut(&id(&part)) {
                row.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
            }
        }
        for gone in entries("left") {
            self.rows.remove(&id(&gone));
        }
    }

    pub(crate) fn stable(&self) -> Vec<Value> {
        self.rows.values().map(stable).collect()
    }
}

fn id(row: &Value) -> String {
    row["id"].as_str().unwrap().to_owned()
}

pub(crate) fn stable(row: &Value) -> Value {
    STABLE.iter().map(|key| ((*key).to_owned(), row[*key].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// Reads the list until it and the page stand at the same revision, and compares.
async fn assert_equal(page: &mut Page, viewer: &TestUser) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        let list = viewer.get("/api/v1/online/clients?all=true&sort=id").await.body;
        page.catch_up(viewer, list["rev"].as_u64().unwrap()).await;
        let truth: Vec<Value> = list["list"].as_array().unwrap().iter().map(stable).collect();
        let counts = viewer.get("/api/v1/online/counts").await.body;
        // Something may have happened since the revision; then it comes with the next one.
        if page.stable() == truth
            && page.counts["clients"] == counts["clients"]
            && page.counts["users"] == counts["users"]
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let list = viewer.get("/api/v1/online/clients?all=true&sort=id").await.body;
    panic!("the page shows {:#?}\nREST answers {list:#}", page.stable());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Connect(usize),
    Close(usize),
    Lose(usize),
    Join(usize),
    Quit(usize),
    Promote(usize, bool),
    Kick(usize),
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize).prop_map(Step::Connect),
        2 => (0..8_usize).prop_map(Step::Close),
        2 => (0..8_usize).prop_map(Step::Lose),
        2 => (0..8_usize).prop_map(Step::Join),
        1 => (0..8_usize).prop_map(Step::Quit),
        1 => (0..3_usize, any::<bool>()).prop_map(|(user, up)| Step::Promote(user, up)),
        1 => (0..3_usize).prop_map(Step::Kick),
        1 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..25)
}

async fn churn(steps: Vec<Step>) {
    // The pages read only at the end, and the clock is moved: no ping of theirs may be missed meanwhile.
    let app = TestApp::with(|config| config.socket.ping_interval = Duration::from_secs(100_000)).await;
    let (admin, operator) = (app.user("root", "admin").await, app.user("ops", "operator").await);
    let mut users = Vec::new();
    for name in ["ann", "bob", "cat"] {
        users.push(app.user(name, "member").await);
    }
    // One sees whole addresses, the other masked ones. Revisions are those of a node.
    let (node, admin_there, operator_there) = (app.one_node(), admin.at(app.one_node()), operator.at(app.one_node()));
    let mut pages = [Page::open(node, &admin_there).await, Page::open(node, &operator_there).await];
    let mut sockets: Vec<TestSocket> = Vec::new();
    for step in steps {
        let chosen = |index: usize, sockets: &Vec<TestSocket>| (!sockets.is_empty()).then(|| index % sockets.len());
        match step {
            Step::Connect(user) => sockets.push(users[user].connect(&app).await),
            Step::Close(index) => {
                if let Some(index) = chosen(index, &sockets) {
                    sockets.remove(index).close().await;
                }
            }
            Step::Lose(index) => drop(chosen(index, &sockets).map(|index| sockets.remove(index))),
            Step::Join(index) => {
                if let Some(index) = chosen(index, &sockets) {
                    sockets[index].ask("join", json!({"id": format!("room{index}")})).await;
                }
            }
            Step::Quit(index) => {
                if let Some(index) = chosen(index, &sockets) {
                    sockets[index].ask("quit", json!({"id": format!("room{index}")})).await;
                }
            }
            Step::Promote(user, up) => {
                let roles = if up { json!(["member", "operator"]) } else { json!(["member"]) };
                admin.patch(&format!("/api/v1/users/{}", users[user].id), json!({"roles": roles})).await;
            }
            Step::Kick(user) => {
                admin.delete(&format!("/api/v1/online/users/{}", users[user].id), json!({"revoke": false})).await;
                let id = &users[user].id;
                let (gone, left) =
                    sockets.into_iter().partition::<Vec<_>, _>(|socket| socket.connected["userId"] == **id);
                drop(gone);
                sockets = left;
            }
            Step::Wait => app.clock.advance(Duration::from_secs(6)),
        }
    }
    let [first, second] = &mut pages;
    assert_equal(first, &admin_there).await;
    assert_equal(second, &operator_there).await;
    let masked = second.rows.values().all(|row| row["ip"].as_str().unwrap().ends_with(".0/24"));
    assert!(masked && first.rows.values().all(|row| row["ip"] == "127.0.0.1"));
    drop(sockets);
    drop(pages);
    app.shutdown().await;
}

#[test]
fn a_page_built_from_differences_equals_what_rest_answers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cases =
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse::<u32>().ok()).map_or(16, |cases| cases / 10);
    let mut runner =
        TestRunner::new(Config { cases, max_shrink_iters: 30, failure_persistence: None, ..Config::default() });
    runner
        .run(&steps(), |steps| {
            runtime.block_on(churn(steps));
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn above_the_limit_differences_carry_only_counts() {
    let app = TestApp::with(|config| config.online.live_max = 2).await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut page = admin.connect(&app).await;
    page.ask("online/subscribe", json!({})).await;
    let _sockets = (bob.connect(&app).await, bob.connect(&app).await);
    let mut diff = page.push("online/diff").await;
    while diff["counts"]["clients"] != 3 {
        diff = page.push("online/diff").await;
    }
    assert_eq!((&diff["mode"], diff.get("joined")), (&json!("counts"), None));
    drop(page);
    drop(_sockets);
    app.shutdown().await;
}

#[tokio::test]
async fn who_leaves_together_is_told_in_one_difference() {
    // Wherever a fixed period would have begun.
    let app = TestApp::with(|config| config.online.diff_interval = Duration::from_secs(2)).await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let (node, viewer) = (app.one_node(), admin.at(app.one_node()));
    let mut page = Page::open(node, &viewer).await;
    let mut sockets = Vec::new();
    for _ in 0..30 {
        sockets.push(bob.connect(&app).await);
    }
    while page.counts["clients"] != 31 {
        page.catch_up(&viewer, page.rev + 1).await;
    }
    assert_eq!(admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({})).await.body["closed"], 30);
    let diff = page.socket.push("online/diff").await;
    assert_eq!(diff["left"].as_array().unwrap().len(), 30, "{diff}");
    assert_eq!(diff["counts"]["clients"], 1);
    drop(sockets);
    app.shutdown().await;
}

#[tokio::test]
async fn unsubscribing_ends_the_differences_and_losing_the_right_does_too() {
    let app = TestApp::start().await;
    let (admin, ops, bob) =
        (app.user("root", "admin").await, app.user("ops", "operator").await, app.user("bob", "member").await);
    let (node, viewer) = (app.one_node(), admin.at(app.one_node()));
    let mut page = ops.connect(node).await;
    page.ask("online/subscribe", json!({})).await;
    assert_eq!(page.ask("online/unsubscribe", json!({})).await["code"], 0);
    page.ask("online/subscribe", json!({})).await;
    admin.patch(&format!("/api/v1/users/{}", ops.id), json!({"roles": ["member"]})).await;
    page.push("auth/changed").await;
    let before = viewer.get("/api/v1/online/counts").await.body["rev"].as_u64().unwrap();
    let socket = bob.connect(node).await;
    eventually("a revision went by", || async {
        viewer.get("/api/v1/online/counts").await.body["rev"].as_u64() > Some(before)
    })
    .await;
    page.send(json!({"event": "ping", "id": "last"})).await;
    let mut seen = page.frame().await;
    while seen["id"] != "last" {
        assert!(
            seen["data"]["joined"]
                .as_array()
                .is_none_or(|joined| joined.iter().all(|row| row["id"] != socket.id.as_str())),
            "{seen}"
        );
        seen = page.frame().await;
    }
    drop((page, socket));
    app.shutdown().await;
}
