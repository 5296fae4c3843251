//! Pushes, kicks and rights know no node.

use std::time::Duration;

use rollcall::cluster::{Channel, Link, Topic, hash};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::{Answer, Redis, TestApp, TestCluster, TestSocket, TestUser, eventually};

async fn push(caller: &TestUser, target: Value, data: impl Into<Value>) -> Answer {
    let answer = caller.post("/api/v1/push", json!({"target": target, "event": "order", "data": data.into()})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// What came up to the push of `end`.
async fn until_end(socket: &mut TestSocket) -> Vec<Value> {
    let mut seen = Vec::new();
    loop {
        match socket.push("order").await {
            data if data == "end" => return seen,
            data => seen.push(data),
        }
    }
}

/// Messages that the node was woken for.
fn heard(node: &TestApp, topic: Topic) -> u64 {
    let link = &node.services.cluster().unwrap().link;
    link.received().find(|(heard, _)| *heard == topic).unwrap().1
}

#[tokio::test]
async fn what_another_node_pushes_once_a_client_is_connected_reaches_it() {
    let cluster = TestCluster::start(2).await;
    let admin = cluster[0].user("root", "admin").await;
    cluster[0].account("bob", "member").await;
    let bob = cluster[1].login("bob").await;
    for number in 0..20 {
        let mut socket = bob.connect(&cluster[1]).await;
        let answer = push(&admin, json!({"users": [bob.id]}), number).await;
        assert_eq!((&answer.body["delivered"], &answer.body["complete"]), (&json!(1), &json!(true)), "{}", answer.text);
        assert_eq!(socket.push("order").await, number);
        let room = format!("room {number}");
        socket.ask("join", json!({"id": room})).await;
        let answer = push(&admin, json!({"rooms": [room]}), "in").await;
        assert_eq!((&answer.body["delivered"], &answer.body["complete"]), (&json!(1), &json!(true)), "{}", answer.text);
        assert_eq!(socket.push("order").await, "in");
        socket.close().await;
    }
    let channel = format!("rollcall:user:{:016x}", hash(&bob.id));
    let subscribers = || async { cluster.redis.ask::<(String, usize)>("PUBSUB", &["NUMSUB", &channel]).await.1 };
    eventually("nobody listens for who is gone", || async { subscribers().await == 0 }).await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_user_who_comes_and_goes_is_reached_when_here() {
    let cluster = TestCluster::start(2).await;
    let admin = cluster[0].user("root", "admin").await;
    cluster[0].account("bob", "member").await;
    let bob = cluster[1].login("bob").await;
    let churn = || async {
        for _ in 0..25 {
            let socket = bob.connect(&cluster[1]).await;
            socket.close().await;
        }
    };
    tokio::join!(churn(), churn(), churn());
    let mut last = bob.connect(&cluster[1]).await;
    push(&admin, json!({"users": [bob.id]}), 1).await;
    assert_eq!(last.push("order").await, 1);
    drop(last);
    cluster.shutdown().await;
}

#[tokio::test]
async fn every_kind_of_target_reaches_whom_it_names_on_every_node_and_nobody_else() {
    let cluster = TestCluster::start(3).await;
    let admin = cluster[0].user("root", "admin").await;
    cluster[0].account("bob", "member").await;
    cluster[0].account("eve", "operator").await;
    let (bob, eve) = (cluster[1].login("bob").await, cluster[2].login("eve").await);
    let mut here = bob.connect(&cluster[0]).await;
    let mut tab = bob.connect(&cluster[1]).await;
    let mut neighbour = eve.connect(&cluster[2]).await;
    for socket in [&mut tab, &mut neighbour] {
        socket.ask("join", json!({"id": "lobby"})).await;
    }
    tab.ask("join", json!({"id": "bar"})).await;
    let many: Vec<String> = (1_000..1_020).map(|id| id.to_string()).chain([bob.id.clone()]).collect();
    for (number, target, users, clients) in [
        (1, json!({"users": [bob.id]}), 1, 2),
        (2, json!({"roles": ["member"]}), 1, 2),
        (3, json!({"rooms": ["lobby"]}), 2, 2),
        (4, json!({"clients": [tab.id]}), 1, 1),
        (5, json!({"everyone": true}), 2, 3),
        (6, json!({"users": ["999"]}), 0, 0),
        (7, json!({"rooms": ["lobby", "bar", "nowhere"]}), 2, 2),
        (8, json!({"users": [bob.id, eve.id]}), 2, 3),
        (9, json!({"users": many}), 1, 2),
        (10, json!({"clients": []}), 0, 0),
    ] {
        let answer = push(&admin, target, number).await.body;
        assert_eq!(
            (&answer["targeted"], &answer["delivered"], &answer["dropped"], &answer["complete"]),
            (&json!({"users": users, "clients": clients}), &json!(clients), &json!(0), &json!(true)),
            "{number}: {answer}"
        );
        assert_eq!(answer["nodesAnswered"], answer["nodesExpected"], "{number}: {answer}");
    }
    push(&admin, json!({"everyone": true}), "end").await;
    assert_eq!(until_end(&mut here).await, [1, 2, 5, 8, 9]);
    assert_eq!(until_end(&mut tab).await, [1, 2, 3, 4, 5, 7, 8, 9]);
    assert_eq!(until_end(&mut neighbour).await, [3, 5, 7, 8]);
    drop((here, tab, neighbour));
    cluster.shutdown().await;
}

#[tokio::test]
async fn messages_of_a_sender_arrive_in_order_under_load() {
    let cluster = TestCluster::start(3).await;
    let root = cluster[0].user("root", "admin").await;
    let other = cluster[2].login("root").await;
    cluster[0].account("bob", "member").await;
    let bob = cluster[1].login("bob").await;
    let mut socket = bob.connect(&cluster[1]).await;
    socket.ask("join", json!({"id": "lobby"})).await;
    let targets = [
        json!({"users": [bob.id]}),
        json!({"everyone": true}),
        json!({"rooms": ["lobby"]}),
        json!({"roles": ["member"]}),
        json!({"users": [bob.id, "1000", "1001"]}),
    ];
    let sends = |caller: TestUser, name: &'static str| {
        let targets = &targets;
        async move {
            for number in 0..100 {
                push(&caller, targets[number % targets.len()].clone(), json!([name, number])).await;
            }
        }
    };
    tokio::join!(sends(root.clone(), "a"), sends(other.clone(), "c"), sends(root.clone(), "b"));
    push(&root, json!({"users": [bob.id]}), "end").await;
    let seen = until_end(&mut socket).await;
    for name in ["a", "b", "c"] {
        let numbers: Vec<_> =
            seen.iter().filter(|data| data[0] == name).map(|data| data[1].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "of {name}");
    }
    drop(socket);
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_node_without_receivers_is_not_woken() {
    let cluster = TestCluster::start(3).await;
    let admin = cluster[0].user("root", "admin").await;
    cluster[0].account("bob", "member").await;
    let bob = cluster[1].login("bob").await;
    let mut socket = bob.connect(&cluster[1]).await;
    socket.ask("join", json!({"id": "lobby"})).await;
    let woken = |node: usize| heard(&cluster[node], Topic::Delivery);
    let before = (woken(1), woken(2));
    for number in 0..10 {
        for target in [json!({"users": [bob.id]}), json!({"rooms": ["lobby"]})] {
            let answer = push(&admin, target, number).await.body;
            assert_eq!((&answer["nodesAnswered"], &answer["nodesExpected"]), (&json!(2), &json!(2)));
        }
    }
    assert_eq!((woken(1), woken(2)), (before.0 + 20, before.1));
    let answer = push(&admin, json!({"everyone": true}), "end").await.body;
    assert_eq!((&answer["nodesAnswered"], &answer["nodesExpected"]), (&json!(3), &json!(3)));
    drop(socket);
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_kick_from_another_node_closes_every_tab_and_says_how_many() {
    let cluster = TestCluster::start(3).await;
    let admin = cluster[0].user("root", "admin").await;
    cluster[0].account("bob", "member").await;
    let (bob, again) = (cluster[1].login("bob").await, cluster[2].login("bob").await);
    let tabs = [bob.connect(&cluster[1]).await, bob.connect(&cluster[2]).await, again.connect(&cluster[2]).await];
    let path = format!("/api/v1/online/users/{}", bob.id);
    let kick = admin.delete(&path, json!({"reason": "Closing time."})).await;
    assert_eq!(
        (kick.status, &kick.body["complete"], &kick.body["closed"]),
        (200, &json!(true), &json!(3)),
        "{}",
        kick.text
    );
    assert_eq!(kick.body["pending"], json!([]));
    for tab in tabs {
        let ended = tab.ended().await;
        assert_eq!((ended.code, &ended.reason["text"]), (4410, &json!("Closing time.")));
        assert_eq!(ended.frames.last().unwrap()["event"], "kick");
    }
    let (stays, goes) = (cluster[1].login("bob").await, cluster[2].login("bob").await);
    let (mut stays_open, closes) = (stays.connect(&cluster[1]).await, goes.connect(&cluster[2]).await);
    let told = (heard(&cluster[1], Topic::Rows), heard(&cluster[2], Topic::Rows));
    let kick = admin.delete(&format!("/api/v1/online/sessions/{}", goes.session), json!({})).await;
    assert_eq!((kick.status, &kick.body["closed"]), (200, &json!(1)), "{}", kick.text);
    // They need not wait until it is time to look for new rows.
    assert_eq!((heard(&cluster[1], Topic::Rows), heard(&cluster[2], Topic::Rows)), (told.0 + 1, told.1 + 1));
    assert_eq!(closes.ended().await.code, 4410);
    assert_eq!(stays_open.ask("ping", json!({})).await["code"], 0);
    drop(stays_open);
    cluster.shutdown().await;
}

#[tokio::test]
async fn new_rights_hold_on_every_node() {
    let cluster = TestCluster::start(2).await;
    let admin = cluster[0].user("root", "admin").await;
    cluster[0].account("bob", "member").await;
    let bob = cluster[1].login("bob").await;
    let mut socket = bob.connect(&cluster[1]).await;
    let patch = admin.patch(&format!("/api/v1/users/{}", bob.id), json!({"roles": ["operator"]})).await;
    assert_eq!(patch.status, 200, "{}", patch.text);
    let changed = socket.push("auth/changed").await;
    assert!(changed["gained"].as_array().unwrap().contains(&json!("online:kick")), "{changed}");
    drop(socket);
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_node_that_does_not_answer_makes_an_answer_incomplete() {
    let cluster = TestCluster::with(2, |config| config.cluster.answer_timeout = Duration::from_secs(1)).await;
    let admin = cluster[0].user("root", "admin").await;
    let bob = cluster[0].user("bob", "member").await;
    let mut socket = bob.connect(&cluster[1]).await;
    let mute = Link::new(&cluster.redis.url(), "rollcall", Uuid::now_v7()).unwrap();
    let channel = Channel::User(hash(&bob.id));
    mute.on_connect(move || vec![channel]);
    let running = TaskTracker::new().spawn(mute.clone().run());
    mute.changes().wait_for(|state| state.up).await.unwrap();
    let answer = push(&admin, json!({"users": [bob.id]}), 1).await.body;
    assert_eq!((&answer["delivered"], &answer["complete"]), (&json!(1), &json!(false)), "{answer}");
    assert_eq!((&answer["nodesAnswered"], &answer["nodesExpected"]), (&json!(2), &json!(3)), "{answer}");
    assert_eq!(socket.push("order").await, 1);
    let kick = admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({})).await;
    assert_eq!(
        (kick.status, &kick.body["complete"], &kick.body["closed"]),
        (202, &json!(false), &json!(1)),
        "{}",
        kick.text
    );
    assert_eq!(socket.ended().await.code, 4410);
    running.abort();
    cluster.shutdown().await;
}

#[tokio::test]
async fn without_redis_a_node_serves_its_own_and_finds_the_others_again() {
    let mut cluster = TestCluster::start(2).await;
    let admin = cluster[0].user("root", "admin").await;
    let bob = cluster[0].user("bob", "member").await;
    let (mut here, mut there) = (bob.connect(&cluster[0]).await, bob.connect(&cluster[1]).await);
    there.ask("join", json!({"id": "lobby"})).await;
    let ready = |node: usize| cluster[node].anonymous("GET", "/health/ready", Value::Null);
    assert_eq!(ready(0).await.body["status"], "ready");
    cluster.redis.stop().await;
    for node in [0, 1] {
        eventually("it is noticed", || async { !cluster[node].services.cluster().unwrap().link.state().up }).await;
        let ready = cluster[node].anonymous("GET", "/health/ready", Value::Null).await;
        assert_eq!((ready.status, &ready.body["status"]), (200, &json!("degraded")));
    }
    let answer = push(&admin, json!({"users": [bob.id]}), "alone").await.body;
    assert_eq!((&answer["delivered"], &answer["complete"]), (&json!(1), &json!(false)), "{answer}");
    assert_eq!((&answer["nodesAnswered"], &answer["nodesExpected"]), (&json!(1), &json!(2)), "{answer}");
    assert_eq!(here.push("order").await, "alone");
    let mut late = bob.connect(&cluster[1]).await;
    cluster.redis.start_again().await;
    cluster.whole().await;
    cluster.redis.flush().await;
    for target in [json!({"users": [bob.id]}), json!({"rooms": ["lobby"]})] {
        let answer = push(&admin, target, "again").await.body;
        assert_eq!(answer["complete"], true, "{answer}");
    }
    push(&admin, json!({"everyone": true}), "end").await;
    assert_eq!(until_end(&mut here).await, ["again"]);
    assert_eq!(until_end(&mut there).await, ["again", "again"]);
    assert_eq!(until_end(&mut late).await, ["again"]);
    drop((here, there, late));
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_message_of_an_unknown_version_is_skipped_and_counted() {
    let cluster = TestCluster::with(2, |config| config.metrics.listen = "127.0.0.1:0".to_owned()).await;
    let admin = cluster[0].user("root", "admin").await;
    let skipped = |node: usize| cluster[node].services.cluster().unwrap().link.skipped();
    let _: i64 = cluster.redis.ask("PUBLISH", &["rollcall:all", "\u{2}of a later release"]).await;
    eventually("it is counted", || async { skipped(0) == 1 && skipped(1) == 1 }).await;
    let metrics = cluster[0].http.get(format!("http://{}/metrics", cluster[0].metrics.unwrap())).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("rollcall_cluster_skipped_total 1\n"), "{metrics}");
    let answer = push(&admin, json!({"everyone": true}), 1).await.body;
    assert_eq!((&answer["nodesAnswered"], &answer["complete"]), (&json!(2), &json!(true)));
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_second_node_of_a_name_is_refused_and_a_stopped_one_gives_its_name_back() {
    let cluster = TestCluster::start(2).await;
    assert_eq!(
        cluster.refusal("n1").await,
        "Another node calls itself \"n1\" and is alive; set cluster.node to a name of this node's own."
    );
    let names = ["rollcall:node:n1", "rollcall:node:n2"];
    assert_eq!(cluster.redis.ask::<usize>("EXISTS", &names).await, 2);
    let redis = cluster.shutdown().await;
    eventually("their names are free", || async { redis.ask::<usize>("EXISTS", &names).await == 0 }).await;
}

#[tokio::test]
async fn a_node_that_said_goodbye_is_not_waited_for() {
    let mut cluster = TestCluster::start(2).await;
    let admin = cluster[0].user("root", "admin").await;
    let answer = push(&admin, json!({"everyone": true}), 1).await.body;
    assert_eq!((&answer["nodesExpected"], &answer["complete"]), (&json!(2), &json!(true)));
    cluster.stop(1).await;
    eventually("the other is gone", || async {
        let answer = push(&admin, json!({"everyone": true}), 1).await.body;
        (&answer["nodesExpected"], &answer["complete"]) == (&json!(1), &json!(true))
    })
    .await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_node_that_lost_its_name_sends_its_clients_away_and_ends() {
    let mut cluster = TestCluster::start(1).await;
    let bob = cluster[0].user("bob", "member").await;
    let socket = bob.connect(&cluster[0]).await;
    let _other = Namesake::take(&cluster.redis, "n1").await;
    let ended = socket.ended().await;
    assert_eq!((ended.code, &ended.reason["reason"]), (4000, &json!("restart")));
    cluster.stop(0).await;
}

/// Another process of a name, which answers that it is there.
struct Namesake([JoinHandle<()>; 2]);

impl Namesake {
    async fn take(redis: &Redis, name: &str) -> Namesake {
        let link = Link::new(&redis.url(), "rollcall", Uuid::now_v7()).unwrap();
        let mut mailbox = link.mailbox(Topic::Members);
        let running = TaskTracker::new().spawn(link.clone().run());
        link.changes().wait_for(|state| state.up).await.unwrap();
        let holder = link.generation().to_string();
        link.put(&format!("node:{name}"), holder.as_bytes(), Duration::from_secs(60)).await.unwrap();
        let answering = TaskTracker::new().spawn(async move {
            while let Some(message) = mailbox.next().await {
                let _ = link.send(Channel::Node(message.origin), Topic::Members, &json!({"kind": "here"}), b"").await;
            }
        });
        Namesake([running, answering])
    }
}

impl Drop for Namesake {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
