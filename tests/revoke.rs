//! `POST /sessions/revoke`: another system says that a user of its logged out or changed role.

use serde_json::json;

use crate::harness::{TestApp, TestUser};

const PATH: &str = "/api/v1/sessions/revoke";

async fn is_logged_in(user: &TestUser) -> bool {
    user.get("/api/v1/auth/me").await.status == 200
}

#[tokio::test]
async fn a_user_who_logged_out_elsewhere_loses_every_session_and_socket_here() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let (here, there, eve) = (app.user("bob", "member").await, app.login("bob").await, app.user("eve", "member").await);
    let (tab, other_tab, elsewhere) = (here.connect(&app).await, here.connect(&app).await, there.connect(&app).await);
    let mut neighbour = eve.connect(&app).await;
    let answer = admin.post(PATH, json!({"user": here.id, "reason": "You logged out of the shop."})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        (&answer.body["sessions"], &answer.body["clients"], &answer.body["complete"]),
        (&json!(2), &json!(3), &json!(true))
    );
    for socket in [tab, other_tab, elsewhere] {
        let ended = socket.ended().await;
        assert_eq!((ended.code, &ended.reason["text"]), (4410, &json!("You logged out of the shop.")));
        let kick = ended.frames.iter().find(|frame| frame["event"] == "kick").unwrap();
        assert_eq!(kick["data"], json!({"reason": "You logged out of the shop."}), "and nobody is blamed");
    }
    let denied = here.get("/api/v1/auth/me").await;
    assert_eq!((denied.status, &denied.body["code"]), (401, &json!("session_revoked")), "{}", denied.text);
    assert!(!is_logged_in(&there).await && is_logged_in(&eve).await);
    assert_eq!(neighbour.ask("ping", json!({})).await["code"], 0);
    let audit = admin.get("/api/v1/logs/audit?action=session.revoke").await.body["list"][0].clone();
    assert_eq!((&audit["target"], &audit["reason"]), (&json!(here.id), &json!("You logged out of the shop.")));
    let again = admin.post(PATH, json!({"user": here.id})).await;
    assert_eq!((again.status, &again.body["sessions"], &again.body["clients"]), (200, &json!(0), &json!(0)));
    let bob = app.login("bob").await;
    assert!(is_logged_in(&bob).await, "a later login is another one");
    drop(neighbour);
    app.shutdown().await;
}

#[tokio::test]
async fn one_session_ends_and_the_users_others_stay() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let (here, there) = (app.user("bob", "member").await, app.login("bob").await);
    let tab = here.connect(&app).await;
    let answer = admin.post(PATH, json!({"session": here.session, "user": here.id})).await;
    assert_eq!((&answer.body["sessions"], &answer.body["clients"]), (&json!(1), &json!(1)), "{}", answer.text);
    assert_eq!(tab.ended().await.code, 4410);
    assert!(!is_logged_in(&here).await && is_logged_in(&there).await);
    app.shutdown().await;
}

#[tokio::test]
async fn what_names_nobody_ends_nobody() {
    let app = TestApp::start().await;
    let (admin, ops, bob) =
        (app.user("root", "admin").await, app.user("ops", "operator").await, app.user("bob", "member").await);
    for (body, status) in [
        (json!({}), 422),
        (json!({"reason": "x"}), 422),
        (json!({"user": "  "}), 422),
        (json!({"user": 7}), 422),
        (json!({"user": bob.id, "reason": "x".repeat(201)}), 422),
        (json!({"user": bob.id, "issuer": "a:b"}), 422),
        (json!({"user": "999", "reason": "x".repeat(201)}), 404),
        (json!({"user": bob.id, "issuer": "shop"}), 404),
        (json!({"user": bob.id, "issuer": "key"}), 404),
        (json!({"session": "nonsense"}), 404),
        (json!({"session": "01900000-0000-7000-8000-000000000000"}), 404),
        (json!({"session": bob.session, "user": ops.id}), 404),
        (json!({"session": bob.session, "issuer": "shop"}), 404),
    ] {
        let answer = admin.post(PATH, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    }
    assert_eq!(ops.post(PATH, json!({"user": bob.id})).await.status, 403, "that takes session:write");
    assert_eq!(app.anonymous("POST", PATH, json!({"user": bob.id})).await.status, 401);
    assert!(is_logged_in(&bob).await);
    app.shutdown().await;
}
