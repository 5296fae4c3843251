//! Failures of REST: one body, the right status, in the right order; and the headers of every answer.

use serde_json::{Value, json};

use crate::harness::{TestApp, TestUser};

/// Sends a body as it is.
async fn raw(app: &TestApp, user: &TestUser, content_type: &str, body: Vec<u8>) -> (u16, Value) {
    let request = app.http.post(app.url("/api/v1/push")).bearer_auth(&user.token).header("content-type", content_type);
    let response = request.body(body).send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn every_failure_is_the_same_problem_body() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let answers = [
        (app.anonymous("GET", "/api/v1/auth/me", Value::Null).await, 401, "unauthorized"),
        (bob.get("/api/v1/users").await, 403, "forbidden"),
        (admin.get("/api/v1/nowhere").await, 404, "not_found"),
        (admin.get("/api/v1/users/999").await, 404, "not_found"),
        (admin.get("/api/v1/push").await, 405, "method_not_allowed"),
        (admin.post("/api/v1/push", json!({"target": 7})).await, 422, "invalid"),
        (admin.get("/api/v1/online/clients?page=0").await, 422, "invalid"),
    ];
    for (answer, status, code) in answers {
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["status"], status);
        assert_eq!(answer.body["type"], "about:blank");
        assert_eq!(answer.headers["x-request-id"].to_str().unwrap(), answer.body["requestId"].as_str().unwrap());
        for key in ["title", "detail", "requestId"] {
            assert!(answer.body[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {}", answer.text);
        }
    }
    let (status, problem) = raw(&app, &admin, "application/json", b"{\"target\":".to_vec()).await;
    assert_eq!((status, &problem["code"]), (400, &json!("bad_request")), "{problem}");
    let (status, problem) = raw(&app, &admin, "text/plain", b"{}".to_vec()).await;
    assert_eq!((status, &problem["code"]), (415, &json!("unsupported_media_type")), "{problem}");
    let (status, problem) = raw(&app, &admin, "application/json", vec![b' '; 1_048_577]).await;
    assert_eq!((status, &problem["code"]), (413, &json!("too_large")), "{problem}");
    app.shutdown().await;
}

#[tokio::test]
async fn a_method_that_a_path_does_not_know_is_answered_with_those_it_knows() {
    let app = TestApp::start().await;
    for (method, path, allowed) in [
        ("GET", "/api/v1/push", "POST"),
        ("DELETE", "/api/v1/users", "GET, HEAD, POST"),
        ("PUT", "/api/v1/online/clients/7", "DELETE"),
        ("GET", "/socket/send/toTag", "POST"),
        ("POST", "/health/live", "GET, HEAD"),
    ] {
        let answer = app.anonymous(method, path, Value::Null).await;
        assert_eq!((answer.status, answer.headers["allow"].to_str().unwrap()), (405, allowed), "{method} {path}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn who_may_not_call_is_told_that_before_what_is_wrong_with_the_call() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let nonsense = json!({"target": 7});
    assert_eq!(app.anonymous("POST", "/api/v1/push", nonsense.clone()).await.status, 401);
    assert_eq!(bob.post("/api/v1/push", nonsense).await.status, 403);
    assert_eq!(bob.patch("/api/v1/users/999", json!({"disabled": "x"})).await.status, 403);
    app.shutdown().await;
}

#[tokio::test]
async fn what_does_not_exist_is_404_whatever_else_is_wrong_with_the_call() {
    let app = TestApp::start().await;
    let (admin, ops) = (app.user("root", "admin").await, app.user("ops", "operator").await);
    let (long, nobody) = (json!({"reason": "x".repeat(201)}), "01900000-0000-7000-8000-000000000000");
    let session = format!("/api/v1/online/sessions/{nobody}");
    for (method, path, body) in [
        ("PATCH", "/api/v1/users/999", json!({"disabled": "x"})),
        ("DELETE", "/api/v1/users/999", json!({"reason": 7})),
        ("POST", "/api/v1/users/999/password", json!({"password": 7})),
        ("PATCH", "/api/v1/roles/king", json!({"permissions": 7})),
        ("DELETE", "/api/v1/roles/king", long.clone()),
        ("DELETE", "/api/v1/online/users/999", long.clone()),
        ("DELETE", "/api/v1/online/users/999", json!({"lockoutSeconds": 999_999_999})),
        ("DELETE", session.as_str(), long.clone()),
        ("DELETE", &format!("/api/v1/online/clients/{nobody}"), json!({"reason": 7})),
        ("DELETE", &format!("/api/v1/sessions/{nobody}"), long.clone()),
    ] {
        let answer = admin.call(method, path, body).await;
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")), "{method} {path}");
    }
    // And out of reach before that: nobody learns more than they may.
    let reach = ops.delete(&format!("/api/v1/online/users/{}", admin.id), long.clone()).await;
    assert_eq!(reach.status, 403, "{}", reach.text);
    let known = admin.delete(&format!("/api/v1/online/users/{}", ops.id), long).await;
    assert_eq!((known.status, &known.body["field"]), (422, &json!("reason")), "{}", known.text);
    app.shutdown().await;
}

#[tokio::test]
async fn a_wrong_type_in_a_body_is_refused_and_names_its_field() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let kick = format!("/api/v1/online/users/{}", bob.id);
    let everyone = json!({"everyone": true});
    for (method, path, body, field) in [
        ("POST", "/api/v1/push", json!({"target": everyone, "event": 7}), "event"),
        ("POST", "/api/v1/push", json!({"target": everyone, "event": true}), "event"),
        ("POST", "/api/v1/push", json!({"target": everyone}), "event"),
        ("POST", "/api/v1/push", json!({"target": everyone, "event": null}), "event"),
        ("POST", "/api/v1/push", json!({"target": 7, "event": "x"}), "target"),
        ("POST", "/api/v1/push", json!({"target": {"everyone": "yes"}, "event": "x"}), "target.everyone"),
        ("POST", "/api/v1/push", json!({"target": {"users": [42]}, "event": "x"}), "target.users"),
        ("POST", "/api/v1/push", json!({"target": {"users": "42"}, "event": "x"}), "target.users"),
        ("DELETE", &kick, json!({"reason": 7}), "reason"),
        ("DELETE", &kick, json!({"revoke": 1}), "revoke"),
        ("DELETE", &kick, json!({"lockoutSeconds": -1}), "lockoutSeconds"),
        ("DELETE", &kick, json!({"lockoutSeconds": "60"}), "lockoutSeconds"),
        ("DELETE", &kick, json!({"lockoutSeconds": 0.5}), "lockoutSeconds"),
        ("POST", "/api/v1/online/kick", json!({"filter": {"connectedFrom": "yesterday"}}), "filter.connectedFrom"),
        ("POST", "/api/v1/online/kick", json!({"filter": {"q": 7}}), "filter.q"),
        ("POST", "/api/v1/online/kick", json!({"users": [bob.id], "message": {}}), "message"),
        ("POST", "/api/v1/users", json!({"username": 7, "password": "long enough", "roles": []}), "username"),
        ("PATCH", &format!("/api/v1/users/{}", bob.id), json!({"disabled": "true"}), "disabled"),
        ("POST", "/api/v1/auth/login", json!({"username": "root", "password": 1_234_567_890}), "password"),
    ] {
        let answer = admin.call(method, path, body.clone()).await;
        assert_eq!((answer.status, &answer.body["field"]), (422, &json!(field)), "{path} {body}: {}", answer.text);
        assert!(answer.body["detail"].as_str().unwrap().starts_with(field), "{}", answer.text);
    }
    let list = admin.post("/api/v1/push", json!([])).await;
    assert_eq!((list.status, list.body.get("field")), (422, None), "{}", list.text);
    assert_eq!(bob.get("/api/v1/auth/me").await.status, 200, "none of them did anything");
    app.shutdown().await;
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_a_browser_safe() {
    let app = TestApp::start().await;
    for path in ["/", "/online", "/api/v1/auth/me", "/docs", "/assets/none.js"] {
        let answer = app.anonymous("GET", path, Value::Null).await;
        for (name, value) in
            [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("referrer-policy", "same-origin")]
        {
            assert_eq!(answer.headers[name], value, "{path}");
        }
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src")).unwrap_or_default();
        assert!(!scripts.contains("unsafe-inline") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn a_missing_asset_is_never_answered_with_the_page() {
    let app = TestApp::start().await;
    for path in ["/assets/gone-1234.js", "/favicon-none.ico", "/api/v2/x"] {
        let answer = app.anonymous("GET", path, Value::Null).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.text.contains("<html"), "{path}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn the_documents_can_be_kept_for_those_who_are_logged_in() {
    let app = TestApp::with(|config| config.docs.public = false).await;
    let bob = app.user("bob", "member").await;
    for path in ["/docs", "/api/v1/openapi.json", "/api/v1/asyncapi.json"] {
        assert_eq!(app.anonymous("GET", path, Value::Null).await.status, 401, "{path}");
        assert_eq!(bob.get(path).await.status, 200, "{path}");
    }
    app.shutdown().await;
}
