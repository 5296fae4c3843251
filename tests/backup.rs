//! Backups: written while everybody works, and put back whole or not at all.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::harness::{PASSWORD, Port, Said, Served, http_client, rollcall, rollcall_with};

/// A folder whose database is SQLite's, whatever the other tests run on.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/rollcall.db", folder.path().display());
    std::fs::write(folder.path().join("database-url"), url).unwrap();
    folder
}

async fn call(method: &str, url: String, token: &str, body: Value) -> (u16, Value) {
    let call = http_client().request(method.parse().unwrap(), url).bearer_auth(token).json(&body);
    let answer = call.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

async fn login(server: &str) -> String {
    let login = json!({"username": "admin", "password": PASSWORD});
    let (status, body) = call("POST", format!("{server}/api/v1/auth/login"), "", login).await;
    assert_eq!(status, 200, "{body}");
    body["accessToken"].as_str().unwrap().to_owned()
}

/// What was acknowledged: a session, and an account with the audit row of its making. Every second session is ended again.
struct Acknowledged {
    token: String,
    ended: bool,
    username: String,
}

async fn work(server: String, number: usize) -> Acknowledged {
    let token = login(&server).await;
    let username = format!("user{number}");
    let new = json!({"username": username, "password": "a long password", "roles": ["member"]});
    assert_eq!(call("POST", format!("{server}/api/v1/users"), &token, new).await.0, 201);
    let ended = number.is_multiple_of(2);
    if ended {
        assert_eq!(call("POST", format!("{server}/api/v1/auth/logout"), &token, Value::Null).await.0, 204);
    }
    Acknowledged { token, ended, username }
}

#[tokio::test]
async fn a_backup_under_churn_holds_every_acknowledged_session_and_audit_row() {
    let (origin, elsewhere) = (folder(), folder());
    let file = elsewhere.path().join("rollcall.backup");
    let server = Served::start_with(origin.path(), &[("ROLLCALL__AUTH__LOGINS_PER_ADDRESS", "0")]).await;
    let (stop, tasks) = (Arc::new(AtomicBool::new(false)), TaskTracker::new());
    let mut before = Vec::new();
    for number in 0..6 {
        before.push(work(server.url.clone(), number).await);
    }
    // Others write all the while.
    for worker in 1..=2 {
        let (stop, url) = (stop.clone(), server.url.clone());
        tasks.spawn(async move {
            let mut number = worker * 1000;
            while !stop.load(Ordering::Relaxed) {
                work(url.clone(), number).await;
                number += 1;
            }
        });
    }
    let said = rollcall(origin.path(), &["backup", file.to_str().unwrap()]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    stop.store(true, Ordering::Relaxed);
    tasks.close();
    tasks.wait().await;
    assert_eq!(server.terminate().await, 0);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let said = rollcall(elsewhere.path(), &["restore", file.to_str().unwrap()]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    for file in ["rollcall.db", "signing-keys.json", "restored-settings.toml"] {
        let mode = std::fs::metadata(elsewhere.path().join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    let server = Served::start(elsewhere.path()).await;
    let admin = login(&server.url).await;
    for Acknowledged { token, ended, username } in before {
        let me = call("GET", format!("{}/api/v1/auth/me", server.url), &token, Value::Null).await.0;
        assert_eq!(me, if ended { 401 } else { 200 }, "{username}'s maker");
        let audit = format!("{}/api/v1/logs/audit?action=user.create&pageSize=500", server.url);
        let rows = call("GET", audit, &admin, Value::Null).await.1;
        let row = |row: &Value| row.to_string().contains(&format!("\"{username}\""));
        assert!(rows["list"].as_array().unwrap().iter().any(row), "{username} in {rows}");
    }
    assert_eq!(server.terminate().await, 0);
}

fn refused(said: &Said, words: &str) {
    assert_eq!((said.code, said.err.trim().lines().count()), (1, 1), "{}", said.err);
    assert!(said.err.contains(words), "{}", said.err);
}

#[tokio::test]
async fn a_restore_needs_a_server_that_is_down_and_replaces_nothing_unasked() {
    let folder = folder();
    let (root, file) = (folder.path(), folder.path().join("it.backup"));
    let file = file.to_str().unwrap();
    refused(&rollcall(root, &["backup", file]).await, "there is no database");
    let server = Served::start(root).await;
    assert_eq!(rollcall(root, &["backup", file]).await.code, 0);
    refused(&rollcall(root, &["backup", file]).await, "--force");
    assert_eq!(rollcall(root, &["backup", file, "--force"]).await.code, 0);
    let pid = server.child.id().unwrap();
    refused(&rollcall(root, &["restore", file, "--force"]).await, &format!("process {pid}"));
    let token = login(&server.url).await;
    assert_eq!(server.terminate().await, 0);

    let before = std::fs::read(root.join("rollcall.db")).unwrap();
    refused(&rollcall(root, &["restore", file]).await, "--force");
    assert_eq!(std::fs::read(root.join("rollcall.db")).unwrap(), before);
    let said = rollcall(root, &["restore", file, "--force"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let aside = std::fs::read_dir(root).unwrap().filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("rollcall.db.before-restore-")
    });
    assert!(aside.count() > 0, "what was there is put aside");
    let server = Served::start(root).await;
    let me = format!("{}/api/v1/auth/me", server.url);
    assert_eq!(call("GET", me, &token, Value::Null).await.0, 401, "that session is younger than the backup");
    login(&server.url).await;
    assert_eq!(server.terminate().await, 0);
}

#[tokio::test]
async fn what_is_no_whole_backup_changes_nothing() {
    let (origin, target) = (folder(), folder());
    let file = origin.path().join("it.backup");
    assert_eq!(rollcall(origin.path(), &["migrate"]).await.code, 0);
    assert_eq!(rollcall(origin.path(), &["backup", file.to_str().unwrap()]).await.code, 0);
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xFF;
    let evil = [("rollcall.db", b"x".as_slice()), ("../evil", b"x")];
    for (name, bytes) in [
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("flipped", flipped),
        ("empty", Vec::new()),
        ("other", b"something else entirely".to_vec()),
        ("traversal", archive(1, &evil)),
        ("unasked", archive(1, &[("rollcall.db", b"x"), ("authorized_keys", b"x")])),
        ("no-database", archive(1, &[("rollcall.toml", b"")])),
        ("damaged", archive(1, &[("rollcall.db", &[7; 5000])])),
        ("later", archive(2, &[("rollcall.db", b"x")])),
    ] {
        let broken = origin.path().join(name);
        std::fs::write(&broken, bytes).unwrap();
        let said = rollcall(target.path(), &["restore", broken.to_str().unwrap()]).await;
        assert_eq!((said.code, said.err.trim().lines().count()), (1, 1), "{name}: {}", said.err);
        let left: Vec<_> = std::fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "database-url" || name == "lock"), "{name} left {left:?}");
    }
    let said = rollcall(target.path(), &["restore", file.to_str().unwrap()]).await;
    assert_eq!(said.code, 0, "{}", said.err);
}

/// An archive by hand, with a manifest that fits.
fn archive(format: u32, members: &[(&str, &[u8])]) -> Vec<u8> {
    use sha2::Digest;
    let described = members.iter().map(|(name, bytes)| {
        let sha256: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"name": name, "bytes": bytes.len(), "sha256": sha256})
    });
    let manifest = json!({"format": format, "release": "9.9.9", "createdAt": "2030-01-01T00:00:00Z", "members": described.collect::<Vec<_>>()});
    let mut tar = Vec::new();
    for (name, bytes) in [("manifest.json", manifest.to_string().as_bytes())].iter().chain(members) {
        let mut header = tar::Header::new_gnu();
        // The library itself refuses to write such a name.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tar).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn for_a_server_database_the_tools_to_use_are_named() {
    for (url, tool) in [("postgres://u:hush@localhost/r", "pg_dump"), ("mysql://u:hush@localhost/r", "mariadb-dump")] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("database-url"), url).unwrap();
        for command in ["backup", "restore"] {
            let said = rollcall(folder.path(), &[command, "it.backup"]).await;
            refused(&said, tool);
            assert!(said.err.contains("signing-keys.json") && !said.err.contains("hush"), "{}", said.err);
        }
    }
}

#[tokio::test]
async fn health_asks_the_running_server() {
    let folder = folder();
    let server = Served::start(folder.path()).await;
    let listen = server.url.strip_prefix("http://").unwrap().to_owned();
    let settings = [("ROLLCALL__SERVER__LISTEN", listen.as_str())];
    let health = || rollcall_with(folder.path(), &["health"], &settings);
    assert_eq!(health().await.code, 0);
    assert_eq!(server.terminate().await, 0);
    let nobody = Port::reserve();
    let settings = [("ROLLCALL__SERVER__LISTEN", &*format!("127.0.0.1:{}", nobody.number))];
    refused(&rollcall_with(folder.path(), &["health"], &settings).await, "Nobody answers");
}
