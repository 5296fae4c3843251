//! A Redis of a test's own, which may be stopped, started again and made to forget.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest wait for it to start.
const START: Duration = Duration::from_secs(60);

/// A running redis-server; gone with the test.
pub(crate) struct Redis {
    port: u16,
    server: Option<Child>,
    folder: TempDir,
}

impl Redis {
    /// On a free port, with nothing in it.
    pub(crate) async fn start() -> Redis {
        for _ in 0..20 {
            let mut redis = Redis { port: free_port(), server: None, folder: tempfile::tempdir().unwrap() };
            if redis.spawn().await {
                return redis;
            }
        }
        panic!("redis-server finds no free port");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// It is gone, and whatever it held.
    pub(crate) async fn stop(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.start_kill().unwrap();
        server.wait().await.unwrap();
    }

    /// On the same port again, with nothing in it.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.spawn().await, "the port of redis-server is still free");
    }

    pub(crate) async fn flush(&self) {
        let _: () = self.ask("FLUSHALL", &[]).await;
    }

    /// The answer to a command.
    pub(crate) async fn ask<T: ::redis::FromRedisValue>(&self, command: &str, arguments: &[&str]) -> T {
        let client = ::redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        ::redis::cmd(command).arg(arguments).query_async(&mut connection).await.unwrap()
    }

    /// It answers nobody until [`Redis::resume`], though its connections stand.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.server.as_ref().and_then(Child::id).expect("it runs");
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    /// Whether it could have the port.
    async fn spawn(&mut self) -> bool {
        // It dies with the thread that started it, however the test ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server", "--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let mut server = command.spawn().expect("setpriv is part of every Debian");
        let client = ::redis::Client::open(self.url()).unwrap();
        let deadline = Instant::now() + START;
        loop {
            if let Some(ended) = server.try_wait().unwrap() {
                assert_ne!(
                    ended.code(),
                    Some(127),
                    "redis-server is needed and not installed; tests/all.sh installs it"
                );
                return false;
            }
            if client.get_multiplexed_async_connection().await.is_ok() {
                self.server = Some(server);
                return true;
            }
            assert!(Instant::now() < deadline, "redis-server does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Not one that the system hands out to whoever asks for any: it must still be free when the server starts, and starts again.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_240..30_240);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
