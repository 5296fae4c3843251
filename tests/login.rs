//! Logging in, staying logged in, being logged out.

use std::time::Duration;

use rollcall::clock::Clock;
use rollcall::config::Logins;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApp, TestUser};

/// Exchanges a refresh cookie as the page does.
async fn refresh(app: &TestApp, cookie: &str) -> Answer {
    refresh_with(app, cookie, &[("x-rollcall", "1")]).await
}

async fn refresh_with(app: &TestApp, cookie: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = app.http.post(app.url("/api/v1/auth/refresh")).header("cookie", cookie);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
}

fn cookie_of(answer: &Answer) -> String {
    answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

async fn is_logged_in(user: &TestUser) -> bool {
    user.get("/api/v1/auth/me").await.status == 200
}

#[tokio::test]
async fn a_login_answers_a_token_and_hides_the_refresh_token_in_its_cookie() {
    let app = TestApp::start().await;
    app.account("bob", "member").await;
    let answer = app.try_login("bob", PASSWORD).await;
    assert_eq!((answer.status, &answer.body["tokenType"]), (200, &json!("Bearer")));
    let seconds = answer.body["expiresIn"].as_i64().unwrap();
    assert!((840..=900).contains(&seconds), "fifteen minutes, less what a busy machine took for the answer: {seconds}");
    assert_eq!((&answer.body["user"]["username"], &answer.body["user"]["roles"]), (&json!("bob"), &json!(["member"])));
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(cookie.contains(part), "{part} is missing in {}", cookie.split('=').next().unwrap());
    }
    let value = cookie_of(&answer).split_once('=').unwrap().1.to_owned();
    assert!(!answer.text.contains(&value));
    let claims = answer.body["accessToken"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let mut keys: Vec<&String> = claims.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["aud", "exp", "iat", "iss", "jti", "sid", "sub"], "and no personal data");
    app.shutdown().await;
}

#[tokio::test]
async fn an_unknown_name_and_a_wrong_password_are_answered_and_locked_alike() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let id = app.account("bob", "member").await;
    for name in ["bob", "nobody"] {
        for attempt in 1..=4 {
            let answer = app.try_login(name, "a wrong password").await;
            assert_eq!((answer.status, &answer.body["code"]), (401, &json!("bad_credentials")), "{name} {attempt}");
        }
        assert_eq!(app.try_login(name, "a wrong password").await.status, 403);
        // A good password does not help any more, nor does another way to write the name.
        let locked = app.try_login(&format!(" {} ", name.to_uppercase()), PASSWORD).await;
        assert_eq!((locked.status, &locked.body["code"]), (403, &json!("locked")), "{}", locked.text);
        assert!(locked.headers.contains_key("retry-after") && locked.body["until"].is_string());
    }
    assert_eq!(admin.post(&format!("/api/v1/users/{id}/unlock"), json!({})).await.status, 204);
    assert_eq!(app.try_login("bob", PASSWORD).await.status, 200);
    app.clock.advance(Duration::from_secs(601));
    assert_eq!(app.try_login("nobody", "a wrong password").await.status, 401);
    app.shutdown().await;
}

#[tokio::test]
async fn an_address_logs_in_only_so_often() {
    let app = TestApp::alone(|config| config.auth.logins_per_address = 3).await;
    app.account("bob", "member").await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(app.try_login("bob", PASSWORD).await.status);
    }
    assert_eq!((&statuses[..3], statuses[4]), (&[200; 3][..], 429));
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(app.try_login("bob", PASSWORD).await.status, 200);
    app.shutdown().await;
}

#[tokio::test]
async fn a_refresh_token_rotates_and_its_second_use_after_a_while_ends_the_session() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let socket = bob.connect(&app).await;
    assert_eq!(refresh_with(&app, &bob.cookie, &[]).await.status, 403, "without the header of the page");
    let foreign = [("x-rollcall", "1"), ("origin", "https://evil.example")];
    assert_eq!(refresh_with(&app, &bob.cookie, &foreign).await.status, 403);
    assert_eq!(refresh(&app, "rollcall_refresh=nonsense").await.status, 401);
    assert_eq!(refresh(&app, "other=1").await.status, 401);

    let first = refresh(&app, &bob.cookie).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_ne!(cookie_of(&first), bob.cookie);
    app.clock.advance(Duration::from_secs(29));
    let again = refresh(&app, &bob.cookie).await;
    assert_eq!((again.status, cookie_of(&again)), (200, cookie_of(&first)), "the same successor");
    app.clock.advance(Duration::from_secs(2));
    assert_eq!(refresh(&app, &bob.cookie).await.status, 401, "somebody has a copy");
    assert_eq!(refresh(&app, &cookie_of(&first)).await.status, 401, "the whole session is over");
    assert!(!is_logged_in(&bob).await);
    assert_eq!(socket.ended().await.code, 4410);
    app.shutdown().await;
}

#[tokio::test]
async fn a_session_ends_after_its_longest_life_however_often_it_is_refreshed() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let mut cookie = bob.cookie.clone();
    for _ in 0..4 {
        app.clock.advance(Duration::from_secs(20 * 24 * 3600));
        let answer = refresh(&app, &cookie).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        cookie = cookie_of(&answer);
    }
    app.clock.advance(Duration::from_secs(11 * 24 * 3600));
    assert_eq!(refresh(&app, &cookie).await.status, 401);
    app.shutdown().await;
}

#[tokio::test]
async fn a_logout_ends_the_session_and_its_sockets_and_no_other() {
    let app = TestApp::start().await;
    let (here, there) = (app.user("bob", "member").await, app.login("bob").await);
    let (socket, mut other) = (here.connect(&app).await, there.connect(&app).await);
    let answer = here.post("/api/v1/auth/logout", json!({})).await;
    assert_eq!(answer.status, 204);
    assert!(answer.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert!(!is_logged_in(&here).await && is_logged_in(&there).await);
    assert_eq!(refresh(&app, &here.cookie).await.status, 401);
    let ended = socket.ended().await;
    assert_eq!((ended.code, &ended.reason["reason"]), (4410, &json!("loggedOut")));
    assert_eq!(other.ask("ping", json!({})).await["code"], 0);
    drop(other);
    app.shutdown().await;
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let app = TestApp::start().await;
    let (here, there) = (app.user("bob", "member").await, app.login("bob").await);
    let change = async |current: &str, new: &str| {
        here.post("/api/v1/auth/password", json!({"currentPassword": current, "newPassword": new})).await
    };
    let wrong = change("not my password", "a newer password").await;
    assert_eq!((wrong.status, &wrong.body["field"]), (422, &json!("currentPassword")));
    for new in ["short", &"x".repeat(129)] {
        let refused = change(PASSWORD, new).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!("newPassword")));
    }
    assert_eq!(change(PASSWORD, "a newer password").await.status, 204);
    assert!(is_logged_in(&here).await && !is_logged_in(&there).await);
    assert_eq!(app.try_login("bob", PASSWORD).await.status, 401);
    assert_eq!(app.try_login("bob", "a newer password").await.status, 200);
    app.shutdown().await;
}

#[tokio::test]
async fn five_hundred_logins_at_once_are_answered_and_the_server_is_well_afterwards() {
    let app = TestApp::with(|config| config.auth.failures_per_name = 1000).await;
    let bob = app.user("bob", "member").await;
    let mut socket = bob.connect(&app).await;
    let attempts = (0..500).map(|number| {
        let name = if number % 2 == 0 { "bob".to_owned() } else { format!("nobody{number}") };
        let app = &app;
        async move { app.try_login(&name, if number % 4 == 0 { PASSWORD } else { "a wrong password" }).await.status }
    });
    let statuses = futures_util::future::join_all(attempts).await;
    assert!(statuses.iter().all(|status| [200, 401, 403, 429, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&401) && statuses.contains(&200));
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    assert_eq!(app.try_login("bob", PASSWORD).await.status, 200);
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn where_one_login_is_allowed_the_older_one_is_told_and_closed() {
    let app = TestApp::with(|config| config.auth.logins = Logins::AtMost(1)).await;
    let older = app.user("bob", "member").await;
    let socket = older.connect(&app).await;
    let newer = app.login("bob").await;
    let ended = socket.ended().await;
    assert_eq!((ended.code, &ended.reason["reason"]), (4409, &json!("replaced")));
    assert!(ended.frames.iter().any(|frame| frame["event"] == "kick"), "{ended:?}");
    assert!(!is_logged_in(&older).await && is_logged_in(&newer).await);
    app.shutdown().await;
}

#[tokio::test]
async fn a_login_that_is_not_used_for_thirty_days_is_over() {
    let app = TestApp::start().await;
    let (away, late) = (app.user("bob", "member").await, app.user("eve", "member").await);
    app.clock.advance(Duration::from_secs(30 * 86_400 - 1));
    assert_eq!(refresh(&app, &away.cookie).await.status, 200, "a second before");
    app.clock.advance(Duration::from_secs(1));
    let over = refresh(&app, &late.cookie).await;
    assert_eq!((over.status, &over.body["code"]), (401, &json!("session_revoked")), "{}", over.text);
    app.shutdown().await;
}

#[tokio::test]
async fn a_disabled_account_is_out_at_once_and_only_its_login_says_why() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    assert_eq!(admin.patch(&format!("/api/v1/users/{}", bob.id), json!({"disabled": true})).await.status, 200);
    let over = bob.get("/api/v1/auth/me").await;
    assert_eq!((over.status, &over.body["code"]), (401, &json!("session_revoked")));
    let login = app.try_login("bob", PASSWORD).await;
    assert_eq!((login.status, &login.body["code"]), (403, &json!("account_disabled")));
    let refused = refresh(&app, &bob.cookie).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("account_disabled")), "{}", refused.text);
    assert_eq!(app.try_login("bob", "a wrong password").await.status, 401);
    admin.patch(&format!("/api/v1/users/{}", bob.id), json!({"disabled": false})).await;
    assert!(!is_logged_in(&bob).await, "the old session stays over");
    assert_eq!(app.try_login("bob", PASSWORD).await.status, 200);
    app.shutdown().await;
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_their_owner_and_by_who_may() {
    let app = TestApp::start().await;
    let (admin, eve) = (app.user("root", "admin").await, app.user("eve", "member").await);
    let (here, there) = (app.user("bob", "member").await, app.login("bob").await);
    let _socket = there.connect(&app).await;
    let list = here.get("/api/v1/sessions").await.body;
    assert_eq!(list["totalCount"], 2);
    let rows = list["list"].as_array().unwrap();
    let of = |session: &str| rows.iter().find(|row| row["id"] == session).unwrap().clone();
    assert_eq!((&of(&here.session)["current"], &of(&there.session)["clients"]), (&json!(true), &json!(1)));
    assert_eq!(eve.get(&format!("/api/v1/sessions?user={}", here.id)).await.status, 403);
    assert_eq!(eve.delete(&format!("/api/v1/sessions/{}", there.session), json!({})).await.status, 404);
    assert_eq!(admin.get(&format!("/api/v1/sessions?user={}", here.id)).await.body["totalCount"], 2);
    assert_eq!(here.delete(&format!("/api/v1/sessions/{}", there.session), json!({})).await.status, 204);
    assert!(!is_logged_in(&there).await);
    let own = here.delete(&format!("/api/v1/sessions/{}", here.session), json!({})).await;
    assert_eq!((own.status, &own.body["code"]), (409, &json!("confirm_self")), "{}", own.text);
    assert!(is_logged_in(&here).await);
    assert_eq!(admin.delete(&format!("/api/v1/sessions/{}", here.session), json!({"reason": "x"})).await.status, 204);
    assert!(!is_logged_in(&here).await);
    drop(_socket);
    app.shutdown().await;
}

#[tokio::test]
async fn all_sessions_are_listed_filtered_and_ended_by_age_but_the_one_that_asks() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    app.clock.advance(Duration::from_secs(600));
    let (late, eve) = (app.login("bob").await, app.user("eve", "member").await);
    let socket = bob.connect(&app).await;
    let time = (app.clock.now() - chrono::TimeDelta::minutes(5)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    for (query, expected) in [
        ("", vec![&eve, &late, &bob, &admin]),
        ("&sort=createdAt&pageSize=2", vec![&admin, &bob]),
        ("&username=BO", vec![&late, &bob]),
        (&format!("&createdBefore={time}"), vec![&bob, &admin]),
        ("&kind=token", vec![]),
        ("&ip=127.0.0", vec![&eve, &late, &bob, &admin]),
        ("&device=tv", vec![]),
    ] {
        let list = admin.get(&format!("/api/v1/sessions?all=true{query}")).await.body;
        let found: Vec<_> = list["list"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(found, expected.iter().map(|user| user.session.as_str()).collect::<Vec<_>>(), "{query}");
    }
    let of_bob = admin.get(&format!("/api/v1/sessions?user={}&sort=createdAt", bob.id)).await.body;
    assert_eq!((&of_bob["list"][0]["clients"], &of_bob["list"][0]["current"]), (&json!(1), &json!(false)));
    assert_eq!(admin.get("/api/v1/sessions?all=true&kind=shoe").await.body["field"], "kind");
    assert_eq!(bob.get("/api/v1/sessions?all=true").await.status, 403);

    let older = json!({"createdBefore": time, "reason": "Spring cleaning."});
    assert_eq!(bob.post("/api/v1/sessions/revoke", older.clone()).await.status, 403);
    let ended = admin.post("/api/v1/sessions/revoke", older).await;
    assert_eq!((&ended.body["sessions"], &ended.body["more"]), (&json!(1), &json!(false)), "{}", ended.text);
    assert_eq!(socket.ended().await.reason["text"], "Spring cleaning.");
    assert!(!is_logged_in(&bob).await && is_logged_in(&late).await && is_logged_in(&eve).await);
    assert!(is_logged_in(&admin).await, "the one that asks stays");
    let both = json!({"createdBefore": time, "session": eve.session});
    assert_eq!(admin.post("/api/v1/sessions/revoke", both).await.body["field"], "createdBefore");
    let own = json!({"createdBefore": time, "confirmSelf": true});
    assert_eq!(admin.post("/api/v1/sessions/revoke", own).await.body["sessions"], 1);
    assert!(!is_logged_in(&admin).await);
    app.shutdown().await;
}

#[tokio::test]
async fn the_last_administrator_stays_even_against_two_requests_at_once() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann", "admin").await, app.user("bob", "admin").await);
    let (of_ann, of_bob) = (format!("/api/v1/users/{}", ann.id), format!("/api/v1/users/{}", bob.id));
    let (first, second) =
        tokio::join!(ann.patch(&of_bob, json!({"roles": ["member"]})), bob.patch(&of_ann, json!({"disabled": true})),);
    let statuses = [first.status, second.status];
    assert!(statuses.contains(&200) && statuses.iter().any(|status| [409, 403, 401].contains(status)), "{statuses:?}");
    let admin = if is_logged_in(&ann).await && ann.get("/api/v1/users").await.status == 200 { &ann } else { &bob };
    let own = format!("/api/v1/users/{}", admin.id);
    for change in [json!({"disabled": true}), json!({"roles": ["member"]})] {
        let refused = admin.patch(&own, change).await;
        assert_eq!((refused.status, &refused.body["code"]), (409, &json!("last_administrator")), "{}", refused.text);
    }
    let deleted = admin.delete(&own, json!({"confirmSelf": true})).await;
    assert_eq!((deleted.status, &deleted.body["code"]), (409, &json!("last_administrator")), "{}", deleted.text);
    let lockout = json!({"lockoutSeconds": 60, "confirmSelf": true});
    assert_eq!(admin.delete(&format!("/api/v1/online/users/{}", admin.id), lockout).await.status, 409);
    app.shutdown().await;
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let new = json!({"username": "eve", "password": PASSWORD, "roles": ["admin"]});
    let operator = app.user("ops", "operator").await;
    assert_eq!(operator.post("/api/v1/users", new.clone()).await.status, 403);
    let created = admin.post("/api/v1/users", new.clone()).await;
    assert_eq!((created.status, &created.body["username"]), (201, &json!("eve")));
    assert_eq!(admin.post("/api/v1/users", new).await.status, 409, "the name is taken");
    for (field, body) in [
        ("username", json!({"username": "a:b", "password": PASSWORD, "roles": []})),
        ("username", json!({"username": "", "password": PASSWORD, "roles": []})),
        ("password", json!({"username": "x", "password": "short", "roles": []})),
        ("roles", json!({"username": "x", "password": PASSWORD, "roles": ["emperor"]})),
    ] {
        let refused = admin.post("/api/v1/users", body).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{}", refused.text);
    }
    app.shutdown().await;
}
