//! A HotGo client that knows nothing of us, byte for byte, and the three routes its admin page and its backends call.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{TestApp, TestSocket, TestUser};

/// The next text, with the time taken out.
async fn text(socket: &mut TestSocket) -> String {
    loop {
        let message = socket.stream.next().await.unwrap().unwrap();
        if let Message::Text(text) = message {
            let (before, after) = text.rsplit_once("\"timestamp\":").expect("every frame has a time");
            assert!(after.trim_end_matches('}').parse::<u64>().is_ok_and(|seconds| seconds > 1_600_000_000), "{text}");
            return format!("{before}\"timestamp\":T}}");
        }
    }
}

async fn hotgo_client(app: &TestApp, user: &TestUser) -> TestSocket {
    TestSocket::open(app, &[], &format!("?authorization={}", user.token)).await.unwrap()
}

#[tokio::test]
async fn a_plain_hotgo_client_works_unchanged() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut socket = hotgo_client(&app, &bob).await;
    for (sent, answered) in [
        (r#"{"event":"ping"}"#, r#"{"event":"ping","code":0,"timestamp":T}"#),
        (r#"{"event":"ping","data":null}"#, r#"{"event":"ping","code":0,"timestamp":T}"#),
        (r#"{"event":"quit","data":{"id":"room1"}}"#, r#"{"event":"quit","data":[],"code":0,"timestamp":T}"#),
        (r#"{"event":"join","data":{"id":"room1"}}"#, r#"{"event":"join","data":["room1"],"code":0,"timestamp":T}"#),
        (
            r#"{"event":"join","data":{"id":"房间2"}}"#,
            r#"{"event":"join","data":["room1","房间2"],"code":0,"timestamp":T}"#,
        ),
        (
            r#"{"event":"join","data":{"id":"room1"}}"#,
            r#"{"event":"join","data":["room1","房间2"],"code":0,"timestamp":T}"#,
        ),
        (r#"{"event":"quit","data":{"id":"room1"}}"#, r#"{"event":"quit","data":["房间2"],"code":0,"timestamp":T}"#),
    ] {
        socket.stream.send(Message::text(sent)).await.unwrap();
        assert_eq!(text(&mut socket).await, answered);
    }
    let notice = json!({"target": {"users": [bob.id]}, "event": "notice", "data": {"title": "公告", "type": 2}});
    admin.post("/api/v1/push", notice).await;
    assert_eq!(
        text(&mut socket).await,
        r#"{"event":"notice","data":{"title":"公告","type":2},"code":0,"timestamp":T}"#
    );
    let offline = admin.post("/admin/monitor/userOffline", json!({"id": socket.id, "ip": "the whole row comes"})).await;
    assert_eq!((offline.status, &offline.body["code"]), (200, &json!(0)), "{}", offline.text);
    let kick = text(&mut socket).await;
    assert!(
        kick.starts_with(r#"{"event":"kick","data":{"reason":""#) && kick.ends_with(r#","code":0,"timestamp":T}"#),
        "{kick}"
    );
    assert_eq!(socket.ended().await.code, 4410);
    assert_eq!(bob.get("/api/v1/auth/me").await.status, 401, "unlike in HotGo, the kick ends the login");
    app.shutdown().await;
}

#[tokio::test]
async fn the_online_list_is_answered_in_hotgos_envelope() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let path = "/admin/monitor/userOnlineList";
    let empty = admin.get(path).await;
    assert_eq!((empty.status, &empty.body["code"], &empty.body["message"]), (200, &json!(0), &json!("操作成功")));
    assert_eq!(empty.body["data"], json!({"list": [], "page": 1, "pageSize": 10, "pageCount": 0, "totalCount": 0}));
    assert!(empty.body["traceID"].as_str().is_some_and(|id| !id.is_empty()) && empty.body["timestamp"].is_u64());
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(bob.connect(&app).await);
    }
    let mut seen = Vec::new();
    for page in 1..=3 {
        let data = admin.get(&format!("{path}?page={page}&pageSize=2")).await.body["data"].clone();
        assert_eq!((&data["pageCount"], &data["totalCount"]), (&json!(3), &json!(5)));
        let rows = data["list"].as_array().unwrap().clone();
        assert_eq!(rows.len(), if page < 3 { 2 } else { 1 }, "exactly pageSize rows");
        seen.extend(rows);
    }
    let mut ids: Vec<&str> = seen.iter().map(|row| row["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "no row twice");
    let mut keys: Vec<&String> = seen[0].as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        ["app", "avatar", "browser", "firstTime", "heartbeatTime", "id", "ip", "os", "userId", "username"]
    );
    assert_eq!(seen[0]["userId"], json!(bob.id.parse::<i64>().unwrap()));
    let found = async |query: &str| admin.get(&format!("{path}?{query}")).await.body["data"]["totalCount"].clone();
    assert_eq!(found("username=bob").await, 5);
    assert_eq!(found("username=bo").await, 0, "exactly this name, as in HotGo");
    assert_eq!(found(&format!("userId={}&ip=127", bob.id)).await, 5);
    assert_eq!(found("firstTime[]=2000-01-01 00:00:00&firstTime[]=2000-01-02 00:00:00").await, 0);
    for (query, field) in [
        ("pageSize=100000", "pageSize"),
        ("pageSize=0", "pageSize"),
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=abc", "page"),
        ("page=99999999999999999999", "page"),
    ] {
        let refused = admin.get(&format!("{path}?{query}")).await;
        assert_eq!((refused.status, &refused.body["code"]), (200, &json!(-1)), "{query}: {}", refused.text);
        assert_eq!(refused.body["message"], json!(format!("参数错误: {field}")));
    }
    let beyond = admin.get(&format!("{path}?page=99&pageSize=200")).await.body["data"].clone();
    assert_eq!((&beyond["list"], &beyond["totalCount"]), (&json!([]), &json!(5)));
    drop(sockets);
    app.shutdown().await;
}

#[tokio::test]
async fn who_is_not_logged_in_or_not_permitted_is_told_in_hotgos_codes() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    for (method, path, body) in [
        ("GET", "/admin/monitor/userOnlineList", Value::Null),
        ("POST", "/admin/monitor/userOffline", json!({"id": "x"})),
        ("POST", "/socket/send/toTag", json!({"tag": "a", "response": {"event": "x"}})),
    ] {
        let anonymous = app.anonymous(method, path, body.clone()).await;
        assert_eq!((anonymous.status, &anonymous.body["code"]), (200, &json!(61)), "{}", anonymous.text);
        let member = bob.call(method, path, body).await;
        assert_eq!((member.status, &member.body["code"]), (200, &json!(62)), "{}", member.text);
        assert!(member.body.get("data").is_none());
    }
    for id in ["nonsense", "01900000-0000-7000-8000-000000000000"] {
        let gone = admin.post("/admin/monitor/userOffline", json!({"id": id})).await;
        assert_eq!((&gone.body["code"], &gone.body["message"]), (&json!(-1), &json!("客户端已离线")));
    }
    app.shutdown().await;
}

#[tokio::test]
async fn to_tag_delivers_the_response_as_the_frame_itself() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let (mut member, mut other) = (hotgo_client(&app, &bob).await, hotgo_client(&app, &bob).await);
    member.ask("join", json!({"id": "room1"})).await;
    let body = json!({"tag": "room1", "response": {"event": "evt", "data": {"n": 1}, "code": 7, "timestamp": 0}});
    let sent = admin.post("/socket/send/toTag", body).await;
    assert_eq!((&sent.body["code"], &sent.body["data"]["delivered"]), (&json!(0), &json!(1)), "{}", sent.text);
    assert_eq!(text(&mut member).await, r#"{"event":"evt","data":{"n":1},"code":0,"timestamp":T}"#);
    other.stream.send(Message::text(r#"{"event":"ping"}"#)).await.unwrap();
    assert_eq!(text(&mut other).await, r#"{"event":"ping","code":0,"timestamp":T}"#, "nobody else got it");
    let sized = |bytes: usize| json!({"tag": "room1", "response": {"event": "evt", "data": "x".repeat(bytes - 2)}});
    assert_eq!(admin.post("/socket/send/toTag", sized(65_536)).await.body["data"]["delivered"], 1);
    assert_eq!(member.push("evt").await.as_str().map(str::len), Some(65_534));
    assert_eq!(admin.post("/socket/send/toTag", sized(65_537)).await.body["code"], -1);
    let ours = admin.post("/socket/send/toTag", json!({"tag": "room1", "response": {"event": "kick"}})).await;
    assert_eq!(ours.body["code"], -1);
    drop((member, other));
    app.shutdown().await;
}
