//! Emptying a node before it is restarted.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{TestApp, TestSocket, TestUser, eventually};

const SECOND: Duration = Duration::from_secs(1);

async fn node(admin: &TestUser) -> Value {
    admin.get("/api/v1/nodes").await.body["list"][0].clone()
}

async fn drain(admin: &TestUser, body: Value) -> Value {
    let answer = admin.post("/api/v1/nodes/n1/drain", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body
}

async fn moved_away(admin: &TestUser, clients: u64) {
    eventually("so many have been sent away", || async { node(admin).await["drain"]["movedAway"] == clients }).await;
}

#[tokio::test]
async fn a_single_node_is_a_list_of_one() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let _socket = bob.connect(&app).await;
    app.clock.advance(Duration::from_secs(100));
    let list = admin.get("/api/v1/nodes").await.body["list"].clone();
    let row = list[0].clone();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(
        (&row["name"], &row["state"], &row["clients"], &row["self"], &row["version"]),
        (&json!("n1"), &json!("up"), &json!(1), &json!(true), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(row["address"], app.address.to_string());
    assert!(row["uptimeSeconds"].as_u64().unwrap() >= 100 && row.get("drain").is_none(), "{row}");
    assert_eq!(bob.get("/api/v1/nodes").await.status, 403);
    drop(_socket);
    app.shutdown().await;
}

#[tokio::test]
async fn a_drained_node_takes_nobody_in_and_sends_its_clients_elsewhere_at_the_rate_asked_for() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let mut sockets = Vec::new();
    for name in ["ann", "bob", "eve"] {
        sockets.push(app.user(name, "member").await.connect(&app).await);
    }
    let begun = drain(&admin, json!({"clientsPerSecond": 1})).await;
    assert_eq!(begun["state"], "draining");
    assert!(begun["etaSeconds"].as_u64().unwrap() <= 2, "{begun}");
    let ready = app.anonymous("GET", "/health/ready", Value::Null).await;
    assert_eq!((ready.status, &ready.body["code"]), (503, &json!("draining")));
    for socket in sockets {
        app.clock.advance(SECOND);
        let ended = socket.ended().await;
        assert_eq!((ended.code, &ended.reason["reason"]), (4000, &json!("restart")));
        let told = ended.frames.iter().find(|frame| frame["event"] == "server/draining").unwrap();
        assert_eq!(told["data"]["retryAfterMs"], ended.reason["retryAfterMs"]);
        assert!(ended.reason["retryAfterMs"].as_u64().unwrap() >= 500);
    }
    moved_away(&admin, 3).await;
    eventually("nobody is left", || async {
        let drain = node(&admin).await["drain"].clone();
        (&drain["remaining"], &drain["etaSeconds"]) == (&json!(0), &json!(0))
    })
    .await;
    assert_eq!(node(&admin).await["state"], "draining");
    app.shutdown().await;
}

#[tokio::test]
async fn a_draining_node_refuses_handshakes_and_says_when_to_come_back() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    drain(&admin, json!({})).await;
    let bearer = format!("Bearer {}", bob.token);
    assert_eq!(TestSocket::dial(&app, &[("authorization", &bearer)], "").await.err(), Some(503));
    let offered = format!("rollcall.v1, bearer.{}", bob.token);
    let told = TestSocket::dial(&app, &[("sec-websocket-protocol", &offered)], "").await.unwrap().ended().await;
    assert_eq!((told.code, &told.reason["reason"]), (4013, &json!("overload")));
    assert!(told.reason["retryAfterMs"].as_u64().unwrap() >= 500);
    app.shutdown().await;
}

#[tokio::test]
async fn who_is_sent_elsewhere_stays_online_for_the_grace() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let socket = bob.connect(&app).await;
    drain(&admin, json!({})).await;
    assert_eq!(socket.ended().await.code, 4000);
    moved_away(&admin, 1).await;
    eventually("he is leaving", || async {
        admin.get("/api/v1/online/users?q=bob").await.body["list"][0]["leaving"] == true
    })
    .await;
    app.shutdown().await;
}

#[tokio::test]
async fn a_drain_that_is_taken_back_leaves_who_is_left_alone() {
    const TABS: u64 = 60;
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut tabs = Vec::new();
    for _ in 0..TABS {
        tabs.push(bob.connect(&app).await);
    }
    drain(&admin, json!({"clientsPerSecond": 1})).await;
    let resumed = admin.post("/api/v1/nodes/n1/resume", Value::Null).await;
    assert_eq!((resumed.status, &resumed.body["state"]), (200, &json!("up")), "{}", resumed.text);
    let gone = resumed.body["movedAway"].as_u64().unwrap();
    assert!(gone < TABS, "a second is not a minute");
    app.clock.advance(100 * SECOND);
    assert_eq!(app.anonymous("GET", "/health/ready", Value::Null).await.status, 200);
    tabs.push(bob.connect(&app).await);
    eventually("who was told to leave has left", || async { node(&admin).await["clients"] == TABS + 1 - gone }).await;
    assert_eq!(tabs.last_mut().unwrap().ask("ping", json!({})).await["code"], 0);
    let row = node(&admin).await;
    assert!(row["state"] == "up" && row.get("drain").is_none(), "{row}");

    // Asked again without a rate, the rest goes within `server.drain`.
    drain(&admin, json!({"clientsPerSecond": 1})).await;
    drain(&admin, json!({})).await;
    moved_away(&admin, TABS + 1 - gone).await;
    drop(tabs);
    app.shutdown().await;
}

#[tokio::test]
async fn emptying_a_node_is_for_those_who_may_and_stands_in_the_audit_log() {
    let app = TestApp::start().await;
    let (admin, ops) = (app.user("root", "admin").await, app.user("ops", "operator").await);
    for act in ["drain", "resume"] {
        let refused = ops.post(&format!("/api/v1/nodes/n1/{act}"), json!({})).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")), "{}", refused.text);
        let unknown = admin.post(&format!("/api/v1/nodes/n9/{act}"), json!({})).await;
        assert_eq!((unknown.status, &unknown.body["code"]), (404, &json!("not_found")), "{}", unknown.text);
    }
    for wrong in [json!(0), json!(1_000_001), json!("many"), json!(-1)] {
        let refused = admin.post("/api/v1/nodes/n1/drain", json!({"clientsPerSecond": wrong})).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!("clientsPerSecond")), "{}", refused.text);
    }
    assert_eq!(node(&admin).await["state"], "up");
    drain(&admin, json!({"clientsPerSecond": 7})).await;
    assert_eq!(admin.post("/api/v1/nodes/n1/resume", Value::Null).await.status, 200);
    for (action, detail) in [("node.drain", json!({"clientsPerSecond": 7})), ("node.resume", json!({}))] {
        eventually("it is written", || async {
            let row = admin.get(&format!("/api/v1/logs/audit?action={action}")).await.body["list"][0].clone();
            (&row["actorName"], &row["target"], &row["detail"]) == (&json!("root"), &json!("n1"), &detail)
        })
        .await;
    }
    app.shutdown().await;
}
