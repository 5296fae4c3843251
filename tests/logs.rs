//! The logs: who tried to log in, who did what; found, taken as a file, whole or not; and people who are told what is kept of them,
//! or erased.

use std::path::Path;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::other_system::{accept, hotgo_token, shop};
use crate::harness::{Answer, PASSWORD, Said, Served, TestApp, TestUser, http_client, rollcall};

async fn rows(app: &TestApp, caller: &TestUser, path: &str) -> Vec<Value> {
    for node in app.nodes() {
        node.services.writer().flush().await;
    }
    let answer = caller.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.body["list"].as_array().unwrap().clone()
}

async fn lines(app: &TestApp, caller: &TestUser, method: &str, path: &str) -> (Answer, Vec<Value>) {
    for node in app.nodes() {
        node.services.writer().flush().await;
    }
    let answer = caller.call(method, path, if method == "GET" { Value::Null } else { json!({}) }).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    let lines = answer.text.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
    (answer, lines)
}

#[tokio::test]
async fn logins_are_found_by_who_how_and_when_and_never_show_a_secret() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let bob = app.user("bob", "member").await;
    app.try_login("bob", "a wrong password").await;
    app.try_login("nobody", "another wrong one").await;
    for (query, expected) in [
        ("outcome=failed", &["nobody", "bob"][..]),
        ("outcome=ok", &["bob", "root"]),
        ("outcome=bad_credentials&username=ob", &["nobody", "bob"]),
        (&format!("user={}", bob.id), &["bob"]),
        ("ip=127.0.0.1&pageSize=1", &["nobody"]),
        ("ip=127.0.0.2", &[]),
        ("to=2000-01-01T00:00:00Z", &[]),
        ("from=2000-01-01T00:00:00Z&username=root", &["root"]),
    ] {
        let found = rows(&app, &admin, &format!("/api/v1/logs/logins?{query}")).await;
        let names: Vec<&str> = found.iter().map(|row| row["username"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{query}");
    }
    let found = rows(&app, &admin, "/api/v1/logs/logins?outcome=ok&username=bob").await;
    let (row, text) = (&found[0], found[0].to_string());
    assert_eq!((&row["userId"], &row["sessionId"]), (&json!(bob.id), &json!(bob.session)));
    assert!(!text.contains(&bob.token) && !text.contains(PASSWORD), "{text}");
    let one = admin.get(&format!("/api/v1/logs/logins/{}", row["id"].as_str().unwrap())).await;
    assert_eq!(&one.body, row);
    assert_eq!(admin.get("/api/v1/logs/logins/0").await.status, 404);
    let upside_down = "/api/v1/logs/logins?from=2030-01-01T00:00:00Z&to=2020-01-01T00:00:00Z";
    assert_eq!(admin.get(upside_down).await.body["field"], "to");
    app.shutdown().await;
}

#[tokio::test]
async fn an_act_says_who_did_what_to_whom_from_where_why_and_what_was_before() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let change = json!({"displayName": "Bobby", "disabled": true, "reason": "=HYPERLINK(1)"});
    assert_eq!(admin.patch(&format!("/api/v1/users/{}", bob.id), change).await.status, 200);
    let found = rows(&app, &admin, &format!("/api/v1/logs/audit?target={}&action=user.name", bob.id)).await;
    let row = &found[0];
    assert_eq!((&row["actor"], &row["actorName"], &row["ip"]), (&json!(admin.id), &json!("root"), &json!("127.0.0.1")));
    assert_eq!((&row["before"]["displayName"], &row["after"]["displayName"]), (&json!(""), &json!("Bobby")));
    assert_eq!((&row["reason"], &row["erased"]), (&json!("=HYPERLINK(1)"), &json!(false)));
    let all = rows(&app, &admin, &format!("/api/v1/logs/audit?target={}&action=user.", bob.id)).await;
    assert_eq!(all.len(), 3, "made, named, disabled: {all:?}");
    let one = admin.get(&format!("/api/v1/logs/audit/{}", row["id"].as_str().unwrap())).await;
    assert_eq!(&one.body, row);

    let (csv, _) = lines(&app, &admin, "GET", "/api/v1/logs/audit/export?format=csv&action=user.name").await;
    assert!(csv.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    assert!(csv.headers["content-disposition"].to_str().unwrap().contains("rollcall-audit.csv"));
    assert!(csv.text.starts_with("id,at,actor,") && csv.text.contains(",'=HYPERLINK(1),"), "{}", csv.text);
    let exported = rows(&app, &admin, "/api/v1/logs/audit?action=log.export").await;
    assert_eq!((exported.len(), &exported[0]["target"]), (1, &json!("audit")));
    assert_eq!(admin.get("/api/v1/logs/audit/export?format=doc").await.status, 422);
    app.shutdown().await;
}

#[tokio::test]
async fn a_file_holds_every_row_once_however_many_pages_it_takes() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    // All of one moment, so that only the ids tell them apart.
    for _ in 0..1_203 {
        app.services.writer().write(rollcall::store::Entry::Login(rollcall::store::NewLogin {
            at: rollcall::clock::Clock::now(&*app.clock),
            user: None,
            username: "guess".into(),
            outcome: "bad_credentials",
            session: None,
            ip: "::1".into(),
            device: String::new(),
            os: String::new(),
            browser: String::new(),
            request_id: String::new(),
        }));
        if app.services.writer().waiting() > 500 {
            app.services.writer().flush().await;
        }
    }
    let (_, rows) = lines(&app, &admin, "GET", "/api/v1/logs/logins/export?format=jsonl&username=guess").await;
    let ids: std::collections::BTreeSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!((rows.len(), ids.len()), (1_203, 1_203));
    app.shutdown().await;
}

#[tokio::test]
async fn whoever_may_not_see_addresses_sees_networks_in_logs_and_files() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let role = json!({"name": "auditor", "permissions": ["audit:read"]});
    assert_eq!(admin.post("/api/v1/roles", role).await.status, 201);
    let eve = app.user("eve", "auditor").await;
    let found = rows(&app, &eve, "/api/v1/logs/logins?username=eve").await;
    assert_eq!(found[0]["ip"], "127.0.0.0/24");
    let (_, file) = lines(&app, &eve, "GET", "/api/v1/logs/audit/export?format=jsonl&action=role.create").await;
    assert_eq!(file[0]["ip"], "127.0.0.0/24");
    let refused = eve.get("/api/v1/logs/audit?ip=127.0.0.1").await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")));
    app.shutdown().await;
}

#[tokio::test]
async fn whoever_changes_accounts_is_not_told_what_they_may_not_see() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let path = format!("/api/v1/subjects/{}/export", bob.id);
    let mut words = vec!["user:write"];
    for lacking in ["audit:read", "online:ip"] {
        let name = lacking.replace(':', "-");
        let role = json!({"name": &name, "permissions": &words});
        assert_eq!(admin.post("/api/v1/roles", role).await.status, 201);
        let refused = app.user(&format!("without-{name}"), &name).await.post(&path, json!({})).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")), "{}", refused.text);
        assert!(refused.text.contains(lacking), "{}", refused.text);
        words.push(lacking);
    }
    assert_eq!(admin.post("/api/v1/roles", json!({"name": "all", "permissions": words})).await.status, 201);
    assert_eq!(app.user("eve", "all").await.post(&path, json!({})).await.status, 200);
    app.shutdown().await;
}

#[tokio::test]
async fn a_person_is_told_everything_without_secrets_and_erased_everywhere() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("Robert-Tables", "operator").await);
    let name = json!({"displayName": "Bobby Tables", "email": "bobby@example.com"});
    assert_eq!(admin.patch(&format!("/api/v1/users/{}", bob.id), name).await.status, 200);
    app.try_login("robert-tables", "a wrong password").await;
    let socket = bob.connect(&app).await;
    let (eve, path) = (app.user("eve", "member").await, format!("/api/v1/subjects/{}", bob.id));
    assert_eq!(bob.delete(&format!("/api/v1/online/users/{}", eve.id), json!({})).await.status, 200);

    let (file, told) = lines(&app, &admin, "POST", &format!("{path}/export")).await;
    for table in ["users", "user_roles", "sessions", "login_log", "audit_log", "log_people"] {
        assert!(told.iter().any(|line| line["table"] == table), "{table}: {}", file.text);
    }
    assert!(file.text.contains("bobby@example.com"));
    assert!(!file.text.contains("argon2") && !file.text.contains("password_hash"), "{}", file.text);

    assert_eq!(bob.post(&format!("{path}/erase"), json!({})).await.status, 403);
    let erased = admin.post(&format!("{path}/erase"), json!({"reason": "asked for it"})).await;
    assert_eq!(erased.status, 204, "{}", erased.text);
    assert_eq!(socket.ended().await.code, 4403);
    assert_eq!(bob.get("/api/v1/auth/me").await.status, 401);
    assert_eq!(admin.get(&format!("/api/v1/users/{}", bob.id)).await.status, 404);
    let (file, left) = lines(&app, &admin, "POST", &format!("{path}/export")).await;
    assert!(!left.is_empty(), "what must stay names them by id");
    for word in ["bert-tables", "Bert-Tables", "Robert-Tables", "Bobby", "bobby", "127.0.0.1"] {
        assert!(!file.text.contains(word), "{word}: {}", file.text);
    }
    for log in ["audit", "logins"] {
        let (file, _) = lines(&app, &admin, "GET", &format!("/api/v1/logs/{log}/export?format=jsonl")).await;
        assert!(!file.text.to_lowercase().contains("bert-tables") && !file.text.contains("obby"), "{}", file.text);
    }
    let act = rows(&app, &admin, "/api/v1/logs/audit?action=subject.erase").await.remove(0);
    assert_eq!(
        (&act["target"], &act["reason"], &act["actorName"]),
        (&json!(bob.id), &json!("asked for it"), &json!("root"))
    );
    let report = app.services.store().verify_logs().await.unwrap();
    assert!(report.is_whole() && report.chains.iter().any(|chain| chain.erased > 0), "{report:?}");
    app.shutdown().await;
}

#[tokio::test]
async fn the_last_administrator_is_not_erased_and_nobody_by_mistake() {
    let app = TestApp::start().await;
    let admin = app.user("root", "admin").await;
    let path = format!("/api/v1/subjects/{}/erase", admin.id);
    assert_eq!(admin.post(&path, json!({})).await.body["code"], "confirm_self");
    let last = admin.post(&path, json!({"confirmSelf": true})).await;
    assert_eq!((last.status, &last.body["code"]), (409, &json!("last_administrator")), "{}", last.text);
    for word in ["export", "erase"] {
        assert_eq!(admin.post(&format!("/api/v1/subjects/4711/{word}"), json!({})).await.status, 404, "{word}");
    }
    let second = app.user("second", "admin").await;
    assert_eq!(admin.post(&path, json!({"confirmSelf": true})).await.status, 204);
    let act = rows(&app, &second, "/api/v1/logs/audit?action=subject.erase").await.remove(0);
    assert_eq!((&act["actor"], &act["actorName"], &act["ip"]), (&json!(admin.id), &json!(""), &json!("")));
    app.shutdown().await;
}

#[tokio::test]
async fn somebody_of_another_system_is_erased_and_not_back_with_the_next_token() {
    let app = TestApp::with(|config| accept(config, &shop(""))).await;
    let admin = app.user("root", "admin").await;
    let now = app.services.clock().now().timestamp();
    let carl = app.foreign(hotgo_token(7, "carl", "clerk", now));
    assert_eq!(carl.get("/api/v1/auth/me").await.status, 200);
    assert_eq!(admin.post("/api/v1/subjects/shop:7/erase", json!({})).await.status, 204);
    let row = admin.get("/api/v1/users/shop:7").await.body;
    assert!(!row["username"].as_str().unwrap().contains("carl") && row["disabled"] == true, "{row}");
    let again = app.foreign(hotgo_token(7, "carl", "clerk", now + 1));
    assert_ne!(again.get("/api/v1/auth/me").await.status, 200);
    assert!(!admin.get("/api/v1/users/shop:7").await.text.contains("carl"));
    app.shutdown().await;
}

/// The database of a served binary, for somebody who has no business in it.
async fn intruder(folder: &Path) -> DatabaseConnection {
    let url = std::fs::read_to_string(folder.join("database-url"));
    let url = url.unwrap_or_else(|_| format!("sqlite://{}/rollcall.db", folder.display()));
    Database::connect(url).await.unwrap()
}

async fn verify(folder: &Path) -> Said {
    rollcall(folder, &["audit", "verify"]).await
}

async fn assert_found(folder: &Path, expected: &str, what: &str) {
    let said = verify(folder).await;
    assert_eq!(said.code, 1, "{what}: {}", said.out);
    assert!(said.out.contains("BROKEN") && said.out.contains(expected), "{what}: {}", said.out);
    assert!(said.err.contains("not as they were written"), "{what}: {}", said.err);
}

#[tokio::test]
async fn a_row_that_was_altered_moved_or_taken_away_is_named_by_the_command_line() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let server = Served::start(folder).await;
    for password in ["a wrong password", PASSWORD, PASSWORD] {
        let body = json!({"username": "admin", "password": password});
        http_client().post(format!("{}/api/v1/auth/login", server.url)).json(&body).send().await.unwrap();
    }
    for name in ["ann", "bob", "eve"] {
        assert_eq!(rollcall(folder, &["user", "add", name]).await.code, 0);
    }
    assert_eq!(server.terminate().await, 0);
    let whole = verify(folder).await;
    assert_eq!(whole.code, 0, "{}{}", whole.out, whole.err);
    assert!(
        whole.out.contains("audit/command line: 3 rows") && whole.out.ends_with("The logs are whole.\n"),
        "{}",
        whole.out
    );
    assert!(whole.out.contains("login/"), "{}", whole.out);

    let db = intruder(folder).await;
    let ours = "chain = 'audit/command line'";
    let act = async |sql: String| assert!(db.execute_unprepared(&sql).await.unwrap().rows_affected() > 0, "{sql}");
    for (done, undone, expected) in [
        ("SET action = 'user.praise' WHERE seq = 2 AND", "SET action = 'user.create' WHERE seq = 2 AND", "row 2 ("),
        ("SET target = '1' WHERE seq = 3 AND", "SET target = '4' WHERE seq = 3 AND", "row 3 ("),
        ("SET ip = '10.0.0.1' WHERE seq = 1 AND", "SET ip = '' WHERE seq = 1 AND", "row 1 ("),
        ("SET seq = 5 - seq WHERE seq > 1 AND", "SET seq = 5 - seq WHERE seq > 1 AND", "altered or moved"),
        ("SET seq = 20 WHERE seq = 2 AND", "SET seq = 2 WHERE seq = 20 AND", "row 2 is missing"),
    ] {
        act(format!("UPDATE rollcall_audit_log {done} {ours}")).await;
        assert_found(folder, expected, done).await;
        act(format!("UPDATE rollcall_audit_log {undone} {ours}")).await;
        assert_eq!(verify(folder).await.code, 0, "{undone}");
    }
    act("UPDATE rollcall_log_people SET name = 'somebody else' WHERE part = 'by' AND name = 'command line'".into())
        .await;
    assert_found(folder, "what stands beside row 1", "a name").await;
    act("UPDATE rollcall_log_people SET name = 'command line' WHERE part = 'by' AND name = 'somebody else'".into())
        .await;
    assert_eq!(verify(folder).await.code, 0);

    act(format!("DELETE FROM rollcall_audit_log WHERE seq = 3 AND {ours}")).await;
    assert_found(folder, "its end is missing: row 3 was the last one, 2 is found last", "the last row").await;
    act(format!(
        "UPDATE rollcall_log_chains SET seq = 2, hash = (SELECT hash FROM rollcall_audit_log WHERE seq = 2 AND {ours}) WHERE {ours}"
    ))
    .await;
    assert_found(folder, "not signed with a key of ours", "the end, and what remembers it").await;
    assert_eq!(rollcall(folder, &["user", "add", "zoe"]).await.code, 0);
    let said = verify(folder).await;
    assert!(said.out.contains("audit/command line/2: 1 rows"), "what comes later begins anew: {}", said.out);
    assert!(said.code == 1 && said.out.contains("not signed"), "and heals nothing: {}", said.out);
    act(format!("DELETE FROM rollcall_log_chains WHERE {ours}")).await;
    assert_found(folder, "begins and ends is missing", "the signed row").await;
}

#[tokio::test]
async fn no_route_changes_a_row_of_a_log() {
    let app = TestApp::start().await;
    let document = app.anonymous("GET", "/api/v1/openapi.json", Value::Null).await.body;
    for (path, item) in document["paths"].as_object().unwrap() {
        if path.starts_with("/logs") {
            assert_eq!(item.as_object().unwrap().keys().collect::<Vec<_>>(), ["get"], "{path}");
        }
    }
    app.shutdown().await;
}
