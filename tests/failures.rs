//! What happens when the ground shakes: the database locked or full, a stop in the middle, and what the log gives away.

use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rollcall::config::Secret;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{PASSWORD, Served, TestApp, eventually, http_client};

/// A server on a file, and another connection to that file.
async fn on_a_file() -> (TestApp, DatabaseConnection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollcall.db");
    let url = format!("sqlite://{}", path.display());
    let mut app = TestApp::with(|config| {
        config.database.url = Secret::new(url.clone());
        config.database.timeout = Duration::from_secs(1);
    })
    .await;
    app.keep(folder);
    let other = Database::connect(ConnectOptions::new(url).max_connections(1).to_owned()).await.unwrap();
    (app, other)
}

#[tokio::test]
async fn with_the_database_locked_rest_answers_503_sockets_stay_and_all_recovers_without_a_restart() {
    let (app, other) = on_a_file().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut socket = bob.connect(&app).await;
    other.execute_unprepared("BEGIN EXCLUSIVE").await.unwrap();
    let new = json!({"username": "eve", "password": "a long password", "roles": ["member"]});
    let refused = admin.post("/api/v1/users", new.clone()).await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("unavailable")), "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"));
    let kick = admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({})).await;
    assert_eq!(kick.status, 503, "a kick that cannot be kept is not claimed: {}", kick.text);
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    assert_eq!(socket.ask("join", json!({"id": "lobby"})).await["data"], json!(["lobby"]));
    other.execute_unprepared("ROLLBACK").await.unwrap();
    other.close().await.unwrap();
    eventually("it recovers", || async { admin.post("/api/v1/users", new.clone()).await.status == 201 }).await;
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn with_the_disk_full_rest_answers_503_and_all_recovers_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start_on_a_small_disk(folder.path()).await;
    let http = http_client();
    let login = json!({"username": "admin", "password": PASSWORD});
    let answer = http.post(format!("{}/api/v1/auth/login", server.url)).json(&login).send().await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let token = body["accessToken"].as_str().unwrap();
    let create = async |number: u32| {
        let new = json!({"username": format!("{}{number}", "x".repeat(50)), "password": "a long password", "roles": ["member"]});
        let url = format!("{}/api/v1/users", server.url);
        http.post(url).bearer_auth(token).json(&new).send().await.unwrap().status().as_u16()
    };
    std::fs::write(folder.path().join("fill"), "").unwrap();
    eventually("the disk is full", || async { folder.path().join("filled").exists() }).await;
    let mut statuses = Vec::new();
    for number in 0..300 {
        statuses.push(create(number).await);
        if statuses.last() == Some(&503) {
            break;
        }
    }
    assert_eq!(statuses.last(), Some(&503), "{statuses:?}");
    let live = http.get(format!("{}/api/v1/online/counts", server.url)).bearer_auth(token).send().await.unwrap();
    assert_eq!(live.status(), 200, "what only reads goes on");
    std::fs::remove_file(folder.path().join("fill")).unwrap();
    let recovered = || async { create(1000).await == 201 };
    eventually("it recovers", recovered).await;
    assert_eq!(server.terminate().await, 0);
}

#[tokio::test]
async fn a_stop_tells_every_socket_when_to_come_back_and_leaves_nothing_behind() {
    let app = TestApp::with(|config| config.server.drain = Duration::from_millis(200)).await;
    let mut sockets = Vec::new();
    for number in 0..20 {
        sockets.push(app.user(&format!("user{number}"), "member").await.connect(&app).await);
    }
    let address = app.address;
    app.stop();
    for socket in sockets {
        let ended = socket.ended().await;
        assert!(ended.frames.iter().any(|frame| frame["event"] == "server/draining"), "{ended:?}");
        assert_eq!((ended.code, &ended.reason["reason"]), (4000, &json!("restart")));
        assert!(ended.reason["retryAfterMs"].as_u64().is_some_and(|wait| (500..=20_000).contains(&wait)), "{ended:?}");
    }
    eventually("nobody listens any more", || async { tokio::net::TcpStream::connect(address).await.is_err() }).await;
    app.shutdown().await;
}

#[tokio::test]
async fn no_token_ticket_or_password_is_ever_logged() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start_with(folder.path(), &[("ROLLCALL__LOG__LEVEL", "trace")]).await;
    let secrets = a_day_of_secrets(&server, folder.path()).await;
    assert_eq!(server.terminate().await, 0);
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    for word in ["socket opened", "socket closed", "/api/v1/auth/login", "DEBUG"] {
        assert!(log.contains(word), "the log of a whole run says {word}");
    }
    for secret in secrets {
        assert!(secret.len() >= 8, "{secret} proves nothing");
        assert!(!log.contains(&secret), "{secret} stands in the log");
    }
}

/// Uses every secret in every way it can be used, rightly and wrongly; all of them.
async fn a_day_of_secrets(server: &Served, folder: &Path) -> Vec<String> {
    let http = http_client();
    let call = async |path: &str, token: &str, cookie: &str, body: Value| {
        let request = http.post(format!("{}/api/v1{path}", server.url)).bearer_auth(token);
        let request = request.header("cookie", cookie).header("x-rollcall", "1").json(&body);
        let response = request.send().await.unwrap();
        let cookie = response.headers().get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default();
        (body, cookie.unwrap_or_default().split(';').next().unwrap().to_owned())
    };
    let socket = async |query: &str, offer: &str| {
        let mut request = format!("{}/socket{query}", server.url.replace("http", "ws")).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", offer.parse().unwrap());
        if let Ok((mut stream, _)) = tokio_tungstenite::connect_async(request).await {
            let _ = stream.next().await;
            let refresh = json!({"event": "auth/refresh", "data": {"token": query}});
            let _ = stream.send(Message::text(refresh.to_string())).await;
            let _ = stream.close(None).await;
            while let Some(Ok(_)) = stream.next().await {}
        }
    };
    let (wrong, new) = ("wrong-password-of-admin", "new-password-of-admin");
    call("/auth/login", "", "", json!({"username": "admin", "password": wrong})).await;
    let (login, cookie) = call("/auth/login", "", "", json!({"username": "admin", "password": PASSWORD})).await;
    let token = login["accessToken"].as_str().unwrap();
    let (ticket, _) = call("/auth/ticket", token, "", json!({})).await;
    let ticket = ticket["ticket"].as_str().unwrap();
    for _ in 0..2 {
        // Also a second time, when the ticket is spent.
        socket(&format!("?ticket={ticket}"), "rollcall.v1").await;
        socket("", &format!("rollcall.v1, ticket.{ticket}")).await;
    }
    socket(&format!("?authorization={token}"), "rollcall.v1").await;
    socket("", &format!("rollcall.v1, bearer.{token}")).await;
    let (refreshed, successor) = call("/auth/refresh", "", &cookie, json!({})).await;
    let second = refreshed["accessToken"].as_str().unwrap();
    call("/auth/password", second, "", json!({"currentPassword": wrong, "newPassword": new})).await;
    call("/auth/password", second, "", json!({"currentPassword": PASSWORD, "newPassword": new})).await;
    call("/users", second, "", json!({"username": "eve", "password": new, "roles": ["no-such-role"]})).await;
    call("/auth/logout", second, &successor, json!({})).await;
    socket("", &format!("rollcall.v1, bearer.{second}")).await;
    let keys: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("signing-keys.json")).unwrap()).unwrap();
    let key = |value: &Value| value.as_str().expect("a secret of the key file").to_owned();
    let value_of = |cookie: &str| cookie.split_once('=').expect("a cookie").1.to_owned();
    vec![
        PASSWORD.into(),
        wrong.into(),
        new.into(),
        ticket.into(),
        token.into(),
        second.into(),
        value_of(&cookie),
        value_of(&successor),
        key(&keys["keys"][0]["secret"]),
        key(&keys["refreshSecret"]),
    ]
}
