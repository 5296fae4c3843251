//! Where it stands: behind nginx under a base path that is stripped or not, or at the root; and plain http, over which nobody
//! logs in by mistake.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Authority, Nginx, PASSWORD, PATIENCE, Port, TestApp, TestSocket, believing};

/// A server behind nginx, called through it.
async fn behind_nginx(how: &str, path: &str) -> (TestApp, Nginx, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    authority.certify();
    let port = Port::reserve();
    let public = format!("https://127.0.0.1:{}{path}", port.number);
    let mut app = TestApp::with(|config| {
        config.server.public_url = serde_json::from_value(json!(public)).unwrap();
        config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.socket.ping_interval = std::time::Duration::from_secs(1);
    })
    .await;
    let nginx = Nginx::start(port, app.address, how, folder.path()).await;
    app.behind(&public, believing(&authority.certificate()));
    (app, nginx, folder)
}

async fn everything_works_behind_nginx(how: &str, path: &str) {
    let (app, nginx, _folder) = behind_nginx(how, path).await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let login = app.try_login("bob", PASSWORD).await;
    let cookie = login.headers["set-cookie"].to_str().unwrap().to_owned();
    let name = if path == "/" { "__Host-rollcall_refresh=" } else { "__Secure-rollcall_refresh=" };
    assert!(cookie.starts_with(name), "{cookie}");
    assert!(cookie.contains("Secure") && cookie.split("; ").any(|part| part == format!("Path={path}")), "{cookie}");
    let refresh = app.http.post(app.url("/api/v1/auth/refresh")).header("x-rollcall", "1");
    let refresh = refresh.header("cookie", cookie.split(';').next().unwrap()).header("origin", origin(&app));
    assert_eq!(refresh.send().await.unwrap().status(), 200);
    let strange = app.http.post(app.url("/api/v1/auth/refresh")).header("x-rollcall", "1");
    let strange = strange.header("cookie", cookie.split(';').next().unwrap()).header("origin", "https://evil.example");
    assert_eq!(strange.send().await.unwrap().status(), 403);

    let bearer = format!("Bearer {}", bob.token);
    let page = [("authorization", bearer.as_str()), ("origin", &origin(&app)), ("x-forwarded-for", "192.0.2.7")];
    let mut socket = TestSocket::open(&app, &page, "").await.unwrap();
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    let clients = admin.get("/api/v1/online/clients").await.body;
    assert_eq!(clients["list"][0]["ip"], "192.0.2.7", "as far as trusted proxies tell: {clients}");
    let mut pings = 0;
    while pings < 6 {
        // nginx closes what is silent for five seconds; six pings, at most one a second, are more.
        let message = tokio::time::timeout(PATIENCE, socket.stream.next()).await.expect("a ping in time");
        let message = message.expect("the socket stays open").unwrap();
        pings += u32::from(matches!(message, Message::Ping(_)));
    }
    let push = json!({"target": {"users": [bob.id]}, "event": "hello", "data": {"filler": "x".repeat(50_000)}});
    assert_eq!(admin.post("/api/v1/push", push).await.status, 200);
    assert_eq!(socket.push("hello").await["filler"].as_str().unwrap().len(), 50_000);
    let hotgo = admin.get("/admin/monitor/userOnlineList").await;
    assert_eq!(hotgo.status, 200, "{}", hotgo.text);
    admin.delete(&format!("/api/v1/online/users/{}", bob.id), json!({})).await;
    assert_eq!(socket.ended().await.code, 4410);

    assert_eq!(app.anonymous("GET", "/docs", Value::Null).await.status, 200);
    let openapi = app.anonymous("GET", "/api/v1/openapi.json", Value::Null).await.body;
    assert_eq!(openapi["servers"][0]["url"], format!("{path}api/v1"));
    let asyncapi = app.anonymous("GET", "/api/v1/asyncapi.json", Value::Null).await.body;
    let server = &asyncapi["servers"]["rollcall"];
    let host = origin(&app).replace("https://", "");
    assert_eq!(*server, json!({"host": host, "pathname": path.trim_end_matches('/'), "protocol": "wss"}));
    drop(nginx);
    app.shutdown().await;
}

/// As our own page's.
fn origin(app: &TestApp) -> String {
    app.url("").split('/').take(3).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn everything_works_behind_nginx_that_strips_the_base_path() {
    everything_works_behind_nginx("stripped", "/rollcall/").await;
}

#[tokio::test]
async fn everything_works_behind_nginx_that_leaves_the_base_path() {
    everything_works_behind_nginx("whole", "/rollcall/").await;
}

#[tokio::test]
async fn everything_works_behind_nginx_at_the_root() {
    everything_works_behind_nginx("root", "/").await;
}

/// Otherwise nginx sends a request into a connection that is being closed, and answers 502 for it.
#[tokio::test]
async fn nginx_lets_go_of_idle_connections_before_we_do() {
    let site = include_str!("../config/nginx.conf");
    let theirs = site.split_once("keepalive_timeout ").unwrap().1.split_once(';').unwrap().0;
    let theirs = humantime_serde::re::humantime::parse_duration(theirs).unwrap();
    let ours = rollcall::config::Config::defaults().server.header_timeout;
    assert!(theirs < ours, "{theirs:?} and {ours:?}");

    let app = TestApp::with(|config| config.server.header_timeout = std::time::Duration::from_millis(200)).await;
    let mut idle = TcpStream::connect(app.address).await.unwrap();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let closed = tokio::time::timeout(PATIENCE, idle.read_to_string(&mut answer)).await;
    closed.expect("server.header_timeout closes what is idle").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.to_lowercase().contains("connection: close"), "{answer}");
    app.shutdown().await;
}

#[tokio::test]
async fn the_base_path_without_its_slash_leads_to_the_one_with_it() {
    let app = TestApp::with(|config| {
        config.server.public_url = serde_json::from_value(json!("https://ops.example.com/rollcall/")).unwrap();
    })
    .await;
    let answer = app.anonymous("GET", "/rollcall", Value::Null).await;
    assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (308, "/rollcall/"));
    for path in ["/rollcall/health/live", "/health/live"] {
        assert_eq!(app.anonymous("GET", path, Value::Null).await.status, 200, "{path}");
    }
    let other = app.anonymous("GET", "/rollcallhealth/live", Value::Null).await;
    assert!(other.body.is_null(), "another path: {}", other.text);
    app.shutdown().await;
}

#[tokio::test]
async fn over_plain_http_from_another_machine_nobody_logs_in_unless_it_is_allowed() {
    let login = json!({"username": "bob", "password": PASSWORD});
    let https = "https://ops.example.com/";
    for (public, allowed, proto, expected) in [
        ("", false, "http", 403),
        ("", false, "https", 200),
        ("", true, "http", 200),
        // The same server at its other port.
        (https, false, "http", 403),
        (https, false, "https", 200),
        (https, true, "http", 200),
    ] {
        let app = TestApp::with(|config| {
            config.server.public_url = serde_json::from_value(json!(public)).unwrap();
            config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
            config.server.insecure_http = allowed;
        })
        .await;
        let bob = app.user("bob", "member").await;
        let afar = async |path: &str, body: &Value| {
            let call = app.http.post(app.url(path)).header("x-forwarded-for", "192.0.2.7").json(body);
            let call = call.header("x-forwarded-proto", proto).header("x-rollcall", "1").bearer_auth(&bob.token);
            let answer = call.header("cookie", &bob.cookie).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let (status, text) = afar("/api/v1/auth/login", &login).await;
        assert_eq!(status, expected, "{text}");
        let change = json!({"currentPassword": PASSWORD, "newPassword": "another long password"});
        let (changed, _) = afar("/api/v1/auth/password", &change).await;
        assert_eq!(changed == 403, expected == 403);
        if expected == 403 {
            let problem: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(problem["code"], "insecure_http");
            assert!(problem["detail"].as_str().unwrap().contains("server.insecure_http"), "{text}");
            assert_eq!(afar("/api/v1/auth/refresh", &json!({})).await.0, 403);
            // A token that is there already was not got from here.
            assert_eq!(bob.get("/api/v1/auth/me").await.status, 200);
        }
        app.shutdown().await;
    }
}
