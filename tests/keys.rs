//! API keys, as another program uses them.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::{Answer, Served, TestApp, TestSocket, TestUser, eventually, http_client, rollcall};

const KEYS: &str = "/api/v1/api-keys";

/// A key with these scopes, as a caller.
async fn key(admin: &TestUser, name: &str, scopes: &[&str]) -> TestUser {
    let made = admin.post(KEYS, json!({"name": name, "scopes": scopes})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    caller(admin, &made)
}

fn caller(admin: &TestUser, made: &Answer) -> TestUser {
    let mut caller = admin.clone();
    caller.token = made.body["key"].as_str().unwrap().to_owned();
    caller.id = made.body["id"].as_str().unwrap().to_owned();
    caller
}

/// A call that a trusted proxy forwards from this address.
async fn from(app: &TestApp, key: &str, ip: &str) -> (u16, Value) {
    let request = app.http.get(app.url("/api/v1/online/counts")).bearer_auth(key).header("x-forwarded-for", ip);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn a_key_is_shown_once_and_does_what_its_scopes_say_and_nothing_else() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let made = admin.post(KEYS, json!({"name": "the shop", "scopes": ["online:read", "push:send"]})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let secret = made.body["key"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("rk_") && secret.len() >= 30, "at least 160 bits");
    assert!(secret.starts_with(made.body["hint"].as_str().unwrap()));
    assert_eq!(
        (&made.body["createdBy"], &made.body["scopes"]),
        (&json!(admin.id), &json!(["online:read", "push:send"]))
    );
    let shop = caller(&admin, &made);
    let mut socket = bob.connect(&app).await;
    assert_eq!(shop.get("/api/v1/online/clients").await.body["totalCount"], 1);
    assert_eq!(shop.post("/api/v1/online/lookup", json!({"users": [bob.id]})).await.status, 200);
    let push = shop.post("/api/v1/push", json!({"target": {"users": [bob.id]}, "event": "order", "data": 7})).await;
    assert_eq!(push.body["delivered"], 1, "{}", push.text);
    assert_eq!(socket.push("order").await, 7);
    for (method, path) in [
        ("GET", "/api/v1/users"),
        ("GET", "/api/v1/logs/audit"),
        ("GET", KEYS),
        ("DELETE", &format!("/api/v1/online/users/{}", bob.id)),
        ("POST", "/api/v1/sessions/revoke"),
        ("DELETE", &format!("/api/v1/sessions/{}", bob.session)),
        ("GET", &format!("/api/v1/sessions?user={}", bob.id)),
    ] {
        let refused = shop.call(method, path, json!({})).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")), "{method} {path}");
    }
    for path in [KEYS.to_owned(), format!("{KEYS}/{}", shop.id), "/api/v1/logs/audit".to_owned()] {
        let text = admin.get(&path).await.text;
        assert!(text.contains("the shop") && !text.contains(&secret), "{path} shows the key");
    }
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn what_is_about_oneself_is_not_for_keys() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let shop = key(&admin, "shop", &["session:write", "user:read"]).await;
    for (method, path) in [
        ("GET", "/api/v1/auth/me"),
        ("POST", "/api/v1/auth/logout"),
        ("POST", "/api/v1/auth/ticket"),
        ("POST", "/api/v1/auth/password"),
        ("GET", "/api/v1/sessions"),
    ] {
        let refused = shop.call(method, path, json!({})).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("not_for_keys")), "{method} {path}");
    }
    assert_eq!(shop.get(&format!("/api/v1/sessions?user={}", admin.id)).await.body["totalCount"], 1);
    app.shutdown().await;
}

#[tokio::test]
async fn a_key_opens_no_socket_by_any_way_of_showing_it() {
    let app = TestApp::with(|config| config.auth.access_cookie = true).await;
    let admin = app.user("root", "admin").await;
    let secret = key(&admin, "shop", &["online:read", "presence:read"]).await.token;
    let (bearer, cookie) = (format!("Bearer {secret}"), format!("rollcall_access={secret}"));
    // Whose own page it would be.
    let node = app.one_node();
    let origin = node.url("");
    for (headers, query) in [
        (vec![("authorization", bearer.as_str())], String::new()),
        (vec![("authorization", secret.as_str())], String::new()),
        (vec![("cookie", &cookie), ("origin", &origin)], String::new()),
        (vec![], format!("?authorization={secret}")),
        (vec![], format!("?ticket={secret}")),
        (vec![], format!("?appkey={secret}")),
    ] {
        assert_eq!(TestSocket::dial(node, &headers, &query).await.err(), Some(401), "{headers:?} {query}");
    }
    for offer in ["bearer", "ticket"] {
        let protocols = format!("rollcall.v1, {offer}.{secret}");
        let socket = TestSocket::dial(&app, &[("sec-websocket-protocol", &protocols)], "").await.unwrap();
        let ended = socket.ended().await;
        assert_eq!(ended.code, 4401);
        assert!(ended.reason["text"].as_str().unwrap().starts_with("An API key opens no socket"), "{ended:?}");
    }
    let mut socket = admin.connect(&app).await;
    assert_eq!(socket.ask("auth/refresh", json!({"token": secret})).await["code"], 401);
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn a_key_in_a_query_opens_nothing() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let secret = key(&admin, "shop", &["online:read", "presence:read", "key:write"]).await.token;
    for parameter in ["appkey", "key", "authorization", "ticket"] {
        for path in ["/api/v1/online/clients", "/api/v1/online/counts", KEYS] {
            let answer = app.anonymous("GET", &format!("{path}?{parameter}={secret}"), Value::Null).await;
            assert_eq!(answer.status, 401, "{path}?{parameter}");
        }
        let hotgo = format!("/admin/monitor/userOnlineList?{parameter}={secret}");
        assert_eq!(app.anonymous("GET", &hotgo, Value::Null).await.body["code"], 61, "{parameter}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn a_revoked_or_expired_or_unknown_key_is_refused_at_once_with_its_own_word() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let end = app.services.clock().now() + Duration::from_secs(60);
    let short = json!({"name": "short", "scopes": ["online:read"], "expiresAt": end});
    let short = caller(&admin, &admin.post(KEYS, short).await);
    let (lost, stays) = (key(&admin, "lost", &["online:read"]).await, key(&admin, "stays", &["online:read"]).await);
    let counts = "/api/v1/online/counts";
    for good in [&short, &lost, &stays] {
        assert_eq!(good.get(counts).await.status, 200);
    }
    assert_eq!(admin.delete(&format!("{KEYS}/{}", lost.id), json!({})).await.status, 204);
    app.clock.advance(Duration::from_secs(61));
    let mut unknown = stays.clone();
    unknown.token = format!("rk_{}", "a".repeat(32));
    let mut nonsense = stays.clone();
    nonsense.token = "rk_nonsense".to_owned();
    for (caller, word) in
        [(&lost, "key_revoked"), (&short, "key_expired"), (&unknown, "key_invalid"), (&nonsense, "key_invalid")]
    {
        let refused = caller.get(counts).await;
        assert_eq!((refused.status, &refused.body["code"]), (401, &json!(word)), "{}", refused.text);
    }
    assert_eq!(stays.get(counts).await.status, 200);
    let gone = admin.delete(&format!("{KEYS}/{}", lost.id), json!({})).await;
    assert_eq!(gone.status, 404, "{}", gone.text);
    let row = admin.get(&format!("{KEYS}/{}", lost.id)).await.body;
    assert!(row["revokedAt"].is_string() && row.get("key").is_none(), "{row}");
    let audit = admin.get("/api/v1/logs/audit?action=key.revoke").await.body["list"][0].clone();
    assert_eq!((&audit["actor"], &audit["target"]), (&json!(admin.id), &json!(format!("key:{} lost", lost.id))));
    assert_eq!(admin.get("/api/v1/logs/audit?action=key.create").await.body["totalCount"], 3);
    app.shutdown().await;
}

#[tokio::test]
async fn a_key_ends_after_90_days_unless_told_otherwise() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let usual = key(&admin, "usual", &["online:read"]).await;
    let endless = admin.post(KEYS, json!({"name": "endless", "scopes": ["online:read"], "expiresAt": null})).await;
    assert!(endless.body.get("expiresAt").is_none(), "{}", endless.text);
    let endless = caller(&admin, &endless);
    app.clock.advance(Duration::from_secs(90 * 86_400 - 60));
    assert_eq!(usual.get("/api/v1/online/counts").await.status, 200);
    app.clock.advance(Duration::from_secs(61));
    assert_eq!(usual.get("/api/v1/online/counts").await.status, 401);
    assert_eq!(endless.get("/api/v1/online/counts").await.status, 200);
    app.shutdown().await;
}

#[tokio::test]
async fn a_key_works_only_from_its_addresses() {
    let app = TestApp::with(|config| config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let admin = app.user("root", "admin").await;
    let new = json!({"name": "shop", "scopes": ["online:read"], "addresses": ["10.1.2.3/8", "2001:db8::7"]});
    let made = admin.post(KEYS, new).await;
    assert_eq!(made.body["addresses"], json!(["10.0.0.0/8", "2001:db8::7/128"]), "{}", made.text);
    let secret = made.body["key"].as_str().unwrap();
    for (ip, status) in [("10.9.9.9", 200), ("2001:db8::7", 200), ("11.0.0.1", 403), ("2001:db8::8", 403)] {
        let (answered, body) = from(&app, secret, ip).await;
        assert_eq!(answered, status, "{ip}: {body}");
        if status == 403 {
            assert_eq!(body["code"], "address_not_allowed");
        }
    }
    let row = async || admin.get(&format!("{KEYS}/{}", made.body["id"].as_str().unwrap())).await.body;
    eventually("its last use is noted", || async { row().await["lastUsedIp"] == "2001:db8::7" }).await;
    assert!(row().await["lastUsedAt"].is_string());
    app.shutdown().await;
}

#[tokio::test]
async fn wrong_keys_are_slowed_down_by_address_and_good_ones_never() {
    let app = TestApp::alone(|config| {
        config.auth.failed_keys = 5;
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let admin = app.user("root", "admin").await;
    let good = key(&admin, "shop", &["online:read"]).await;
    let wrong = format!("rk_{}", "b".repeat(32));
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(from(&app, &wrong, "192.0.2.1").await.0);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
    let answer = app.http.get(app.url(KEYS)).bearer_auth(&wrong).header("x-forwarded-for", "192.0.2.1").send().await;
    assert!(answer.unwrap().headers().contains_key("retry-after"));
    assert_eq!(from(&app, &good.token, "192.0.2.1").await.0, 200);
    assert_eq!(from(&app, &wrong, "192.0.2.2").await.0, 401, "another address");
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(from(&app, &wrong, "192.0.2.1").await.0, 401);
    app.shutdown().await;
}

#[tokio::test]
async fn nobody_makes_a_key_that_may_more_than_they_may() {
    let app = TestApp::start().await;
    let (admin, ops) = (app.user("root", "admin").await, app.user("ops", "operator").await);
    let refused = ops.post(KEYS, json!({"name": "x", "scopes": ["online:read"]})).await;
    assert_eq!(refused.status, 403, "an operator makes no keys: {}", refused.text);
    let maker = key(&admin, "maker", &["key:write", "online:read"]).await;
    let refused = maker.post(KEYS, json!({"name": "x", "scopes": ["online:read", "push:send"]})).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")), "{}", refused.text);
    assert!(refused.body["detail"].as_str().unwrap().contains("push:send"));
    let made = maker.post(KEYS, json!({"name": "x", "scopes": ["online:read"]})).await;
    assert_eq!((made.status, &made.body["createdBy"]), (201, &json!(format!("key:{}", maker.id))), "{}", made.text);
    app.shutdown().await;
}

#[tokio::test]
async fn a_key_that_does_not_fit_is_refused_with_its_field() {
    let app = TestApp::with(|config| config.auth.max_keys = 2).await;
    let admin = app.user("root", "admin").await;
    let scopes = json!(["online:read"]);
    for (body, field) in [
        (json!({"scopes": scopes}), "name"),
        (json!({"name": "  ", "scopes": scopes}), "name"),
        (json!({"name": "x".repeat(65), "scopes": scopes}), "name"),
        (json!({"name": "a\nb", "scopes": scopes}), "name"),
        (json!({"name": "x"}), "scopes"),
        (json!({"name": "x", "scopes": []}), "scopes"),
        (json!({"name": "x", "scopes": ["online:raed"]}), "scopes"),
        (json!({"name": "x", "scopes": ["*"]}), "scopes"),
        (json!({"name": "x", "scopes": vec!["online:read"; 65]}), "scopes"),
        (json!({"name": "x", "scopes": scopes, "addresses": ["nowhere"]}), "addresses"),
        (json!({"name": "x", "scopes": scopes, "addresses": vec!["10.0.0.0/8"; 33]}), "addresses"),
        (json!({"name": "x", "scopes": scopes, "expiresAt": "2020-01-01T00:00:00Z"}), "expiresAt"),
        (json!({"name": "x", "scopes": scopes, "expiresAt": "2999-01-01T00:00:00Z"}), "expiresAt"),
        (json!({"name": "x", "scopes": scopes, "expiresAt": "soon"}), "expiresAt"),
    ] {
        let refused = admin.post(KEYS, body.clone()).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{body}: {}", refused.text);
    }
    let first = key(&admin, "a", &["online:read"]).await;
    key(&admin, "b", &["online:read"]).await;
    let full = admin.post(KEYS, json!({"name": "c", "scopes": scopes})).await;
    assert_eq!((full.status, &full.body["code"]), (409, &json!("too_many")), "{}", full.text);
    assert_eq!(admin.delete(&format!("{KEYS}/{}", first.id), json!({})).await.status, 204);
    key(&admin, "c", &["online:read"]).await;
    for id in ["nonsense", "01900000-0000-7000-8000-000000000000"] {
        assert_eq!(admin.get(&format!("{KEYS}/{id}")).await.status, 404);
        assert_eq!(admin.delete(&format!("{KEYS}/{id}"), json!({})).await.status, 404);
    }
    let page = admin.get(&format!("{KEYS}?pageSize=2&page=2")).await.body;
    assert_eq!((&page["totalCount"], page["list"].as_array().unwrap().len()), (&json!(3), 1), "{page}");
    app.shutdown().await;
}

#[tokio::test]
async fn what_a_key_does_is_done_in_its_name_and_administrators_are_out_of_its_reach() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let shop = key(&admin, "shop", &["online:kick", "online:read", "session:write", "user:write"]).await;
    let socket = bob.connect(&app).await;
    let kick = shop.delete(&format!("/api/v1/online/users/{}", bob.id), json!({"reason": "Unpaid."})).await;
    assert_eq!(kick.status, 200, "{}", kick.text);
    let ended = socket.ended().await;
    let push = &ended.frames.iter().find(|frame| frame["event"] == "kick").unwrap()["data"];
    assert_eq!((ended.code, &push["by"]), (4410, &json!("key:shop")));
    let row = shop.get(&format!("/api/v1/online/kicks/{}", kick.body["id"].as_str().unwrap())).await.body;
    assert_eq!(row["by"], "key:shop");
    let audit = admin.get("/api/v1/logs/audit?action=online.kick").await.body["list"][0].clone();
    assert_eq!((&audit["actor"], &audit["actorName"]), (&json!(format!("key:{}", shop.id)), &json!("key:shop")));
    for (method, path, body) in [
        ("DELETE", format!("/api/v1/online/users/{}", admin.id), json!({})),
        ("PATCH", format!("/api/v1/users/{}", admin.id), json!({"disabled": true})),
        ("PATCH", format!("/api/v1/users/{}", bob.id), json!({"roles": ["admin"]})),
    ] {
        assert_eq!(shop.call(method, &path, body).await.status, 403, "{method} {path}");
    }
    let other = app.login("root").await;
    let ended = shop.post("/api/v1/sessions/revoke", json!({"session": other.session})).await;
    assert_eq!((ended.status, &ended.body["sessions"]), (200, &json!(1)), "what happened elsewhere: {}", ended.text);
    assert_eq!(other.get("/api/v1/auth/me").await.status, 401);
    app.shutdown().await;
}

#[tokio::test]
async fn hotgos_routes_take_keys_too() {
    let app = TestApp::with(|config| config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let shop = key(&admin, "shop", &["online:read", "online:kick", "push:send"]).await;
    let reader = key(&admin, "reader", &["online:read"]).await;
    let mut socket = bob.connect(&app).await;
    socket.ask("join", json!({"id": "lobby"})).await;
    let list = shop.get("/admin/monitor/userOnlineList").await;
    assert_eq!((&list.body["code"], &list.body["data"]["totalCount"]), (&json!(0), &json!(1)), "{}", list.text);
    let tag = json!({"tag": "lobby", "response": {"event": "order", "data": 1}});
    assert_eq!(reader.post("/socket/send/toTag", tag.clone()).await.body["code"], 62);
    assert_eq!(shop.post("/socket/send/toTag", tag).await.body["data"]["delivered"], 1);
    assert_eq!(socket.push("order").await, 1);
    // As HotGo sends tokens: bare.
    let bare = app.http.get(app.url("/admin/monitor/userOnlineList")).header("authorization", &shop.token);
    let bare: Value = serde_json::from_str(&bare.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(bare["code"], 0, "{bare}");
    assert_eq!(shop.post("/admin/monitor/userOffline", json!({"id": socket.id})).await.body["code"], 0);
    assert_eq!(socket.ended().await.code, 4410);
    let tied = json!({"name": "tied", "scopes": ["online:read"], "addresses": ["10.0.0.0/8"]});
    let tied = caller(&admin, &admin.post(KEYS, tied).await);
    assert_eq!(tied.get("/admin/monitor/userOnlineList").await.body["code"], 62);
    assert_eq!(admin.delete(&format!("{KEYS}/{}", shop.id), json!({})).await.status, 204);
    assert_eq!(shop.get("/admin/monitor/userOnlineList").await.body["code"], 61);
    app.shutdown().await;
}

#[tokio::test]
async fn the_command_line_makes_lists_and_revokes_keys_of_a_running_server() {
    let folder = tempdir().unwrap();
    let server = Served::start(folder.path()).await;
    let words = [
        "key",
        "create",
        "--name",
        "nightly",
        "--scope",
        "online:read",
        "--expires",
        "30d",
        "--address",
        "127.0.0.0/8",
    ];
    let made = rollcall(folder.path(), &words).await;
    assert_eq!(made.code, 0, "{}", made.err);
    let secret = made.out.trim().to_owned();
    assert!(secret.starts_with("rk_") && !secret.contains(char::is_whitespace), "nothing else is printed");
    let http = http_client();
    let url = format!("{}/api/v1/online/counts", server.url);
    let call = async || http.get(&url).bearer_auth(&secret).send().await.unwrap().status().as_u16();
    assert_eq!(call().await, 200);
    let list = rollcall(folder.path(), &["key", "list"]).await.out;
    let line = list.lines().find(|line| line.contains("nightly")).unwrap();
    assert!(line.contains("good") && line.contains("online:read") && !list.contains(&secret), "{list}");
    let id = line.split_whitespace().next().unwrap();
    assert_eq!(rollcall(folder.path(), &["key", "revoke", id]).await.code, 0);
    assert_eq!(call().await, 401, "with the next call");
    assert!(rollcall(folder.path(), &["key", "list"]).await.out.contains("revoked"));
    for (words, expected) in [
        (&["key", "create", "--name", "", "--scope", "online:read"][..], "--name"),
        (&["key", "create", "--name", "x", "--scope", "online:read", "--expires", "9999d"], "--expires"),
        (&["key", "create", "--name", "x", "--scope", "online:raed"], "did you mean online:read?"),
        (&["key", "create", "--name", "x", "--scope", "online:read", "--address", "here"], "--address"),
        (&["key", "revoke", "01900000-0000-7000-8000-000000000000"], "rollcall key list"),
    ] {
        let refused = rollcall(folder.path(), words).await;
        assert!(refused.code != 0 && refused.err.contains(expected), "{words:?}: {}", refused.err);
    }
    assert_eq!(server.terminate().await, 0);
    // On a server's database there is no such file.
    for file in ["rollcall.db", "rollcall.db-wal", "log"] {
        let bytes = std::fs::read(folder.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "the key stands in {file}");
    }
}

#[tokio::test]
async fn a_key_is_told_with_every_answer_how_many_calls_are_left_and_waits_beyond() {
    // What a node has counted, the others hear of within half a second.
    let app = TestApp::alone(|_| {}).await;
    let admin = app.user("root", "admin").await;
    let new = json!({"name": "shop", "scopes": ["user:read"], "callsPerMinute": 3});
    let made = admin.post(KEYS, new).await;
    assert_eq!(made.body["callsPerMinute"], 3, "{}", made.text);
    let (shop, usual) = (caller(&admin, &made), key(&admin, "usual", &["user:read"]).await);
    let header = |answer: &Answer, name: &str| {
        answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    // What is refused or not found counts, and says so, too.
    for (path, status, left) in
        [("/api/v1/users", 200, 2), ("/api/v1/logs/audit", 403, 1), ("/api/v1/users/99", 404, 0)]
    {
        let answer = shop.get(path).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(header(&answer, "ratelimit-policy"), "\"calls\";q=3;w=60");
        assert!(header(&answer, "ratelimit").starts_with(&format!("\"calls\";r={left};t=")), "{:?}", answer.headers);
    }
    let refused = shop.get("/api/v1/users").await;
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("rate_limited")), "{}", refused.text);
    assert!(header(&refused, "ratelimit").starts_with("\"calls\";r=0;t=60"), "{:?}", refused.headers);
    let seconds: u64 = header(&refused, "retry-after").parse().unwrap();
    assert!((1..=21).contains(&seconds), "{seconds}");
    assert!(header(&usual.get("/api/v1/users").await, "ratelimit-policy").contains(";q=6000;"));
    for other in [admin.get("/api/v1/users").await, app.anonymous("GET", "/health/live", Value::Null).await] {
        assert_eq!(header(&other, "ratelimit"), "");
    }
    app.clock.advance(Duration::from_secs(21));
    assert_eq!(shop.get("/api/v1/users").await.status, 200);
    app.shutdown().await;
}
