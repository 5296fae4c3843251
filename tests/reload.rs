//! SIGHUP: settings, keys and certificates are read again while the server runs and sockets stay; what cannot be used is
//! refused as a whole.

use std::path::Path;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{Authority, PASSWORD, Served, believing, eventually, http_client};

/// A server with a settings file of its own, written anew by the test.
async fn served(folder: &Path, settings: &str) -> Served {
    let file = folder.join("my.toml");
    std::fs::write(&file, settings).unwrap();
    Served::start_with(folder, &[("ROLLCALL_CONFIG", file.to_str().unwrap())]).await
}

/// Writes other settings, sends SIGHUP, and waits until the log says these words.
async fn again(server: &Served, folder: &Path, settings: &str, words: &str) {
    std::fs::write(folder.join("my.toml"), settings).unwrap();
    server.hang_up();
    let said = || async { std::fs::read_to_string(folder.join("log")).unwrap().contains(words) };
    eventually(&format!("the log says {words}"), said).await;
}

async fn status(url: String, token: &str) -> u16 {
    http_client().get(url).bearer_auth(token).send().await.unwrap().status().as_u16()
}

/// What a browser says that wants a socket.
fn upgrade() -> reqwest::header::HeaderMap {
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    headers.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

async fn token(server: &Served, http: &reqwest::Client) -> String {
    let login = json!({"username": "admin", "password": PASSWORD});
    let answer = http.post(format!("{}/api/v1/auth/login", server.url)).json(&login).send().await.unwrap();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    body["accessToken"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn settings_keys_and_the_log_level_are_read_again_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let (root, key) = (folder.path(), folder.path().join("key"));
    std::fs::write(&key, "an old secret of more than thirty-two characters").unwrap();
    let settings = format!("[auth]\nsigning_key_file = {key:?}\n");
    let server = served(root, &settings).await;
    let (docs, me) = (format!("{}/docs", server.url), format!("{}/api/v1/auth/me", server.url));
    let old = token(&server, &http_client()).await;
    assert_eq!((status(docs.clone(), "").await, status(me.clone(), &old).await), (200, 200));

    std::fs::write(&key, "a new secret of more than thirty-two characters").unwrap();
    let changed = format!("{settings}[docs]\npublic = false\n[log]\nlevel = \"debug\"\n[socket]\nmax_rooms = 3\n");
    again(&server, root, &changed, "socket.max_rooms: 64 -> 3, after a restart").await;
    let log = std::fs::read_to_string(root.join("log")).unwrap();
    for line in [
        "auth.signing_key: \"(hidden)\" -> \"(hidden)\", from now on",
        "docs.public: true -> false, from now on",
        "log.level: \"info\" -> \"debug\", from now on",
    ] {
        assert!(log.contains(line), "{log}");
    }
    assert!(!log.contains("secret of more"), "{log}");
    assert_ne!(status(docs, "").await, 200);
    assert_eq!(status(me.clone(), &old).await, 401, "signed by a key that is none any more");
    assert_eq!(status(me, &token(&server, &http_client()).await).await, 200);
    let refused = http_client().get(format!("{}/socket", server.url)).headers(upgrade()).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let debug = || async { std::fs::read_to_string(root.join("log")).unwrap().contains("DEBUG") };
    eventually("more is logged", debug).await;
    assert_eq!(server.terminate().await, 0);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let server = served(root, "").await;
    let docs = format!("{}/docs", server.url);
    let issuer = "[[auth.issuers]]\nname = \"shop\"\niss = \"shop\"\nalgorithm = \"RS256\"\naudience = \"rollcall\"\n";
    for (wrong, words) in [
        ("[server]\nlisen = \"x\"\n".to_owned(), "did you mean server.listen?"),
        ("[log]\nlevel = \"inof\"\n".to_owned(), "log.level: \"inof\" is no filter"),
        ("[socket]\nsweep = \"often\"\n".to_owned(), "socket.sweep"),
        (format!("{issuer}jwks_file = \"/nowhere.json\"\n"), "/nowhere.json"),
        ("this is no TOML".to_owned(), "my.toml is not TOML at line"),
    ] {
        again(&server, root, &format!("[docs]\npublic = false\n{wrong}"), words).await;
        assert_eq!(status(docs.clone(), "").await, 200, "nothing was changed by {wrong}");
    }
    again(&server, root, "[docs]\npublic = false\n", "docs.public: true -> false").await;
    assert_ne!(status(docs, "").await, 200);
    assert_eq!(server.terminate().await, 0);
}

#[tokio::test]
async fn a_certificate_is_replaced_under_open_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let authority = Authority::new(root);
    let (cert, key) = authority.certify();
    let settings = format!("[server.tls]\ncert = {cert:?}\nkey = {key:?}\n");
    let server = served(root, &settings).await;
    assert!(server.url.starts_with("https://"), "{}", server.url);
    let (first, mut socket) = shown(&server, root).await;
    authority.certify();
    again(&server, root, &settings, "settings, keys and certificates were read again").await;
    assert_ne!(shown(&server, root).await.0, first, "whoever comes now sees the new one");
    socket.send(Message::Ping("still".into())).await.unwrap();
    let still = Message::Pong("still".into());
    while socket.next().await.expect("the socket stays").unwrap() != still {}
    std::fs::write(&cert, "no certificate").unwrap();
    again(&server, root, &format!("{settings}[docs]\npublic = false\n"), "server.tls.cert: ").await;
    let (_, after) = shown(&server, root).await;
    drop(after);
    assert_eq!(server.terminate().await, 0);
}

/// The certificate that a newcomer sees, and its socket.
async fn shown(
    server: &Served,
    folder: &Path,
) -> (Vec<u8>, tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>) {
    let address = server.url.strip_prefix("https://").unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let believing = believing(&folder.join("ca.pem"));
    let http = reqwest::Client::builder().use_preconfigured_tls((*believing).clone()).build().unwrap();
    let token = token(server, &http).await;
    let tls = TlsConnector::from(believing).connect(name, tcp).await.unwrap();
    let certificate = tls.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let mut request = format!("wss://{address}/socket").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let (socket, _) = tokio_tungstenite::client_async(request, tls).await.unwrap();
    (certificate, socket)
}
