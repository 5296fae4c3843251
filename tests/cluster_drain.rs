//! Emptying a node of several, from another one.

use serde_json::{Value, json};

use crate::harness::{TestCluster, TestSocket, eventually};

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
