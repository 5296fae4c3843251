//! A database server that others run: it is migrated when they say so, it stops, it hangs, it wants TLS; and what of all that
//! users notice. Each test has a server of its own. That everything else works on it too is seen by running the other tests
//! with `tests/databases.sh`.

use std::sync::Arc;
use std::time::Duration;

use rollcall::app::App;
use rollcall::auth::Cost;
use rollcall::clock::{Clock, SystemClock};
use rollcall::config::{Config, DatabaseTls, Secret};
use sea_orm::{ConnectionTrait, Database, Statement};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::other_system::{accept, hotgo_token, shop};
use crate::harness::{
    Authority, DatabaseServer, PASSWORD, Served, TestApp, TestSocket, TestUser, eventually, http_client, rollcall,
    rollcall_with,
};

/// Connections of a server, at most.
const MAX_CONNECTIONS: i64 = 3;

/// How many connections there are beside this administrator's own.
async fn connections(administrator: &str) -> i64 {
    let count = if administrator.starts_with("postgres") {
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rollcall'"
    } else {
        "SELECT count(*) FROM information_schema.processlist WHERE db LIKE 't%'"
    };
    let connection = Database::connect(administrator).await.unwrap();
    let row = connection.query_one_raw(Statement::from_string(connection.get_database_backend(), count)).await.unwrap();
    row.unwrap().try_get_by(0).unwrap()
}

/// A server on this database whose statements may take three seconds.
async fn on(url: String, remember: Duration) -> TestApp {
    TestApp::with(|config| {
        accept(config, &shop(""));
        config.database.url = Secret::new(url);
        config.database.timeout = Duration::from_secs(3);
        config.database.max_connections = MAX_CONNECTIONS as u32;
        config.auth.remember_sessions = remember;
        // A socket that reads nothing while a server starts and stops must not be taken for a lost one.
        config.socket.ping_interval = Duration::from_secs(100_000);
    })
    .await
}

/// What a handshake of this user is answered: 101, or a refusal.
async fn handshake(app: &TestApp, user: &TestUser) -> u16 {
    let opened = TestSocket::dial(app, &[("authorization", &format!("Bearer {}", user.token))], "").await;
    opened.map_or_else(|status| status, |socket| socket.response.status().as_u16())
}

async fn a_database_that_stops(kind: &str) {
    let mut database = DatabaseServer::start(kind).await;
    let app = on(database.empty().await, Duration::from_secs(60)).await;
    let closed = on(database.empty().await, Duration::ZERO).await;
    let (admin, bob, eve) =
        (app.user("root", "admin").await, app.user("bob", "member").await, app.user("eve", "member").await);
    let carol = closed.user("carol", "member").await;
    let (mut socket, mut careful) = (bob.connect(&app).await, carol.connect(&closed).await);
    eve.connect(&app).await.close().await;
    assert_eq!(admin.delete(&format!("/api/v1/online/users/{}", eve.id), json!({})).await.status, 200);
    let stranger = app.user("stranger", "member").await;
    let login = |id| app.foreign(hotgo_token(id, "ann", "clerk", app.clock.now().timestamp()));
    let (ann, never) = (login(1), login(2));
    app.clock.advance(Duration::from_secs(61));
    for user in [&bob, &ann] {
        assert_eq!(handshake(&app, user).await, 101);
    }

    database.order("stop").await;
    let refused = admin.get("/api/v1/users").await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("unavailable")), "{}", refused.text);
    assert_eq!(app.anonymous("GET", "/health/ready", Value::Null).await.status, 503);
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    assert_eq!(socket.ask("join", json!({"id": "lobby"})).await["data"], json!(["lobby"]));
    assert_eq!(careful.ask("ping", json!({})).await["code"], 0);
    assert_eq!(handshake(&app, &bob).await, 101, "its session was seen a moment ago");
    assert_eq!(handshake(&app, &ann).await, 101, "so was that of another system");
    assert_eq!(handshake(&app, &never).await, 503, "a good signature is not enough");
    assert_eq!(handshake(&app, &eve).await, 503, "what was revoked is not remembered");
    assert_eq!(handshake(&app, &stranger).await, 503, "its session was seen too long ago");
    assert_eq!(handshake(&closed, &carol).await, 503, "remember_sessions is 0");
    app.clock.advance(Duration::from_secs(61));
    for user in [&bob, &ann] {
        assert_eq!(handshake(&app, user).await, 503, "a minute later nobody knows any more");
    }
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);

    database.order("start").await;
    eventually("REST answers again", || async { admin.get("/api/v1/users").await.status == 200 }).await;
    eventually("handshakes go on", || async { handshake(&app, &stranger).await == 101 }).await;
    eventually("there, too", || async { handshake(&closed, &carol).await == 101 }).await;
    assert_eq!(handshake(&app, &eve).await, 401);
    assert_eq!(handshake(&app, &never).await, 101);
    assert_eq!(app.anonymous("GET", "/health/ready", Value::Null).await.status, 200);
    assert_eq!(admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({})).await.status, 200);
    assert_eq!(socket.ended().await.code, 4410);
    drop(careful);
    app.shutdown().await;
    closed.shutdown().await;
}

#[tokio::test]
async fn sockets_outlive_a_postgresql_that_stops() {
    a_database_that_stops("postgres").await;
}

#[tokio::test]
async fn sockets_outlive_a_mariadb_that_stops() {
    a_database_that_stops("mysql").await;
}

async fn a_database_that_hangs(kind: &str) {
    let mut database = DatabaseServer::start(kind).await;
    let app = on(database.empty().await, Duration::from_secs(60)).await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut socket = bob.connect(&app).await;
    let answers = futures_util::future::join_all((0..30).map(|_| admin.get("/api/v1/users"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let open = connections(&database.url).await;
    assert!((1..=MAX_CONNECTIONS).contains(&open), "{open} connections");

    database.order("pause").await;
    // The client's own patience is ten seconds.
    let hung = tokio::time::timeout(Duration::from_secs(10), admin.get("/api/v1/users")).await;
    assert_eq!(hung.expect("an answer, not silence").status, 503);
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    let opened = tokio::time::timeout(Duration::from_secs(10), handshake(&app, &bob)).await;
    assert_eq!(opened.expect("an answer, not silence"), 101);
    database.order("resume").await;
    eventually("REST answers again", || async { admin.get("/api/v1/users").await.status == 200 }).await;
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn nobody_waits_for_a_postgresql_that_hangs() {
    a_database_that_hangs("postgres").await;
}

#[tokio::test]
async fn nobody_waits_for_a_mariadb_that_hangs() {
    a_database_that_hangs("mysql").await;
}

async fn a_database_that_others_migrate(kind: &str) {
    let server = DatabaseServer::start(kind).await;
    let folder = tempfile::tempdir().unwrap();
    let (url, root) = (server.empty().await, folder.path());
    std::fs::write(root.join("database-url"), &url).unwrap();
    let careful = [("ROLLCALL__DATABASE__AUTO_MIGRATE", "false")];
    let refused = rollcall_with(root, &["serve"], &careful).await;
    assert_eq!(refused.code, 1, "{}", refused.err);
    for words in ["rollcall migrate", "database.auto_migrate"] {
        assert!(refused.err.contains(words), "{}", refused.err);
    }
    let migrated = rollcall_with(root, &["migrate"], &careful).await;
    assert_eq!(migrated.code, 0, "{}", migrated.err);
    assert_eq!(Served::start_with(root, &careful).await.terminate().await, 0);

    // Three that start at once on an empty database: one migrates, one makes the administrator, and all serve.
    let empty = server.empty().await;
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    for folder in &folders {
        std::fs::write(folder.path().join("database-url"), &empty).unwrap();
    }
    let [first, second, third] = [0, 1, 2].map(|number: usize| Served::start(folders[number].path()));
    let nodes: [Served; 3] = tokio::join!(first, second, third).into();
    for node in nodes {
        let login = json!({"username": "admin", "password": PASSWORD});
        let answer = http_client().post(format!("{}/api/v1/auth/login", node.url)).json(&login).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(node.terminate().await, 0);
    }
    let users = rollcall(folders[0].path(), &["user", "list"]).await.out;
    assert_eq!(users.lines().filter(|line| line.contains("admin")).count(), 1, "{users}");
}

#[tokio::test]
async fn a_postgresql_is_migrated_when_told_and_by_one_of_three() {
    a_database_that_others_migrate("postgres").await;
}

#[tokio::test]
async fn a_mariadb_is_migrated_when_told_and_by_one_of_three() {
    a_database_that_others_migrate("mysql").await;
}

async fn a_database_that_speaks_tls(kind: &str) {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, other) = (Authority::new(folder.path()), Authority::new(elsewhere.path()));
    ours.certify();
    let database = DatabaseServer::with_tls(kind, folder.path()).await;
    let url = database.empty().await;
    let settings = |authority: &Authority| {
        let mut config = Config::defaults();
        config.database.url = Secret::new(url.clone());
        config.database.auto_migrate = true;
        config.database.tls = DatabaseTls::VerifyFull;
        config.database.tls_ca = authority.certificate();
        config.data.dir = folder.path().to_owned();
        config
    };
    let build = |config| App::build(config, Arc::new(SystemClock::new()), Cost::MINIMAL, CancellationToken::new());
    assert!(build(settings(&ours)).await.is_ok());
    let refused = build(settings(&other)).await.err().expect("another authority's certificate is refused").to_string();
    assert!(refused.contains("database.url") && refused.contains("certificate"), "{refused}");
}

#[tokio::test]
async fn a_postgresql_must_have_the_certificate_that_is_asked_for() {
    a_database_that_speaks_tls("postgres").await;
}

#[tokio::test]
async fn a_mariadb_must_have_the_certificate_that_is_asked_for() {
    a_database_that_speaks_tls("mysql").await;
}
