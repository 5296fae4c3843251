//! Bad input on a socket: every frame gets an answer or a close code, the connection stays usable, the neighbour unaffected.

use serde_json::{Value, json};

use crate::harness::{RawSocket, TestApp, frame};

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
