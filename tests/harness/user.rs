//! Somebody who calls: REST as a logged-in user, and sockets opened with the user's token.

use serde_json::{Value, json};

use super::{Door, Entrance, PASSWORD, TestSocket};

/// A logged-in caller.
#[derive(Clone)]
pub(crate) struct TestUser {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) session: String,
    /// `name=value` of the refresh cookie.
    pub(crate) cookie: String,
    entrance: Entrance,
    http: reqwest::Client,
}

/// What a call was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    /// `null` where the body is no JSON.
    pub(crate) body: Value,
}

impl TestUser {
    pub(super) async fn login(app: &impl Door, username: &str) -> TestUser {
        let body = json!({"username": username, "password": PASSWORD});
        let answer = call(app.http(), None, "POST", &app.url("/api/v1/auth/login"), &body).await.unwrap();
        assert_eq!(answer.status, 200, "login of {username}: {}", answer.text);
        let token = answer.body["accessToken"].as_str().unwrap().to_owned();
        let cookie = answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut user = TestUser {
            id: answer.body["user"]["id"].as_str().unwrap().to_owned(),
            token,
            session: String::new(),
            cookie,
            entrance: app.entrance(),
            http: app.http().clone(),
        };
        user.session = user.get("/api/v1/auth/me").await.body["sessionId"].as_str().unwrap().to_owned();
        user
    }

    /// Somebody who has a token and nothing else.
    pub(crate) fn with_token(app: &impl Door, token: String) -> TestUser {
        let (entrance, http) = (app.entrance(), app.http().clone());
        TestUser { id: String::new(), token, session: String::new(), cookie: String::new(), entrance, http }
    }

    /// The same login, calling another server.
    pub(crate) fn at(&self, app: &impl Door) -> TestUser {
        TestUser { entrance: app.entrance(), http: app.http().clone(), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, body).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call("PATCH", path, body).await
    }

    pub(crate) async fn delete(&self, path: &str, body: Value) -> Answer {
        self.call("DELETE", path, body).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.try_call(method, path, body).await.unwrap()
    }

    /// The same where the server may be gone.
    pub(crate) async fn try_call(&self, method: &str, path: &str, body: Value) -> reqwest::Result<Answer> {
        call(&self.http, Some(&self.token), method, &self.entrance.url(path), &body).await
    }

    /// Opens a socket with the token in the header and waits for `connected`.
    pub(crate) async fn connect(&self, app: &impl Door) -> TestSocket {
        TestSocket::open(app, &[("authorization", &format!("Bearer {}", self.token))], "").await.unwrap()
    }

    /// A ticket for one handshake.
    pub(crate) async fn ticket(&self) -> String {
        let answer = self.post("/api/v1/auth/ticket", json!({})).await;
        answer.body["ticket"].as_str().unwrap().to_owned()
    }
}

pub(super) async fn call(
    http: &reqwest::Client,
    token: Option<&str>,
    method: &str,
    url: &str,
    body: &Value,
) -> reqwest::Result<Answer> {
    let mut request = http.request(method.parse().unwrap(), url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if !body.is_null() {
        request = request.json(body);
    }
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    Ok(Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text })
}
