//! Every route and every event with everybody who might try: taken from the documents, so that a new one cannot be forgotten.

use serde_json::{Value, json};

use crate::harness::other_system::{accept, hotgo_token, shop};
use crate::harness::{Answer, TestApp, TestSocket, TestUser};

/// Routes that ask for no token, because they give one.
const OPEN: [&str; 2] = ["POST /auth/login", "POST /auth/refresh"];

/// What the roles that a new database has may do; `admin` may everything.
const SEED_ROLES: [(&str, &[&str]); 3] = [
    ("admin", &[]),
    (
        "operator",
        &["online:read", "online:kick", "push:send", "presence:read", "monitor:read", "notice:send", "notice:read"],
    ),
    ("member", &["notice:read", "presence:read"]),
];

/// What the other system's role may do here, as `shop` maps it.
const CLERK: &[&str] = &["online:read", "online:kick"];

fn may(role: &str, permissions: &[&str], needed: &str) -> bool {
    role == "admin" || needed == "login" || permissions.contains(&needed)
}

/// `any` looks at permissions itself, so that whoever has a token may be told either.
fn assert_judged(answer: &Answer, role: &str, permissions: &[&str], route: &Route, needed: &str) {
    let what = format!("{role}: {route} needs {needed}");
    match needed {
        "any" => assert_ne!(answer.status, 401, "{what}: {}", answer.text),
        needed if may(role, permissions, needed) => assert_let_in(answer, &what),
        _ => assert_kept_out(answer, &what),
    }
}

/// A route of the document: its method, its path with identifiers that nothing has, and who may call.
struct Route {
    method: String,
    path: String,
    needed: Option<String>,
}

impl Route {
    async fn all(app: &TestApp) -> Vec<Route> {
        let document = app.anonymous("GET", "/api/v1/openapi.json", Value::Null).await.body;
        let paths = document["paths"].as_object().unwrap();
        let operations =
            paths.iter().flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |it| (path, it)));
        operations
            .map(|(path, (method, operation))| Route {
                method: method.to_uppercase(),
                path: path
                    .split('/')
                    .map(|part| if part.starts_with('{') { "0" } else { part })
                    .collect::<Vec<_>>()
                    .join("/"),
                needed: operation["x-permission"].as_str().map(str::to_owned),
            })
            .collect()
    }

    /// Those that need a token, and what they need.
    async fn closed(app: &TestApp) -> Vec<(Route, String)> {
        let closed = Route::all(app).await.into_iter();
        closed.filter_map(|route| route.needed.clone().map(|needed| (route, needed))).collect()
    }

    async fn called_by(&self, caller: &TestUser) -> Answer {
        caller.call(&self.method, &format!("/api/v1{}", self.path), self.body()).await
    }

    fn body(&self) -> Value {
        if self.method == "GET" { Value::Null } else { json!({}) }
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn assert_let_in(answer: &Answer, what: &str) {
    assert!(answer.status != 401 && answer.body["code"] != "forbidden", "{what}: {}", answer.text);
}

fn assert_kept_out(answer: &Answer, what: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (403, &json!("forbidden")), "{what}: {}", answer.text);
}

#[tokio::test]
async fn only_those_routes_are_open_that_give_a_token_and_no_other_answers_without_one() {
    let app = TestApp::start().await;
    let (admin, gone) = (app.user("root", "admin").await, app.login("root").await);
    assert_eq!(gone.post("/api/v1/auth/logout", json!({})).await.status, 204);
    let of_nobody_we_know = app.foreign(hotgo_token(7, "eve", "admin", app.services.clock().now().timestamp()));
    let routes = Route::all(&app).await;
    assert!(routes.len() > 30, "the document names the routes");
    let open: Vec<String> = routes.iter().filter(|route| route.needed.is_none()).map(Route::to_string).collect();
    assert_eq!(open, OPEN);
    for route in routes.iter().filter(|route| route.needed.is_some()) {
        let path = format!("/api/v1{}", route.path);
        assert_eq!(app.anonymous(&route.method, &path, route.body()).await.status, 401, "nobody: {route}");
        let revoked = route.called_by(&gone).await;
        assert_eq!((revoked.status, &revoked.body["code"]), (401, &json!("session_revoked")), "{route}");
        assert_eq!(
            route.called_by(&of_nobody_we_know).await.status,
            401,
            "a token of a system that we do not know: {route}"
        );
    }
    assert_eq!(admin.get("/api/v1/auth/me").await.status, 200);
    app.shutdown().await;
}

#[tokio::test]
async fn every_role_enters_the_routes_it_may_and_no_other() {
    let app = TestApp::start().await;
    for (role, permissions) in SEED_ROLES {
        app.account(role, role).await;
        for (route, needed) in Route::closed(&app).await {
            // What it may do could end its session, so each call has one of its own.
            let answer = route.called_by(&app.login(role).await).await;
            assert_judged(&answer, role, permissions, &route, &needed);
        }
    }
    app.shutdown().await;
}

#[tokio::test]
async fn a_user_of_another_system_enters_what_its_role_may_there_and_nothing_else() {
    let app = TestApp::with(|config| accept(config, &shop(""))).await;
    let now = app.services.clock().now().timestamp();
    for (place, (route, needed)) in Route::closed(&app).await.into_iter().enumerate() {
        let answer = route.called_by(&app.foreign(hotgo_token(place as i64, "carl", "clerk", now))).await;
        assert_judged(&answer, "clerk", CLERK, &route, &needed);
    }
    app.shutdown().await;
}

#[tokio::test]
async fn a_key_enters_what_its_scopes_say_and_nothing_that_is_about_oneself() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let words: Vec<&str> = rollcall::auth::Permission::ALL.iter().map(|permission| permission.word()).collect();
    for word in &words {
        let others: Vec<&&str> = words.iter().filter(|other| *other != word).collect();
        let (only, all_but) = (key(&admin, &json!([word])).await, key(&admin, &json!(others)).await);
        for (route, _) in Route::closed(&app).await.into_iter().filter(|(_, needed)| needed == word) {
            assert_let_in(&route.called_by(&only).await, &format!("a key with {word}: {route}"));
            assert_kept_out(&route.called_by(&all_but).await, &format!("a key without {word}: {route}"));
        }
    }
    let everything = key(&admin, &json!(words)).await;
    for (route, _) in Route::closed(&app).await.into_iter().filter(|(_, needed)| needed == "login") {
        let answer = route.called_by(&everything).await;
        assert_eq!((answer.status, &answer.body["code"]), (403, &json!("not_for_keys")), "{route}: {}", answer.text);
    }
    app.shutdown().await;
}

async fn key(admin: &TestUser, scopes: &Value) -> TestUser {
    let made = admin.post("/api/v1/api-keys", json!({"name": "matrix", "scopes": scopes})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let mut caller = admin.clone();
    caller.token = made.body["key"].as_str().unwrap().to_owned();
    caller
}

#[tokio::test]
async fn every_role_is_heard_with_the_events_it_may_send_and_no_other() {
    let app = TestApp::with(|config| accept(config, &shop(""))).await;
    let events = events(&app).await;
    assert!(events.len() >= 6, "the document names the events");
    let now = app.services.clock().now().timestamp();
    let mut callers = vec![("clerk", CLERK, app.foreign(hotgo_token(7, "carl", "clerk", now)))];
    for (role, permissions) in SEED_ROLES {
        callers.push((role, permissions, app.user(role, role).await));
    }
    for (role, permissions, caller) in callers {
        for (event, needed) in &events {
            let code = caller.connect(&app).await.ask(event, json!({})).await["code"].as_i64().unwrap();
            let heard = ![401, 403, 404].contains(&code);
            assert_eq!(heard, may(role, permissions, needed), "{role}: {event} needs {needed} and was answered {code}");
        }
    }
    app.shutdown().await;
}

/// The events a client may send, and what each needs.
async fn events(app: &TestApp) -> Vec<(String, String)> {
    let document = app.anonymous("GET", "/api/v1/asyncapi.json", Value::Null).await.body;
    let operations = document["operations"].as_object().unwrap().values();
    let requests = operations.filter(|operation| operation["action"] == "receive");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    requests
        .map(|operation| {
            let message = text(&operation["messages"][0]["$ref"]).rsplit('/').next().unwrap().to_owned();
            let payload = &document["components"]["messages"][message]["payload"];
            (text(&payload["properties"]["event"]["const"]), text(&operation["x-permission"]))
        })
        .collect()
}

#[tokio::test]
async fn neither_a_key_nor_a_revoked_session_nor_a_stranger_opens_a_socket() {
    let app = TestApp::start().await;
    let (admin, gone) = (app.user("root", "admin").await, app.login("root").await);
    assert_eq!(gone.post("/api/v1/auth/logout", json!({})).await.status, 204);
    let words: Vec<&str> = rollcall::auth::Permission::ALL.iter().map(|permission| permission.word()).collect();
    let key = key(&admin, &json!(words)).await;
    let stranger = hotgo_token(7, "eve", "admin", app.services.clock().now().timestamp());
    for token in [&key.token, &gone.token, &stranger] {
        let answer = TestSocket::open(&app, &[("authorization", &format!("Bearer {token}"))], "").await;
        assert_eq!(answer.err(), Some(401));
    }
    app.shutdown().await;
}
