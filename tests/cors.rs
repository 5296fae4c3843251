//! Pages of other origins: what a browser is told before and after their calls.

use reqwest::header::HeaderMap;
use serde_json::json;

use crate::harness::{PASSWORD, TestApp};

const PAGE: &str = "https://admin.example.com";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";

async fn app() -> TestApp {
    TestApp::with(|config| config.server.allowed_origins = vec![PAGE.to_owned()]).await
}

/// What a browser asks before a call with headers of its own.
async fn preflight(app: &TestApp, origin: &str, method: &str, path: &str) -> (u16, HeaderMap) {
    let request = app.http.request(reqwest::Method::OPTIONS, app.url(path)).header("origin", origin);
    let request = request.header("access-control-request-method", method);
    let response = request.header("access-control-request-headers", "authorization").send().await.unwrap();
    (response.status().as_u16(), response.headers().clone())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().unwrap()
}

#[tokio::test]
async fn a_listed_page_may_call_rest_and_read_the_answer_failures_too() {
    let app = app().await;
    let admin = app.user("root", "admin").await;
    for (method, path) in
        [("GET", "/api/v1/online/counts"), ("PATCH", "/api/v1/users/1"), ("DELETE", "/api/v1/api-keys/1")]
    {
        let (status, headers) = preflight(&app, PAGE, method, path).await;
        assert_eq!((status, header(&headers, ALLOW_ORIGIN)), (204, PAGE), "{method} {path}");
        assert!(header(&headers, "access-control-allow-methods").contains(method));
        assert!(header(&headers, "access-control-allow-headers").contains("authorization"));
        assert!(!headers.contains_key(ALLOW_CREDENTIALS), "a token is enough");
    }
    for (path, token, status) in
        [("counts", admin.token.as_str(), 200), ("counts", "nonsense", 401), ("users/999", admin.token.as_str(), 404)]
    {
        let request = app.http.get(app.url(&format!("/api/v1/online/{path}"))).bearer_auth(token);
        let response = request.header("origin", PAGE).send().await.unwrap();
        assert_eq!((response.status().as_u16(), header(response.headers(), ALLOW_ORIGIN)), (status, PAGE), "{path}");
        assert_eq!(response.headers()["vary"], "origin");
        let exposed = response.headers()["access-control-expose-headers"].to_str().unwrap();
        assert!(exposed.contains("x-request-id") && exposed.contains("retry-after"), "{exposed}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn login_and_refresh_of_a_listed_page_may_use_the_cookie() {
    let app = app().await;
    app.account("bob", "member").await;
    for path in ["login", "refresh", "logout"] {
        let (status, headers) = preflight(&app, PAGE, "POST", &format!("/api/v1/auth/{path}")).await;
        assert_eq!((status, header(&headers, ALLOW_CREDENTIALS)), (204, "true"), "{path}");
        assert!(header(&headers, "access-control-allow-headers").contains("x-rollcall"));
    }
    let body = json!({"username": "bob", "password": PASSWORD});
    let login = app.http.post(app.url("/api/v1/auth/login")).header("origin", PAGE).json(&body);
    let login = login.send().await.unwrap();
    assert_eq!((login.status().as_u16(), header(login.headers(), ALLOW_ORIGIN)), (200, PAGE));
    assert_eq!(login.headers()[ALLOW_CREDENTIALS], "true");
    let cookie = login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let refresh = app.http.post(app.url("/api/v1/auth/refresh")).header("origin", PAGE).header("cookie", cookie);
    let refresh = refresh.header("x-rollcall", "1").send().await.unwrap();
    assert_eq!((refresh.status().as_u16(), header(refresh.headers(), ALLOW_CREDENTIALS)), (200, "true"));
    app.shutdown().await;
}

#[tokio::test]
async fn a_page_that_is_not_listed_reads_nothing() {
    let app = app().await;
    let admin = app.user("root", "admin").await;
    for origin in ["https://evil.example", "http://admin.example.com", "https://admin.example.com.evil.example", "null"]
    {
        let (status, headers) = preflight(&app, origin, "GET", "/api/v1/online/counts").await;
        assert_eq!((status, headers.get(ALLOW_ORIGIN)), (405, None), "{origin}");
        let request = app.http.get(app.url("/api/v1/online/counts")).bearer_auth(&admin.token).header("origin", origin);
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.headers().get(ALLOW_ORIGIN), &response.headers()["vary"]),
            (None, &"origin".parse().unwrap())
        );
    }
    // Whoever is no browser needs none of this.
    let plain = admin.get("/api/v1/online/counts").await;
    assert_eq!((plain.status, plain.headers.get(ALLOW_ORIGIN)), (200, None));
    app.shutdown().await;
}
