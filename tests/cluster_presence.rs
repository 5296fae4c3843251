//! Who is online, over three nodes on one database and one Redis: the same from whichever node one asks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::diffs::{Page, stable};
use crate::harness::{PATIENCE, TestCluster, TestSocket, TestUser, eventually};

/// Less than `cluster.suspect`, so that a node that lives is never taken for a silent one, nor this one for one that stood still.
const STEP: Duration = Duration::from_secs(3);
/// More than `cluster.dead`.
const STEPS: usize = 6;

/// Three nodes whose clocks may be moved by seconds: no ping may be missed.
async fn trio() -> TestCluster {
    TestCluster::with(3, |config| config.socket.ping_interval = Duration::from_secs(100_000)).await
}

/// The same login on each node.
fn everywhere(trio: &TestCluster, user: &TestUser) -> Vec<TestUser> {
    trio.iter().map(|node| user.at(node)).collect()
}

/// Every node's time goes on, and they hear each other meanwhile.
async fn advance(trio: &TestCluster, steps: usize) {
    for _ in 0..steps {
        trio.iter().for_each(|node| node.clock.advance(STEP));
        eventually("the nodes hear each other", || async {
            let others = trio.iter().len() - 1;
            trio.iter().all(|node| {
                let live = node.services.cluster().unwrap().members.live();
                live.iter().filter(|other| other.silent < STEP).count() >= others
            })
        })
        .await;
    }
}

async fn list(caller: &TestUser, query: &str) -> Value {
    caller.get(&format!("/api/v1/online/clients?{query}")).await.body
}

fn ids(list: &Value) -> Vec<String> {
    list["list"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

async fn counts(caller: &TestUser) -> Value {
    caller.get("/api/v1/online/counts").await.body
}

/// What a page shows is what the list answers.
async fn assert_equal(page: &mut Page, viewer: &TestUser) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = list(viewer, "all=true&sort=id").await;
        let truth: Vec<Value> = list["list"].as_array().unwrap().iter().map(stable).collect();
        let counts = counts(viewer).await;
        let counted = ["clients", "users", "sessions", "byRole"].iter().all(|key| page.counts[*key] == counts[*key]);
        if page.stable() == truth && counted && list["complete"] == true {
            return;
        }
        if Instant::now() > deadline {
            panic!("the page shows {:#?} {:#}\nREST answers {list:#} {counts:#}", page.stable(), page.counts);
        }
        while page.next(viewer).await.is_some() {}
    }
}

#[tokio::test]
async fn the_list_is_exact_from_any_node_right_after_a_connect() {
    let trio = trio().await;
    let admin = trio[0].user("root", "admin").await;
    let (ann, bob) = (trio[0].user("ann", "member").await, trio[1].user("bob", "operator").await);
    let admins = everywhere(&trio, &admin);
    let mut sockets = Vec::new();
    for round in 0..3 {
        for (node, app) in trio.iter().enumerate() {
            let user = if (node + round) % 2 == 0 { &ann } else { &bob };
            sockets.push(user.connect(app).await);
            for caller in &admins {
                let all = list(caller, "all=true").await;
                let open: BTreeSet<String> = sockets.iter().map(|socket| socket.id.clone()).collect();
                assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>(), open);
                assert_eq!((&all["complete"], &all["nodes"]), (&json!(true), &json!({"answered": 3, "expected": 3})));
                let counts = counts(caller).await;
                assert_eq!((&counts["clients"], &counts["complete"]), (&json!(sockets.len()), &json!(true)));
            }
        }
    }
    for caller in &admins {
        let whole = ids(&list(caller, "all=true&sort=-username").await);
        let mut paged = Vec::new();
        for page in 1..=5 {
            let answer = list(caller, &format!("sort=-username&pageSize=2&page={page}")).await;
            assert_eq!((&answer["totalCount"], &answer["pageCount"]), (&json!(9), &json!(5)));
            paged.extend(ids(&answer));
        }
        assert_eq!(paged, whole);
        let on_b = list(caller, "node=n2").await;
        assert!(on_b["totalCount"] == 3 && on_b["list"].as_array().unwrap().iter().all(|row| row["node"] == "n2"));
        assert_eq!(list(caller, &format!("userId={}&role=operator", bob.id)).await["totalCount"], 4);
        assert_eq!(list(caller, "username=zoe").await["totalCount"], 0);
        let users = caller.get("/api/v1/online/users?sort=-clients&pageSize=1").await.body;
        assert_eq!((&users["totalCount"], &users["list"][0]["userId"]), (&json!(2), &json!(ann.id)));
        assert_eq!((&users["list"][0]["clients"], &users["list"][0]["sessions"]), (&json!(5), &json!(1)));
        let counts = counts(caller).await;
        assert_eq!((&counts["users"], &counts["sessions"]), (&json!(2), &json!(2)));
        assert_eq!(counts["byRole"], json!({"member": 5, "operator": 4}));
        let why = caller.get(&format!("/api/v1/online/users/{}/why", ann.id)).await.body;
        let nodes: BTreeSet<&str> =
            why["clients"].as_array().unwrap().iter().map(|client| client["node"].as_str().unwrap()).collect();
        assert_eq!((why["clients"].as_array().unwrap().len(), nodes), (5, BTreeSet::from(["n1", "n2", "n3"])));
        assert_eq!(
            caller.get(&format!("/api/v1/online/users/{}", ann.id)).await.body["clients"].as_array().unwrap().len(),
            5
        );
        eventually("the green dot knows all clients", || async {
            let body = json!({"users": [ann.id, bob.id, "nobody"]});
            let found = caller.post("/api/v1/online/lookup", body).await.body;
            let users = &found["users"];
            found["complete"] == true
                && users[&ann.id]["clients"] == 5
                && users[&bob.id]["clients"] == 4
                && users["nobody"]["online"] == false
        })
        .await;
    }
    drop(sockets);
    trio.shutdown().await;
}

#[tokio::test]
async fn a_login_on_two_nodes_is_one_user_and_one_session() {
    let trio = trio().await;
    let (admin, ann) = (trio[0].user("root", "admin").await, trio[0].user("ann", "member").await);
    let sockets = (ann.connect(&trio[1]).await, ann.connect(&trio[2]).await);
    for caller in everywhere(&trio, &admin) {
        let counts = counts(&caller).await;
        assert_eq!([&counts["clients"], &counts["sessions"], &counts["users"]], [2, 1, 1]);
    }
    let again = trio[1].login("ann").await;
    let third = again.connect(&trio[2]).await;
    let counts = counts(&admin).await;
    assert_eq!([&counts["clients"], &counts["sessions"], &counts["users"]], [3, 2, 1]);
    drop((sockets, third));
    trio.shutdown().await;
}

#[tokio::test]
async fn a_reload_that_comes_back_on_another_node_shows_nobody_offline() {
    let trio = trio().await;
    let (admin, ann) = (trio[2].user("root", "admin").await, trio[0].user("ann", "member").await);
    let mut page = Page::begin(&trio[2], &admin).await;
    let first = ann.connect(&trio[0]).await;
    while page.counts["users"] != 2 {
        page.next(&admin).await;
    }
    let (lost, mut lowest) = (first.id.clone(), 2);
    drop(first);
    let second = ann.connect(&trio[1]).await;
    let mut left = Vec::new();
    while left.is_empty() {
        let Some(diff) = page.next(&admin).await else { continue };
        lowest = lowest.min(diff["counts"]["users"].as_u64().unwrap());
        left.extend(diff["left"].as_array().cloned().unwrap_or_default());
    }
    assert_eq!((left[0]["id"].as_str().unwrap(), left[0]["cause"].as_str().unwrap()), (&*lost, "lost"));
    assert_eq!(lowest, 2, "the user was never gone");
    assert_equal(&mut page, &admin).await;
    assert_eq!(counts(&admin).await["clients"], 2);
    drop((page, second));
    trio.shutdown().await;
}

#[tokio::test]
async fn the_clients_of_a_dead_node_leave_once_with_node_lost() {
    let mut trio = trio().await;
    let admin = trio[0].user("root", "admin").await;
    let (ann, bob) = (trio[0].user("ann", "member").await, trio[0].user("bob", "member").await);
    let admins = everywhere(&trio, &admin);
    let sockets = [ann.connect(&trio[2]).await, ann.connect(&trio[2]).await, bob.connect(&trio[2]).await];
    let stays = bob.connect(&trio[1]).await;
    let mut pages = Vec::new();
    for (app, viewer) in trio.iter().take(2).zip(&admins) {
        pages.push(Page::begin(app, viewer).await);
    }
    // Each page knows all rows, and each node whose they are.
    for (page, viewer) in pages.iter_mut().zip(&admins) {
        while page.rows.len() != 6 {
            page.next(viewer).await;
        }
    }
    trio.kill(2).await;
    advance(&trio, STEPS).await;
    let lost: BTreeSet<String> = sockets.iter().map(|socket| socket.id.clone()).collect();
    for (page, viewer) in pages.iter_mut().zip(&admins) {
        let mut left = Vec::new();
        while left.len() < lost.len() {
            if let Some(diff) = page.next(viewer).await {
                left.extend(diff["left"].as_array().cloned().unwrap_or_default());
            }
        }
        assert!(left.iter().all(|gone| gone["cause"] == "nodeLost"), "{left:?}");
        assert_eq!(left.len(), lost.len(), "each once");
        assert_eq!(left.iter().map(|gone| gone["id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), lost);
        assert_equal(page, viewer).await;
        let counts = counts(viewer).await;
        assert_eq!([&counts["clients"], &counts["users"]], [3, 2]);
        assert_eq!(counts["nodes"], json!({"answered": 2, "expected": 2}));
        let why = viewer.get(&format!("/api/v1/online/users/{}/why", ann.id)).await.body;
        assert_eq!((&why["online"], &why["lastLeave"]["cause"]), (&json!(false), &json!("nodeLost")));
        let why = viewer.get(&format!("/api/v1/online/users/{}/why", bob.id)).await.body;
        assert_eq!((&why["online"], why["clients"].as_array().unwrap().len()), (&json!(true), 1));
    }
    drop((pages, stays, sockets));
    trio.shutdown().await;
}

#[tokio::test]
async fn without_redis_a_node_lists_its_own_and_all_is_known_again_with_it() {
    let mut trio = trio().await;
    let (admin, ann) = (trio[0].user("root", "admin").await, trio[0].user("ann", "member").await);
    let admins = everywhere(&trio, &admin);
    let mut page = Page::begin(&trio[0], &admin).await;
    let mut sockets = vec![ann.connect(&trio[1]).await];
    trio.redis.flush().await;
    assert_equal(&mut page, &admin).await;
    trio.redis.stop().await;
    eventually("the list is of one node and says so", || async {
        let all = list(&admins[0], "all=true").await;
        all["complete"] == false && all["nodes"] == json!({"answered": 1, "expected": 3}) && all["totalCount"] == 1
    })
    .await;
    // Pages hear of it too.
    while page.next(&admin).await.is_none_or(|diff| diff["nodes"] != json!({"answered": 1, "expected": 3})) {}
    sockets.remove(0).close().await;
    sockets.push(ann.connect(&trio[2]).await);
    trio.redis.start_again().await;
    for caller in &admins {
        eventually("all is known again", || async {
            let (all, counts) = (list(caller, "all=true").await, counts(caller).await);
            all["complete"] == true && all["totalCount"] == 2 && counts["complete"] == true && counts["clients"] == 2
        })
        .await;
    }
    assert_equal(&mut page, &admin).await;
    drop((page, sockets));
    trio.shutdown().await;
}

#[tokio::test]
async fn a_page_built_from_differences_of_three_nodes_equals_the_list() {
    let trio = trio().await;
    // One sees whole addresses, the other masked ones.
    let (admin, operator) = (trio[0].user("root", "admin").await, trio[1].user("ops", "operator").await);
    let mut users = Vec::new();
    for name in ["ann", "bob", "cat", "dan"] {
        users.push(trio[0].user(name, "member").await);
    }
    let mut pages =
        [(Page::begin(&trio[0], &admin).await, admin.clone()), (Page::begin(&trio[1], &operator).await, operator)];
    let mut sockets: Vec<TestSocket> = Vec::new();
    for _ in 0..150 {
        let place = rand::random_range(0..sockets.len() + 1);
        match rand::random_range(0..10) {
            0..5 => {
                let (user, node) = (rand::random_range(0..users.len()), rand::random_range(0..3));
                sockets.push(users[user].connect(&trio[node]).await);
            }
            5 if place < sockets.len() => sockets.remove(place).close().await,
            6 if place < sockets.len() => drop(sockets.remove(place)),
            7 if place < sockets.len() => _ = sockets[place].ask("join", json!({"id": "lobby"})).await,
            8 => {
                let user = &users[rand::random_range(0..users.len())];
                let roles = if place % 2 == 0 { json!(["member", "operator"]) } else { json!(["member"]) };
                admin.patch(&format!("/api/v1/users/{}", user.id), json!({"roles": roles})).await;
            }
            _ => {
                for (page, viewer) in &mut pages {
                    page.next(viewer).await;
                }
            }
        }
    }
    for (page, viewer) in &mut pages {
        assert_equal(page, viewer).await;
    }
    let masked = pages[1].0.rows.values().all(|row| row["ip"].as_str().unwrap().ends_with(".0/24"));
    assert!(masked && pages[0].0.rows.values().all(|row| row["ip"] == "127.0.0.1"));
    drop((pages, sockets));
    trio.shutdown().await;
}
