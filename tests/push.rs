//! Telling them: one call reaches a user on every open tab.

use serde_json::json;

use crate::harness::TestApp;

#[tokio::test]
async fn every_kind_of_target_reaches_whom_it_names_and_nobody_else() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let (bob, eve) = (app.user("bob", "member").await, app.user("eve", "operator").await);
    let (mut tab, mut other_tab, mut neighbour) =
        (bob.connect(&app).await, bob.connect(&app).await, eve.connect(&app).await);
    tab.ask("join", json!({"id": "lobby"})).await;
    for (number, target, users, clients) in [
        (1, json!({"users": [bob.id]}), 1, 2),
        (2, json!({"roles": ["member"]}), 1, 2),
        (3, json!({"rooms": ["lobby"]}), 1, 1),
        (4, json!({"clients": [other_tab.id]}), 1, 1),
        (5, json!({"everyone": true}), 2, 3),
        (6, json!({"users": ["999"]}), 0, 0),
        (7, json!({"rooms": ["nowhere"]}), 0, 0),
        (8, json!({"users": [bob.id, bob.id]}), 1, 2),
    ] {
        let push = admin.post("/api/v1/push", json!({"target": target, "event": "order", "data": number})).await;
        assert_eq!(
            (push.status, &push.body["targeted"]),
            (200, &json!({"users": users, "clients": clients})),
            "{}",
            push.text
        );
        assert_eq!(
            (&push.body["delivered"], &push.body["dropped"], &push.body["complete"]),
            (&json!(clients), &json!(0), &json!(true))
        );
    }
    let mut seen = Vec::new();
    for socket in [&mut tab, &mut other_tab, &mut neighbour] {
        admin.post("/api/v1/push", json!({"target": {"clients": [socket.id]}, "event": "order", "data": "end"})).await;
        let mut numbers = Vec::new();
        loop {
            let data = socket.push("order").await;
            if data == "end" {
                break;
            }
            numbers.push(data.as_u64().unwrap());
        }
        seen.push(numbers);
    }
    assert_eq!(seen, [vec![1, 2, 3, 5, 8], vec![1, 2, 4, 5, 8], vec![5]]);
    drop((tab, other_tab, neighbour));
    app.shutdown().await;
}

#[tokio::test]
async fn what_only_rollcall_may_say_cannot_be_pushed_from_outside() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    for event in
        ["kick", "connected", "online/diff", "ping", "join", "auth/changed", "server/draining", "error", "", "a\u{7}"]
    {
        let push = admin.post("/api/v1/push", json!({"target": {"everyone": true}, "event": event})).await;
        assert_eq!((push.status, &push.body["field"]), (422, &json!("event")), "{event}: {}", push.text);
    }
    let mut socket = bob.connect(&app).await;
    let notice = json!({"target": {"everyone": true}, "event": "notice", "data": {"title": "维护"}});
    assert_eq!(admin.post("/api/v1/push", notice).await.status, 200);
    assert_eq!(socket.push("notice").await["title"], "维护");
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn a_push_names_one_kind_of_target_is_bounded_and_needs_the_permission() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    for target in [
        json!({}),
        json!({"everyone": false}),
        json!({"everyone": true, "users": ["1"]}),
        json!({"users": [], "rooms": []}),
    ] {
        let push = admin.post("/api/v1/push", json!({"target": target, "event": "x"})).await;
        assert_eq!((push.status, &push.body["field"]), (422, &json!("target")), "{}", push.text);
    }
    let large = json!({"target": {"everyone": true}, "event": "x", "data": "x".repeat(65_535)});
    assert_eq!(admin.post("/api/v1/push", large).await.body["field"], "data");
    let fits = json!({"target": {"everyone": true}, "event": "x", "data": "x".repeat(65_534)});
    assert_eq!(admin.post("/api/v1/push", fits.clone()).await.status, 200);
    assert_eq!(bob.post("/api/v1/push", fits.clone()).await.status, 403);
    assert_eq!(app.anonymous("POST", "/api/v1/push", fits).await.status, 401);
    app.shutdown().await;
}
