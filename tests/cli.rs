//! The command line, as a person and a script use it.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::task::TaskTracker;

use crate::harness::{PASSWORD, Served, eventually, http_client, rollcall, rollcall_with};

/// A REST call to a served binary: status and body.
async fn call(method: &str, url: String, token: &str, body: Value) -> (u16, Value) {
    let http = http_client();
    let request = http.request(method.parse().unwrap(), url).bearer_auth(token).json(&body);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

async fn login(server: &Served, username: &str, password: &str) -> (u16, Value) {
    let body = json!({"username": username, "password": password});
    call("POST", format!("{}/api/v1/auth/login", server.url), "", body).await
}

#[tokio::test]
async fn a_second_start_changes_nothing_and_a_stop_exits_with_zero() {
    let folder = tempdir().unwrap();
    let first = Served::start(folder.path()).await;
    assert_eq!(login(&first, "admin", PASSWORD).await.0, 200);
    assert_eq!(first.terminate().await, 0);
    let keys = std::fs::read(folder.path().join("signing-keys.json")).unwrap();
    let second = Served::start(folder.path()).await;
    assert_eq!(login(&second, "admin", PASSWORD).await.0, 200);
    assert_eq!(std::fs::read(folder.path().join("signing-keys.json")).unwrap(), keys);
    assert_eq!(second.terminate().await, 0);
}

#[tokio::test]
async fn what_cannot_start_says_why_in_one_sentence_that_names_the_key() {
    let folder = tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = folder.path().join("my.toml");
    let config = file.to_str().unwrap();
    let refused = |said: crate::harness::Said, expected: &str| {
        assert_eq!((said.code, said.err.trim().lines().count()), (1, 1), "{}", said.err);
        assert!(said.err.contains(expected), "{}", said.err);
    };
    std::fs::write(&file, format!("[server]\nlisten = \"{}\"\n", taken.local_addr().unwrap())).unwrap();
    refused(rollcall(folder.path(), &["--config", config, "serve"]).await, "server.listen");
    std::fs::write(&file, "[server]\nlisen = \"x\"\n").unwrap();
    refused(rollcall(folder.path(), &["--config", config, "serve"]).await, "did you mean server.listen?");
    std::fs::write(&file, "[data]\ndir = \"/proc/nowhere\"\n").unwrap();
    let said = rollcall(folder.path(), &["--config", "/nowhere/my.toml", "serve"]).await;
    refused(said, "/nowhere/my.toml");
    std::fs::create_dir(folder.path().join("rollcall.db")).unwrap();
    std::fs::write(folder.path().join("database-url"), format!("sqlite://{}/rollcall.db", folder.path().display()))
        .unwrap();
    refused(rollcall(folder.path(), &["serve"]).await, "database.url");
}

#[tokio::test]
async fn a_setting_that_is_no_text_is_refused_and_a_strangers_is_not_ours() {
    use std::os::unix::ffi::OsStrExt;
    let no_text = std::ffi::OsStr::from_bytes(b"sqlite://\xff.db");
    let check = async |name: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command.args(["config", "check"]).env(name, no_text).kill_on_drop(true).output().await.unwrap()
    };
    let refused = check("ROLLCALL__DATABASE__URL").await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), said.trim().lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("ROLLCALL__DATABASE__URL in the environment is not UTF-8"), "{said}");
    assert_eq!(check("SOMETHING_ELSE").await.status.code(), Some(0));
}

#[tokio::test]
async fn accounts_made_and_changed_by_the_command_line_count_in_a_running_server() {
    let folder = tempdir().unwrap();
    let server = Served::start(folder.path()).await;
    let added = rollcall(folder.path(), &["user", "add", "alice", "--role", "operator"]).await;
    assert_eq!(added.code, 0, "{}", added.err);
    let password =
        added.out.split_whitespace().find(|word| word.matches('-').count() == 3).expect("a password is shown");
    let (status, body) = login(&server, "alice", password).await;
    assert_eq!(status, 200, "{body}");
    let token = body["accessToken"].as_str().unwrap().to_owned();
    assert!(rollcall(folder.path(), &["user", "list"]).await.out.contains("alice"));
    let me = format!("{}/api/v1/auth/me", server.url);
    assert_eq!(call("GET", me.clone(), &token, Value::Null).await.0, 200);
    assert_eq!(rollcall(folder.path(), &["user", "passwd", "alice"]).await.code, 0);
    eventually("the old session is over", || async { call("GET", me.clone(), &token, Value::Null).await.0 == 401 })
        .await;
    for _ in 0..5 {
        login(&server, "alice", "not the password").await;
    }
    assert_eq!(login(&server, "alice", "not the password").await.0, 403);
    assert_eq!(rollcall(folder.path(), &["user", "unlock", "alice"]).await.code, 0);
    let wrong = || async { login(&server, "alice", "not the password").await.0 == 401 };
    eventually("the name is unlocked", wrong).await;
    assert_eq!(rollcall(folder.path(), &["user", "add", "alice"]).await.code, 1);
    assert_eq!(server.terminate().await, 0);
}

#[tokio::test]
async fn a_token_for_a_script_may_do_what_its_scope_says_and_nothing_else() {
    let folder = tempdir().unwrap();
    let server = Served::start(folder.path()).await;
    let words = ["token", "issue", "--name", "nightly", "--scope", "push:send", "--expires", "30d"];
    let issued = rollcall(folder.path(), &words).await;
    assert_eq!(issued.code, 0, "{}", issued.err);
    let token = issued.out.trim();
    let push = json!({"target": {"everyone": true}, "event": "hello", "data": {}});
    assert_eq!(call("POST", format!("{}/api/v1/push", server.url), token, push).await.0, 200);
    let (status, body) = call("GET", format!("{}/api/v1/online/clients", server.url), token, Value::Null).await;
    assert_eq!((status, &body["code"]), (403, &json!("forbidden")));
    let long = rollcall(folder.path(), &["token", "issue", "--scope", "push:send", "--expires", "400d"]).await;
    assert!(long.code == 1 && long.err.contains("auth.key_overlap"), "{}", long.err);
    assert_eq!(server.terminate().await, 0);
}

#[tokio::test]
async fn documents_settings_and_migrations_are_told_without_a_server() {
    let folder = tempdir().unwrap();
    let document = rollcall(folder.path(), &["openapi"]).await.out;
    assert!(document == include_str!("snapshots/openapi.json"), "not the approved document; run `make openapi`");
    assert!(rollcall(folder.path(), &["config", "print"]).await.out.contains("listen = \"127.0.0.1:8080\""));
    let effective = rollcall(folder.path(), &["config", "print", "--effective"]).await.out;
    assert!(
        effective.contains("follow_interval = \"50ms\"  # environment ROLLCALL__AUTH__FOLLOW_INTERVAL"),
        "{effective}"
    );
    assert_eq!(rollcall(folder.path(), &["config", "check"]).await.code, 0);
    assert_eq!(rollcall(folder.path(), &["migrate", "up"]).await.code, 0);
    let status = rollcall(folder.path(), &["migrate", "status"]).await;
    assert!(status.code == 0 && status.out.contains("first_tables"), "{}{}", status.out, status.err);
    let help = rollcall(folder.path(), &["--help"]).await.out;
    for command in ["serve", "migrate", "user", "token", "key", "openapi", "asyncapi", "config"] {
        assert!(help.contains(command), "{help}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let folder = tempdir().unwrap();
    let mut server = Served::start(folder.path()).await;
    let (_, body) = login(&server, "admin", PASSWORD).await;
    let admin = body["accessToken"].as_str().unwrap().to_owned();
    let mut sessions = Vec::new();
    for number in 0..10 {
        let new = json!({"username": format!("user{number}"), "password": PASSWORD, "roles": ["member"]});
        assert_eq!(call("POST", format!("{}/api/v1/users", server.url), &admin, new).await.0, 201);
        let (_, body) = login(&server, &format!("user{number}"), PASSWORD).await;
        let id = body["user"]["id"].as_str().unwrap().to_owned();
        sessions.push(body["accessToken"].as_str().unwrap().to_owned());
        if number % 2 == 0 {
            let url = format!("{}/api/v1/online/users/{id}", server.url);
            assert_eq!(call("DELETE", url, &admin, json!({"reason": format!("kick {number}")})).await.0, 200);
        }
    }
    server.child.kill().await.unwrap();
    let server = Served::start(folder.path()).await;
    let (status, audit) =
        call("GET", format!("{}/api/v1/logs/audit?action=online.kick&pageSize=100", server.url), &admin, Value::Null)
            .await;
    assert_eq!((status, audit["totalCount"].as_u64()), (200, Some(5)), "{audit}");
    for (number, token) in sessions.iter().enumerate() {
        let status = call("GET", format!("{}/api/v1/auth/me", server.url), token, Value::Null).await.0;
        assert_eq!(status, if number % 2 == 0 { 401 } else { 200 }, "user{number}");
    }
    assert_eq!(server.terminate().await, 0);
}

#[tokio::test]
async fn a_drain_from_the_command_line_waits_until_everybody_has_left() {
    let folder = tempdir().unwrap();
    let server = Served::start(folder.path()).await;
    let token = login(&server, "admin", PASSWORD).await.1["accessToken"].as_str().unwrap().to_owned();
    let mut request = format!("{}/socket", server.url).replacen("http", "ws", 1).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let reading = TaskTracker::new().spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
    let address = server.url.trim_start_matches("http://").to_owned();
    let drained = rollcall_with(folder.path(), &["drain", "--wait"], &[("ROLLCALL__SERVER__LISTEN", &address)]).await;
    assert_eq!((drained.code, drained.err.as_str()), (0, ""), "{}", drained.out);
    assert!(drained.out.lines().last().unwrap().ends_with("nobody is left, 1 sent elsewhere"), "{}", drained.out);
    reading.await.unwrap();
    let nodes = call("GET", format!("{}/api/v1/nodes", server.url), &token, Value::Null).await.1;
    assert_eq!(nodes["list"][0]["state"], "draining");
    let sessions = call("GET", format!("{}/api/v1/sessions", server.url), &token, Value::Null).await.1;
    assert!(sessions["list"].as_array().is_some_and(|list| list.len() == 1), "its own session is over: {sessions}");
    assert_eq!(server.terminate().await, 0);
    let alone = rollcall_with(folder.path(), &["drain"], &[("ROLLCALL__SERVER__LISTEN", &address)]).await;
    assert!(alone.code == 1 && alone.err.contains("Nobody answers at http"), "{}", alone.err);
}
