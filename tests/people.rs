//! Administration of accounts: found, named, deleted, given a password, imported.

use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApp, TestSocket, TestUser};

fn path(user: &TestUser) -> String {
    format!("/api/v1/users/{}", user.id)
}

async fn names(caller: &TestUser, query: &str) -> Vec<String> {
    let answer = caller.get(&format!("/api/v1/users?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    let rows = answer.body["list"].as_array().unwrap();
    rows.iter().map(|row| row["username"].as_str().unwrap().to_owned()).collect()
}

async fn import(app: &TestApp, caller: &TestUser, query: &str, kind: &str, text: &str) -> Answer {
    let request = app.http.post(app.url(&format!("/api/v1/users/import{query}"))).bearer_auth(&caller.token);
    let response = request.header("content-type", kind).body(text.to_owned()).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
}

#[tokio::test]
async fn users_are_found_by_what_is_known_of_them() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    for (name, role) in [("bob", "member"), ("eve", "operator"), ("ann", "member")] {
        app.account(name, role).await;
    }
    let eve = app.login("eve").await;
    let named = admin.patch(&path(&eve), json!({"displayName": " Eve Zed ", "email": "eve@example.com"})).await;
    assert_eq!((&named.body["displayName"], &named.body["email"]), (&json!("Eve Zed"), &json!("eve@example.com")));
    for _ in 0..5 {
        app.try_login("ann", "a wrong password").await;
    }
    admin.patch("/api/v1/users/2", json!({"disabled": true, "reason": "left"})).await;
    for (query, expected) in [
        ("sort=username", &["ann", "bob", "eve", "root"][..]),
        ("sort=-id&pageSize=2", &["ann", "eve"]),
        ("q=zed", &["eve"]),
        ("q=EVE@example", &["eve"]),
        ("role=member", &["bob", "ann"]),
        ("disabled=true", &["bob"]),
        ("locked=true", &["ann"]),
        ("locked=false&disabled=false", &["root", "eve"]),
        ("issuer=-&q=root", &["root"]),
        ("issuer=shop", &[]),
    ] {
        assert_eq!(names(&admin, query).await, expected, "{query}");
    }
    assert_eq!(admin.get("/api/v1/users?sort=shoe").await.body["field"], "sort");
    let audit = admin.get("/api/v1/logs/audit?action=user.disable").await.body["list"][0].clone();
    assert_eq!((&audit["target"], &audit["reason"]), (&json!("2"), &json!("left")));
    assert_eq!(admin.post("/api/v1/users/4/unlock", json!({})).await.status, 204);
    assert!(names(&admin, "locked=true").await.is_empty());
    for (field, body) in [
        ("displayName", json!({"displayName": "x".repeat(129)})),
        ("email", json!({"email": "nobody"})),
        ("reason", json!({"disabled": true, "reason": "x".repeat(201)})),
    ] {
        let refused = admin.patch(&path(&eve), body).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{}", refused.text);
    }
    app.shutdown().await;
}

#[tokio::test]
async fn a_change_is_made_as_a_whole_or_not_at_all() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let refused = admin.patch(&path(&admin), json!({"displayName": "Boss", "disabled": true})).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("last_administrator")));
    let refused = admin.patch(&path(&bob), json!({"displayName": "Bob", "roles": ["emperor"]})).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    for user in [&admin, &bob] {
        assert_eq!(admin.get(&path(user)).await.body["displayName"], "");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn a_deleted_user_is_out_at_once_and_what_logs_say_stays() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "operator").await);
    let eve = app.user("eve", "member").await;
    assert_eq!(bob.delete(&format!("/api/v1/online/users/{}", eve.id), json!({})).await.status, 200);
    let socket = bob.connect(&app).await;
    assert_eq!(bob.delete(&path(&admin), json!({})).await.status, 403, "that takes user:write");
    let own = admin.delete(&path(&admin), json!({})).await;
    assert_eq!((own.status, &own.body["code"]), (409, &json!("confirm_self")), "{}", own.text);
    let last = admin.delete(&path(&admin), json!({"confirmSelf": true})).await;
    assert_eq!((last.status, &last.body["code"]), (409, &json!("last_administrator")), "{}", last.text);
    assert_eq!(admin.delete(&path(&bob), json!({"reason": "Goodbye."})).await.status, 204);
    let ended = socket.ended().await;
    assert_eq!((ended.code, &ended.reason["text"]), (4403, &json!("Goodbye.")));
    let denied = bob.get("/api/v1/auth/me").await;
    assert_eq!((denied.status, &denied.body["code"]), (401, &json!("session_revoked")));
    assert_eq!(app.try_login("bob", PASSWORD).await.status, 401);
    assert_eq!(admin.get(&path(&bob)).await.status, 404);
    assert_eq!(admin.delete(&path(&bob), json!({})).await.status, 404);
    let audit = admin.get("/api/v1/logs/audit?action=user.delete").await.body["list"][0].clone();
    assert_eq!((&audit["target"], &audit["detail"]["username"]), (&json!(bob.id), &json!("bob")));
    let by_bob = admin.get(&format!("/api/v1/logs/audit?actor={}", bob.id)).await.body;
    assert_eq!(by_bob["list"][0]["actorName"], "bob", "{by_bob}");
    let again = app.account("bob", "member").await;
    assert_ne!(again, bob.id, "an id is never given again");
    app.shutdown().await;
}

#[tokio::test]
async fn a_reset_password_ends_the_sessions_and_must_be_changed_before_anything_else() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "operator").await);
    let socket = bob.connect(&app).await;
    let reset = admin.post(&format!("{}/password", path(&bob)), json!({"reason": "You lost it."})).await;
    assert_eq!((reset.status, &reset.body["mustChangePassword"]), (200, &json!(true)), "{}", reset.text);
    let password = reset.body["password"].as_str().unwrap();
    let ended = socket.ended().await;
    assert_eq!((ended.code, &ended.reason["text"]), (4410, &json!("You lost it.")));
    assert_eq!((bob.get("/api/v1/auth/me").await.status, app.try_login("bob", PASSWORD).await.status), (401, 401));

    let login = app.try_login("bob", password).await;
    assert_eq!((login.status, &login.body["mustChangePassword"]), (200, &json!(true)), "{}", login.text);
    let mut bob = bob;
    bob.token = login.body["accessToken"].as_str().unwrap().to_owned();
    for (method, path) in [
        ("GET", "/api/v1/online/counts"),
        ("GET", "/api/v1/sessions"),
        ("POST", "/api/v1/auth/ticket"),
        ("GET", "/admin/monitor/userOnlineList"),
    ] {
        let refused = bob.call(method, path, Value::Null).await;
        if path.starts_with("/admin") {
            assert_ne!(refused.body["code"], 0, "{path}: {}", refused.text);
        } else {
            let expected = (403, &json!("password_change_required"));
            assert_eq!((refused.status, &refused.body["code"]), expected, "{path}: {}", refused.text);
        }
    }
    let bearer = format!("Bearer {}", bob.token);
    assert_eq!(TestSocket::dial(&app, &[("authorization", &bearer)], "").await.err(), Some(403));
    let subprotocol = format!("rollcall.v1, bearer.{}", bob.token);
    let told = TestSocket::dial(&app, &[("sec-websocket-protocol", &subprotocol)], "").await.unwrap().ended().await;
    assert_eq!(told.code, 4403, "{told:?}");
    assert_eq!(bob.get("/api/v1/auth/me").await.body["mustChangePassword"], true);

    let change = async |new: &str| {
        bob.post("/api/v1/auth/password", json!({"currentPassword": password, "newPassword": new})).await
    };
    assert_eq!(change(password).await.body["field"], "newPassword", "the same is no other one");
    assert_eq!(change("a password of my own").await.status, 204);
    assert_eq!(bob.get("/api/v1/online/counts").await.status, 200);
    drop(bob.connect(&app).await);
    assert_eq!(app.try_login("bob", "a password of my own").await.body["mustChangePassword"], false);
    app.shutdown().await;
}

#[tokio::test]
async fn an_operator_may_ask_for_a_new_password_and_not_take_one_over() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "operator").await);
    let helper = json!({"name": "helper", "permissions": ["user:read", "user:write"]});
    assert_eq!(admin.post("/api/v1/roles", helper).await.status, 201);
    let (helper, member) = (app.user("helper", "helper").await, app.account("eve", "helper").await);
    for (user, code) in [(&bob.id, "forbidden"), (&admin.id, "forbidden"), (&helper.id, "own_password")] {
        let refused = helper.post(&format!("/api/v1/users/{user}/password"), json!({})).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!(code)), "{}", refused.text);
    }
    let given = json!({"password": "short"});
    assert_eq!(helper.post(&format!("/api/v1/users/{member}/password"), given).await.body["field"], "password");
    let given = json!({"password": "a longer password", "mustChangePassword": false});
    let reset = helper.post(&format!("/api/v1/users/{member}/password"), given).await;
    assert_eq!((reset.status, reset.body.get("password")), (200, None), "what the caller knows is not repeated");
    assert_eq!(app.try_login("eve", "a longer password").await.body["mustChangePassword"], false);

    assert_eq!(helper.patch(&path(&bob), json!({"mustChangePassword": true})).await.status, 200);
    assert_eq!(bob.get("/api/v1/auth/me").await.status, 401);
    assert_eq!(app.try_login("bob", PASSWORD).await.body["mustChangePassword"], true);
    assert_eq!(helper.patch(&path(&admin), json!({"mustChangePassword": true})).await.status, 403);
    app.shutdown().await;
}

#[tokio::test]
async fn an_import_makes_everybody_or_nobody_and_names_each_bad_line() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let bad = "username,displayName,roles,password\n\
               ann,Ann,member,\n\
               root,,,\n\
               a:b,,emperor;member,short\n\
               ANN,,,\n\
               too,many,fields,in,this\n\
               bob,\"Bob, the builder\",member;operator,a good password\n";
    for query in ["?dryRun=true", ""] {
        let answer = import(&app, &admin, query, "text/csv", bad).await;
        let lines: Vec<_> =
            answer.body["lines"].as_array().unwrap().iter().map(|bad| (&bad["line"], &bad["field"])).collect();
        let (number, field) = (|n: u64| json!(n), |name: &str| json!(name));
        let expected = [
            (&number(3), &field("username")),
            (&number(4), &field("username")),
            (&number(4), &field("password")),
            (&number(5), &field("username")),
            (&number(6), &Value::Null),
        ];
        assert_eq!(lines, expected, "{}", answer.text);
        let status = if query.is_empty() { (422, json!("invalid_lines")) } else { (200, Value::Null) };
        assert_eq!((answer.status, &answer.body["code"]), (status.0, &status.1), "{}", answer.text);
    }
    assert_eq!(names(&admin, "").await, ["root"]);
    let good = "\u{feff}username;displayName\n".replace(';', ",") + "ann,Ann\nbob,\"Bob, the builder\"\n";
    let made = import(&app, &admin, "", "text/csv; charset=utf-8", &good).await;
    assert_eq!((made.status, &made.body["total"]), (200, &json!(2)), "{}", made.text);
    let ann = &made.body["users"][0];
    assert_eq!((&ann["line"], &ann["username"]), (&json!(2), &json!("ann")));
    let login = app.try_login("ann", ann["password"].as_str().unwrap()).await;
    assert_eq!((login.status, &login.body["mustChangePassword"]), (200, &json!(true)), "{}", login.text);
    assert_eq!(names(&admin, "q=builder").await, ["bob"]);
    assert_eq!(admin.get("/api/v1/logs/audit?action=user.create").await.body["list"][0]["actor"], admin.id);
    app.shutdown().await;
}

#[tokio::test]
async fn a_file_that_is_none_is_refused_as_a_whole() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let many = (0..501).fold("username\n".to_owned(), |text, n| text + &format!("u{n}\n"));
    for (kind, text, status) in [
        ("application/json", "username\nann\n", 415),
        ("text/csv", "name\nann\n", 422),
        ("text/csv", "username,username\nann,ann\n", 422),
        ("text/csv", "username,isAdmin\nann,true\n", 422),
        ("text/csv", "", 422),
        ("text/csv", &many, 422),
    ] {
        let refused = import(&app, &admin, "", kind, text).await;
        assert_eq!(refused.status, status, "{}", refused.text);
    }
    assert_eq!(import(&app, &bob, "", "application/json", "").await.status, 403);
    assert_eq!(names(&admin, "").await, ["root", "bob"]);
    app.shutdown().await;
}
