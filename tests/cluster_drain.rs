//! Emptying a node of several, from another one, and one after the other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::harness::{Nodes, TestCluster, TestSocket, TestUser, eventually, next, open};

#[tokio::test]
async fn a_node_is_seen_drained_and_resumed_through_another() {
    let cluster = TestCluster::start(2).await;
    let (here, there) = (&cluster[0], &cluster[1]);
    let admin = here.user("root", "admin").await;
    let socket = there_socket(there).await;
    let list = async || admin.get("/api/v1/nodes").await.body["list"].clone();
    let told = list().await;
    assert_eq!((&told[0]["name"], &told[0]["self"]), (&json!("n1"), &json!(true)), "{told}");
    assert_eq!((&told[1]["name"], &told[1]["self"], &told[1]["state"]), (&json!("n2"), &json!(false), &json!("up")));
    eventually("its clients are told", || async { list().await[1]["clients"] == 1 }).await;

    let drained = admin.post("/api/v1/nodes/n2/drain", json!({})).await;
    assert_eq!((drained.status, &drained.body["state"]), (200, &json!("draining")), "{}", drained.text);
    assert_eq!(socket.ended().await.code, 4000);
    eventually("it is seen how far it is", || async {
        let node = list().await[1].clone();
        (&node["state"], &node["drain"]["movedAway"], &node["drain"]["remaining"])
            == (&json!("draining"), &json!(1), &json!(0))
    })
    .await;
    assert_eq!(there.anonymous("GET", "/health/ready", Value::Null).await.status, 503);
    assert_eq!(here.anonymous("GET", "/health/ready", Value::Null).await.status, 200);

    // Another node takes the client at once.
    let bob = there.login("bob").await;
    let offered = format!("rollcall.v1, bearer.{}", bob.token);
    let told = TestSocket::dial(there, &[("sec-websocket-protocol", &offered)], "").await.unwrap().ended().await;
    assert_eq!((told.code, &told.reason["retryAfterMs"]), (4013, &json!(500)));

    assert_eq!(admin.post("/api/v1/nodes/n2/resume", Value::Null).await.body["state"], "up");
    eventually("it is seen", || async { list().await[1]["state"] == "up" }).await;
    assert_eq!(admin.post("/api/v1/nodes/n3/drain", json!({})).await.status, 404);
    cluster.shutdown().await;
}

async fn there_socket(there: &crate::harness::TestApp) -> TestSocket {
    there.user("bob", "member").await.connect(there).await
}

/// Clients that come back to another node when theirs sends them away, after the time that it tells them.
#[derive(Default)]
struct Tabs {
    /// Where nodes take clients.
    doors: Mutex<Vec<Option<String>>>,
    open: AtomicUsize,
    /// Since the last look: when each was told to come back, after it was told, and when it was in.
    returns: Mutex<Vec<(Duration, Instant)>>,
}

impl Tabs {
    fn doors(&self, nodes: &Nodes) {
        *self.doors.lock().unwrap() = nodes.iter().map(|node| node.address()).collect();
    }

    async fn sit(self: Arc<Tabs>, token: String, mut number: usize) {
        let mut told = None;
        loop {
            let doors: Vec<String> = self.doors.lock().unwrap().iter().flatten().cloned().collect();
            let opened = open(&doors[number % doors.len()], &token).await;
            number = rand::random_range(0..doors.len());
            let Ok((mut stream, _)) = opened else {
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            self.returns.lock().unwrap().extend(told.map(|told| (told, Instant::now())));
            self.open.fetch_add(1, Ordering::SeqCst);
            let wait = loop {
                if let Err(wait) = next(&mut stream).await {
                    break wait;
                }
            };
            self.open.fetch_sub(1, Ordering::SeqCst);
            told = Some(wait);
            sleep(wait).await;
        }
    }

    async fn are_all_in(&self, tabs: usize) {
        eventually("everybody is there", || async { self.open.load(Ordering::SeqCst) == tabs }).await;
    }
}

/// No part of the time from the first to the last takes more than twice its share.
fn assert_flat(what: &str, mut times: Vec<f64>, parts: usize) {
    times.sort_unstable_by(f64::total_cmp);
    // Who was held up is not what this is about, and would make all parts long.
    times.truncate((times.len() * 19).div_ceil(20));
    let (first, last) = (times[0], times[times.len() - 1]);
    let mut counts = vec![0; parts];
    for time in &times {
        counts[(((time - first) / (last - first) * parts as f64) as usize).min(parts - 1)] += 1;
    }
    assert!(last > first && counts.iter().all(|count| count * parts <= 2 * times.len()), "{what}: {counts:?}");
}

#[tokio::test]
async fn in_a_rolling_restart_the_clients_of_each_node_come_to_the_others_at_a_flat_rate_with_their_logins() {
    const LOGINS: usize = 48;
    let mut nodes = Nodes::with(&[("PRESENCE__GRACE", "6s")]).await;
    let admin = nodes.user("root", "admin").await;
    let mut logins: Vec<TestUser> = Vec::new();
    for number in 0..LOGINS / 4 {
        let name = format!("user{number}");
        logins.push(nodes.user(&name, "member").await);
        for _ in 0..3 {
            logins.push(nodes.login(&nodes[0], &name).await);
        }
    }
    let (tabs, mut sitting) = (Arc::<Tabs>::default(), JoinSet::new());
    tabs.doors(&nodes);
    for (number, login) in logins.iter().flat_map(|login| [login, login]).enumerate() {
        sitting.spawn(tabs.clone().sit(login.token.clone(), number));
    }
    tabs.are_all_in(2 * LOGINS).await;
    for number in 0..nodes.len() {
        let beside = admin.at(&nodes[(number + 1) % nodes.len()]);
        let load = async {
            loop {
                let push = json!({"target": {"everyone": true}, "event": "order", "data": number});
                beside.post("/api/v1/push", push).await;
                sleep(Duration::from_millis(20)).await;
            }
        };
        let restart = async {
            tabs.doors.lock().unwrap()[number] = None;
            assert_eq!(nodes.terminate(number).await, 0);
            tabs.are_all_in(2 * LOGINS).await;
        };
        tokio::select! { () = restart => {}, () = load => {} }
        let returns = std::mem::take(&mut *tabs.returns.lock().unwrap());
        assert!(returns.len() >= LOGINS / 2, "{} came back from n{number}", returns.len());
        assert_flat("they are told to come back", returns.iter().map(|(told, _)| told.as_secs_f64()).collect(), 8);
        let first = returns[0].1;
        assert_flat("they come back", returns.iter().map(|(_, came)| (*came - first).as_secs_f64()).collect(), 3);
        nodes.start_again(number).await;
        nodes.whole().await;
        tabs.doors(&nodes);
    }
    for (login, node) in logins.iter().flat_map(|login| nodes.iter().map(move |node| (login, node))) {
        assert_eq!(login.at(node).get("/api/v1/auth/me").await.status, 200);
    }
}
