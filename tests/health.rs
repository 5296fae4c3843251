//! What machines ask: is it alive, is it ready, and the figures.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{TestApp, eventually};

async fn ready(app: &TestApp) -> (u16, Value) {
    let answer = app.anonymous("GET", "/health/ready", Value::Null).await;
    (answer.status, answer.body["code"].clone())
}

#[tokio::test]
async fn ready_is_said_only_with_a_database_and_before_the_goodbye() {
    let app = TestApp::start().await;
    assert_eq!(ready(&app).await, (200, Value::Null));
    app.services.store().close().await;
    app.clock.advance(Duration::from_secs(2));
    assert_eq!(ready(&app).await, (503, json!("database")));
    let live = app.anonymous("GET", "/health/live", Value::Null).await;
    assert_eq!((live.status, &live.body), (200, &json!({"status": "live"})));
    app.shutdown().await;

    let app = TestApp::start().await;
    app.services.drain(None);
    assert_eq!(ready(&app).await, (503, json!("draining")));
    app.shutdown().await;

    // While it says goodbye to a socket, whoever asks anew finds nobody.
    let app = TestApp::with(|config| config.server.drain = Duration::from_secs(10)).await;
    let mut sockets = Vec::new();
    for name in ["bob", "eve"] {
        sockets.push(app.user(name, "member").await.connect(&app).await);
    }
    app.stop();
    let url = app.url("/health/ready");
    eventually("it is not ready", || async {
        let asked = crate::harness::http_client().get(&url).send().await;
        asked.is_err() || asked.is_ok_and(|answer| answer.status() == 503)
    })
    .await;
    assert!(app.services.is_draining());
    drop(sockets);
    app.shutdown().await;
}

/// A scrape, as lines.
async fn scrape(app: &TestApp) -> Vec<String> {
    let url = format!("http://{}/metrics", app.metrics.unwrap());
    let answer = app.http.get(url).send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    answer.text().await.unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_figures_move_with_what_users_do() {
    let app = TestApp::with(|config| config.metrics.listen = "127.0.0.1:0".to_owned()).await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut socket = bob.connect(&app).await;
    socket.ask("join", json!({"id": "room1"})).await;
    socket.ask("nonsense", json!({})).await;
    let push = json!({"target": {"users": [bob.id]}, "event": "hello", "data": {}});
    assert_eq!(admin.post("/api/v1/push", push).await.status, 200);
    bob.ticket().await;
    let refused = crate::harness::TestSocket::dial(&app, &[("authorization", "Bearer x")], "").await;
    assert_eq!(refused.err(), Some(401));
    let lines = scrape(&app).await;
    for line in [
        "rollcall_clients 1.0",
        "rollcall_users 1.0",
        "rollcall_handshakes_total{result=\"accepted\"} 1",
        "rollcall_handshakes_total{result=\"token_invalid\"} 1",
        "rollcall_events_total{event=\"join\"} 1",
        "rollcall_deliveries_total 1",
        "rollcall_drops_total 0",
        "rollcall_log_rows_lost_total 0",
        "rollcall_database_up 1.0",
        "rollcall_entries{table=\"rooms\"} 1.0",
        "rollcall_entries{table=\"tickets\"} 1.0",
        "rollcall_entries{table=\"outbox\"} 0.0",
    ] {
        assert!(lines.iter().any(|found| found == line), "no {line} in\n{}", lines.join("\n"));
    }
    for figure in ["rollcall_database_latency_seconds ", "rollcall_tasks "] {
        assert!(lines.iter().any(|line| line.starts_with(figure)), "no {figure}in\n{}", lines.join("\n"));
    }
    assert_eq!(lines.last().map(String::as_str), Some("# EOF"));
    let public = app.anonymous("GET", "/metrics", Value::Null).await.text;
    assert!(!public.contains("rollcall_clients"), "not on the public listener");
    admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({})).await;
    socket.ended().await;
    eventually("the end is counted", || async {
        scrape(&app).await.iter().any(|line| line == "rollcall_disconnects_total{cause=\"kicked\"} 1")
    })
    .await;
    app.shutdown().await;
}
