//! Tests of the database as a whole.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::testing::{at, empty, file_store, login, migrated, new_user, settings, shared, store};
use super::*;

/// Names of tables and, on SQLite, of indexes.
async fn tables(db: &impl ConnectionTrait) -> BTreeSet<String> {
    let sql = match db.get_database_backend() {
        DbBackend::Sqlite => "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'",
        DbBackend::Postgres => "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()",
        _ => "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    };
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    rows.iter().map(|row| row.try_get_by(0).unwrap()).collect()
}

#[tokio::test]
async fn every_migration_goes_down_and_up_again() {
    let store = store().await;
    assert_eq!(store.pending_migrations().await.unwrap(), 0);
    let before = tables(store.db()).await;
    store.migrate(Direction::Down(u32::MAX)).await.unwrap();
    assert_eq!(tables(store.db()).await, BTreeSet::from(["rollcall_migrations".to_owned()]));
    assert!(store.migration_status().await.unwrap().iter().all(|(_, applied)| !applied));
    store.migrate(Direction::Up).await.unwrap();
    assert_eq!(tables(store.db()).await, before);
    new_user(&store, "root", &["admin"]).await;
}

/// What a later release leaves behind that lets releases of this level run beside it.
async fn later_release(store: &Store, minimum: i32) {
    for sql in [
        "INSERT INTO rollcall_migrations VALUES ('m29990101_000099_later', 0)".to_owned(),
        format!("UPDATE rollcall_schema SET minimum = {minimum}"),
    ] {
        store.db().execute_unprepared(&sql).await.unwrap();
    }
}

#[tokio::test]
async fn the_schema_of_a_later_release_is_used_where_it_allows_that_and_never_touched() {
    let store = store().await;
    later_release(&store, rollcall_migrations::LEVEL).await;
    store.prepare().await.unwrap();
    store.migrate(Direction::Up).await.unwrap();
    let status = store.migration_status().await.unwrap();
    assert_eq!(status.last().unwrap(), &("m29990101_000099_later".to_owned(), true));
    let sentence = store.migrate(Direction::Down(1)).await.unwrap_err().to_string();
    assert!(sentence.contains("later release") && sentence.contains("migrate down with it"), "{sentence}");
    assert_eq!(store.migration_status().await.unwrap(), status);
    new_user(&store, "root", &["admin"]).await;
}

#[tokio::test]
async fn a_release_that_is_too_old_for_the_schema_does_nothing_and_says_so() {
    let store = store().await;
    later_release(&store, rollcall_migrations::LEVEL + 1).await;
    for result in [
        store.prepare().await,
        store.migrate(Direction::Up).await,
        store.migrate(Direction::Down(1)).await,
        store.migration_status().await.map(drop),
    ] {
        let sentence = result.unwrap_err().to_string();
        assert!(sentence.contains("later release") && sentence.contains("use that release"), "{sentence}");
    }
}

#[tokio::test]
async fn processes_that_start_together_migrate_once() {
    let (mut settings, _file) = shared().await;
    settings.auto_migrate = true;
    // The pool has to do without the connection that keeps the others waiting.
    settings.max_connections = 1;
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(Store::open(&settings).await.unwrap());
    }
    let (first, second, third) = tokio::join!(stores[0].prepare(), stores[1].prepare(), stores[2].prepare());
    for prepared in [first, second, third] {
        prepared.unwrap();
    }
    assert_eq!(stores[2].roles().await.unwrap().len(), 3);
}

#[tokio::test]
async fn one_process_of_a_database_is_at_it_at_a_time() {
    let (settings, _file) = shared().await;
    let (a, b) = (migrated(&settings).await, Store::open(&settings).await.unwrap());
    if a.backend() == DbBackend::Sqlite {
        return; // Its writers take turns by themselves.
    }
    let (first, beside) = (a.alone().await.unwrap(), tokio::time::timeout(Duration::from_millis(300), b.alone()).await);
    assert!(beside.is_err(), "both are at it");
    first.end().await;
    b.alone().await.unwrap().end().await;
    // Whoever is dropped in the middle holds nobody up.
    drop(a.alone().await.unwrap());
    tokio::time::timeout(Duration::from_secs(30), b.alone()).await.expect("nobody is at it").unwrap().end().await;
}

#[tokio::test]
async fn somebody_elses_tables_stay_as_they_are() {
    let store = Store::open(&empty().await).await.unwrap();
    for theirs in [
        "CREATE TABLE users (name VARCHAR(20))",
        "CREATE TABLE roles (x INT)",
        "CREATE TABLE sessions (y INT)",
        "CREATE TABLE seaql_migrations (z INT)",
        "CREATE UNIQUE INDEX users_username ON users (name)",
        "INSERT INTO users VALUES ('theirs')",
    ] {
        store.db().execute_unprepared(theirs).await.unwrap();
    }
    store.migrate(Direction::Up).await.unwrap();
    new_user(&store, "ours", &["admin"]).await;
    let foreign = ["users", "roles", "sessions", "seaql_migrations", "users_username"];
    for name in tables(store.db()).await {
        assert!(name.starts_with("rollcall_") || foreign.contains(&name.as_str()), "{name} has no prefix");
    }
    store.migrate(Direction::Down(u32::MAX)).await.unwrap();
    let rows = Statement::from_string(store.backend(), "SELECT name FROM users");
    let row = store.db().query_one_raw(rows).await.unwrap().unwrap();
    assert_eq!(row.try_get_by::<String, _>(0).unwrap(), "theirs");
}

#[test]
fn another_prefix_is_in_every_name() {
    // The prefix is set once per process, so this needs one of its own.
    let status = child("child_with_another_prefix").stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
#[ignore = "run by another_prefix_is_in_every_name in a process of its own"]
async fn child_with_another_prefix() {
    let mut settings = empty().await;
    settings.table_prefix = "house_".into();
    let store = Store::open(&settings).await.unwrap();
    store.migrate(Direction::Up).await.unwrap();
    new_user(&store, "root", &["admin"]).await;
    assert!(tables(store.db()).await.iter().all(|name| name.starts_with("house_")));
    settings.table_prefix = "other_".into();
    let refused = Store::open(&settings).await.err().unwrap().to_string();
    assert!(refused.contains("database.table_prefix"), "{refused}");
}

#[tokio::test]
async fn settings_that_do_not_work_are_named() {
    let mut odd_prefix = settings("sqlite::memory:");
    odd_prefix.table_prefix = "Roll Call".into();
    let nowhere = settings("sqlite:///proc/rollcall/rollcall.db");
    let nobody = settings("postgres://rollcall:hush@127.0.0.1:1/rollcall");
    let unreadable = settings("mysql://rollcall:hush@localhost:port/rollcall");
    let other = settings("oracle://rollcall:hush@localhost/rollcall");
    let folder = tempfile::tempdir().unwrap();
    let no_database = folder.path().join("text.db");
    std::fs::write(&no_database, "a text of more than sixteen bytes").unwrap();
    let no_database = settings(&format!("sqlite://{}", no_database.display()));
    for (settings, key) in [
        (odd_prefix, "database.table_prefix"),
        (nowhere, "database.url"),
        (nobody, "the database at 127.0.0.1:1 cannot be used"),
        (unreadable, "database.url cannot be read"),
        (other, "use sqlite://PATH, postgres://"),
        (no_database, "database.url"),
    ] {
        let sentence = Store::open(&settings).await.err().unwrap().to_string();
        assert!(sentence.contains(key) && !sentence.contains("hush"), "{sentence}");
    }
}

#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let (_store, file) = file_store().await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file.path()), mode(file.path().parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn a_locked_database_is_unavailable_and_comes_back_by_itself() {
    let (store, file) = file_store().await;
    let mut impatient = file.settings();
    impatient.timeout = Duration::from_millis(50);
    let impatient = Store::open(&impatient).await.unwrap();
    let lock = store.begin().await.unwrap();
    for _ in 0..3 {
        let error = impatient.set_setting("a", "b", at(0)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert_eq!(error.to_string(), "the database is not available");
        assert!(matches!(impatient.ping().await, Err(StoreError::Unavailable(_))));
    }
    assert_eq!(impatient.roles().await.unwrap().len(), 3, "reading goes on");
    drop(lock);
    // The lock is given back when the dropped transaction's connection is, which the next use of it waits for.
    store.ping().await.unwrap();
    impatient.set_setting("a", "b", at(0)).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_unavailable_until_there_is_room() {
    let store = migrated(&settings("sqlite::memory:")).await;
    let full = "PRAGMA max_page_count = 1"; // SQLite takes the present size at least
    store.db().execute_unprepared(full).await.unwrap();
    let long = "x".repeat(100_000);
    let error = store.set_setting("a", &long, at(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    store.db().execute_unprepared("PRAGMA max_page_count = 100000").await.unwrap();
    store.set_setting("a", &long, at(0)).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let store = store().await;
    store.close().await;
    assert!(matches!(store.roles().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let (settings, _file) = shared().await;
    let store = migrated(&settings).await;
    new_user(&store, "bob", &["member"]).await;
    store.close().await;
    let mut child = child("child_that_logs_in_until_it_is_killed")
        .env("ROLLCALL_TEST_URL", settings.url.expose())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let acknowledged = lines.filter_map(|line| line.split_once("session ").map(|(_, id)| id.to_owned()));
    let acknowledged: Vec<String> = acknowledged.take(50).collect();
    child.kill().unwrap(); // SIGKILL, in the middle of the next one
    child.wait().unwrap();
    assert_eq!(acknowledged.len(), 50);
    let store = Store::open(&settings).await.unwrap();
    for id in acknowledged {
        let caller = store.caller(id.parse().unwrap()).await.unwrap().expect("an acknowledged session");
        assert_eq!(caller.ended.unwrap().kind, Kind::Kick);
    }
    let query = AuditQuery { action: Some("online.kick".into()), ..Default::default() };
    assert!(store.audit(&query).await.unwrap().total >= 50);
}

#[tokio::test]
#[ignore = "run and killed by what_was_acknowledged_survives_a_kill"]
async fn child_that_logs_in_until_it_is_killed() {
    let store = Store::open(&settings(&std::env::var("ROLLCALL_TEST_URL").unwrap())).await.unwrap();
    let bob = store.user_named("bob").await.unwrap().unwrap().key;
    for second in 0..100_000 {
        let session = login(&store, &bob, second).await;
        let mut kick = NewRevocation::new(Kind::Kick, &Actor::system());
        kick.targets.sessions = vec![session];
        kick.ends_sessions = true;
        kick.audit = Some(Audited::of("online.kick", &bob));
        store.revoke(kick, at(second)).await.unwrap();
        println!("session {session}");
    }
}

fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("store::tests::{test}"), "--ignored", "--nocapture"]);
    command
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_row_is_on_exactly_one_page(users in 0u64..40, page_size in 1u64..12, q in prop_oneof!["", "1"]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = store().await;
            for n in 0..users {
                new_user(&store, &format!("user{n}"), &["member"]).await;
            }
            let expected: Vec<_> = (0..users).map(|n| format!("user{n}")).filter(|name| name.contains(&q)).collect();
            let pages = (expected.len() as u64).div_ceil(page_size);
            let mut found = Vec::new();
            for page in 1..=pages + 1 {
                let query = UserQuery { q: q.clone(), ..UserQuery::all(Paging { page, page_size }) };
                let answer = store.users(&query, at(0)).await.unwrap();
                assert_eq!(answer.total, expected.len() as u64);
                assert!(page >= pages || answer.list.len() as u64 == page_size);
                found.extend(answer.list.into_iter().map(|user| user.username));
            }
            assert_eq!(found, expected);
        });
    }
}
