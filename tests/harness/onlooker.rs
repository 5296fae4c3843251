//! A page that looks on from a node which may stand still or die, and the plain calls that it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::TestUser;

/// Longest wait for one handshake or answer: a node may stand still.
pub(super) const STANDS_STILL: Duration = Duration::from_secs(3);

/// An open socket without a harness around it.
pub(crate) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a page that follows the differences shows and was told.
#[derive(Default)]
pub(super) struct Page {
    pub(super) rows: BTreeSet<String>,
    /// Those that left, with the cause.
    pub(super) left: BTreeMap<String, String>,
    /// Those that left twice.
    pub(super) twice: Vec<String>,
    /// Those that had left with their node when the page last began anew: it may have been taken for dead, and said since then that they
    /// are there after all, so that they leave once more.
    back: BTreeSet<String>,
}

/// Applies differences until the socket ends. Where a revision is missing the page begins anew, as in a browser.
pub(super) async fn follow(page: &Mutex<Page>, viewer: &TestUser, stream: &mut Stream) -> Result<(), Duration> {
    loop {
        let subscribe = json!({"event": "online/subscribe", "id": 1, "data": {}});
        stream.send(Message::text(subscribe.to_string())).await.map_err(|_| Duration::ZERO)?;
        let mut rev = loop {
            let frame = next(stream).await?;
            if frame["id"] == 1 {
                break frame["data"]["rev"].as_u64().unwrap_or_default();
            }
        };
        let Ok(list) = get(viewer, "/api/v1/online/clients?all=true").await else { continue };
        page.lock().unwrap().begin_anew(ids(&list));
        loop {
            let frame = next(stream).await?;
            if frame["event"] != "online/diff" {
                continue;
            }
            let diff = &frame["data"];
            if diff["prev"].as_u64().unwrap() > rev {
                break;
            }
            if diff["rev"].as_u64().unwrap() > rev {
                rev = diff["rev"].as_u64().unwrap();
                page.lock().unwrap().apply(diff);
            }
        }
    }
}

impl Page {
    fn begin_anew(&mut self, rows: BTreeSet<String>) {
        self.rows = rows;
        self.back = self.left.iter().filter(|(_, cause)| *cause == "nodeLost").map(|(id, _)| id.clone()).collect();
    }

    fn apply(&mut self, diff: &Value) {
        let entries = |key: &str| diff[key].as_array().cloned().unwrap_or_default();
        let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
        for row in entries("joined") {
            // A node that was taken for dead may say that they are there after all.
            self.left.remove(&id(&row));
            self.rows.insert(id(&row));
        }
        for row in entries("left") {
            let (id, cause) = (id(&row), row["cause"].as_str().unwrap().to_owned());
            let shown = self.rows.remove(&id);
            let back = self.back.remove(&id);
            if self.left.insert(id.clone(), cause).is_some() && !shown && !back {
                self.twice.push(id);
            }
        }
    }
}

/// An answer with its body, or what went wrong.
pub(crate) async fn get(viewer: &TestUser, path: &str) -> Result<Value, String> {
    let answer = timeout(STANDS_STILL, viewer.try_call("GET", path, Value::Null)).await;
    let answer = answer.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(answer.body) } else { Err(answer.text) }
}

pub(super) fn ids(list: &Value) -> BTreeSet<String> {
    let rows = list["list"].as_array().into_iter().flatten();
    rows.filter_map(|row| Some(row["id"].as_str()?.to_owned())).collect()
}

/// A socket and its id, or the status of the refusal; none where nobody answers as a server does.
pub(crate) async fn open(address: &str, token: &str) -> Result<(Stream, String), Option<u16>> {
    let mut request = format!("{}/socket", address.replacen("http", "ws", 1)).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let opening = async {
        let (mut stream, _) = connect_async(request).await.map_err(|error| match error {
            tokio_tungstenite::tungstenite::Error::Http(response) => Some(response.status().as_u16()),
            _ => None,
        })?;
        let connected = next(&mut stream).await.map_err(|_| None)?;
        let id = connected["data"]["clientId"].as_str().ok_or(None)?.to_owned();
        Ok((stream, id))
    };
    timeout(STANDS_STILL, opening).await.unwrap_or(Err(None))
}

/// The next frame; at the end, how long the server asks to wait.
pub(crate) async fn next(stream: &mut Stream) -> Result<Value, Duration> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(close))) => {
                let _ = timeout(STANDS_STILL, stream.flush()).await;
                let reason = close.and_then(|close| serde_json::from_str::<Value>(&close.reason).ok());
                return Err(Duration::from_millis(reason.unwrap_or_default()["retryAfterMs"].as_u64().unwrap_or(0)));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(Duration::ZERO),
        }
    }
}
