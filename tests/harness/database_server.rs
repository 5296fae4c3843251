//! A database server of a test's own, which may be stopped and paused.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::database;

/// A running server; gone with the test.
pub(crate) struct DatabaseServer {
    /// Its administrator's URL.
    pub(crate) url: String,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    // The last, so that the script hears of the end before it is killed.
    _script: Child,
}

impl DatabaseServer {
    /// `kind` is `postgres` or `mysql`.
    pub(crate) async fn start(kind: &str) -> DatabaseServer {
        DatabaseServer::spawn(kind, Command::new("tests/databases.sh")).await
    }

    /// The same with the certificate `server.pem` and its key `server.key` in `folder`.
    pub(crate) async fn with_tls(kind: &str, folder: &Path) -> DatabaseServer {
        let mut script = Command::new("tests/databases.sh");
        script.env("ROLLCALL_TEST_DATABASE_TLS", folder);
        DatabaseServer::spawn(kind, script).await
    }

    /// A PostgreSQL whose tables are on a disk of 8 MiB, which is full between the orders `fill` and `free`.
    pub(crate) async fn on_a_small_disk() -> DatabaseServer {
        let mut script = Command::new("tests/databases.sh");
        script.env("ROLLCALL_TEST_DATABASE_DISK", "8m");
        DatabaseServer::spawn("postgres", script).await
    }

    async fn spawn(kind: &str, mut script: Command) -> DatabaseServer {
        let script = script.args([kind, "control"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = script.stdin.take().unwrap();
        let mut answers = BufReader::new(script.stdout.take().unwrap()).lines();
        let url = next(&mut answers).await;
        DatabaseServer { url, orders, answers, _script: script }
    }

    /// The URL of a new empty database.
    pub(crate) async fn empty(&self) -> String {
        database::create(&self.url).await
    }

    /// `stop`, `start`, `pause`, `resume`, `fill` or `free`; done when this returns.
    pub(crate) async fn order(&mut self, order: &str) {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        assert_eq!(next(&mut self.answers).await, order);
    }
}

async fn next(answers: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = tokio::time::timeout(Duration::from_secs(90), answers.next_line()).await.expect("it answers in time");
    line.unwrap().expect("the script ended; what it says is above")
}
