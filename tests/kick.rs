//! The door.

use serde_json::{Value, json};

use crate::harness::{PASSWORD, TestApp, TestSocket, TestUser};

async fn is_logged_in(user: &TestUser) -> bool {
    user.get("/api/v1/auth/me").await.status == 200
}

/// matched, closed, complete
fn outcome(body: &Value) -> (u64, u64, bool) {
    (body["matched"].as_u64().unwrap(), body["closed"].as_u64().unwrap(), body["complete"].as_bool().unwrap())
}

#[tokio::test]
async fn kicking_a_client_ends_its_session_so_all_its_tabs_and_no_other_login() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let (here, there) = (app.user("bob", "member").await, app.login("bob").await);
    let (tab, other_tab, mut elsewhere) =
        (here.connect(&app).await, here.connect(&app).await, there.connect(&app).await);
    let path = format!("/api/v1/online/clients/{}", tab.id);
    let dry = admin.delete(&format!("{path}?dryRun=true"), json!({"reason": "x"})).await;
    assert_eq!(
        (dry.status, outcome(&dry.body), &dry.body["dryRun"]),
        (200, (2, 0, true), &json!(true)),
        "{}",
        dry.text
    );
    assert!(is_logged_in(&here).await && dry.body.get("id").is_none());
    let kick = admin.delete(&path, json!({"reason": "Enough."})).await;
    assert_eq!((kick.status, outcome(&kick.body)), (200, (2, 2, true)), "{}", kick.text);
    assert_eq!(kick.body["users"], json!([here.id]));
    for socket in [tab, other_tab] {
        let ended = socket.ended().await;
        assert_eq!((ended.code, &ended.reason), (4410, &json!({"reason": "kicked", "text": "Enough."})));
        let push = &ended.frames.iter().find(|frame| frame["event"] == "kick").unwrap()["data"];
        assert_eq!((&push["reason"], &push["by"]), (&json!("Enough."), &json!("root")));
    }
    assert!(!is_logged_in(&here).await && is_logged_in(&there).await);
    assert_eq!(elsewhere.ask("ping", json!({})).await["code"], 0);
    let row = admin.get(&format!("/api/v1/online/kicks/{}", kick.body["id"].as_str().unwrap())).await.body;
    assert_eq!((outcome(&row), &row["by"], &row["reason"]), ((2, 2, true), &json!("root"), &json!("Enough.")));
    let audit = admin.get("/api/v1/logs/audit?action=online.kick").await.body["list"][0].clone();
    assert_eq!(
        (&audit["actorName"], &audit["target"], &audit["reason"]),
        (&json!("root"), &json!(here.id), &json!("Enough.")),
        "who, whom, why"
    );
    drop(elsewhere);
    app.shutdown().await;
}

#[tokio::test]
async fn a_kicked_session_opens_nothing_from_then_on_wherever_it_was_open() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    app.account("bob", "member").await;
    for _ in 0..20 {
        let bob = app.login("bob").await;
        let tabs = (bob.connect(&app).await, bob.connect(&app).await, bob.connect(&app).await);
        let kick = admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({})).await;
        assert_eq!((kick.status, outcome(&kick.body)), (200, (3, 3, true)), "{}", kick.text);
        for _ in 0..3 {
            let again = TestSocket::dial(&app, &[("authorization", &format!("Bearer {}", bob.token))], "").await;
            assert_eq!(again.err(), Some(401));
        }
        drop(tabs);
    }
    app.shutdown().await;
}

#[tokio::test]
async fn kicking_without_revoking_closes_only_the_socket() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let (tab, mut other) = (bob.connect(&app).await, bob.connect(&app).await);
    let kick = admin.delete(&format!("/api/v1/online/clients/{}", tab.id), json!({"revoke": false})).await;
    assert_eq!(outcome(&kick.body), (1, 1, true), "{}", kick.text);
    assert_eq!(tab.ended().await.code, 4410);
    assert!(is_logged_in(&bob).await);
    assert_eq!(other.ask("ping", json!({})).await["code"], 0);
    drop(other);
    app.shutdown().await;
}

#[tokio::test]
async fn a_user_is_kicked_with_all_logins_also_when_no_socket_is_open() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let (here, there) = (app.user("bob", "member").await, app.login("bob").await);
    let kick = admin.delete(&format!("/api/v1/online/users/{}", here.id), json!({})).await;
    assert_eq!((kick.status, outcome(&kick.body)), (200, (0, 0, true)), "{}", kick.text);
    assert!(!is_logged_in(&here).await && !is_logged_in(&there).await);
    let session = app.login("bob").await;
    let kick = admin.delete(&format!("/api/v1/online/sessions/{}", session.session), json!({})).await;
    assert_eq!(kick.status, 200, "{}", kick.text);
    assert!(!is_logged_in(&session).await);
    for path in [
        "users/999",
        "sessions/01900000-0000-7000-8000-000000000000",
        "clients/01900000-0000-7000-8000-000000000000",
        "clients/nonsense",
    ] {
        assert_eq!(admin.delete(&format!("/api/v1/online/{path}"), json!({})).await.status, 404, "{path}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn many_are_kicked_by_a_list_or_a_filter_but_never_by_an_empty_one() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let (bob, eve, dan) =
        (app.user("bob", "member").await, app.user("eve", "member").await, app.user("dan", "operator").await);
    let sockets = (bob.connect(&app).await, eve.connect(&app).await, dan.connect(&app).await);
    for (body, field) in [
        (json!({}), "filter"),
        (json!({"filter": {}}), "filter"),
        (json!({"filter": {"username": "  "}}), "filter"),
        (json!({"clients": ["nonsense"]}), "clients"),
        (json!({"users": [bob.id], "reason": "x".repeat(201)}), "reason"),
        (json!({"filter": {"q": "x".repeat(900_000)}}), "q"),
        (json!({"users": [bob.id], "lockoutSeconds": 999_999_999}), "lockoutSeconds"),
    ] {
        let refused = admin.post("/api/v1/online/kick", body).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{}", refused.text);
    }
    let kick = admin.post("/api/v1/online/kick", json!({"filter": {"role": "member"}, "reason": "Night."})).await;
    assert_eq!(outcome(&kick.body), (2, 2, true), "{}", kick.text);
    assert!(!is_logged_in(&bob).await && !is_logged_in(&eve).await && is_logged_in(&dan).await);
    let kick = admin.post("/api/v1/online/kick", json!({"clients": [sockets.2.id], "users": [eve.id]})).await;
    assert_eq!(outcome(&kick.body), (1, 1, true), "{}", kick.text);
    drop(sockets);
    app.shutdown().await;
}

#[tokio::test]
async fn of_many_named_the_known_are_kicked_and_the_unknown_are_listed() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let (tab, nobody) = (bob.connect(&app).await, "01900000-0000-7000-8000-000000000000");
    let named = json!({"users": [bob.id, "999", "shop:7"], "clients": [nobody], "sessions": [nobody]});
    let kick = admin.post("/api/v1/online/kick", named).await;
    assert_eq!((kick.status, outcome(&kick.body)), (200, (1, 1, true)), "{}", kick.text);
    assert_eq!(kick.body["unknown"], json!([nobody, nobody, "999", "shop:7"]));
    assert_eq!(kick.body["users"], json!([bob.id]));
    assert_eq!(tab.ended().await.code, 4410);
    assert!(!is_logged_in(&bob).await);
    for nobody in [json!({"users": ["998", "999"]}), json!({"clients": [nobody]}), json!({"sessions": [nobody]})] {
        let kick = admin.post("/api/v1/online/kick", nobody).await;
        assert_eq!(kick.status, 404, "{}", kick.text);
    }
    let kick = admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({})).await;
    assert_eq!(kick.body["unknown"], json!([]), "{}", kick.text);
    app.shutdown().await;
}

#[tokio::test]
async fn an_operator_reaches_no_administrator_by_any_way_of_naming_one() {
    let app = TestApp::start().await;
    let (admin, ops) = (app.user("root", "admin").await, app.user("ops", "operator").await);
    let bob = app.user("bob", "member").await;
    let mut socket = admin.connect(&app).await;
    let _tab = bob.connect(&app).await;
    for (method, path, body) in [
        ("DELETE", format!("/api/v1/online/clients/{}", socket.id), json!({})),
        ("DELETE", format!("/api/v1/online/sessions/{}", admin.session), json!({})),
        ("DELETE", format!("/api/v1/online/users/{}", admin.id), json!({"revoke": false})),
        ("POST", "/api/v1/online/kick".to_owned(), json!({"users": [bob.id, admin.id]})),
        ("POST", "/api/v1/online/kick".to_owned(), json!({"clients": [socket.id]})),
        ("POST", "/api/v1/online/kick".to_owned(), json!({"sessions": [admin.session]})),
        ("POST", "/api/v1/online/kick".to_owned(), json!({"filter": {"ip": "127."}})),
        ("POST", "/api/v1/online/kick?dryRun=true".to_owned(), json!({"filter": {"username": "root"}})),
    ] {
        let refused = ops.call(method, &path, body.clone()).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")), "{path} {body}");
    }
    assert!(is_logged_in(&admin).await && is_logged_in(&bob).await, "nor is anybody else ended by such a call");
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    drop((socket, _tab));
    app.shutdown().await;
}

#[tokio::test]
async fn oneself_needs_a_confirmation_and_an_administrator_another_administrator() {
    let app = TestApp::start().await;
    let (admin, ops, bob) =
        (app.user("root", "admin").await, app.user("ops", "operator").await, app.user("bob", "member").await);
    let own = format!("/api/v1/online/users/{}", ops.id);
    let refused = ops.delete(&own, json!({})).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("confirm_self")), "{}", refused.text);
    let refused = ops.delete(&format!("/api/v1/online/users/{}", admin.id), json!({})).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert_eq!(bob.delete(&own, json!({})).await.status, 403);
    assert_eq!(app.anonymous("DELETE", &own, json!({})).await.status, 401);
    assert!(is_logged_in(&ops).await && is_logged_in(&admin).await);
    assert_eq!(ops.delete(&own, json!({"confirmSelf": true})).await.status, 200);
    assert!(!is_logged_in(&ops).await);
    app.shutdown().await;
}

#[tokio::test]
async fn a_lockout_ends_by_itself_when_its_time_is_over() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let kick = admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({"lockoutSeconds": 600})).await;
    assert_eq!(kick.status, 200, "{}", kick.text);
    app.clock.advance(std::time::Duration::from_secs(599));
    assert_eq!(app.try_login("bob", PASSWORD).await.body["code"], "locked");
    app.clock.advance(std::time::Duration::from_secs(1));
    let back = app.login("bob").await;
    assert!(is_logged_in(&back).await && !is_logged_in(&bob).await, "the old session stays over");
    drop(back.connect(&app).await);
    app.shutdown().await;
}

#[tokio::test]
async fn a_lockout_holds_at_every_door_until_it_is_lifted() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let socket = bob.connect(&app).await;
    let kick = admin
        .delete(
            &format!("/api/v1/online/clients/{}", socket.id),
            json!({"reason": "Cool down.", "lockoutSeconds": 600}),
        )
        .await;
    assert_eq!(outcome(&kick.body), (1, 1, true), "{}", kick.text);
    assert!(kick.body["until"].is_string());
    let ended = socket.ended().await;
    assert_eq!((ended.code, &ended.reason["text"]), (4429, &json!("Cool down.")));
    assert!(ended.reason["until"].is_string());
    let login = app.try_login("bob", PASSWORD).await;
    assert_eq!((login.status, &login.body["code"]), (403, &json!("locked")), "{}", login.text);
    assert!(login.headers.contains_key("retry-after"));
    let refresh =
        app.http.post(app.url("/api/v1/auth/refresh")).header("cookie", &bob.cookie).header("x-rollcall", "1");
    assert_eq!(refresh.send().await.unwrap().status(), 403);
    let lift = format!("/api/v1/online/users/{}/lockout", bob.id);
    assert_eq!(bob.delete(&lift, json!({})).await.status, 401);
    assert_eq!(admin.delete(&lift, Value::Null).await.status, 204);
    assert_eq!(admin.delete(&lift, Value::Null).await.status, 404, "there is none any more");
    assert_eq!(app.try_login("bob", PASSWORD).await.status, 200);
    assert!(!is_logged_in(&bob).await, "the old session stays over");
    app.shutdown().await;
}
