//! Other systems are told of a kick: signed, at least once, and only where calls may go.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::Duration;

use crate::harness::other_system::{Heard, OtherSystem, REVOKE_SECRET, accept, hotgo_token, shop};
use crate::harness::{TestApp, TestUser, eventually};

async fn with_shop_told_at(url: &str) -> (TestApp, TestUser, TestUser) {
    let more = format!("revoke_url = \"{url}\"\nrevoke_secret = \"{REVOKE_SECRET}\"");
    let app = TestApp::with(|config| accept(config, &shop(&more))).await;
    let admin = app.user("root", "admin").await;
    let bob = app.foreign(hotgo_token(2, "bob", "clerk", app.services.clock().now().timestamp()));
    assert_eq!(bob.get("/api/v1/auth/me").await.status, 200);
    (app, admin, bob)
}

fn is_signed(heard: &Heard) -> bool {
    let header = |name: &str| heard.headers[name].to_str().unwrap().to_owned();
    let mut mac = Hmac::<Sha256>::new_from_slice(REVOKE_SECRET.as_bytes()).unwrap();
    mac.update(format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), heard.body).as_bytes());
    header("webhook-signature") == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

async fn upstream(admin: &TestUser, kick: &Value) -> Value {
    let path = format!("/api/v1/online/kicks/{}", kick["id"].as_str().unwrap());
    admin.get(&path).await.body["upstream"].clone()
}

#[tokio::test]
async fn the_system_of_a_kicked_user_is_told_and_the_answer_says_so() {
    let other = OtherSystem::start().await;
    let (app, admin, bob) = with_shop_told_at(&other.url("/revoked")).await;
    let socket = bob.connect(&app).await;
    let kick = admin.delete("/api/v1/online/users/shop:2", json!({"reason": "Enough."})).await;
    assert_eq!((kick.status, &kick.body["upstream"]), (200, &json!("confirmed")), "{}", kick.text);
    assert_eq!(socket.ended().await.code, 4410);
    let heard = other.heard().remove(0);
    assert!(is_signed(&heard), "{heard:?}");
    let told: Value = serde_json::from_str(&heard.body).unwrap();
    assert_eq!(told["type"], "session.revoked");
    assert_eq!(
        told["data"],
        json!({"issuer": "shop", "user": "2", "sessions": null, "reason": "Enough.", "by": "root", "until": null})
    );
    assert_eq!(upstream(&admin, &kick.body).await, "confirmed");
    app.shutdown().await;
}

#[tokio::test]
async fn a_kick_of_one_login_names_it_as_the_other_system_does() {
    let other = OtherSystem::start().await;
    let (app, admin, bob) = with_shop_told_at(&other.url("/revoked")).await;
    let socket = bob.connect(&app).await;
    let path = format!("/api/v1/online/clients/{}", socket.id);
    let only_the_socket = admin.delete(&path, json!({"revoke": false})).await;
    assert_eq!(only_the_socket.body["upstream"], "none", "nothing ended over there");
    let socket = bob.connect(&app).await;
    let kick = admin.delete(&format!("/api/v1/online/clients/{}", socket.id), json!({})).await;
    assert_eq!(kick.body["upstream"], "confirmed", "{}", kick.text);
    let told: Value = serde_json::from_str(&other.heard()[0].body).unwrap();
    use sha2::Digest;
    let hash: String = Sha256::digest(&bob.token).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(told["data"]["sessions"], json!([hash]), "a token without sid and jti is its SHA-256");
    app.shutdown().await;
}

#[tokio::test]
async fn a_kick_of_many_tells_each_of_them_and_says_so() {
    let other = OtherSystem::start().await;
    let (app, admin, _bob) = with_shop_told_at(&other.url("/revoked")).await;
    let ours = app.user("eve", "member").await;
    for id in [3, 4] {
        let token = hotgo_token(id, "x", "clerk", app.services.clock().now().timestamp());
        assert_eq!(app.foreign(token).get("/api/v1/auth/me").await.status, 200);
    }
    let kick = admin.post("/api/v1/online/kick", json!({"users": ["shop:2", "shop:3", "shop:4", ours.id]})).await;
    assert_eq!((kick.status, &kick.body["upstream"]), (200, &json!("confirmed")), "{}", kick.text);
    let told = |heard: Heard| serde_json::from_str::<Value>(&heard.body).unwrap()["data"]["user"].clone();
    let mut users: Vec<Value> = other.heard().into_iter().map(told).collect();
    users.sort_by_key(Value::to_string);
    assert_eq!(users, [json!("2"), json!("3"), json!("4")], "ours is nobody's over there");
    let kick = admin.post("/api/v1/online/kick", json!({"users": [ours.id]})).await;
    assert_eq!(kick.body["upstream"], "none");
    // More often than it is made again while the kick waits.
    (0..2).for_each(|_| other.will_answer(500, &json!({})));
    let kick = admin.post("/api/v1/online/kick", json!({"users": ["shop:3"]})).await;
    assert_eq!(kick.body["upstream"], "pending");
    app.shutdown().await;
}

#[tokio::test]
async fn whoever_ends_a_session_tells_its_system_unless_it_is_that_system() {
    let other = OtherSystem::start().await;
    let (app, admin, bob) = with_shop_told_at(&other.url("/revoked")).await;
    let session = |user: &TestUser| {
        let user = user.clone();
        async move { user.get("/api/v1/auth/me").await.body["sessionId"].as_str().unwrap().to_owned() }
    };
    let path = format!("/api/v1/sessions/{}", session(&bob).await);
    assert_eq!(admin.delete(&path, json!({"reason": "Enough."})).await.status, 204);
    eventually("it is told of an ended session", || async { other.heard().len() == 1 }).await;
    assert!(other.heard()[0].body.contains("Enough.") && is_signed(&other.heard()[0]));

    let revoke = "/api/v1/sessions/revoke";
    let ended = admin.post(revoke, json!({"issuer": "shop", "user": "2", "reason": "Closed."})).await;
    assert_eq!((ended.status, &ended.body["upstream"]), (200, &json!("confirmed")), "{}", ended.text);
    assert_eq!(other.heard().len(), 2);

    let key = json!({"name": "the shop", "scopes": ["session:write"]});
    let key = admin.post("/api/v1/api-keys", key).await.body["key"].as_str().unwrap().to_owned();
    let said = app.foreign(key).post(revoke, json!({"issuer": "shop", "user": "2"})).await;
    assert_eq!((said.status, &said.body["upstream"]), (200, &json!("none")), "{}", said.text);
    app.clock.advance(Duration::from_secs(2));
    let cat = app.foreign(hotgo_token(5, "cat", "clerk", app.services.clock().now().timestamp()));
    let own = format!("/api/v1/sessions/{}", session(&cat).await);
    assert_eq!(cat.delete(&own, json!({"confirmSelf": true})).await.status, 204);
    // Whatever was to be told is told before this.
    let kick = admin.delete("/api/v1/online/users/shop:2", json!({})).await;
    assert_eq!(kick.body["upstream"], "confirmed", "{}", kick.text);
    assert_eq!(
        other.heard().len(),
        3,
        "a backend knows what it says, and one's own logout is no kick: {:?}",
        other.heard()
    );
    app.shutdown().await;
}

#[tokio::test]
async fn a_call_that_fails_is_made_again_with_the_same_id_until_it_succeeds() {
    let other = OtherSystem::start().await;
    let (app, admin, _bob) = with_shop_told_at(&other.url("/revoked")).await;
    other.will_answer(500, &json!({}));
    other.will_answer(302, &json!({}));
    let kick = admin.delete("/api/v1/online/users/shop:2", json!({})).await;
    assert_eq!((kick.status, &kick.body["upstream"], &kick.body["complete"]), (200, &json!("pending"), &json!(true)));
    for attempts in 2..4 {
        app.clock.advance(Duration::from_secs(60));
        eventually("it is made again", || async { other.heard().len() >= attempts }).await;
    }
    eventually("it is confirmed", || async { upstream(&admin, &kick.body).await == "confirmed" }).await;
    let ids: Vec<String> = other.heard().iter().map(|heard| format!("{:?}", heard.headers["webhook-id"])).collect();
    assert!(ids.iter().all(|id| *id == ids[0]) && other.heard().iter().all(is_signed), "{ids:?}");
    app.shutdown().await;
}

#[tokio::test]
async fn a_call_is_made_even_when_the_process_ended_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}/rollcall.db", folder.path().display());
    let database = crate::harness::database::on_server().await.unwrap_or(file);
    let other = OtherSystem::start().await;
    let url = other.url("/revoked");
    let start = || {
        let more = format!("revoke_url = \"{url}\"\nrevoke_secret = \"{REVOKE_SECRET}\"");
        let database = database.clone();
        TestApp::with(move |config| {
            accept(config, &shop(&more));
            config.database.url = rollcall::config::Secret::new(database);
        })
    };
    let app = start().await;
    let admin = app.user("root", "admin").await;
    let bob = app.foreign(hotgo_token(2, "bob", "clerk", app.services.clock().now().timestamp()));
    assert_eq!(bob.get("/api/v1/auth/me").await.status, 200);
    for _ in 0..2 {
        other.will_answer(500, &json!({}));
    }
    let kick = admin.delete("/api/v1/online/users/shop:2", json!({})).await;
    assert_eq!(kick.body["upstream"], "pending");
    app.shutdown().await;
    let app = start().await;
    app.clock.advance(Duration::from_secs(60));
    let admin = app.login("root").await;
    let told = || async { upstream(&admin, &kick.body).await == "confirmed" };
    eventually("the call is made after the restart", told).await;
    app.shutdown().await;
}

#[tokio::test]
async fn calls_go_nowhere_they_may_not() {
    let other = OtherSystem::start().await;
    // No `outgoing.allow`: an address of this machine, a name of it, and one in other clothes.
    let port = other.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let more = format!("verify_url = \"http://{host}:{port}/check\"");
        let app = TestApp::with(|config| {
            accept(config, &shop(&more));
            config.outgoing.allow.clear();
        })
        .await;
        let bob = app.foreign(hotgo_token(2, "bob", "clerk", app.services.clock().now().timestamp()));
        assert_eq!(bob.get("/api/v1/auth/me").await.status, 503, "{host}");
        app.shutdown().await;
    }
    assert!(other.heard().is_empty(), "{:?}", other.heard());
}
