//! The table of failures in `docs/cluster.md`, row by row over three nodes: who stays connected, who can log in, whether pushes arrive
//! and kicks hold, what one is told, and how it heals. What nodes lose is here; what is on their disks is in `cluster_files`.

use std::time::Duration;

use rollcall::config::Secret;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Door, Nodes, PASSWORD, Proxy, TestCluster, TestSocket, TestUser, eventually, shared_database,
};

/// A user with a socket on each node.
pub(crate) struct Sitter {
    pub(crate) user: TestUser,
    pub(crate) sockets: Vec<TestSocket>,
}

impl Sitter {
    pub(crate) async fn on<'a, D: Door + 'a>(nodes: impl Iterator<Item = &'a D>, user: &TestUser) -> Sitter {
        let mut sockets = Vec::new();
        for node in nodes {
            sockets.push(user.connect(node).await);
        }
        Sitter { user: user.clone(), sockets }
    }

    /// Every socket is still served.
    pub(crate) async fn stays(&mut self) {
        for socket in &mut self.sockets {
            assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
        }
    }

    /// A push through this caller's node reaches all these sockets; whether it says that there are no others.
    pub(crate) async fn is_pushed(&mut self, caller: &TestUser) -> bool {
        let pushed = push(caller, &self.user).await;
        let (reached, complete) = delivered(&pushed);
        assert_eq!((pushed.status, reached), (200, self.sockets.len() as u64), "{}", pushed.text);
        for socket in &mut self.sockets {
            socket.push("order").await;
        }
        complete
    }

    /// A kick through this caller's node ends all sockets, and the login.
    pub(crate) async fn goes_with_a_kick<'a, D: Door + 'a>(
        self,
        caller: &TestUser,
        nodes: impl Iterator<Item = &'a D>,
    ) {
        let kicked = kick(caller, &self.user).await;
        assert_eq!((kicked.status, &kicked.body["complete"]), (200, &json!(true)), "{}", kicked.text);
        for socket in self.sockets {
            assert_eq!(socket.ended().await.code, 4410);
        }
        for node in nodes {
            assert_eq!(self.user.at(node).get("/api/v1/auth/me").await.status, 401);
        }
    }
}

pub(crate) async fn push(caller: &TestUser, to: &TestUser) -> Answer {
    caller.post("/api/v1/push", json!({"target": {"users": [to.id]}, "event": "order", "data": 1})).await
}

/// How many got a push, and whether that is all.
fn delivered(pushed: &Answer) -> (u64, bool) {
    (pushed.body["delivered"].as_u64().unwrap_or_default(), pushed.body["complete"] == true)
}

pub(crate) async fn kick(caller: &TestUser, whom: &TestUser) -> Answer {
    caller.delete(&format!("/api/v1/online/users/{}", whom.id), json!({"reason": "spam"})).await
}

/// What a login is answered.
pub(crate) async fn login(node: &impl Door, username: &str) -> u16 {
    let body = json!({"username": username, "password": PASSWORD});
    let answer = node.http().post(node.url("/api/v1/auth/login")).json(&body).send().await.unwrap();
    answer.status().as_u16()
}

/// What `/health/ready` says.
pub(crate) async fn ready(node: &impl Door) -> (u16, Value) {
    let answer = node.http().get(node.url("/health/ready")).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    (status, body[if status == 200 { "status" } else { "code" }].clone())
}

/// By name: the state of each node as the page of nodes shows it.
async fn states(caller: &TestUser) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let list = caller.get("/api/v1/nodes").await.body["list"].clone();
    list.as_array().unwrap().iter().map(|node| (word(&node["name"]), word(&node["state"]))).collect()
}

fn are(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test]
async fn without_the_database_nobody_logs_in_sockets_stay_for_a_while_and_all_is_well_when_it_is_back() {
    let (wire, url) = Proxy::before(&shared_database().await).await;
    let (fence, close) = (Duration::from_secs(1_000), Duration::from_secs(6_000));
    let cluster = TestCluster::with(3, |config| {
        config.database.url = Secret::new(url.clone());
        config.database.timeout = Duration::from_secs(3);
        config.auth.follow_interval = Duration::from_millis(50);
        (config.cluster.fence, config.cluster.fence_close) = (fence, close);
        // Clocks are moved, and nobody is to be missed for that.
        (config.cluster.suspect, config.cluster.dead) = (10 * close, 20 * close);
        (config.auth.remember_sessions, config.auth.access_ttl) = (10 * close, 10 * close);
        config.socket.ping_interval = 10 * close;
    });
    let cluster = cluster.await;
    let (admin, ann) = (cluster[0].user("root", "admin").await, cluster[0].user("ann", "member").await);
    let mut anns = Sitter::on(cluster.iter(), &ann).await;
    let mut page = admin.connect(&cluster[0]).await;
    assert_eq!(page.ask("online/subscribe", json!({})).await["code"], 0);

    wire.cut();
    anns.stays().await;
    for node in cluster.iter() {
        node.clock.advance(Duration::from_secs(2));
        assert_eq!(login(node, "ann").await, 503);
        assert_eq!(ready(node).await, (503, json!("database")));
        let admin = admin.at(node);
        let list = admin.get("/api/v1/online/clients").await;
        for refused in [list, push(&admin, &ann).await, kick(&admin, &ann).await] {
            let told = "The server cannot reach its data right now; try again in a moment.";
            assert_eq!((refused.status, &refused.body["detail"]), (503, &json!(told)));
        }
    }
    // Who was there a moment ago may come, and what nodes tell by themselves arrives.
    anns.sockets.push(ann.connect(&cluster[2]).await);
    let came = json!(anns.sockets[3].id);
    loop {
        let diff = page.push("online/diff").await;
        if diff["joined"].as_array().into_iter().flatten().any(|row| row["id"] == came) {
            break;
        }
    }
    cluster.iter().for_each(|node| node.clock.advance(fence));
    let bearer = format!("Bearer {}", ann.token);
    for node in cluster.iter() {
        assert_eq!(TestSocket::dial(node, &[("authorization", &bearer)], "").await.err(), Some(503));
    }
    anns.stays().await;
    cluster.iter().for_each(|node| node.clock.advance(close));
    for socket in anns.sockets.drain(..).chain([page]) {
        let ended = socket.ended().await;
        assert_eq!((ended.code, ended.reason["retryAfterMs"].is_u64()), (4013, true), "{ended:?}");
    }

    wire.resume();
    for node in cluster.iter() {
        eventually("it is ready", || async { ready(node).await == (200, json!("ready")) }).await;
        eventually("logins are taken", || async { login(node, "ann").await == 200 }).await;
    }
    let mut anns = Sitter::on(cluster.iter(), &ann).await;
    assert!(anns.is_pushed(&admin).await);
    anns.goes_with_a_kick(&admin, cluster.iter()).await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn without_redis_everybody_logs_in_kicks_hold_everywhere_and_pushes_reach_the_node_that_was_asked() {
    let mut cluster = TestCluster::with(3, |config| config.auth.follow_interval = Duration::from_millis(100)).await;
    let (admin, ann) = (cluster[0].user("root", "admin").await, cluster[0].user("ann", "member").await);
    let bob = cluster[0].user("bob", "member").await;
    let (mut anns, bobs) = (Sitter::on(cluster.iter(), &ann).await, Sitter::on(cluster.iter(), &bob).await);
    assert_eq!(admin.get("/api/v1/online/counts").await.body["clients"], 6);

    cluster.redis.stop().await;
    for (node, socket) in cluster.iter().zip(&mut anns.sockets) {
        eventually("it says so", || async { ready(node).await == (200, json!("degraded")) }).await;
        assert_eq!(login(node, "ann").await, 200);
        let pushed = push(&admin.at(node), &ann).await;
        assert_eq!((pushed.status, delivered(&pushed)), (200, (1, false)), "{}", pushed.text);
        socket.push("order").await;
        let list = admin.at(node).get("/api/v1/online/clients?all=true").await.body;
        let alone = json!({"answered": 1, "expected": 3});
        assert_eq!((&list["totalCount"], &list["complete"], &list["nodes"]), (&json!(2), &json!(false), &alone));
    }
    assert_eq!(states(&admin).await, are(&[("n1", "up"), ("n2", "suspect"), ("n3", "suspect")]));
    anns.stays().await;
    let kicked = kick(&admin, &bob).await;
    let pending = json!([{"node": "n2", "clients": 1}, {"node": "n3", "clients": 1}]);
    assert_eq!((kicked.status, &kicked.body["pending"]), (202, &pending), "{}", kicked.text);
    for socket in bobs.sockets {
        assert_eq!(socket.ended().await.code, 4410);
    }
    for node in cluster.iter() {
        assert_eq!(bob.at(node).get("/api/v1/auth/me").await.status, 401);
    }

    cluster.redis.start_again().await;
    cluster.whole().await;
    let path = format!("/api/v1/online/kicks/{}", kicked.body["id"].as_str().unwrap());
    eventually("the kick is known to be done", || async { admin.get(&path).await.body["complete"] == true }).await;
    assert_eq!(ready(&cluster[1]).await, (200, json!("ready")));
    assert!(anns.is_pushed(&admin.at(&cluster[1])).await);
    cluster.shutdown().await;
}

/// Until each node has told the others whom it has.
async fn are_known(nodes: &Nodes, admin: &TestUser, clients: usize) {
    for node in nodes.iter() {
        eventually("all are listed", || async {
            admin.at(node).get("/api/v1/online/clients").await.body["totalCount"] == clients
        })
        .await;
    }
}

/// What is so while `n1` is gone. Bob was there, and nowhere else. Of one that stands still Redis does not know it: what it is told
/// waits for it.
async fn is_taken_for_dead(nodes: &Nodes, admin: &TestUser, anns: &mut Sitter, bob: &TestUser, stands_still: bool) {
    for number in [0, 2] {
        assert_eq!(login(&nodes[number], "ann").await, 200);
        let admin = admin.at(&nodes[number]);
        eventually("it is shown as dead", || async {
            states(&admin).await == are(&[("n0", "up"), ("n1", "dead"), ("n2", "up")])
        })
        .await;
        let why = admin.get(&format!("/api/v1/online/users/{}/why", bob.id)).await.body;
        assert_eq!((&why["online"], &why["lastLeave"]["cause"]), (&json!(false), &json!("nodeLost")), "{why}");
        anns.stays().await;
        assert_eq!(anns.is_pushed(&admin).await, !stands_still);
    }
    let kicked = kick(admin, bob).await;
    let expected = (if stands_still { 202 } else { 200 }, &json!(!stands_still));
    assert_eq!((kicked.status, &kicked.body["complete"]), expected, "{}", kicked.text);
    for number in [0, 2] {
        assert_eq!(bob.at(&nodes[number]).get("/api/v1/auth/me").await.status, 401);
    }
}

#[tokio::test]
async fn the_others_go_on_without_a_killed_node_and_with_its_successor() {
    let mut nodes = Nodes::start().await;
    let admin = nodes.user("root", "admin").await;
    let (ann, bob) = (nodes.user("ann", "member").await, nodes.user("bob", "member").await);
    let (mut anns, bobs) = (Sitter::on(nodes.iter(), &ann).await, bob.connect(&nodes[1]).await);
    are_known(&nodes, &admin, 4).await;
    nodes.kill(1).await;
    for lost in [anns.sockets.remove(1), bobs] {
        assert_eq!(lost.ended().await.code, 1006);
    }
    // Its own come back elsewhere.
    anns.sockets.push(ann.connect(&nodes[2]).await);
    is_taken_for_dead(&nodes, &admin, &mut anns, &bob, false).await;

    nodes.start_again(1).await;
    nodes.whole().await;
    assert_eq!(login(&nodes[1], "bob").await, 200);
    anns.sockets.push(ann.connect(&nodes[1]).await);
    assert!(anns.is_pushed(&admin).await);
    anns.goes_with_a_kick(&admin, nodes.iter()).await;
}

#[tokio::test]
async fn the_others_go_on_without_a_node_that_stands_still_and_kicks_hold_there_when_it_wakes() {
    let nodes = Nodes::start().await;
    let admin = nodes.user("root", "admin").await;
    let (ann, bob) = (nodes.user("ann", "member").await, nodes.user("bob", "member").await);
    let (mut anns, bobs) = (Sitter::on(nodes.iter(), &ann).await, bob.connect(&nodes[1]).await);
    are_known(&nodes, &admin, 4).await;
    nodes.pause(1);
    let holds_on = anns.sockets.remove(1);
    is_taken_for_dead(&nodes, &admin, &mut anns, &bob, true).await;

    nodes.resume(1);
    assert_eq!(bobs.ended().await.code, 4410);
    nodes.whole().await;
    // What was pushed meanwhile may have waited for it; what is pushed from now on reaches all.
    anns.sockets.push(holds_on);
    anns.stays().await;
    assert!(anns.is_pushed(&admin).await);
    anns.goes_with_a_kick(&admin.at(&nodes[1]), nodes.iter()).await;
}
