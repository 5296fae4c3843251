//! Roles: made, changed, deleted, and what open sockets notice of that.

use serde_json::{Value, json};

use crate::harness::{TestApp, TestCluster, TestUser};

const ROLES: &str = "/api/v1/roles";

async fn make(caller: &TestUser, name: &str, permissions: &[&str]) {
    let made = caller.post(ROLES, json!({"name": name, "permissions": permissions})).await;
    assert_eq!(made.status, 201, "{}", made.text);
}

#[tokio::test]
async fn every_permission_word_has_a_sentence() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let catalogue = bob.get("/api/v1/permissions").await.body;
    let list = catalogue["list"].as_array().unwrap();
    assert!(list.iter().any(|row| row["word"] == "role:write") && list.len() >= 17);
    assert!(list.iter().all(|row| row["sentence"].as_str().is_some_and(|sentence| sentence.ends_with('.'))));
    assert_eq!(app.anonymous("GET", "/api/v1/permissions", Value::Null).await.status, 401);
    app.shutdown().await;
}

#[tokio::test]
async fn a_role_is_made_changed_and_deleted_and_each_leaves_a_row_in_the_audit_log() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let new = json!({"name": "door", "description": "Shows the door.", "permissions": ["online:read", "online:kick"]});
    let made = admin.post(ROLES, new.clone()).await;
    assert_eq!(
        (made.status, &made.body["users"], &made.body["seed"]),
        (201, &json!(0), &json!(false)),
        "{}",
        made.text
    );
    assert_eq!(admin.post(ROLES, new).await.status, 409);
    admin.patch(&format!("/api/v1/users/{}", bob.id), json!({"roles": ["door"]})).await;
    let row = admin.get(&format!("{ROLES}/door")).await.body;
    assert_eq!((&row["users"], &row["description"]), (&json!(1), &json!("Shows the door.")));
    assert_eq!(admin.get("/api/v1/users?role=door").await.body["list"][0]["username"], "bob");
    let in_use = admin.delete(&format!("{ROLES}/door"), json!({})).await;
    assert_eq!((in_use.status, &in_use.body["code"]), (409, &json!("in_use")), "{}", in_use.text);
    let changed =
        admin.patch(&format!("{ROLES}/door"), json!({"permissions": ["online:read"], "reason": "no more"})).await;
    assert_eq!(changed.body["permissions"], json!(["online:read"]), "{}", changed.text);
    assert_eq!(bob.delete("/api/v1/online/users/1", json!({})).await.status, 403);
    admin.patch(&format!("/api/v1/users/{}", bob.id), json!({"roles": []})).await;
    assert_eq!(admin.delete(&format!("{ROLES}/door"), json!({"reason": "tidy"})).await.status, 204);
    assert_eq!(admin.get(&format!("{ROLES}/door")).await.status, 404);
    for (action, reason) in [("role.create", ""), ("role.change", "no more"), ("role.delete", "tidy")] {
        let audit = admin.get(&format!("/api/v1/logs/audit?action={action}")).await.body;
        assert_eq!((&audit["list"][0]["target"], &audit["list"][0]["reason"]), (&json!("door"), &json!(reason)));
        assert_eq!(audit["totalCount"], 1, "{action}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn the_role_admin_stays_and_what_does_not_fit_is_refused() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "operator").await);
    let path = format!("{ROLES}/admin");
    for answer in [
        admin.patch(&path, json!({"permissions": []})).await,
        admin.patch(&path, json!({"description": "x"})).await,
        admin.delete(&path, json!({})).await,
    ] {
        assert_eq!((answer.status, &answer.body["code"]), (409, &json!("admin_role")), "{}", answer.text);
    }
    for (field, body) in [
        ("name", json!({"name": "shop:admin", "permissions": []})),
        ("name", json!({"name": " ", "permissions": []})),
        ("name", json!({"name": "x".repeat(65), "permissions": []})),
        ("permissions", json!({"name": "x", "permissions": ["*"]})),
        ("permissions", json!({"name": "x", "permissions": ["online:raed"]})),
        ("permissions", json!({"name": "x"})),
        ("description", json!({"name": "x", "permissions": [], "description": "x".repeat(201)})),
    ] {
        let refused = admin.post(ROLES, body).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{}", refused.text);
    }
    assert_eq!(admin.patch(&format!("{ROLES}/king"), json!({"permissions": 7})).await.status, 404);
    assert_eq!((bob.get(ROLES).await.status, bob.post(ROLES, json!({})).await.status), (403, 403));
    app.shutdown().await;
}

#[tokio::test]
async fn nobody_widens_a_role_beyond_what_they_have() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    make(&admin, "clerk", &["role:write", "user:read", "user:write", "online:read"]).await;
    make(&admin, "door", &["online:read", "online:kick"]).await;
    let clerk = app.user("clerk", "clerk").await;
    let own = format!("/api/v1/users/{}", clerk.id);
    for answer in [
        clerk.post(ROLES, json!({"name": "x", "permissions": ["online:kick"]})).await,
        clerk.patch(&format!("{ROLES}/clerk"), json!({"permissions": ["role:write", "audit:read"]})).await,
        clerk.patch(&own, json!({"roles": ["clerk", "door"]})).await,
        clerk.patch(&own, json!({"roles": ["clerk", "admin"]})).await,
        clerk.post("/api/v1/users", json!({"username": "x", "password": "long enough", "roles": ["door"]})).await,
    ] {
        assert_eq!((answer.status, &answer.body["code"]), (403, &json!("forbidden")), "{}", answer.text);
    }
    // What the role has already is not given by whoever changes the rest of it.
    let narrowed = clerk.patch(&format!("{ROLES}/door"), json!({"permissions": ["online:kick"]})).await;
    assert_eq!(narrowed.body["permissions"], json!(["online:kick"]), "{}", narrowed.text);
    let back = clerk.patch(&format!("{ROLES}/door"), json!({"permissions": ["online:read", "online:kick"]})).await;
    assert_eq!(back.status, 200, "{}", back.text);
    app.shutdown().await;
}

#[tokio::test]
async fn a_changed_role_reaches_sockets_on_every_node_and_ends_what_it_no_longer_allows() {
    let cluster = TestCluster::start(3).await;
    let admin = cluster[0].user("root", "admin").await;
    make(&admin, "watcher", &["online:read"]).await;
    let mut sockets = Vec::new();
    for number in 0..3 {
        let name = format!("bob{number}");
        let bob = cluster[number].user(&name, "watcher").await;
        let mut socket = bob.connect(&cluster[number]).await;
        assert_eq!(socket.ask("online/subscribe", json!({})).await["code"], 0);
        sockets.push(socket);
    }
    let eve = cluster[1].user("eve", "member").await;
    let mut neighbour = eve.connect(&cluster[1]).await;
    let path = format!("{ROLES}/watcher");
    let elsewhere = admin.at(&cluster[2]);
    assert_eq!(elsewhere.patch(&path, json!({"permissions": ["monitor:read"]})).await.status, 200);
    for socket in &mut sockets {
        let changed = socket.push("auth/changed").await;
        assert_eq!(changed["gained"], json!(["monitor:read"]), "{changed}");
        assert_eq!((&changed["lost"], &changed["ended"]), (&json!(["online:read"]), &json!(["online/subscribe"])));
        assert_eq!(socket.ask("online/subscribe", json!({})).await["code"], 403);
    }
    assert_eq!(admin.patch(&path, json!({"permissions": ["online:read"]})).await.status, 200);
    for socket in &mut sockets {
        let changed = socket.push("auth/changed").await;
        assert_eq!((&changed["gained"], changed.get("ended")), (&json!(["online:read"]), None), "{changed}");
        assert_eq!(socket.ask("online/subscribe", json!({})).await["code"], 0);
    }
    assert_eq!(neighbour.answer_to(r#"{"event":"ping"}"#).await["event"], "ping", "nobody else is told");
    // A handshake that its node remembers has the new rights, too.
    drop((sockets, neighbour));
    cluster.shutdown().await;
}

#[tokio::test]
async fn disabled_and_deleted_users_are_out_on_every_node_and_an_unlocked_one_gets_in() {
    let cluster = TestCluster::start(3).await;
    let admin = cluster[0].user("root", "admin").await;
    for (number, body) in [(1, Some(json!({"disabled": true}))), (2, None)] {
        let name = format!("bob{number}");
        cluster[0].account(&name, "member").await;
        let bob = cluster[number].login(&name).await;
        let socket = bob.connect(&cluster[number]).await;
        let path = format!("/api/v1/users/{}", bob.id);
        let status = match body {
            Some(body) => admin.patch(&path, body).await.status,
            None => admin.delete(&path, json!({})).await.status,
        };
        assert!([200, 204].contains(&status));
        assert_eq!(socket.ended().await.code, 4403);
        assert_eq!(bob.get("/api/v1/auth/me").await.status, 401);
    }
    let eve = cluster[0].account("eve", "member").await;
    for number in 0..5 {
        cluster[number % 3].try_login("eve", "a wrong password").await;
    }
    let locked = admin.get("/api/v1/users?locked=true").await.body;
    assert_eq!(locked["list"][0]["username"], "eve", "{locked}");
    assert_eq!(admin.at(&cluster[1]).post(&format!("/api/v1/users/{eve}/unlock"), json!({})).await.status, 204);
    for node in cluster.iter() {
        node.login("eve").await;
    }
    cluster.shutdown().await;
}
