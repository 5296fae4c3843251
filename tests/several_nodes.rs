//! Nodes that share a database and, as far as this is about, nothing else: their first start, their signing keys, and what one of
//! them does that cannot read what the others have taken away. Each test has a server of its own.

use std::sync::Arc;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rollcall::app::{App, FirstAdministrator};
use rollcall::auth::Cost;
use rollcall::clock::ManualClock;
use rollcall::config::{Config, Secret};
use rollcall::services::{AGREED_ON_KEYS, Fence};
use rollcall::store::{Actor, Kind, NewRevocation};
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::harness::{DatabaseServer, Proxy, TestApp, TestSocket, TestUser, database, eventually, one_of_several};

/// Settings of a node with a folder of its own.
fn settings(node: &str, database: &str) -> (Config, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::defaults();
    one_of_several(&mut config, node, database);
    config.database.auto_migrate = true;
    config.data.dir = folder.path().to_owned();
    (config, folder)
}

async fn build(config: Config) -> Result<App, String> {
    let built = App::build(config, Arc::new(ManualClock::new()), Cost::MINIMAL, CancellationToken::new()).await;
    built.map_err(|error| error.to_string())
}

async fn node(name: &str, database: &str) -> TestApp {
    TestApp::with(|config| one_of_several(config, name, database)).await
}

/// The same caller at another node.
fn at(app: &TestApp, user: &TestUser) -> TestUser {
    app.foreign(user.token.clone())
}

async fn three_start_at_once(kind: &str) {
    let server = DatabaseServer::start(kind).await;
    let url = server.empty().await;
    let (configs, _folders): (Vec<_>, Vec<_>) = ["a", "b", "c"].map(|name| settings(name, &url)).into_iter().unzip();
    let apps = futures_util::future::join_all(configs.into_iter().map(build)).await;
    let apps: Vec<App> = apps.into_iter().map(Result::unwrap).collect();
    let made = futures_util::future::join_all(apps.iter().map(|app| app.first_administrator(None, true))).await;
    let made: Vec<_> = made.into_iter().map(Result::unwrap).collect();
    assert_eq!(made.iter().filter(|made| **made == FirstAdministrator::Exists).count(), 2, "one makes the account");
    let store = apps[0].services().store();
    assert_eq!(store.administrators(apps[0].services().clock().now()).await.unwrap(), 1);
    assert_eq!(store.signing_keys().await.unwrap().len(), 2, "one signs, one is for refreshing");
    let admin = store.user_named("admin").await.unwrap().unwrap().key;
    for signs in &apps {
        let (session, now) = (uuid::Uuid::now_v7(), signs.services().clock().now());
        let (token, _) = signs.services().tokens().issue(&admin, session, now);
        for verifies in &apps {
            assert_eq!(verifies.services().tokens().verify(&token, now).unwrap().session, session);
        }
    }
}

#[tokio::test]
async fn three_that_start_at_once_on_an_empty_postgresql_are_one() {
    three_start_at_once("postgres").await;
}

#[tokio::test]
async fn three_that_start_at_once_on_an_empty_mariadb_are_one() {
    three_start_at_once("mysql").await;
}

#[tokio::test]
async fn a_node_whose_keys_differ_does_not_start_and_says_what_to_do() {
    let server = DatabaseServer::start("postgres").await;
    let url = server.empty().await;
    let with = |change: &dyn Fn(&mut Config)| {
        let (mut config, folder) = settings("a", &url);
        change(&mut config);
        async move {
            let built = build(config).await.map(drop);
            drop(folder);
            built
        }
    };
    let key = |letter: &str| Secret::new(letter.repeat(32));
    with(&|_| ()).await.unwrap();
    let told = with(&|config| config.auth.master_key = key("x")).await.unwrap_err();
    assert!(told.starts_with("auth.master_key differs") && told.contains("rollcall signing-keys forget"), "{told}");
    let told = with(&|config| config.auth.signing_key = key("s")).await.unwrap_err();
    assert!(told.starts_with("auth.signing_key differs"), "{told}");
    with(&|_| ()).await.unwrap();

    let (config, _folder) = settings("a", &url);
    let app = build(config).await.unwrap();
    app.services().store().forget_signing_keys(&AGREED_ON_KEYS).await.unwrap();
    // A key of the settings is replaced on one node after the other, by way of the key before.
    with(&|config| config.auth.signing_key = key("s")).await.unwrap();
    with(&|_| ()).await.expect_err("the others have a key of the settings");
    with(&|config| config.auth.signing_key = key("t")).await.expect_err("nobody knows that one");
    let step = |signs: &'static str, before: &'static str| {
        with(&move |config| {
            (config.auth.signing_key, config.auth.previous_signing_key) = (key(signs), key(before));
        })
    };
    step("s", "t").await.unwrap();
    step("t", "s").await.unwrap();
    with(&|config| config.auth.signing_key = key("t")).await.unwrap();
    with(&|config| config.auth.signing_key = key("s")).await.expect_err("that one is not accepted any more");
}

#[tokio::test]
async fn a_token_of_any_node_is_good_on_every_node_also_when_its_key_is_new() {
    let server = DatabaseServer::start("postgres").await;
    let url = server.empty().await;
    let (a, b) = (node("a", &url).await, node("b", &url).await);
    let old = a.user("root", "admin").await;
    assert_eq!(at(&b, &old).get("/api/v1/users").await.status, 200);
    let rotation = a.services.config().auth.key_rotation;
    for app in [&a, &b] {
        app.clock.advance(rotation);
        eventually("it has followed since", || async { app.services.fence() == Fence::Open }).await;
    }
    let rotated = a.services.rotate_keys().await.unwrap();
    assert!(rotated && !a.services.rotate_keys().await.unwrap(), "it is due once");
    let new = a.login("root").await;
    assert_eq!(at(&b, &new).get("/api/v1/users").await.status, 200, "it reads the keys again for it");
    let signed_by_b = b.login("root").await;
    assert_eq!(at(&a, &signed_by_b).get("/api/v1/users").await.status, 200);
    let rest = new.token.split_once('.').unwrap().1;
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"nobody's"}"#);
    assert_eq!(b.foreign(format!("{header}.{rest}")).get("/api/v1/users").await.status, 401);
    eventually("both are noted", || async {
        let nodes = a.services.store().nodes().await.unwrap();
        nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>() == ["a", "b"]
    })
    .await;
    a.shutdown().await;
    b.shutdown().await;
}

/// What a handshake of this user is answered.
async fn handshake(app: &TestApp, user: &TestUser) -> u16 {
    let opened = TestSocket::dial(app, &[("authorization", &format!("Bearer {}", user.token))], "").await;
    opened.map_or_else(|status| status, |socket| socket.response.status().as_u16())
}

async fn ready(app: &TestApp) -> (u16, Value) {
    let answer = app.anonymous("GET", "/health/ready", Value::Null).await;
    (answer.status, answer.body["code"].clone())
}

async fn a_node_without_the_sequence(kind: &str) {
    let server = DatabaseServer::start(kind).await;
    let url = server.empty().await;
    let (proxy, through) = Proxy::before(&url).await;
    let (fence, close) = (Duration::from_secs(1_000), Duration::from_secs(6_000));
    let app = TestApp::with(|config| {
        one_of_several(config, "cut", &through);
        config.database.timeout = Duration::from_secs(3);
        config.auth.follow_interval = Duration::from_millis(50);
        // Not what refuses handshakes here.
        config.auth.remember_sessions = Duration::from_secs(100_000);
        config.auth.access_ttl = Duration::from_secs(100_000);
        config.socket.ping_interval = Duration::from_secs(100_000);
        (config.cluster.fence, config.cluster.fence_close) = (fence, close);
    })
    .await;
    let other = node("other", &url).await;
    let (admin, bob, eve) =
        (app.user("root", "admin").await, app.user("bob", "member").await, app.user("eve", "member").await);
    let (mut bobs, mut eves) = (bob.connect(&app).await, eve.connect(&app).await);
    assert_eq!(ready(&app).await.0, 200);

    proxy.cut();
    assert_eq!(handshake(&app, &bob).await, 101, "its session is remembered");
    app.clock.advance(fence);
    assert_eq!(handshake(&app, &bob).await, 503, "who knows what the others have done");
    assert_eq!(app.anonymous("GET", "/health/live", Value::Null).await.status, 200);
    assert_eq!(ready(&app).await.0, 503);
    let refused = admin.get("/api/v1/server").await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("unavailable")), "{}", refused.text);
    assert_eq!(bobs.ask("ping", json!({})).await["code"], 0, "sockets stay");
    // What another node does meanwhile.
    let kicked =
        at(&other, &admin).delete(&format!("/api/v1/online/users/{}", eve.id), json!({"reason": "spam"})).await;
    assert!([200, 202].contains(&kicked.status), "{}", kicked.text);
    assert_eq!(eves.ask("ping", json!({})).await["code"], 0, "nobody has heard of it here");

    proxy.resume();
    eventually("it takes people in again", || async { handshake(&app, &bob).await == 101 }).await;
    assert_eq!(eves.ended().await.code, 4410, "the kick holds");
    assert_eq!(handshake(&app, &eve).await, 401);
    assert_eq!(bobs.ask("ping", json!({})).await["code"], 0);
    eventually("it says so", || async { ready(&app).await.0 == 200 }).await;

    // The other side is paused: nothing comes, and nobody says that it does not.
    proxy.hold();
    app.clock.advance(close);
    let ended = bobs.ended().await;
    assert_eq!(ended.code, 4013);
    assert!(ended.reason["retryAfterMs"].is_u64(), "{ended:?}");
    assert_eq!(handshake(&app, &bob).await, 503);
    proxy.resume();
    eventually("it takes people in again", || async { handshake(&app, &bob).await == 101 }).await;
    assert_eq!(admin.get("/api/v1/server").await.status, 200);
    app.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn a_node_that_does_not_hear_of_revocations_from_postgresql_lets_nobody_in_and_then_nobody_stay() {
    a_node_without_the_sequence("postgres").await;
}

#[tokio::test]
async fn a_node_that_does_not_hear_of_revocations_from_mariadb_lets_nobody_in_and_then_nobody_stay() {
    a_node_without_the_sequence("mysql").await;
}

#[tokio::test]
async fn a_node_that_is_alone_has_no_fence() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    app.clock.advance(Duration::from_secs(600));
    app.clock.advance(Duration::from_secs(100));
    assert_eq!(handshake(&app, &admin).await, 101);
    app.shutdown().await;
}

/// Two processes on one database that know nothing of each other; the first one follows when it is told to.
async fn beside_each_other() -> (TestApp, TestApp, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}/shared.db", folder.path().display());
    let url = database::on_server().await.unwrap_or(file);
    let mut follows = TestApp::with(|config| {
        config.database.url = Secret::new(url.clone());
        config.auth.follow_interval = Duration::from_secs(100_000);
    })
    .await;
    let other = TestApp::with(|config| config.database.url = Secret::new(url.clone())).await;
    follows.keep(folder);
    (follows, other, url)
}

#[tokio::test]
async fn a_revocation_that_cannot_be_looked_up_is_applied_when_it_can() {
    let (app, other, url) = beside_each_other().await;
    let (admin, bob) = (other.user("root", "admin").await, app.user("bob", "member").await);
    let mut socket = bob.connect(&app).await;
    app.services.follow().await.unwrap();
    assert_eq!(admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({})).await.status, 200);
    let database = Database::connect(url).await.unwrap();
    let lost = |from, to| format!("ALTER TABLE rollcall_{from} RENAME TO rollcall_{to}");
    database.execute_unprepared(&lost("sessions", "elsewhere")).await.unwrap();
    assert!(app.services.follow().await.is_err());
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    database.execute_unprepared(&lost("elsewhere", "sessions")).await.unwrap();
    app.services.follow().await.unwrap();
    assert_eq!(socket.ended().await.code, 4410);
    database.close().await.unwrap();
    app.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn a_kick_that_ends_no_session_reaches_the_socket_on_another_node() {
    let (app, other, _) = beside_each_other().await;
    let bob = app.user("bob", "member").await;
    let (kicked, mut stays) = (bob.connect(&app).await, bob.connect(&app).await);
    app.services.follow().await.unwrap();
    let mut kick = NewRevocation::new(Kind::Kick, &Actor::system());
    kick.targets.clients = vec![kicked.id.parse().unwrap()];
    other.services.store().revoke(kick, other.services.clock().now()).await.unwrap();
    app.services.follow().await.unwrap();
    assert_eq!(kicked.ended().await.code, 4410);
    assert_eq!(stays.ask("ping", json!({})).await["code"], 0);
    drop(stays);
    app.shutdown().await;
    other.shutdown().await;
}
