//! RFC 6455 through a real socket: what a client may send is understood, what it may not is told with the code the RFC names, and
//! nobody else notices.

use std::iter::{once, repeat_n};

use serde_json::{Value, json};

use crate::harness::{RawSocket, TestApp, frame};

const PING: &[u8] = br#"{"event":"ping","id":1}"#;
const TEXT: u8 = 0x81;
const START: u8 = 0x01;
const MIDDLE: u8 = 0x00;
const END: u8 = 0x80;
const CLOSE: u8 = 0x88;

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

#[tokio::test]
async fn what_breaks_the_rfc_closes_with_its_code_and_nobody_else_notices() {
    let app = TestApp::with(|config| config.socket.handshakes_per_user = 0).await;
    let (bob, eve) = (app.user("bob", "member").await, app.user("eve", "member").await);
    let mut neighbour = eve.connect(&app).await;
    let snowman = "\u{2603}".as_bytes();
    let endless: Vec<u8> = once(frame(START, b"{")).chain(repeat_n(frame(MIDDLE, b" "), 1100)).flatten().collect();
    for (bytes, code, what) in [
        (frame(TEXT, &vec![b' '; 65_537]), 1009, "64 KiB + 1"),
        (vec![TEXT, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1], 1009, "64 KiB + 1, by the header alone"),
        ([frame(START, &[b' '; 40_000]), frame(END, &[b' '; 40_000])].concat(), 1009, "64 KiB + 1 in fragments"),
        (endless, 1009, "endless fragments"),
        (vec![TEXT, 0x02, b'{', b'}'], 1002, "unmasked"),
        (frame(0xC1, b"{}"), 1002, "the bit of permessage-deflate"),
        (frame(0xA1, b"{}"), 1002, "the second reserved bit"),
        (frame(0x91, b"{}"), 1002, "the third reserved bit"),
        (frame(0x83, b"{}"), 1002, "a reserved opcode"),
        (frame(0x87, b""), 1002, "the last reserved opcode of data"),
        (frame(0x8B, b""), 1002, "a reserved opcode of control"),
        (frame(0x8F, b""), 1002, "the last opcode"),
        (frame(0x89, &[0; 126]), 1002, "a ping of 126 bytes"),
        (frame(0x8A, &[0; 126]), 1002, "a pong of 126 bytes"),
        (close(1000, &[b'x'; 124]), 1002, "a goodbye of 126 bytes"),
        (frame(0x09, b""), 1002, "a ping in fragments"),
        (frame(0x08, b""), 1002, "a goodbye in fragments"),
        (frame(END, b"{}"), 1002, "a continuation of nothing"),
        (frame(MIDDLE, b"{}"), 1002, "a continuation of nothing, to be continued"),
        ([frame(TEXT, PING), frame(END, b"")].concat(), 1002, "a continuation of what has ended"),
        ([frame(START, b"{"), frame(TEXT, PING)].concat(), 1002, "a message inside a message"),
        ([frame(START, b"{"), frame(START, b"}")].concat(), 1002, "a message that begins twice"),
        (vec![TEXT, 0xFE, 0, 125], 1002, "a length of 125 in two bytes"),
        (vec![TEXT, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], 1002, "a length of 65,535 in eight bytes"),
        (vec![TEXT, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1], 1002, "a length with the top bit"),
        (frame(CLOSE, &[3]), 1002, "half a close code"),
        (frame(TEXT, &[b'"', 0xFF, b'"']), 1007, "never a byte of text"),
        (frame(TEXT, &[0xC0, 0xAF]), 1007, "longer than it had to be"),
        (frame(TEXT, &[0xED, 0xA0, 0x80]), 1007, "a surrogate"),
        (frame(TEXT, &[0xF4, 0x90, 0x80, 0x80]), 1007, "beyond Unicode"),
        (frame(TEXT, &snowman[..2]), 1007, "an end inside a character"),
        ([frame(START, snowman), frame(END, &snowman[..1])].concat(), 1007, "an end inside a character, in fragments"),
        (
            [frame(START, &snowman[..2]), frame(MIDDLE, b"a")].concat(),
            1007,
            "no text any more, before the last fragment",
        ),
        (close(1000, &[0xFF]), 1007, "a reason that is not UTF-8"),
        (frame(0x82, b"{}"), 1003, "binary"),
        (frame(0x02, b"{"), 1003, "binary, to be continued"),
    ] {
        let mut socket = RawSocket::open(&app, &bob, b"").await;
        socket.send(&bytes).await;
        assert_eq!(socket.close_code().await, code, "{what}");
        assert!(socket.ends().await, "{what}: the close frame is the last");
    }
    assert_eq!(neighbour.ask("ping", json!({})).await["code"], 0);
    drop(neighbour);
    app.shutdown().await;
}

#[tokio::test]
async fn a_goodbye_is_answered_with_its_code_and_a_code_that_nobody_may_send_with_1002() {
    let app = TestApp::with(|config| config.socket.handshakes_per_user = 0).await;
    let bob = app.user("bob", "member").await;
    let taken = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    let refused = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    let cases = taken.map(|code| (close(code, "bis bald \u{2603}".as_bytes()), code)).into_iter();
    let cases = cases.chain(refused.map(|code| (close(code, b""), 1002)));
    let longest = (close(1000, &[b'x'; 123]), 1000);
    for (bytes, code) in cases.chain([(frame(CLOSE, b""), 1000), longest]) {
        let mut socket = RawSocket::open(&app, &bob, b"").await;
        // What comes after a goodbye does not count, and does not hold it up.
        socket.send(&[bytes.clone(), frame(TEXT, PING), vec![0xFF; 3]].concat()).await;
        let mut seen = vec![socket.frame().await, socket.frame().await];
        let (first, payload) = seen.pop().unwrap();
        assert_eq!((first, u16::from_be_bytes([payload[0], payload[1]])), (CLOSE, code), "{bytes:?}");
        assert!(String::from_utf8_lossy(&seen[0].1).contains(r#""event":"connected""#), "and nothing else before it");
        assert!(socket.ends().await, "{bytes:?}");
    }
    app.shutdown().await;
}

/// What the server says after `connected`: pongs as their text, replies as the event, the id and the code.
async fn said(socket: &mut RawSocket, how_many: usize) -> Vec<Value> {
    let mut said = Vec::new();
    while said.len() < how_many {
        let (first, payload) = socket.frame().await;
        if first == 0x8A {
            said.push(json!(String::from_utf8(payload).unwrap()));
            continue;
        }
        assert_eq!(first, TEXT, "a whole text, of one frame");
        let reply: Value = serde_json::from_slice(&payload).unwrap();
        if reply["event"] != "connected" {
            said.push(json!([reply["event"], reply["id"], reply["code"]]));
        }
    }
    said
}

#[tokio::test]
async fn a_message_is_the_same_in_one_frame_in_fragments_and_byte_by_byte() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let mut socket = RawSocket::open(&app, &bob, b"").await;
    let largest = format!(r#"{{"event":"ping"{}}}"#, " ".repeat(65_536 - 16));
    assert_eq!(largest.len(), 65_536);
    let padded = |length: usize| format!("{:<1$}}}", format!(r#"{{"event":"ping","id":{length}"#), length - 1);
    let room = r#"{"event":"join","id":"☃😀","data":{"id":"r"}}"#.as_bytes();
    let by_the_byte: Vec<u8> = once(frame(START, b""))
        .chain(room.iter().map(|byte| frame(MIDDLE, &[*byte])))
        .chain([frame(0x89, b""), frame(END, b"")])
        .flatten()
        .collect();
    for (bytes, answers) in [
        (frame(TEXT, largest.as_bytes()), vec![json!(["ping", null, 0])]),
        (frame(TEXT, padded(125).as_bytes()), vec![json!(["ping", 125, 0])]),
        (frame(TEXT, padded(126).as_bytes()), vec![json!(["ping", 126, 0])]),
        (frame(TEXT, padded(65_535).as_bytes()), vec![json!(["ping", 65_535, 0])]),
        (
            [
                frame(START, br#"{"event":"#),
                frame(0x89, b"mark"),
                frame(0x8A, b"unasked"),
                frame(END, br#""ping","id":2}"#),
            ]
            .concat(),
            vec![json!("mark"), json!(["ping", 2, 0])],
        ),
        (by_the_byte, vec![json!(""), json!(["join", "☃😀", 0])]),
        ([frame(START, b""), frame(MIDDLE, b""), frame(END, PING)].concat(), vec![json!(["ping", 1, 0])]),
        ([frame(0x89, &[b'x'; 125]), frame(TEXT, PING)].concat(), vec![json!("x".repeat(125)), json!(["ping", 1, 0])]),
        ([frame(0x8A, b""), frame(0x8A, b"unasked"), frame(TEXT, PING)].concat(), vec![json!(["ping", 1, 0])]),
        (frame(TEXT, b""), vec![json!(["error", null, 400])]),
        ([frame(START, b""), frame(END, b"")].concat(), vec![json!(["error", null, 400])]),
    ] {
        socket.send(&bytes).await;
        assert_eq!(said(&mut socket, answers.len()).await, answers);
        if bytes.len() < 1000 {
            for byte in &bytes {
                socket.send(&[*byte]).await;
            }
            assert_eq!(said(&mut socket, answers.len()).await, answers, "byte by byte");
        }
    }
    socket.send(&close(1000, b"")).await;
    assert_eq!(socket.close_code().await, 1000);
    assert!(socket.ends().await);
    app.shutdown().await;
}

#[tokio::test]
async fn compression_is_not_taken_when_it_is_offered() {
    let app = TestApp::start().await;
    let bob = app.user("bob", "member").await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, permessage-deflate";
    let mut socket = RawSocket::open_with(&app, &bob, offer).await;
    assert!(!socket.head.contains("sec-websocket-extensions"), "{}", socket.head);
    socket.send(&frame(TEXT, PING)).await;
    assert_eq!(said(&mut socket, 1).await, [json!(["ping", 1, 0])]);
    socket.send(&frame(0xC1, &[0xAA, 0x56, 0x4A, 0x2D, 0x4B, 0x2D, 0x02, 0x00])).await;
    assert_eq!(socket.close_code().await, 1002, "and who compresses nevertheless is told so");
    assert!(socket.ends().await);
    app.shutdown().await;
}
