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
