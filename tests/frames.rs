//! Bad input on a socket: every frame gets an answer or a close code, the connection stays usable, the neighbour unaffected.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{PATIENCE, TestApp, TestUser};

/// A socket by hand: what a library would not send.
struct RawSocket {
    stream: TcpStream,
    read: Vec<u8>,
}

impl RawSocket {
    /// Shakes hands, and sends `first` in the same packet.
    async fn open(app: &TestApp, user: &TestUser, first: &[u8]) -> RawSocket {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        let handshake = format!(
            "GET /socket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
            app.address, user.token
        );
        stream.write_all(&[handshake.as_bytes(), first].concat()).await.unwrap();
        let mut socket = RawSocket { stream, read: Vec::new() };
        let head = socket.until(b"\r\n\r\n").await;
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        // RFC 6455 section 1.3 gives this answer to this key.
        assert!(head.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        socket
    }

    async fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(place) = self.read.windows(mark.len()).position(|window| window == mark) {
                return self.read.drain(..place + mark.len()).collect();
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        let length = read.expect("bytes in time").unwrap();
        assert!(length > 0, "the connection ended without a word");
        self.read.extend_from_slice(&buffer[..length]);
    }

    async fn send(&mut self, frame: &[u8]) {
        self.stream.write_all(frame).await.unwrap();
    }

    /// The next frame from the server: opcode and payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let [first, second, rest @ ..] = &self.read[..] {
                let (extended, length) = match second & 0x7F {
                    126 if rest.len() >= 2 => (2, usize::from(u16::from_be_bytes([rest[0], rest[1]]))),
                    126 => (2, usize::MAX / 2),
                    short => (0, usize::from(short)),
                };
                if rest.len() >= extended + length {
                    let (opcode, payload) = (first & 0x0F, rest[extended..extended + length].to_vec());
                    self.read.drain(..2 + extended + length);
                    return (opcode, payload);
                }
            }
            self.more().await;
        }
    }

    /// The code of the close frame, after whatever comes before it.
    async fn close_code(&mut self) -> u16 {
        loop {
            if let (0x8, payload) = self.frame().await {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

/// A masked frame with this first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [7, 1, 9, 3];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[tokio::test]
async fn whatever_is_no_good_frame_gets_a_reply_and_the_connection_stays_usable() {
    let app = TestApp::with(|config| config.socket.bad_frames = 1000).await;
    let (bob, eve) = (app.user("bob", "member").await, app.user("eve", "member").await);
    let (mut socket, mut neighbour) = (bob.connect(&app).await, eve.connect(&app).await);
    let brackets = format!(r#"{{"event":"join","data":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let inside = format!(r#"{{"event":"join","data":{{"id":{}{}}}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for (text, code) in [
        ("", 400),
        ("hello", 400),
        ("[]", 400),
        (r#"["ping"]"#, 400),
        ("null", 400),
        (r#"{"data":{}}"#, 400),
        (r#"{"event":7}"#, 400),
        (r#"{"event":"ping""#, 400),
        (r#"{"event":"ping"} {"event":"ping"}"#, 400),
        (r#"{"event":"ping","event":"join"}"#, 400),
        (r#"{"event":"ping","id":1.5}"#, 400),
        (r#"{"event":"\ud800"}"#, 400),
        ("{\"event\":\"ping\0\"}", 400),
        (r#"{"event":"ping\u0000"}"#, 404),
        (r#"{"event":"nonsense"}"#, 404),
        (r#"{"event":"kick"}"#, 404),
        (r#"{"event":"join"}"#, 422),
        (r#"{"event":"join","data":{"id":7}}"#, 422),
        (r#"{"event":"join","data":{"id":"a","id":"b"}}"#, 422),
        (r#"{"event":"join","data":["room1"]}"#, 422),
        (r#"{"event":"join","data":"room1"}"#, 422),
        (r#"{"event":"join","data":{"id":"\ud800"}}"#, 422),
        (&brackets, 422),
        (&inside, 422),
    ] {
        let reply = socket.answer_to(text).await;
        assert_eq!(reply["code"], code, "{} was answered {reply}", &text[..text.len().min(60)]);
        assert!(reply["errorMsg"].as_str().is_some_and(|sentence| !sentence.is_empty()));
    }
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    assert_eq!(neighbour.ask("ping", json!({})).await["code"], 0);
    drop((socket, neighbour));
    app.shutdown().await;
}

#[tokio::test]
async fn a_failure_says_what_is_wrong_and_names_the_nearest_event() {
    let app = TestApp::start().await;
    let mut socket = app.user("bob", "member").await.connect(&app).await;
    let unknown = socket.ask("online/subscrib", json!({})).await;
    assert!(unknown["errorMsg"].as_str().unwrap().contains("online/subscribe"), "{unknown}");
    let wrong = socket.ask("join", json!({"id": 7})).await;
    assert!(wrong["errorMsg"].as_str().unwrap().starts_with("data.id does not fit"), "{wrong}");
    let missing = socket.answer_to(r#"{"id":"mine"}"#).await;
    assert_eq!((&missing["event"], &missing["id"]), (&json!("error"), &json!("mine")));
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn an_id_is_echoed_as_it_came() {
    let app = TestApp::start().await;
    let mut socket = app.user("bob", "member").await.connect(&app).await;
    for (id, echoed) in [
        (json!("a"), json!("a")),
        (json!(7), json!(7)),
        (json!(-1), json!(-1)),
        (json!(9_007_199_254_740_991_i64), json!(9_007_199_254_740_991_i64)),
        (json!(null), Value::Null),
    ] {
        let reply = socket.answer_to(&json!({"event": "ping", "id": id}).to_string()).await;
        assert_eq!((&reply["id"], reply.get("id").is_some()), (&echoed, !echoed.is_null()), "{reply}");
    }
    let long = "x".repeat(65);
    assert_eq!(socket.answer_to(&json!({"event": "ping", "id": long}).to_string()).await["code"], 400);
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn what_breaks_rfc_6455_closes_with_its_code_and_nobody_else_notices() {
    let app = TestApp::with(|config| config.socket.handshakes_per_user = 0).await;
    let (bob, eve) = (app.user("bob", "member").await, app.user("eve", "member").await);
    let mut neighbour = eve.connect(&app).await;
    let endless: Vec<u8> =
        std::iter::once(frame(0x01, b"{")).chain((0..1100).map(|_| frame(0x00, b" "))).flatten().collect();
    let large: Vec<u8> = [frame(0x01, &[b' '; 40_000]), frame(0x80, &[b' '; 40_000])].concat();
    for (bytes, code, what) in [
        (frame(0x81, &vec![b' '; 65_537]), 1009, "64 KiB + 1"),
        (large, 1009, "64 KiB + 1 in fragments"),
        (endless, 1009, "endless fragments"),
        (vec![0x81, 0x02, b'{', b'}'], 1002, "unmasked"),
        (frame(0xC1, b"{}"), 1002, "a reserved bit"),
        (frame(0x83, b"{}"), 1002, "a reserved opcode"),
        (frame(0x89, &[0; 126]), 1002, "a ping of 126 bytes"),
        (frame(0x80, b"{}"), 1002, "a continuation of nothing"),
        (frame(0x81, &[b'"', 0xFF, b'"']), 1007, "invalid UTF-8"),
        (frame(0x82, b"{}"), 1003, "binary"),
    ] {
        let mut socket = RawSocket::open(&app, &bob, b"").await;
        socket.send(&bytes).await;
        assert_eq!(socket.close_code().await, code, "{what}");
    }
    assert_eq!(neighbour.ask("ping", json!({})).await["code"], 0);
    drop(neighbour);
    app.shutdown().await;
}

#[tokio::test]
async fn a_message_of_64_kib_is_taken_and_fragments_with_pings_between_are_one_message() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let mut socket = RawSocket::open(&app, &bob, b"").await;
    let padded = format!(r#"{{"event":"ping"{}}}"#, " ".repeat(65_536 - 16));
    assert_eq!(padded.len(), 65_536);
    socket.send(&frame(0x81, padded.as_bytes())).await;
    socket
        .send(&[frame(0x01, br#"{"event":"#), frame(0x89, b"mark"), frame(0x80, br#""ping","id":2}"#)].concat())
        .await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let (opcode, payload) = socket.frame().await;
        seen.push(match opcode {
            0xA => json!(String::from_utf8(payload).unwrap()),
            _ => {
                let frame: Value = serde_json::from_slice(&payload).unwrap();
                json!([frame["event"], frame["id"]])
            }
        });
    }
    assert_eq!(seen, [json!(["connected", null]), json!(["ping", null]), json!("mark"), json!(["ping", 2])]);
    // A client's own 1000 is answered with 1000, and is a leave at once.
    socket.send(&frame(0x88, &1000_u16.to_be_bytes())).await;
    assert_eq!(socket.close_code().await, 1000);
    app.shutdown().await;
}

#[tokio::test]
async fn a_frame_in_the_same_packet_as_the_handshake_is_not_lost() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let mut socket = RawSocket::open(&app, &bob, &frame(0x81, br#"{"event":"ping","id":1}"#)).await;
    let (_, connected) = socket.frame().await;
    assert!(String::from_utf8(connected).unwrap().starts_with(r#"{"event":"connected","data":{"clientId":""#));
    let (_, reply) = socket.frame().await;
    assert!(String::from_utf8(reply).unwrap().starts_with(r#"{"event":"ping","id":1,"code":0,"timestamp":"#));
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn the_eleventh_malformed_frame_in_a_minute_closes_the_socket() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let mut socket = bob.connect(&app).await;
    for _ in 0..10 {
        assert_eq!(socket.answer_to("?").await["code"], 400);
    }
    socket.send_text("?").await;
    let ended = socket.ended().await;
    assert_eq!((ended.code, &ended.reason["reason"]), (4400, &json!("badFrames")));
    app.shutdown().await;
}

#[tokio::test]
async fn a_thousand_messages_at_once_get_a_thousand_replies_in_order_and_most_of_them_429() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let mut socket = RawSocket::open(&app, &bob, b"").await;
    let flood: Vec<u8> =
        (0..1000).flat_map(|number| frame(0x81, format!(r#"{{"event":"ping","id":{number}}}"#).as_bytes())).collect();
    socket.send(&flood).await;
    let (mut next, mut refused) = (0, 0);
    while next < 1000 {
        let (_, payload) = socket.frame().await;
        let reply: Value = serde_json::from_slice(&payload).unwrap();
        if reply["event"] == "connected" {
            continue;
        }
        assert_eq!(reply["id"], next, "replies come in the order of the frames");
        next += 1;
        if reply["code"] == 429 {
            refused += 1;
            assert!(reply["data"]["retryAfterMs"].as_u64().is_some_and(|wait| wait >= 1), "{reply}");
        } else {
            assert_eq!(reply["code"], 0);
        }
    }
    assert!((300..=800).contains(&refused), "{refused} of 1000 were refused");
    drop(socket);
    app.shutdown().await;
}
