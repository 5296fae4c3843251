//! Tokens of other systems, through every door.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};

use crate::harness::other_system::{OtherSystem, SHOP_SECRET, accept, hotgo_token, shop, sign};
use crate::harness::{TestApp, TestSocket, eventually};

async fn with_shop(more: &str) -> TestApp {
    TestApp::with(|config| accept(config, &shop(more))).await
}

fn now(app: &TestApp) -> i64 {
    app.services.clock().now().timestamp()
}

#[tokio::test]
async fn a_hotgo_token_opens_a_socket_and_is_listed_with_its_own_id() {
    let app = with_shop("").await;
    let (admin, ours) = (app.user("root", "admin").await, app.user("bob", "member").await);
    assert_eq!((&*admin.id, &*ours.id), ("1", "2"));
    let token = hotgo_token(2, "bob", "clerk", now(&app));
    let theirs = TestSocket::open(&app, &[], &format!("?authorization={token}")).await.unwrap();
    let mine = ours.connect(&app).await;
    assert_eq!((&theirs.connected["userId"], &theirs.connected["username"]), (&json!("shop:2"), &json!("bob")));
    let counts = admin.get("/api/v1/online/counts").await.body;
    assert_eq!(counts["users"], 2, "equal ids of two issuers are two users: {counts}");
    let rows = admin.get("/api/v1/online/clients?sort=userId").await.body["list"].clone();
    let ids: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row["userId"]).collect();
    assert_eq!(ids, [&json!("2"), &json!("shop:2")]);
    let theirs_row = rows.as_array().unwrap().iter().find(|row| row["userId"] == "shop:2").unwrap();
    assert_eq!((&theirs_row["app"], &theirs_row["roles"]), (&json!("admin"), &json!(["shop:clerk"])));
    let sessions = admin.get("/api/v1/sessions?user=shop:2").await.body;
    assert_eq!((&sessions["totalCount"], &sessions["list"][0]["kind"]), (&json!(1), &json!("foreign")), "{sessions}");
    drop((theirs, mine));
    app.shutdown().await;
}

#[tokio::test]
async fn rooms_pushes_and_kicks_tell_equal_ids_of_two_issuers_apart() {
    let app = with_shop("").await;
    let (admin, ours) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let shopper = app.foreign(hotgo_token(2, "bob", "none", now(&app)));
    let (mut mine, mut theirs) = (ours.connect(&app).await, shopper.connect(&app).await);
    for socket in [&mut mine, &mut theirs] {
        assert_eq!(socket.ask("join", json!({"id": "room1"})).await["code"], 0);
    }
    let in_room = admin.get("/api/v1/online/users?room=room1").await.body;
    assert_eq!(in_room["totalCount"], 2, "{in_room}");
    let push = |users: Value| json!({"target": {"users": users}, "event": "hello", "data": {}});
    let sent = admin.post("/api/v1/push", push(json!(["shop:2"]))).await.body;
    assert_eq!((&sent["targeted"]["users"], &sent["delivered"]), (&json!(1), &json!(1)), "{sent}");
    theirs.push("hello").await;
    let kicked = admin.delete("/api/v1/online/users/shop:2", json!({"reason": "Closed."})).await;
    assert_eq!((kicked.status, &kicked.body["closed"], &kicked.body["upstream"]), (200, &json!(1), &json!("none")));
    assert_eq!(theirs.ended().await.code, 4410);
    assert_eq!(mine.ask("ping", json!({})).await["code"], 0);
    let asked = admin.post("/api/v1/online/lookup", json!({"users": ["2", "shop:2"]})).await.body["users"].clone();
    assert_eq!((&asked["2"]["online"], &asked["shop:2"]["online"]), (&json!(true), &json!(false)), "{asked}");
    drop(mine);
    app.shutdown().await;
}

#[tokio::test]
async fn a_role_of_another_system_may_do_what_the_settings_say_and_is_never_admin() {
    let app = with_shop("").await;
    let clerk = app.foreign(hotgo_token(7, "ann", "clerk", now(&app)));
    assert_eq!(clerk.get("/api/v1/online/clients").await.status, 200);
    assert_eq!(clerk.get("/api/v1/users").await.status, 403);
    let boss = app.foreign(hotgo_token(8, "eve", "admin", now(&app)));
    assert_eq!(boss.get("/api/v1/online/clients").await.status, 403);
    let admin = app.user("root", "admin").await;
    let mut socket = boss.connect(&app).await;
    let push = json!({"target": {"roles": ["admin"]}, "event": "hello", "data": {}});
    assert_eq!(admin.post("/api/v1/push", push).await.body["delivered"], 0, "shop's admin is not our admin");
    let of_shop = json!({"target": {"roles": ["shop:admin"]}, "event": "hello", "data": {}});
    assert_eq!(admin.post("/api/v1/push", of_shop).await.body["delivered"], 1);
    socket.push("hello").await;
    // A newer token with another role: the newest handshake is believed, on open sockets too.
    let promoted = app.foreign(hotgo_token(8, "eve", "clerk", now(&app) + 1)).connect(&app).await;
    assert_eq!(socket.ask("online/subscribe", json!({})).await["code"], 0);
    drop((socket, promoted));
    app.shutdown().await;
}

#[tokio::test]
async fn a_kicked_users_tokens_open_nothing_and_a_newer_one_does() {
    let app = with_shop("").await;
    let admin = app.user("root", "admin").await;
    let first = app.foreign(hotgo_token(2, "bob", "clerk", now(&app)));
    let never_shown = app.foreign(hotgo_token(2, "bob", "clerk", now(&app) - 100));
    let socket = first.connect(&app).await;
    assert_eq!(admin.delete("/api/v1/online/users/shop:2", json!({"reason": "Out."})).await.status, 200);
    assert_eq!(socket.ended().await.code, 4410);
    for old in [&first, &never_shown] {
        assert_eq!(old.get("/api/v1/online/counts").await.body["code"], "session_revoked");
        let header = format!("Bearer {}", old.token);
        assert_eq!(TestSocket::dial(&app, &[("authorization", &header)], "").await.err(), Some(401));
    }
    app.clock.advance(std::time::Duration::from_secs(2));
    let again = app.foreign(hotgo_token(2, "bob", "clerk", now(&app)));
    assert_eq!(again.get("/api/v1/online/counts").await.status, 200, "they may log in again");
    app.shutdown().await;
}

#[tokio::test]
async fn another_system_is_asked_whether_its_token_is_still_good() {
    let other = OtherSystem::start().await;
    // RuoYi: HS512, a login_user_key, no time at all, and an envelope in every answer.
    let entry = format!(
        r#"
        [[issuers]]
        name = "ruoyi"
        algorithm = "HS512"
        match_without_iss = true
        key = "{SHOP_SECRET}"
        session_claim = "login_user_key"
        verify_url = "{}"
        "#,
        other.url("/getInfo")
    );
    // What was answered is remembered by the node that asked.
    let app = TestApp::alone(|config| accept(config, &entry)).await;
    let claims = json!({"sub": "ann", "login_user_key": "0b5e-1"});
    let key = EncodingKey::from_secret(SHOP_SECRET.as_bytes());
    let ann = app.foreign(sign(Algorithm::HS512, &key, None, &claims));
    let mut socket = ann.connect(&app).await;
    let second = ann.connect(&app).await;
    assert_eq!(other.heard().len(), 1, "an answer is believed for a minute");
    let heard = &other.heard()[0];
    assert_eq!(
        (&*heard.path, heard.headers["authorization"].to_str().unwrap()),
        ("/getInfo", &*format!("Bearer {}", ann.token))
    );

    app.clock.advance(std::time::Duration::from_secs(61));
    socket.ask("ping", json!({})).await;
    other.will_answer(200, &json!({"code": 401, "msg": "expired"}));
    let refreshed = socket.ask("auth/refresh", json!({"token": ann.token})).await;
    assert_eq!(refreshed["code"], 401, "asked again at a refresh: {refreshed}");

    app.clock.advance(std::time::Duration::from_secs(61));
    socket.ask("ping", json!({})).await;
    other.will_answer(500, &json!({}));
    let header = format!("Bearer {}", ann.token);
    assert_eq!(TestSocket::dial(&app, &[("authorization", &header)], "").await.err(), Some(503), "fails closed");
    drop((socket, second));
    app.shutdown().await;
}

#[tokio::test]
async fn while_the_other_system_is_away_its_tokens_open_if_the_settings_say_so_but_not_for_who_was_kicked() {
    let other = OtherSystem::start().await;
    let more = format!("verify_url = \"{}\"\nverify_away = \"open\"\nverify_cache = \"1ms\"", other.url("/check"));
    let app = with_shop(&more).await;
    let admin = app.user("root", "admin").await;
    // Without a time of issue: only the other system knows how old it is.
    let key = EncodingKey::from_secret(SHOP_SECRET.as_bytes());
    let ann = app.foreign(sign(Algorithm::HS256, &key, None, &json!({"id": 1, "username": "ann", "roleKey": "clerk"})));
    let path = "/api/v1/online/counts";
    other.will_answer(500, &json!({}));
    assert_eq!(ann.get(path).await.status, 200);
    assert_eq!(admin.delete("/api/v1/online/users/shop:1", json!({})).await.status, 200);
    assert_eq!(ann.get(path).await.status, 401, "the session is over");
    app.clock.advance(std::time::Duration::from_secs(1));
    let claims = json!({"id": 1, "username": "ann", "roleKey": "clerk", "jti": "another"});
    let newer = app.foreign(sign(Algorithm::HS256, &key, None, &claims));
    other.will_answer(500, &json!({}));
    assert_eq!(newer.get(path).await.status, 503, "a kicked user's token is not believed unasked");
    assert_eq!(newer.get(path).await.status, 200, "the other system says it is good, after the kick");
    app.shutdown().await;
}

#[tokio::test]
async fn a_key_file_that_is_replaced_counts_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let keys: Vec<_> = (0..2).map(|_| rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap()).collect();
    let publish = |kid: &str, key: &rsa::RsaPrivateKey| {
        let part = |number: &rsa::BigUint| URL_SAFE_NO_PAD.encode(number.to_bytes_be());
        let jwk =
            json!({"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": part(key.n()), "e": part(key.e())});
        let new = folder.path().join("new");
        std::fs::write(&new, json!({"keys": [jwk]}).to_string()).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    publish("one", &keys[0]);
    let entry = format!(
        "[[issuers]]\nname = \"sso\"\nalgorithm = \"RS256\"\niss = \"https://sso\"\naudience = \"rollcall\"\njwks_file = \"{}\"\n\
         role_claim = \"realm.roles\"\nroles = {{ watch = [\"online:read\"] }}",
        file.display()
    );
    // Each node looks for itself whether its file has changed.
    let app = TestApp::alone(|config| accept(config, &entry)).await;
    let by = |kid: &str, key: &rsa::RsaPrivateKey| {
        let signing = EncodingKey::from_rsa_pem(key.to_pkcs8_pem(LineEnding::LF).unwrap().as_bytes()).unwrap();
        let claims = json!({
            "iss": "https://sso", "sub": "u-1", "aud": "rollcall", "iat": now(&app), "exp": now(&app) + 600,
            "realm": {"roles": ["watch", "x"]},
        });
        app.foreign(sign(Algorithm::RS256, &signing, Some(kid), &claims))
    };
    let path = "/api/v1/online/counts";
    assert_eq!(by("one", &keys[0]).get(path).await.status, 200);
    assert_eq!(by("two", &keys[1]).get(path).await.status, 401);
    publish("two", &keys[1]);
    let newer = by("two", &keys[1]);
    eventually("the new key counts", || async { newer.get(path).await.status == 200 }).await;
    assert_eq!(by("one", &keys[0]).get(path).await.status, 401);
    let expiring = newer.connect(&app).await;
    assert!(expiring.connected["expiresAt"].is_string());
    drop(expiring);
    app.shutdown().await;
}

#[tokio::test]
async fn no_bad_token_of_another_system_opens_anything() {
    let app = with_shop("").await;
    let key = EncodingKey::from_secret(SHOP_SECRET.as_bytes());
    let good = json!({"id": 1, "username": "x", "loginAt": now(&app)});
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        claims
    };
    let hs = |claims: &Value| sign(Algorithm::HS256, &key, None, claims);
    assert_eq!(app.foreign(hs(&good)).get("/api/v1/auth/me").await.status, 200);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for (what, token) in [
        ("wrong key", sign(Algorithm::HS256, &EncodingKey::from_secret(b"guess"), None, &good)),
        ("wrong algorithm", sign(Algorithm::HS512, &key, None, &good)),
        ("none", format!("{}.{}.", part(&json!({"alg": "none"})), part(&good))),
        ("unknown kid", sign(Algorithm::HS256, &key, Some("k9"), &good)),
        ("unknown iss", hs(&with("iss", json!("https://evil")))),
        ("our iss under their key", hs(&with("iss", json!("rollcall")))),
        ("expired", hs(&with("exp", json!(now(&app) - 1)))),
        ("too old", hs(&with("loginAt", json!(now(&app) - 8 * 86_400)))),
        ("not yet", hs(&with("loginAt", json!(now(&app) + 3600)))),
        ("other audience", hs(&with("aud", json!("shop")))),
        ("no user", hs(&json!({"username": "x", "loginAt": now(&app)}))),
        ("no end", hs(&json!({"id": 1}))),
    ] {
        assert_eq!(app.foreign(token.clone()).get("/api/v1/auth/me").await.status, 401, "{what}");
        let header = format!("Bearer {token}");
        assert_eq!(TestSocket::dial(&app, &[("authorization", &header)], "").await.err(), Some(401), "{what}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn the_backend_of_another_system_ends_its_users_logins_in_its_own_words() {
    let app = with_shop("").await;
    let admin = app.user("root", "admin").await;
    let key = EncodingKey::from_secret(SHOP_SECRET.as_bytes());
    let login = |id: i64, sid: &str| {
        let claims = json!({"id": id, "username": "ann", "loginAt": now(&app), "sid": sid});
        app.foreign(sign(Algorithm::HS256, &key, None, &claims))
    };
    let (first, second) = (login(5, "s-1"), login(5, "s-2"));
    let (one, mut two) = (first.connect(&app).await, second.connect(&app).await);
    let revoke = |body: Value| admin.post("/api/v1/sessions/revoke", body);
    let ended = revoke(json!({"issuer": "shop", "session": "s-1", "reason": "Logged out."})).await;
    assert_eq!(
        (ended.status, &ended.body["sessions"], &ended.body["clients"]),
        (200, &json!(1), &json!(1)),
        "{}",
        ended.text
    );
    assert_eq!(one.ended().await.code, 4410);
    assert_eq!(two.ask("ping", json!({})).await["code"], 0);
    assert_eq!(first.get("/api/v1/auth/me").await.status, 401);

    // Neither the login nor its user ever came here.
    let never = login(6, "s-3");
    let body = json!({"issuer": "shop", "user": "6", "session": "s-3"});
    assert_eq!(revoke(body).await.status, 200);
    assert_eq!(never.get("/api/v1/auth/me").await.status, 401);
    assert_eq!(login(6, "s-4").get("/api/v1/auth/me").await.status, 200);

    assert_eq!(revoke(json!({"issuer": "shop", "user": "5"})).await.body["clients"], 1);
    assert_eq!(two.ended().await.code, 4410);
    assert_eq!(login(5, "s-5").get("/api/v1/auth/me").await.status, 401, "issued until now");
    assert_eq!(revoke(json!({"issuer": "shop", "session": "s-9"})).await.status, 404);
    assert_eq!(revoke(json!({"issuer": "shop", "user": "5", "session": "s-3"})).await.status, 404, "another user's");
    app.shutdown().await;
}
