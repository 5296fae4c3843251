//! Tickets, locked names and limits, over three nodes on one database and one Redis: what one node has seen counts on all.

use futures_util::future::join_all;
use rollcall::config::{Config, ConnectionPolicy};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::harness::{PASSWORD, TestApp, TestCluster, TestSocket, TestUser, eventually};

const WRONG: &str = "a wrong password";

async fn trio() -> TestCluster {
    TestCluster::start(3).await
}

async fn without_redis(cluster: &mut TestCluster) {
    cluster.redis.stop().await;
    for node in cluster.iter() {
        eventually("it is noticed", || async { !node.services.cluster().unwrap().link.state().up }).await;
    }
}

async fn with_redis_again(cluster: &mut TestCluster) {
    cluster.redis.start_again().await;
    cluster.whole().await;
}

/// The status that a handshake with this ticket is answered.
async fn spend(node: &TestApp, ticket: &str) -> u16 {
    TestSocket::dial(node, &[], &format!("?ticket={ticket}")).await.err().unwrap_or(101)
}

async fn dial(user: &TestUser, node: &TestApp) -> Result<TestSocket, u16> {
    TestSocket::open(node, &[("authorization", &format!("Bearer {}", user.token))], "").await
}

#[tokio::test]
async fn a_ticket_of_one_node_opens_one_socket_on_any() {
    let cluster = trio().await;
    let bob = cluster[0].user("bob", "member").await;
    let ticket = bob.ticket().await;
    let kept: Vec<String> = cluster.redis.ask("KEYS", &["rollcall:ticket:*"]).await;
    assert_eq!(kept.len(), 1);
    assert!(!kept[0].contains(&ticket), "only its hash is kept");
    let wait: i64 = cluster.redis.ask("PTTL", &[kept[0].as_str()]).await;
    assert!((1..=30_000).contains(&wait), "{wait}");
    assert_eq!((spend(&cluster[1], &ticket).await, spend(&cluster[2], &ticket).await), (101, 401));
    assert_eq!(spend(&cluster[1], &ticket).await, 401);
    let ticket = bob.ticket().await;
    let mut statuses = join_all(cluster.iter().map(|node| spend(node, &ticket))).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [101, 401, 401], "spent on three at once");
    for invented in ["x", &"A".repeat(43), &"A".repeat(5_000)] {
        assert_eq!(spend(&cluster[1], invented).await, 401);
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_ticket_made_while_redis_is_away_opens_one_socket_before_and_after_it_is_back() {
    let mut cluster = trio().await;
    let bob = cluster[0].user("bob", "member").await;
    let lost = bob.ticket().await;
    without_redis(&mut cluster).await;
    assert_eq!(spend(&cluster[1], &lost).await, 401, "it was in Redis and nowhere else");
    let (first, second, third) = (bob.ticket().await, bob.ticket().await, bob.ticket().await);
    let mut statuses = join_all(cluster.iter().map(|node| spend(node, &third))).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [101, 401, 401], "spent on three at once");
    assert_eq!((spend(&cluster[1], &first).await, spend(&cluster[2], &first).await), (101, 401));
    with_redis_again(&mut cluster).await;
    assert_eq!(spend(&cluster[2], &first).await, 401);
    assert_eq!((spend(&cluster[2], &second).await, spend(&cluster[1], &second).await), (101, 401));
    assert_eq!(spend(&cluster[1], &bob.ticket().await).await, 101);
    cluster.shutdown().await;
}

async fn wrong(node: &TestApp) -> u16 {
    node.try_login("bob", WRONG).await.status
}

/// How each node answers the right password.
async fn right(cluster: &TestCluster) -> Vec<u16> {
    join_all(cluster.iter().map(async |node| node.try_login("Bob ", PASSWORD).await.status)).await
}

async fn is_shown_locked(cluster: &TestCluster, admin: &TestUser, id: &str) -> Vec<bool> {
    let shown = async |node| {
        let users = admin.at(node).get("/api/v1/users").await.body;
        let bob = users["list"].as_array().unwrap().iter().find(|user| user["id"] == id).unwrap().clone();
        bob["lockedUntil"].is_string()
    };
    join_all(cluster.iter().map(shown)).await
}

#[tokio::test]
async fn wrong_passwords_on_several_nodes_lock_a_name_on_all_until_one_unlocks_it() {
    let cluster = trio().await;
    let admin = cluster[0].user("root", "admin").await;
    let id = cluster[0].account("bob", "member").await;
    for node in [0, 1, 2, 1] {
        assert_eq!(wrong(&cluster[node]).await, 401);
    }
    assert_eq!(is_shown_locked(&cluster, &admin, &id).await, [false; 3]);
    assert_eq!(wrong(&cluster[0]).await, 403);
    assert_eq!(right(&cluster).await, [403; 3]);
    assert_eq!(is_shown_locked(&cluster, &admin, &id).await, [true; 3]);
    cluster.redis.flush().await;
    assert_eq!(right(&cluster).await, [403; 3], "whatever Redis forgets");
    let unlock = format!("/api/v1/users/{id}/unlock");
    assert_eq!(admin.at(&cluster[2]).post(&unlock, json!({})).await.status, 204);
    assert_eq!(right(&cluster).await, [200; 3]);
    assert_eq!(is_shown_locked(&cluster, &admin, &id).await, [false; 3]);
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_right_password_on_one_node_forgets_the_wrong_ones_of_all() {
    let cluster = trio().await;
    cluster[0].account("bob", "member").await;
    for _ in 0..3 {
        for node in [1, 2, 1, 2] {
            assert_eq!(wrong(&cluster[node]).await, 401);
        }
        assert_eq!(cluster[0].try_login("bob", PASSWORD).await.status, 200);
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn guesses_sent_to_all_nodes_at_once_get_no_more_answers_than_one_after_the_other() {
    let cluster = trio().await;
    cluster[0].account("bob", "member").await;
    let guesses = (0..30).map(|number| wrong(&cluster[number % 3]));
    let statuses = join_all(guesses).await;
    assert!(statuses.iter().filter(|status| **status == 401).count() <= 4, "{statuses:?}");
    assert_eq!(right(&cluster).await, [403; 3]);
    cluster.shutdown().await;
}

#[tokio::test]
async fn redis_away_opens_no_door_to_guessers() {
    let mut cluster = trio().await;
    let admin = cluster[0].user("root", "admin").await;
    let id = cluster[0].account("bob", "member").await;
    without_redis(&mut cluster).await;
    for node in [0, 1, 2] {
        assert_eq!(wrong(&cluster[node]).await, 401);
    }
    with_redis_again(&mut cluster).await;
    assert_eq!((wrong(&cluster[0]).await, wrong(&cluster[1]).await), (401, 403), "both count");
    assert_eq!(right(&cluster).await, [403; 3]);
    without_redis(&mut cluster).await;
    assert_eq!(right(&cluster).await, [403; 3]);
    let unlock = format!("/api/v1/users/{id}/unlock");
    assert_eq!(admin.at(&cluster[1]).post(&unlock, json!({})).await.status, 204);
    assert_eq!(right(&cluster).await, [200; 3]);
    for node in [0, 1, 2, 0] {
        assert_eq!(wrong(&cluster[node]).await, 401);
    }
    assert_eq!(wrong(&cluster[1]).await, 403);
    with_redis_again(&mut cluster).await;
    assert_eq!(right(&cluster).await, [403; 3]);
    cluster.shutdown().await;
}

/// How many sockets of the user a node knows of.
async fn sockets(node: &TestApp, admin: &TestUser, user: &TestUser) -> Value {
    let answer = admin.at(node).post("/api/v1/online/lookup", json!({"users": [user.id]})).await;
    answer.body["users"][&user.id]["clients"].clone()
}

async fn all_know(cluster: &TestCluster, admin: &TestUser, user: &TestUser, count: usize) {
    eventually("every node knows the sockets", || async {
        join_all(cluster.iter().map(|node| sockets(node, admin, user))).await.iter().all(|known| *known == count)
    })
    .await;
}

#[tokio::test]
async fn a_user_has_so_many_sockets_on_all_nodes_together() {
    let mut cluster = TestCluster::with(3, |config| config.socket.per_user = 3).await;
    let admin = cluster[0].user("root", "admin").await;
    let bob = cluster[0].user("bob", "member").await;
    let mut first = bob.connect(&cluster[0]).await;
    let (mut second, third) = (bob.connect(&cluster[1]).await, bob.connect(&cluster[2]).await);
    all_know(&cluster, &admin, &bob, 3).await;
    for node in cluster.iter() {
        assert_eq!(dial(&bob, node).await.err(), Some(409));
    }
    third.close().await;
    all_know(&cluster, &admin, &bob, 2).await;
    let mut third = dial(&bob, &cluster[0]).await.expect("a place is free");
    for socket in [&mut first, &mut second, &mut third] {
        assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    }
    // Nobody can be asked: each node has its own.
    without_redis(&mut cluster).await;
    let (alone, more) = (dial(&bob, &cluster[2]).await, dial(&bob, &cluster[0]).await);
    assert!(alone.is_ok() && more.is_ok());
    assert_eq!(dial(&bob, &cluster[0]).await.err(), Some(409));
    drop((first, second, third, alone, more));
    cluster.shutdown().await;
}

#[tokio::test]
async fn sockets_that_open_on_all_nodes_at_once_are_as_many_as_allowed_a_moment_later() {
    let cluster = TestCluster::with(3, |config| config.socket.per_user = 4).await;
    let admin = cluster[0].user("root", "admin").await;
    let bob = cluster[0].user("bob", "member").await;
    let offered = format!("rollcall.v1, bearer.{}", bob.token);
    let headers = [("sec-websocket-protocol", offered.as_str())];
    let dialed = join_all((0..12).map(|number| TestSocket::dial(&cluster[number % 3], &headers, ""))).await;
    all_know(&cluster, &admin, &bob, 4).await;
    let ended = dialed.into_iter().map(|socket| TaskTracker::new().spawn(socket.unwrap().ended()));
    let ended: Vec<_> = ended.collect();
    eventually("eight are closed", || async { ended.iter().filter(|ended| ended.is_finished()).count() == 8 }).await;
    for ended in ended {
        if ended.is_finished() {
            let ended = ended.await.unwrap();
            assert_eq!((ended.code, &ended.reason["reason"]), (4409, &json!("replaced")));
        } else {
            ended.abort();
        }
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn the_oldest_socket_makes_room_on_whichever_node_it_is() {
    let replace = |config: &mut Config| {
        config.socket.per_user = 2;
        config.socket.per_user_policy = ConnectionPolicy::Replace;
    };
    let cluster = TestCluster::with(3, replace).await;
    let bob = cluster[0].user("bob", "member").await;
    let oldest = bob.connect(&cluster[1]).await;
    let (mut second, mut third) = (bob.connect(&cluster[2]).await, bob.connect(&cluster[0]).await);
    let ended = oldest.ended().await;
    assert_eq!((ended.code, &ended.reason["reason"]), (4409, &json!("replaced")));
    let mut fourth = bob.connect(&cluster[0]).await;
    assert_eq!(second.ended().await.code, 4409);
    for socket in [&mut third, &mut fourth] {
        assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    }
    second = bob.connect(&cluster[1]).await;
    assert_eq!(third.ended().await.code, 4409);
    drop((second, fourth));
    cluster.shutdown().await;
}

#[tokio::test]
async fn handshakes_of_a_user_count_on_all_nodes() {
    let mut cluster = TestCluster::with(3, |config| config.socket.handshakes_per_user = 10).await;
    let (bob, eve) = (cluster[0].user("bob", "member").await, cluster[0].user("eve", "member").await);
    for user in [&bob, &bob, &bob, &bob, &bob, &bob, &bob, &bob, &bob, &bob, &eve, &eve] {
        dial(user, &cluster[0]).await.unwrap().close().await;
    }
    for node in [1, 2] {
        // One who came after all of these.
        eventually("it was told", || async { cluster[node].services.limits().handshakes.len() == 2 }).await;
        let passed = until_refused(async || dial(&bob, &cluster[node]).await.err().unwrap_or(101), 101).await;
        assert!(passed < 5, "{passed} of 10 passed on the other node");
        assert!(dial(&eve, &cluster[node]).await.is_ok(), "a neighbour is not disturbed");
    }
    without_redis(&mut cluster).await;
    let passed = until_refused(async || dial(&eve, &cluster[2]).await.err().unwrap_or(101), 101).await;
    assert!((1..=10).contains(&passed), "each node counts for itself, and so {passed} passed");
    cluster.shutdown().await;
}

/// How often a call is answered like this before it is answered 429.
async fn until_refused(call: impl AsyncFn() -> u16, status: u16) -> usize {
    let mut passed = 0;
    loop {
        match call().await {
            429 => return passed,
            other => assert_eq!(other, status),
        }
        passed += 1;
        assert!(passed < 100, "nobody is refused");
    }
}

#[tokio::test]
async fn logins_failed_handshakes_and_wrong_keys_of_an_address_count_on_all_nodes() {
    let cluster = TestCluster::with(3, |config| {
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.server.insecure_http = true;
        config.auth.logins_per_address = 10;
        config.auth.failures_per_name = 0;
        config.auth.failed_keys = 10;
        config.socket.failed_handshakes = 10;
    })
    .await;
    let key = format!("rk_{}", "a".repeat(40));
    let call = async |node: &TestApp, what: usize, ip: &str| match what {
        0 => {
            let body = json!({"username": "nobody", "password": WRONG});
            let login = node.http.post(node.url("/api/v1/auth/login")).header("x-forwarded-for", ip).json(&body);
            login.send().await.unwrap().status().as_u16()
        }
        1 => {
            let headers = [("authorization", "Bearer nonsense"), ("x-forwarded-for", ip)];
            TestSocket::dial(node, &headers, "").await.err().unwrap_or(101)
        }
        _ => {
            let request = node.http.get(node.url("/api/v1/online/counts")).bearer_auth(&key);
            request.header("x-forwarded-for", ip).send().await.unwrap().status().as_u16()
        }
    };
    for what in 0..3 {
        let known = || {
            let limits = cluster[1].services.limits();
            [limits.logins.len(), limits.failed_handshakes.len(), limits.failed_keys.len()][what]
        };
        for _ in 0..10 {
            assert_eq!(call(&cluster[0], what, "192.0.2.1").await, 401, "{what}");
        }
        for _ in 0..2 {
            assert_eq!(call(&cluster[0], what, "192.0.2.2").await, 401, "{what}");
        }
        eventually(&format!("{what} was told"), || async { known() == 2 }).await;
        let passed = until_refused(async || call(&cluster[1], what, "192.0.2.1").await, 401).await;
        assert!(passed < 5, "{passed} of 10 passed on the other node");
        assert_eq!(call(&cluster[1], what, "192.0.2.2").await, 401);
    }
    cluster.shutdown().await;
}
