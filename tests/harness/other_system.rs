//! Another admin system: signs tokens, says whether they are good, and is told of kicks. A real HTTP server.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use poem::listener::TcpAcceptor;
use poem::{Endpoint, EndpointExt, Request, Response, Server};
use rollcall::config::Config;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The secret of the system `shop`.
pub(crate) const SHOP_SECRET: &str = "the shop's own secret, which is long enough";
/// Signs what it is told.
pub(crate) const REVOKE_SECRET: &str = "what is told to the shop is signed by this";

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) path: String,
    pub(crate) headers: poem::http::HeaderMap,
    pub(crate) body: String,
}

/// A running system; stopped when dropped.
pub(crate) struct OtherSystem {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    /// The next answers; 200 `{}` when there are none.
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    _stop: DropGuard,
}

impl OtherSystem {
    pub(crate) async fn start() -> OtherSystem {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(VecDeque::new())));
        let stop = CancellationToken::new();
        let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(listener).unwrap());
        let (endpoint, stopped) = (endpoint(heard.clone(), answers.clone()), stop.clone().cancelled_owned());
        TaskTracker::new().spawn(async move { server.run_with_graceful_shutdown(endpoint, stopped, None).await });
        OtherSystem { address, heard, answers, _stop: stop.drop_guard() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What the next request is answered; later ones wait their turn.
    pub(crate) fn will_answer(&self, status: u16, body: &Value) {
        self.answers.lock().unwrap().push_back((status, body.to_string()));
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

fn endpoint(
    heard: Arc<Mutex<Vec<Heard>>>,
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
) -> impl Endpoint<Output = Response> + 'static {
    poem::endpoint::make(move |mut request: Request| {
        let (heard, answers) = (heard.clone(), answers.clone());
        async move {
            let body = request.take_body().into_string().await.unwrap_or_default();
            let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
            heard.lock().unwrap().push(Heard { path, headers, body });
            let (status, body) = answers.lock().unwrap().pop_front().unwrap_or((200, "{}".to_owned()));
            let status = poem::http::StatusCode::from_u16(status).unwrap();
            Ok::<_, poem::Error>(Response::builder().status(status).body(body))
        }
    })
    .map_to_response()
}

/// Lets `auth.issuers` be what a settings file says, and calls reach this machine.
pub(crate) fn accept(config: &mut Config, entries: &str) {
    let mut table: toml::Table = entries.parse().unwrap();
    config.auth.issuers = table.remove("issuers").unwrap().try_into().unwrap();
    config.outgoing.allow = vec!["127.0.0.0/8".parse().unwrap()];
}

/// A shop whose tokens look like HotGo's: HS256, no `iss`, no `exp`.
pub(crate) fn shop(more: &str) -> String {
    format!(
        r#"
        [[issuers]]
        name = "shop"
        algorithm = "HS256"
        match_without_iss = true
        key = "{SHOP_SECRET}"
        user_claim = "id"
        name_claim = "username"
        role_claim = "roleKey"
        app_claim = "app"
        issued_claim = "loginAt"
        max_age = "7d"
        roles = {{ clerk = ["online:read", "online:kick"] }}
        {more}
        "#
    )
}

/// A token as HotGo makes it.
pub(crate) fn hotgo_token(id: i64, username: &str, role: &str, login_at: i64) -> String {
    let claims = json!({
        "id": id, "pid": 0, "deptId": 100, "roleId": 2, "roleKey": role, "username": username,
        "app": "admin", "loginAt": login_at,
    });
    sign(Algorithm::HS256, &EncodingKey::from_secret(SHOP_SECRET.as_bytes()), None, &claims)
}

pub(crate) fn sign(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}
