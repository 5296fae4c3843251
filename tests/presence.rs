//! Who is online, truthfully: tabs, graces, heartbeats, tokens that end, rights that change.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp, TestSocket, TestUser, eventually};

/// `clients`, `sessions`, `users` of the counts.
async fn counts(viewer: &TestUser) -> (u64, u64, u64) {
    let body = viewer.get("/api/v1/online/counts").await.body;
    let number = |key: &str| body[key].as_u64().unwrap();
    (number("clients"), number("sessions"), number("users"))
}

async fn why(viewer: &TestUser, user: &TestUser) -> Value {
    viewer.get(&format!("/api/v1/online/users/{}/why", user.id)).await.body
}

async fn row_of(viewer: &TestUser, user: &TestUser) -> Value {
    viewer.get(&format!("/api/v1/online/clients?userId={}", user.id)).await.body["list"][0].clone()
}

/// Breaks the connection without a word.
async fn lose(socket: TestSocket, viewer: &TestUser) {
    let query = format!("/api/v1/online/clients?q={}", socket.id);
    drop(socket);
    eventually("the socket is lost", || async { viewer.get(&query).await.body["list"][0]["leaving"] == true }).await;
}

#[tokio::test]
async fn closing_one_of_two_tabs_keeps_the_user_online() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let (first, second) = (bob.connect(&app).await, bob.connect(&app).await);
    assert_eq!(counts(&admin).await, (2, 1, 1));
    first.close().await;
    eventually("one client is left", || async { counts(&admin).await == (1, 1, 1) }).await;
    assert_eq!(row_of(&admin, &bob).await["id"], second.id.as_str());
    second.close().await;
    eventually("nobody is left", || async { counts(&admin).await == (0, 0, 0) }).await;
    assert_eq!(why(&admin, &bob).await["lastLeave"]["cause"], "closed");
    app.shutdown().await;
}

#[tokio::test]
async fn a_lost_network_waits_out_the_grace_and_a_return_within_it_is_no_leave() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    lose(bob.connect(&app).await, &admin).await;
    assert_eq!(row_of(&admin, &bob).await["leaving"], true);
    assert_eq!(counts(&admin).await, (1, 1, 1), "counts change only after the grace");
    assert_eq!(why(&admin, &bob).await["leaving"], true);

    let back = bob.connect(&app).await;
    // Another node ends its grace when it has heard where the user is.
    eventually("only the new client is left", || async {
        let now = counts(&admin).await;
        assert_eq!(now.2, 1, "the user is never gone");
        now == (1, 1, 1)
    })
    .await;
    let row = row_of(&admin, &bob).await;
    assert_eq!((&row["id"], &row["leaving"]), (&json!(back.id), &json!(false)));
    app.clock.advance(Duration::from_secs(11));
    // The end of the first grace must not take the new connection with it.
    let mut back = back;
    assert_eq!(back.ask("ping", json!({})).await["code"], 0);
    assert_eq!(counts(&admin).await, (1, 1, 1));

    lose(back, &admin).await;
    app.clock.advance(Duration::from_secs(11));
    eventually("the grace is over", || async { counts(&admin).await == (0, 0, 0) }).await;
    let gone = why(&admin, &bob).await;
    assert_eq!((&gone["online"], &gone["lastLeave"]["cause"]), (&json!(false), &json!("lost")));
    app.shutdown().await;
}

#[tokio::test]
async fn a_kick_needs_no_grace_and_takes_a_leaving_client_too() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    lose(bob.connect(&app).await, &admin).await;
    let kick = admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({})).await;
    assert_eq!(
        (kick.status, &kick.body["matched"], &kick.body["closed"]),
        (200, &json!(1), &json!(1)),
        "{}",
        kick.text
    );
    assert_eq!(counts(&admin).await, (0, 0, 0));
    assert_eq!(why(&admin, &bob).await["lastLeave"]["cause"], "kicked");
    app.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_has_vanished_is_evicted_and_why_says_timeout() {
    let app = TestApp::with(|config| {
        config.presence.grace = Duration::ZERO;
        config.auth.access_ttl = Duration::from_secs(7 * 24 * 3600);
    })
    .await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    // Nobody reads this stream any more, so no ping is answered: as a peer that is gone without a FIN.
    let silent = bob.connect(&app).await;
    eventually("it is evicted", || async {
        app.clock.advance(Duration::from_secs(20));
        counts(&admin).await == (0, 0, 0)
    })
    .await;
    assert_eq!(why(&admin, &bob).await["lastLeave"]["cause"], "timeout");
    assert_eq!(silent.ended().await.code, 4001);
    app.shutdown().await;
}

#[tokio::test]
async fn the_sweeper_evicts_and_shows_its_run() {
    let app = TestApp::with(|config| {
        config.presence.grace = Duration::ZERO;
        // Pings would find out sooner; here the sweeper is the one to tell.
        config.socket.ping_interval = Duration::from_secs(100_000);
    })
    .await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    // Each node sweeps for itself.
    let (node, admin) = (app.one_node(), admin.at(app.one_node()));
    let (idle, mut alive) = (bob.connect(node).await, bob.connect(node).await);
    app.clock.advance(Duration::from_secs(290));
    assert_eq!(alive.ask("ping", json!({})).await["code"], 0);
    app.clock.advance(Duration::from_secs(11));
    let run = admin.post("/api/v1/jobs/sweep/run", json!({})).await;
    assert_eq!((run.status, &run.body["evicted"]), (200, &json!(1)), "{}", run.text);
    assert_eq!(idle.ended().await.code, 4001);
    assert_eq!(alive.ask("ping", json!({})).await["code"], 0);
    let runs = admin.get("/api/v1/jobs/sweep/runs").await.body;
    assert_eq!((&runs["list"][0]["evicted"], &runs["list"][0]["trigger"]), (&json!(1), &json!("manual")));
    let jobs = admin.get("/api/v1/jobs").await.body;
    let sweep = jobs["list"].as_array().unwrap().iter().find(|job| job["name"] == "sweep").unwrap().clone();
    assert_eq!(sweep["lastRun"]["evicted"], 1);
    assert_eq!(bob.post("/api/v1/jobs/sweep/run", json!({})).await.status, 403);
    assert_eq!(admin.post("/api/v1/jobs/nothing/run", json!({})).await.status, 404);
    app.shutdown().await;
}

#[tokio::test]
async fn the_sweeper_comes_by_itself_when_its_time_has_come() {
    let app = TestApp::with(|config| {
        config.presence.grace = Duration::ZERO;
        config.socket.ping_interval = Duration::from_secs(100_000);
        config.socket.sweep = "* * * * * *".to_owned();
    })
    .await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let idle = bob.connect(&app).await;
    app.clock.advance(Duration::from_secs(301));
    assert_eq!(idle.ended().await.code, 4001);
    eventually("its run is listed", || async {
        let runs = admin.get("/api/v1/jobs/sweep/runs").await.body;
        let runs = runs["list"].as_array().unwrap().clone();
        runs.iter().any(|run| run["trigger"] == "cron" && run["evicted"] == 1)
    })
    .await;
    app.shutdown().await;
}

#[tokio::test]
async fn moving_the_wall_clock_evicts_nobody() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut socket = bob.connect(&app).await;
    // Back, so that no token expires by it.
    app.clock.set_wall_offset(chrono::Duration::hours(-5));
    for node in app.nodes() {
        assert_eq!(node.services.manager().evict_stale(Duration::from_secs(300)), 0);
    }
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    app.clock.set_wall_offset(chrono::Duration::zero());
    assert_eq!(counts(&admin).await, (1, 1, 1));
    app.shutdown().await;
}

#[tokio::test]
async fn the_servers_pings_are_answered_and_the_round_trip_is_shown() {
    let app = TestApp::with(|config| config.auth.access_ttl = Duration::from_secs(7 * 24 * 3600)).await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut socket = bob.connect(&app).await;
    let deadline = std::time::Instant::now() + PATIENCE;
    while !row_of(&admin, &bob).await["rttMs"].is_u64() {
        assert!(std::time::Instant::now() < deadline, "no ping went round");
        app.clock.advance(Duration::from_secs(9));
        // The client answers pings only while it reads.
        socket.ask("ping", json!({})).await;
    }
    assert!(why(&admin, &bob).await["clients"][0]["lastPongAt"].is_string());
    app.shutdown().await;
}

#[tokio::test]
async fn a_token_that_ends_is_announced_renewed_in_place_or_closes_the_socket() {
    let app = TestApp::with(|config| config.socket.ping_interval = Duration::from_secs(100_000)).await;
    let (bob, eve) = (app.user("bob", "member").await, app.user("eve", "member").await);
    let mut socket = bob.connect(&app).await;
    app.clock.advance(Duration::from_secs(14 * 60 + 30));
    assert!(socket.push("auth/expiring").await["expiresAt"].is_string());
    let refused = socket.ask("auth/refresh", json!({"token": eve.token})).await;
    assert_eq!(refused["code"], 403);
    assert_eq!(socket.ask("auth/refresh", json!({"token": "nonsense"})).await["code"], 401);
    let (token, _) = app.services.tokens().issue(
        &rollcall::auth::UserKey::from_wire(&bob.id),
        bob.session.parse().unwrap(),
        app.services.clock().now(),
    );
    assert!(socket.ask("auth/refresh", json!({"token": token})).await["data"]["expiresAt"].is_string());
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    // Longer than the renewed token lives.
    app.clock.advance(Duration::from_secs(16 * 60));
    let ended = socket.ended().await;
    assert_eq!((ended.code, &ended.reason["reason"]), (4401, &json!("tokenExpired")));
    app.shutdown().await;
}

#[tokio::test]
async fn a_change_of_role_reaches_the_open_socket_and_disabling_closes_it() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut socket = bob.connect(&app).await;
    assert_eq!(socket.ask("online/subscribe", json!({})).await["code"], 403);
    let path = format!("/api/v1/users/{}", bob.id);
    assert_eq!(admin.patch(&path, json!({"roles": ["operator"]})).await.status, 200);
    let changed = socket.push("auth/changed").await;
    assert!(changed["gained"].as_array().unwrap().contains(&json!("online:read")), "{changed}");
    assert_eq!(socket.ask("online/subscribe", json!({})).await["code"], 0);
    assert_eq!(row_of(&admin, &bob).await["roles"], json!(["operator"]));
    assert_eq!(admin.patch(&path, json!({"roles": ["member"]})).await.status, 200);
    assert!(socket.push("auth/changed").await["lost"].as_array().unwrap().contains(&json!("online:read")));
    assert_eq!(socket.ask("online/subscribe", json!({})).await["code"], 403);
    assert_eq!(admin.patch(&path, json!({"disabled": true})).await.status, 200);
    assert_eq!(socket.ended().await.code, 4403);
    app.shutdown().await;
}
