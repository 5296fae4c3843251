//! A WebSocket client that is not ours (tokio-tungstenite), with the verbs of a test: ask, expect a push, expect the end.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message, http};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::{Door, PATIENCE};

/// An open socket.
pub(crate) struct TestSocket {
    pub(crate) stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// `data` of `connected`.
    pub(crate) connected: Value,
    /// The client's id.
    pub(crate) id: String,
    /// The handshake's answer.
    pub(crate) response: http::Response<Option<Vec<u8>>>,
    next_id: i64,
    /// Pushes that came while waiting for something else.
    early: Vec<Value>,
}

/// How a socket ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The close code; 1006 where the connection just broke.
    pub(crate) code: u16,
    /// The reason's JSON; null where there is none.
    pub(crate) reason: Value,
    /// The frames that came before it.
    pub(crate) frames: Vec<Value>,
}

impl TestSocket {
    /// Opens with these headers and this query (`?ticket=…`); waits for `connected`.
    pub(crate) async fn open(app: &impl Door, headers: &[(&str, &str)], query: &str) -> Result<TestSocket, u16> {
        let mut socket = TestSocket::dial(app, headers, query).await?;
        let connected = socket.push("connected").await;
        socket.id = connected["clientId"].as_str().unwrap().to_owned();
        socket.connected = connected;
        Ok(socket)
    }

    /// The same without waiting for `connected`. An error is the handshake's HTTP status.
    pub(crate) async fn dial(app: &impl Door, headers: &[(&str, &str)], query: &str) -> Result<TestSocket, u16> {
        let address = app.url(&format!("/socket{query}")).replacen("http", "ws", 1);
        let mut request = address.into_client_request().unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let tls = app.tls().map(Connector::Rustls);
        match connect_async_tls_with_config(request, None, false, tls).await {
            Ok((stream, response)) => Ok(TestSocket {
                stream,
                connected: Value::Null,
                id: String::new(),
                response,
                next_id: 0,
                early: Vec::new(),
            }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("handshake: {error}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// Sends an event and waits for its reply.
    pub(crate) async fn ask(&mut self, event: &str, data: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        self.send(json!({"event": event, "id": id, "data": data})).await;
        self.wait(&format!("the reply to {event}"), |frame| frame["id"] == id).await
    }

    /// Sends a text and waits for whatever comes next.
    pub(crate) async fn answer_to(&mut self, text: &str) -> Value {
        self.send_text(text).await;
        self.frame().await
    }

    /// `data` of the next push of this event.
    pub(crate) async fn push(&mut self, event: &str) -> Value {
        self.wait(event, |frame| frame["event"] == event && frame.get("id").is_none()).await["data"].clone()
    }

    /// The next frame, whatever it is.
    pub(crate) async fn frame(&mut self) -> Value {
        if !self.early.is_empty() {
            return self.early.remove(0);
        }
        self.next().await.unwrap_or_else(|ended| panic!("the socket ended instead: {ended:?}"))
    }

    async fn wait(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        if let Some(place) = self.early.iter().position(&mut wanted) {
            return self.early.remove(place);
        }
        loop {
            match self.next().await {
                Ok(frame) if wanted(&frame) => return frame,
                Ok(frame) => self.early.push(frame),
                Err(ended) => panic!("waiting for {what}, the socket ended: {ended:?}"),
            }
        }
    }

    /// Waits for the end.
    pub(crate) async fn ended(mut self) -> Ended {
        let mut frames = std::mem::take(&mut self.early);
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(ended) => return Ended { frames, ..ended },
            }
        }
    }

    async fn next(&mut self) -> Result<Value, Ended> {
        let broken = || Ended { code: 1006, reason: Value::Null, frames: Vec::new() };
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("a frame in time");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(close)))) => {
                    let reason = serde_json::from_str(&close.reason).unwrap_or_default();
                    // Answers the close frame, so that the server need not wait for it.
                    let _ = self.stream.flush().await;
                    return Err(Ended { code: close.code.into(), reason, frames: Vec::new() });
                }
                Some(Ok(Message::Close(None))) | Some(Err(_)) | None => return Err(broken()),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Closes with 1000 and waits until the server has, too.
    pub(crate) async fn close(mut self) {
        let _ = self.stream.close(None).await;
        while let Ok(Some(Ok(_))) = tokio::time::timeout(PATIENCE, self.stream.next()).await {}
    }
}
