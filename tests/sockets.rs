//! The main job: a socket opens, is seen, is told something, is shown the door.

use serde_json::json;

use crate::harness::{TestApp, eventually};

#[tokio::test]
async fn a_client_is_seen_told_something_and_shown_the_door() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let bob = app.user("bob", "member").await;
    let mut socket = bob.connect(&app).await;
    assert_eq!(socket.connected["username"], "bob");

    let list = admin.get("/api/v1/online/clients").await;
    assert_eq!(list.status, 200, "{}", list.text);
    assert_eq!(list.body["list"][0]["id"], socket.id.as_str());

    let push =
        admin.post("/api/v1/push", json!({"target": {"users": [bob.id]}, "event": "order", "data": {"n": 1}})).await;
    assert_eq!((push.status, &push.body["delivered"]), (200, &json!(1)), "{}", push.text);
    assert_eq!(socket.push("order").await, json!({"n": 1}));

    let kick = admin.delete(&format!("/api/v1/online/clients/{}", socket.id), json!({"reason": "维护"})).await;
    assert_eq!(kick.status, 200, "{}", kick.text);
    assert_eq!((&kick.body["matched"], &kick.body["closed"]), (&json!(1), &json!(1)));
    assert_eq!(socket.push("kick").await["reason"], "维护");
    let ended = socket.ended().await;
    assert_eq!((ended.code, ended.reason["text"].as_str()), (4410, Some("维护")));
    assert_eq!(bob.get("/api/v1/auth/me").await.status, 401);
    eventually("nobody is online", || async { admin.get("/api/v1/online/counts").await.body["clients"] == 0 }).await;
    app.shutdown().await;
}
