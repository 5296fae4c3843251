//! Kicks while nodes cannot hear of them: in the end nobody is in, or gets in, who was shown the door.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Door, Nodes, PASSWORD, PATIENCE, TestUser, eventually, get, next, open};

/// The wires of one node are cut, choked and stretched at random, again and again.
async fn shake(nodes: &Nodes) {
    loop {
        let node = &nodes[rand::random_range(0..nodes.len())];
        let wire = if rand::random_bool(0.5) { &node.redis } else { &node.database };
        match rand::random_range(0..4) {
            0 => wire.cut(),
            1 => wire.cut_once(),
            2 => wire.hold(),
            _ => wire.delay(Duration::from_millis(100)),
        }
        // Now and then longer than the fences.
        some_time(if rand::random_bool(0.1) { 4_000 } else { 500 }).await;
        wire.resume();
        some_time(500).await;
    }
}

async fn some_time(most: u64) {
    tokio::time::sleep(Duration::from_millis(rand::random_range(10..most))).await;
}

/// A login that is shown the door while nodes cannot hear of it.
struct Victim {
    token: String,
    session: String,
    /// Ends when the last socket has and nobody tries to come back any more.
    sockets: JoinSet<()>,
}

impl Victim {
    /// Logs in at any node, with sockets at any two that come back when they are closed.
    async fn enter(nodes: &Nodes, name: &str) -> Victim {
        let body = json!({"username": name, "password": PASSWORD});
        let login = until_done(|| async {
            let node = &nodes[rand::random_range(0..nodes.len())];
            let login = node.http().post(node.url("/api/v1/auth/login")).json(&body).send();
            let answer: Value = serde_json::from_str(&login.await.ok()?.text().await.ok()?).ok()?;
            Some(answer["accessToken"].as_str()?.to_owned())
        });
        let token = login.await;
        let session = until_done(|| async {
            let node = &nodes[rand::random_range(0..nodes.len())];
            let me = node.http().get(node.url("/api/v1/auth/me")).bearer_auth(&token).send();
            let answer: Value = serde_json::from_str(&me.await.ok()?.text().await.ok()?).ok()?;
            Some(answer["sessionId"].as_str()?.to_owned())
        });
        let session = session.await;
        let mut victim = Victim { token, session, sockets: JoinSet::new() };
        for _ in 0..2 {
            victim.sit(nodes[rand::random_range(0..nodes.len())].url("")).await;
        }
        victim
    }

    async fn sit(&mut self, address: String) {
        let mut open_now = until_done(|| async { open(&address, &self.token).await.ok() }).await.0;
        let token = self.token.clone();
        self.sockets.spawn(async move {
            for _ in 0..3 {
                while next(&mut open_now).await.is_ok() {}
                some_time(1_000).await;
                match open(&address, &token).await {
                    Ok((again, _)) => open_now = again,
                    Err(_) => continue,
                }
            }
            while next(&mut open_now).await.is_ok() {}
        });
    }

    /// Until a node says that it is kept.
    async fn kick(&self, nodes: &Nodes, admin: &TestUser) {
        let path = format!("/api/v1/online/sessions/{}", self.session);
        until_done(|| async {
            let admin = admin.at(&nodes[rand::random_range(0..nodes.len())]);
            let answer = admin.try_call("DELETE", &path, json!({"reason": "spam"})).await.ok()?;
            [200, 202].contains(&answer.status).then_some(())
        })
        .await;
    }

    /// No socket is left, and none is taken.
    async fn stays_out(mut self, nodes: &Nodes) {
        let left = async { while self.sockets.join_next().await.is_some() {} };
        tokio::time::timeout(PATIENCE, left).await.unwrap_or_else(|_| panic!("{} is still in", self.session));
        for node in nodes.iter() {
            eventually(&format!("{} does not get in at {}", self.session, node.name), || async {
                open(&node.url(""), &self.token).await.err() == Some(Some(401))
            })
            .await;
        }
    }
}

/// Tries until there is a result; a try that hangs is given up.
async fn until_done<T, F: Future<Output = Option<T>>>(attempt: impl Fn() -> F) -> T {
    let trying = async {
        loop {
            if let Ok(Some(done)) = tokio::time::timeout(Duration::from_secs(5), attempt()).await {
                return done;
            }
            some_time(50).await;
        }
    };
    tokio::time::timeout(3 * PATIENCE, trying).await.expect("it succeeds in the end")
}

/// Short fences, so that they are met.
async fn fenced() -> Nodes {
    Nodes::with(&[("CLUSTER__FENCE", "1s"), ("CLUSTER__FENCE_CLOSE", "3s")]).await
}

#[tokio::test]
async fn a_kick_holds_without_redis_and_where_the_database_is_away() {
    let nodes = fenced().await;
    let admin = nodes.user("root", "admin").await;
    nodes.user("ann", "member").await;
    let (first, second) = (Victim::enter(&nodes, "ann").await, Victim::enter(&nodes, "ann").await);
    nodes.iter().for_each(|node| node.redis.cut());
    first.kick(&nodes, &admin).await;
    first.stays_out(&nodes).await;
    nodes.iter().for_each(|node| node.redis.resume());
    nodes[1].database.cut();
    second.kick(&nodes, &admin).await;
    nodes[1].database.resume();
    second.stays_out(&nodes).await;
}

#[tokio::test]
async fn a_kick_names_the_node_that_stands_still_until_it_has_closed() {
    // Silent, and not taken for dead.
    let nodes = Nodes::with(&[("CLUSTER__DEAD", "60s")]).await;
    let (admin, ann) = (nodes.user("root", "admin").await, nodes.user("ann", "member").await);
    let again = nodes.login(&nodes[2], "ann").await;
    let here = ann.connect(&nodes[0]).await;
    let there = [ann.connect(&nodes[1]).await, again.connect(&nodes[1]).await];
    let all = get(&admin, "/api/v1/online/clients?all=true").await.unwrap();
    assert_eq!(all["totalCount"], 3, "{all}");

    nodes.pause(1);
    let unheard = admin.delete(&format!("/api/v1/online/clients/{}", there[0].id), json!({})).await;
    assert_eq!(unheard.status, 503, "nobody can say that there is no such client: {}", unheard.text);
    assert!(unheard.body["detail"].as_str().unwrap().starts_with("Not every node answers"), "{}", unheard.text);
    let kick = admin.delete(&format!("/api/v1/online/users/{}", ann.id), json!({"reason": "spam"})).await;
    let pending = json!([{"node": "n1", "clients": 2}]);
    assert_eq!((kick.status, &kick.body["pending"]), (202, &pending), "{}", kick.text);
    assert_eq!(became(&kick.body), (3, 1, false), "{}", kick.text);
    assert_eq!(here.ended().await.code, 4410);
    let path = format!("/api/v1/online/kicks/{}", kick.body["id"].as_str().unwrap());
    for node in [0, 2] {
        let told = admin.at(&nodes[node]).get(&path).await;
        assert_eq!((became(&told.body), &told.body["pending"]), ((3, 1, false), &pending), "{}", told.text);
        assert_eq!(ann.at(&nodes[node]).get("/api/v1/auth/me").await.status, 401, "the kick holds");
    }
    // Who comes back is another login, whatever the node says when it wakes.
    let back = nodes.login(&nodes[0], "ann").await;
    let mut stays = back.connect(&nodes[0]).await;

    nodes.resume(1);
    for socket in there {
        let ended = socket.ended().await;
        assert_eq!((ended.code, &ended.reason["text"]), (4410, &json!("spam")), "{ended:?}");
    }
    for node in nodes.iter() {
        eventually(&format!("{} knows that it is done", node.name), || async {
            let told = admin.at(node).get(&path).await.body;
            (became(&told), &told["pending"]) == ((3, 3, true), &json!([]))
        })
        .await;
    }
    assert_eq!(stays.ask("ping", json!({})).await["code"], 0);
}

/// Matched, closed, complete.
fn became(kick: &Value) -> (u64, u64, bool) {
    (kick["matched"].as_u64().unwrap(), kick["closed"].as_u64().unwrap(), kick["complete"].as_bool().unwrap())
}

#[tokio::test]
async fn no_kick_is_lost_while_redis_and_the_database_are_cut_at_random() {
    const KICKS: usize = 40;
    let nodes = fenced().await;
    let admin = nodes.user("root", "admin").await;
    let names: Vec<String> = (0..6).map(|number| format!("user{number}")).collect();
    for name in &names {
        nodes.user(name, "member").await;
    }
    let kicking = names.iter().map(|name| async {
        let mut kicked = Vec::new();
        for _ in 0..KICKS {
            let victim = Victim::enter(&nodes, name).await;
            victim.kick(&nodes, &admin).await;
            kicked.push(victim);
        }
        kicked
    });
    let kicked = tokio::select! {
        kicked = futures_util::future::join_all(kicking) => kicked,
        () = shake(&nodes) => unreachable!("it goes on"),
        () = shake(&nodes) => unreachable!("it goes on"),
    };
    nodes.iter().for_each(|node| [&node.redis, &node.database].iter().for_each(|wire| wire.resume()));
    nodes.whole().await;
    for victim in kicked.into_iter().flatten() {
        victim.stays_out(&nodes).await;
    }
    for node in nodes.iter() {
        let list = get(&admin.at(node), "/api/v1/online/clients?all=true").await.unwrap();
        assert_eq!((&list["totalCount"], &list["complete"]), (&json!(0), &json!(true)), "{list}");
    }
}
