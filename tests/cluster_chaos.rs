//! Three processes under churn, while they, Redis and the wires between them die, stand still and come back: in the end each node's
//! list, counts and page are as it is.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Crowd, Node, Nodes, TestCluster, TestSocket, TestUser, eventually, get};

async fn members(nodes: &Nodes) -> Vec<TestUser> {
    let mut users = Vec::new();
    for number in 0..8 {
        users.push(nodes.user(&format!("user{number}"), "member").await);
    }
    users
}

async fn crowded(nodes: &Nodes) -> (TestUser, Crowd) {
    let (admin, users) = (nodes.user("root", "admin").await, members(nodes).await);
    let crowd = Crowd::gather(nodes, &admin, &users).await;
    (admin, crowd)
}

#[tokio::test]
async fn the_clients_of_a_killed_node_are_lost_once_and_come_back_also_to_its_successor() {
    let mut nodes = Nodes::start().await;
    let (_, crowd) = crowded(&nodes).await;
    for victim in [2, 0] {
        crowd.churn(60).await;
        let lost = crowd.known_on(victim);
        nodes.kill(victim).await;
        crowd.doors(&nodes);
        crowd.were_lost(victim, &lost).await;
        assert!(!lost.is_empty(), "there was somebody");
        crowd.agree(&nodes).await;
        nodes.start_again(victim).await;
        crowd.doors(&nodes);
        crowd.churn(60).await;
        eventually("it takes clients", || async { crowd.open().values().any(|here| here.node == victim) }).await;
        crowd.agree(&nodes).await;
    }
}

#[tokio::test]
async fn a_node_that_stood_still_finds_out_and_nobody_stays_wrong() {
    let nodes = Nodes::start().await;
    let (_, crowd) = crowded(&nodes).await;
    crowd.churn(60).await;
    let lost = crowd.known_on(1);
    nodes.pause(1);
    crowd.churn(60).await;
    crowd.were_lost(1, &lost).await;
    crowd.calm().await;
    crowd.agree_on(&nodes, &[0, 2]).await;
    nodes.resume(1);
    crowd.agree(&nodes).await;
    crowd.churn(60).await;
    crowd.agree(&nodes).await;
}

#[tokio::test]
async fn a_second_process_with_the_name_of_a_node_does_not_start_and_says_why() {
    let mut nodes = Nodes::start().await;
    let (_, crowd) = crowded(&nodes).await;
    crowd.agree(&nodes).await;
    let told = nodes.refusal(1).await;
    let sentence = "Another node calls itself \"n1\" and is alive; set cluster.node to a name of this node's own.";
    assert!(told.contains(sentence), "{told}");
    crowd.agree(&nodes).await;
    nodes.pause(1);
    let mut before = nodes.replace(1).await;
    crowd.doors(&nodes);
    before.resume();
    assert_eq!(before.ended().await, 0, "it hears of its successor and stops");
    crowd.churn(30).await;
    crowd.agree(&nodes).await;
}

/// What a node says of itself while it cannot reach the others, and that it delivers to its own all the same.
async fn alone_but_at_work(node: &Node, admin: &TestUser, socket: &mut TestSocket) {
    let admin = admin.at(node);
    eventually(&format!("{} says that it is alone", node.name), || async {
        let counts = admin.get("/api/v1/online/counts").await.body;
        let ready = admin.get("/health/ready").await;
        let told = (ready.status, ready.body["status"] == "degraded", counts["complete"] == false);
        told == (200, true, true) && counts["nodes"]["answered"] == 1
    })
    .await;
    let push = json!({"target": {"clients": [socket.id]}, "event": "order", "data": socket.id});
    let push = admin.post("/api/v1/push", push).await;
    assert_eq!((push.status, &push.body["delivered"], &push.body["complete"]), (200, &json!(1), &json!(false)));
    assert_eq!(socket.push("order").await, json!(socket.id));
}

#[tokio::test]
async fn without_redis_each_node_serves_its_own_and_all_is_as_it_is_when_redis_is_back() {
    let mut nodes = Nodes::start().await;
    let (admin, crowd) = crowded(&nodes).await;
    let ann = nodes.user("ann", "member").await;
    let mut anns = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        anns.push(ann.connect(node).await);
        crowd.also(&anns[number].id, &ann.id, number);
    }
    crowd.churn(30).await;
    nodes.redis.flush().await;
    crowd.churn(30).await;
    nodes.redis.flush().await;
    crowd.agree(&nodes).await;

    nodes[1].redis.cut();
    alone_but_at_work(&nodes[1], &admin, &mut anns[1]).await;
    crowd.churn(60).await;
    nodes[1].redis.resume();
    crowd.agree(&nodes).await;

    nodes[2].redis.hold();
    alone_but_at_work(&nodes[2], &admin, &mut anns[2]).await;
    crowd.churn(30).await;
    nodes[2].redis.resume();
    crowd.agree(&nodes).await;

    nodes.iter().for_each(|node| node.redis.delay(Duration::from_millis(100)));
    crowd.churn(30).await;
    crowd.agree(&nodes).await;
    nodes.iter().for_each(|node| node.redis.resume());

    crowd.churn(1).await;
    nodes.redis.stop().await;
    for (node, socket) in nodes.iter().zip(&mut anns) {
        alone_but_at_work(node, &admin, socket).await;
    }
    crowd.churn(60).await;
    nodes.redis.start_again().await;
    crowd.agree(&nodes).await;
    nodes.whole().await;
}

#[tokio::test]
async fn a_rolling_restart_loses_no_session_and_shows_nobody_as_offline_longer_than_the_grace() {
    const GRACE: Duration = Duration::from_secs(10);
    let mut nodes = Nodes::with(&[("PRESENCE__GRACE", "10s")]).await;
    let (admin, users) = (nodes.user("root", "admin").await, members(&nodes).await);
    let crowd = Crowd::gather(&nodes, &admin, &users).await;
    crowd.agree(&nodes).await;
    let watching = Absences::new(&crowd, &admin, &users);
    let rolling = async {
        for number in 0..nodes.len() {
            assert_eq!(nodes.terminate(number).await, 0);
            nodes.start_again(number).await;
            crowd.doors(&nodes);
            crowd.calm().await;
            nodes.whole().await;
        }
    };
    let longest = watching.until(rolling).await;
    assert!(longest <= GRACE, "somebody was shown as offline for {longest:?}");
    crowd.agree(&nodes).await;
    for (user, node) in users.iter().flat_map(|user| nodes.iter().map(move |node| (user, node))) {
        assert_eq!(user.at(node).get("/api/v1/auth/me").await.status, 200);
    }
}

/// Looks all the time whether those are shown as online who are.
struct Absences<'a> {
    crowd: &'a Crowd,
    admin: &'a TestUser,
    users: &'a [TestUser],
    since: HashMap<&'a str, Instant>,
    longest: Duration,
    /// Sockets of those who were not shown the last time although they were there.
    overlooked: BTreeSet<String>,
}

impl<'a> Absences<'a> {
    fn new(crowd: &'a Crowd, admin: &'a TestUser, users: &'a [TestUser]) -> Absences<'a> {
        Absences { crowd, admin, users, since: HashMap::new(), longest: Duration::ZERO, overlooked: BTreeSet::new() }
    }

    /// Until this is done; the longest time that somebody was shown as offline.
    async fn until(mut self, done: impl Future<Output = ()>) -> Duration {
        let mut done = std::pin::pin!(done);
        loop {
            tokio::select! {
                () = &mut done => return self.longest,
                () = self.look() => {}
            }
        }
    }

    async fn look(&mut self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Some(door) = self.crowd.door() else { return };
        let before = self.crowd.open();
        let Ok(shown) = get(&self.admin.at(&door), "/api/v1/online/users?all=true").await else { return };
        if shown["complete"] != true {
            return;
        }
        let online: BTreeSet<&str> =
            shown["list"].as_array().unwrap().iter().map(|row| row["userId"].as_str().unwrap()).collect();
        for user in self.users {
            let id = user.id.as_str();
            if online.contains(id) {
                self.since.remove(id);
            } else {
                self.longest = self.longest.max(self.since.entry(id).or_insert_with(Instant::now).elapsed());
            }
        }
        let mut there = self.crowd.open();
        there.retain(|id, here| before.contains_key(id) && !online.contains(here.user.as_str()));
        let overlooked: BTreeSet<String> = there.into_keys().collect();
        // The second time their end cannot be on its way to them any more.
        let wrong: Vec<_> = overlooked.intersection(&self.overlooked).collect();
        assert!(wrong.is_empty(), "{wrong:?} are open, and their users not shown: {shown}");
        self.overlooked = overlooked;
    }
}

// In one process, where a clock can be moved; that of a process is the machine's.
#[tokio::test]
async fn a_node_whose_wall_clock_is_an_hour_ahead_stays_one_of_them() {
    let cluster = TestCluster::with(3, |config| config.auth.access_ttl = Duration::from_secs(3 * 60 * 60)).await;
    let admin = cluster[0].user("root", "admin").await;
    let (ann, bob) = (cluster[0].user("ann", "member").await, cluster[0].user("bob", "member").await);
    cluster[1].clock.set_wall_offset(chrono::Duration::hours(1));
    for (node, seen_by) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1)] {
        let (mut stays, goes) = (ann.connect(&cluster[node]).await, bob.connect(&cluster[node]).await);
        let admin = admin.at(&cluster[seen_by]);
        let list = admin.get("/api/v1/online/clients?all=true").await.body;
        assert_eq!((&list["totalCount"], &list["complete"]), (&json!(2), &json!(true)), "{list}");
        // Its times are what its clock says, and nobody else's are.
        let seen = list["list"][0]["lastSeenAt"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let ahead = seen - cluster[0].services.clock().now();
        assert_eq!(ahead > chrono::Duration::minutes(30), node == 1, "{ahead}");
        let push = json!({"target": {"users": [ann.id]}, "event": "order", "data": node});
        let push = admin.post("/api/v1/push", push).await;
        assert_eq!((&push.body["delivered"], &push.body["complete"]), (&json!(1), &json!(true)), "{}", push.text);
        assert_eq!(stays.push("order").await, node);
        let kick = admin.delete(&format!("/api/v1/online/clients/{}", goes.id), json!({"revoke": false})).await;
        assert_eq!(kick.status, 200, "{}", kick.text);
        assert_eq!(goes.ended().await.code, 4410);
        stays.close().await;
        cluster.whole().await;
    }
    // Whoever logs in there cannot be told from a forger elsewhere, and is told why.
    let ahead = cluster[1].login("ann").await.at(&cluster[0]).get("/api/v1/auth/me").await;
    assert_eq!((ahead.status, &ahead.body["code"]), (401, &json!("token_invalid")));
    assert!(ahead.text.contains("one of the two clocks is wrong"), "{}", ahead.text);
    // A kick there holds everywhere, and no longer than one elsewhere.
    let path = format!("/api/v1/online/users/{}", bob.id);
    let kick = admin.at(&cluster[1]).delete(&path, json!({})).await;
    assert_eq!(kick.status, 200, "{}", kick.text);
    for node in cluster.iter() {
        eventually("the kick holds", || async { bob.at(node).get("/api/v1/auth/me").await.status == 401 }).await;
    }
    let again = cluster[0].login("bob").await;
    assert_eq!(again.at(&cluster[2]).get("/api/v1/auth/me").await.status, 200);

    cluster[1].clock.set_wall_offset(chrono::Duration::zero());
    let set = cluster[1].login("ann").await;
    assert_eq!(set.at(&cluster[0]).get("/api/v1/auth/me").await.status, 200);
    let mut socket = set.connect(&cluster[1]).await;
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    drop(socket);
    cluster.shutdown().await;
}
