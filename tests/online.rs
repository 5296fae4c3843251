//! The online list: filters, order, pages, masked addresses.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{TestApp, TestSocket, TestUser, eventually};

const BROWSER: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// Opens a socket as a browser behind a proxy at this address.
async fn from(app: &TestApp, user: &TestUser, ip: &str) -> TestSocket {
    let headers = [("authorization", user.token.as_str()), ("x-forwarded-for", ip), ("user-agent", BROWSER)];
    TestSocket::open(app, &headers, "").await.unwrap()
}

async fn behind_a_proxy() -> TestApp {
    TestApp::with(|config| config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await
}

async fn ids(viewer: &TestUser, query: &str) -> Vec<String> {
    let answer = viewer.get(&format!("/api/v1/online/clients{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    answer.body["list"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn filters_find_what_they_say() {
    let app = behind_a_proxy().await;
    let admin = app.user("root", "admin").await;
    let (bob, eve) = (app.user("Bob", "member").await, app.user("eve", "operator").await);
    let mut first = from(&app, &bob, "203.0.113.7").await;
    let second = from(&app, &eve, "198.51.100.9").await;
    first.ask("join", json!({"id": "lobby"})).await;
    let (one, two) = (vec![first.id.clone()], vec![second.id.clone()]);
    let row = admin.get(&format!("/api/v1/online/clients?userId={}", bob.id)).await.body["list"][0].clone();
    assert_eq!(
        (&row["browser"], &row["os"], &row["device"]),
        (&json!("Chrome/142"), &json!("Windows 10"), &json!("pc"))
    );
    for (query, expected) in [
        (format!("?userId={}", bob.id), &one),
        ("?username=BO".into(), &one),
        ("?ip=203.0".into(), &one),
        ("?ip=198.51.100.0/24".into(), &two),
        ("?room=lobby".into(), &one),
        ("?role=operator".into(), &two),
        ("?device=pc&username=eve".into(), &two),
        ("?q=LOBBY".into(), &one),
        ("?q=203.0.113.7".into(), &one),
        (format!("?q={}", second.id), &two),
        (format!("?node={}&role=member", first.connected["node"].as_str().unwrap()), &one),
        ("?connectedFrom=2000-01-01T00:00:00Z&role=member".into(), &one),
        ("?connectedTo=2000-01-01T00:00:00Z".into(), &vec![]),
        ("?node=elsewhere".into(), &vec![]),
        ("?app=shop".into(), &vec![]),
    ] {
        assert_eq!(&ids(&admin, &query).await, expected, "{query}");
    }
    drop((first, second));
    app.shutdown().await;
}

#[tokio::test]
async fn every_column_sorts_both_ways_and_loses_nobody() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let mut sockets = Vec::new();
    for name in ["cat", "ann", "bob"] {
        let user = app.user(name, "member").await;
        sockets.push(user.connect(&app).await);
    }
    let everybody: BTreeSet<String> = sockets.iter().map(|socket| socket.id.clone()).collect();
    for column in "id ip os browser firstTime heartbeatTime app userId username sessionId connectedAt lastSeenAt device node rttMs framesIn framesOut queueBytes".split(' ') {
        for sign in ["", "-"] {
            let found: BTreeSet<String> = ids(&admin, &format!("?sort={sign}{column}")).await.into_iter().collect();
            assert_eq!(found, everybody, "{sign}{column}");
        }
    }
    let names = |body: Value| -> Vec<String> {
        body["list"].as_array().unwrap().iter().map(|row| row["username"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(admin.get("/api/v1/online/clients?sort=username").await.body), ["ann", "bob", "cat"]);
    assert_eq!(names(admin.get("/api/v1/online/clients?sort=-username").await.body), ["cat", "bob", "ann"]);
    assert_eq!(names(admin.get("/api/v1/online/users?sort=-username").await.body), ["cat", "bob", "ann"]);
    drop(sockets);
    app.shutdown().await;
}

#[test]
fn pages_hold_every_row_once_and_exactly_page_size() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (app, admin, sockets) = runtime.block_on(async {
        let app = TestApp::start().await;
        let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
        let mut sockets = Vec::new();
        for _ in 0..23 {
            sockets.push(bob.connect(&app).await);
        }
        (app, admin, sockets)
    });
    let all: BTreeSet<String> = sockets.iter().map(|socket| socket.id.clone()).collect();
    proptest!(ProptestConfig::with_cases(20), |(size in 1_usize..30, sort in prop::sample::select(vec!["id", "-connectedAt", "node", "username", "-rttMs"]))| {
        runtime.block_on(async {
            let mut seen = Vec::new();
            let pages = all.len().div_ceil(size);
            for page in 1..=pages + 1 {
                let body = admin.get(&format!("/api/v1/online/clients?page={page}&pageSize={size}&sort={sort}")).await.body;
                let rows = body["list"].as_array().unwrap();
                let expected = if page < pages { size } else if page == pages { all.len() - size * (pages - 1) } else { 0 };
                assert_eq!((rows.len(), &body["totalCount"], &body["pageCount"]), (expected, &json!(all.len()), &json!(pages)));
                seen.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            }
            assert_eq!(seen.len(), all.len(), "no row twice");
            assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
        });
    });
    runtime.block_on(async {
        drop(sockets);
        app.shutdown().await;
    });
}

#[tokio::test]
async fn without_the_permission_only_masked_addresses_can_be_seen_searched_or_filtered() {
    let app = behind_a_proxy().await;
    let (ops, admin) = (app.user("ops", "operator").await, app.user("root", "admin").await);
    let bob = app.user("bob", "member").await;
    let sockets = (from(&app, &bob, "203.0.113.7").await, from(&app, &bob, "2001:db8:1:2::9").await);
    let rows = ops.get("/api/v1/online/clients?sort=connectedAt").await.body["list"].clone();
    assert_eq!((&rows[0]["ip"], &rows[1]["ip"]), (&json!("203.0.113.0/24"), &json!("2001:db8:1::/48")));
    let hotgo = ops.get("/admin/monitor/userOnlineList").await.body["data"]["list"].clone();
    assert!(hotgo.as_array().unwrap().iter().all(|row| row["ip"].as_str().unwrap().contains('/')), "{hotgo}");
    for query in ["?ip=203.0.113.7", "?q=203.0.113.7", "?ip=203.0.113.7/32", "?ip=2001:db8:1:2"] {
        assert!(ids(&ops, query).await.is_empty(), "{query} tells an operator where somebody is");
        assert_eq!(ids(&admin, query).await.len(), 1, "{query}");
    }
    assert_eq!(ids(&ops, "?ip=203.0.113.0/24").await.len(), 1);
    let sessions = admin.get(&format!("/api/v1/sessions?user={}", bob.id)).await.body;
    assert_eq!(sessions["list"][0]["ip"], "127.0.0.1");
    drop(sockets);
    app.shutdown().await;
}

#[tokio::test]
async fn a_forwarded_address_is_believed_from_a_trusted_proxy_only() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let socket = from(&app, &bob, "203.0.113.7").await;
    let row = admin.get("/api/v1/online/clients").await.body["list"][0].clone();
    assert_eq!(row["ip"], "127.0.0.1");
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn what_a_list_cannot_do_is_told_with_the_field() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let long = format!("q={}", "x".repeat(50_000));
    for (query, field) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=abc", "page"),
        ("page=99999999999999999999", "page"),
        ("pageSize=0", "pageSize"),
        ("pageSize=100000", "pageSize"),
        ("sort=password", "sort"),
        ("sort=", "sort"),
        ("ip=10.0.0.0/99", "ip"),
        ("connectedFrom=yesterday", "connectedFrom"),
        (long.as_str(), "q"),
    ] {
        let refused = admin.get(&format!("/api/v1/online/clients?{query}")).await;
        assert_eq!(
            (refused.status, &refused.body["field"]),
            (422, &json!(field)),
            "{}: {}",
            &query[..query.len().min(40)],
            refused.text
        );
    }
    assert_eq!(admin.get("/api/v1/online/users?sort=ip").await.status, 422);
    assert_eq!(admin.get("/api/v1/online/clients").await.body["list"], json!([]), "nobody is [] and not null");
    app.shutdown().await;
}

#[tokio::test]
async fn users_counts_details_and_the_green_dot_agree() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let (bob, eve) = (app.user("bob", "member").await, app.user("eve", "member").await);
    let sockets = (bob.connect(&app).await, bob.connect(&app).await);
    let counts = admin.get("/api/v1/online/counts").await.body;
    assert_eq!((&counts["clients"], &counts["sessions"], &counts["users"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!((&counts["byRole"], &counts["byApp"]), (&json!({"member": 2}), &json!({"": 2})));
    let users = admin.get("/api/v1/online/users").await.body;
    assert_eq!((&users["totalCount"], &users["list"][0]["clients"]), (&json!(1), &json!(2)));
    let details = admin.get(&format!("/api/v1/online/users/{}", bob.id)).await.body;
    assert_eq!((&details["online"], details["clients"].as_array().unwrap().len()), (&json!(true), 2));
    assert_eq!(admin.get("/api/v1/online/users/999").await.status, 404);
    assert_eq!(admin.get("/api/v1/online/users/999/why").await.status, 404);
    let why = admin.get(&format!("/api/v1/online/users/{}/why", bob.id)).await.body;
    assert!(why["sentence"].as_str().unwrap().starts_with("Online: 2 clients open"), "{why}");
    let lookup = async || admin.post("/api/v1/online/lookup", json!({"users": [bob.id, eve.id, "999"]})).await.body;
    eventually("the green dot knows both clients", || async { lookup().await["users"][&bob.id]["clients"] == 2 }).await;
    let lookup = lookup().await;
    assert_eq!(lookup["users"][&bob.id]["online"], true);
    assert_eq!(
        (&lookup["users"][&eve.id]["online"], &lookup["users"]["999"]["online"]),
        (&json!(false), &json!(false))
    );
    assert!(lookup["users"][&eve.id]["lastSeenAt"].is_string(), "eve has logged in: {lookup}");
    assert_eq!(lookup["users"]["999"], json!({"online": false, "clients": 0}), "nobody of that name was ever seen");
    assert!(lookup["complete"] == true && lookup["node"].as_str().unwrap().starts_with('n'), "{lookup}");
    assert!(lookup["rev"].is_u64() && lookup["asOf"].is_string(), "{lookup}");
    let asked = admin.post("/api/v1/online/lookup", json!({"users": ["999", eve.id, "10", eve.id, "shop:7"]})).await;
    let places = ["999", &eve.id, "10", "shop:7"].map(|user| asked.text.find(&format!("\"{user}\":{{")).unwrap());
    assert!(places.is_sorted(), "in the order asked: {}", asked.text);
    assert_eq!(asked.body["users"].as_object().unwrap().len(), 4);
    assert_eq!(admin.post("/api/v1/online/lookup", json!({"users": []})).await.body["users"], json!({}));
    let many: Vec<String> = (0..501).map(|number| number.to_string()).collect();
    assert_eq!(admin.post("/api/v1/online/lookup", json!({"users": many[..500]})).await.status, 200);
    assert_eq!(admin.post("/api/v1/online/lookup", json!({"users": many})).await.body["field"], "users");
    for path in ["clients", "users", "counts"] {
        assert_eq!(eve.get(&format!("/api/v1/online/{path}")).await.status, 403);
    }
    assert_eq!(eve.post("/api/v1/online/lookup", json!({"users": []})).await.status, 403);
    drop(sockets);
    app.shutdown().await;
}
