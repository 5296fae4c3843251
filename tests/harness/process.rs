//! The real binary as a child process: what only a process can show.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{PASSWORD, database};

/// Longest wait for a process to start, to run, or to stop; a password alone is seconds of work for a debug build among others.
const START: Duration = Duration::from_secs(90);

/// A running `rollcall serve`; killed when dropped.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) url: String,
    /// What it says after its address.
    pub(crate) out: Lines<BufReader<ChildStdout>>,
}

/// What a command of the binary said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Served {
    /// On a free port, with its data in `folder`, its log in `folder/log`.
    pub(crate) async fn start(folder: &Path) -> Served {
        Served::start_with(folder, &[]).await
    }

    /// The same with settings of the test's own, by the environment.
    pub(crate) async fn start_with(folder: &Path, settings: &[(&str, &str)]) -> Served {
        let mut command = binary(folder).await;
        command.arg("serve").envs(settings.iter().copied());
        Served::spawn(command, folder).await
    }

    /// The same with its data on a disk of 4 MiB, which is full while `folder/fill` exists (`folder/filled` says since
    /// when). The disk is a tmpfs in a mount namespace of the server's own: nobody else sees it.
    pub(crate) async fn start_on_a_small_disk(folder: &Path) -> Served {
        const SCRIPT: &str = r#"
            mkdir "$1/disk" && mount -t tmpfs -o size=4m tmpfs "$1/disk"
            (
                until [ -e "$1/fill" ]; do [ -d "$1" ] || exit 0; sleep 0.05; done
                cat /dev/zero > "$1/disk/filler" || true
                touch "$1/filled"
                while [ -e "$1/fill" ]; do sleep 0.05; done
                rm "$1/disk/filler"
            ) > /dev/null 2>&1 &
            exec "$2" serve"#;
        let mut command = Command::new("unshare");
        configure(&mut command, &folder.join("disk"));
        command.args(["-rm", "sh", "-euc", SCRIPT, "sh"]).arg(folder).arg(env!("CARGO_BIN_EXE_rollcall"));
        Served::spawn(command, folder).await
    }

    /// The same under a limit of open files.
    pub(crate) async fn start_under(open_files: u32, folder: &Path, settings: &[(&str, &str)]) -> Served {
        let mut command = Command::new("sh");
        configure(&mut command, folder);
        command.args(["-euc", "ulimit -n \"$1\"; exec \"$2\" serve", "sh", &open_files.to_string()]);
        command.arg(env!("CARGO_BIN_EXE_rollcall")).envs(settings.iter().copied());
        Served::spawn(command, folder).await
    }

    /// Processor time so far, in ticks of the kernel.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id().unwrap())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// A command of the test's own; its log is in `folder/log`.
    pub(crate) async fn spawn(mut command: Command, folder: &Path) -> Served {
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let command = command.env("ROLLCALL__SERVER__LISTEN", "127.0.0.1:0").stdout(Stdio::piped()).stderr(log);
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(START, lines.next_line()).await.expect("it starts in time");
        let Some(line) = line.unwrap() else {
            panic!(
                "the server ended before it printed its address:\n{}",
                std::fs::read_to_string(folder.join("log")).unwrap()
            );
        };
        let url = line.split_whitespace().find(|word| word.starts_with("http")).unwrap().to_owned();
        Served { child, url, out: lines }
    }

    /// Asks it to read its settings again.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    pub(super) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().unwrap() as i32).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Lets one go on that was paused.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it ends by itself; its exit code.
    pub(crate) async fn ended(&mut self) -> i32 {
        let status = tokio::time::timeout(START, self.child.wait()).await.expect("it ends in time");
        status.unwrap().code().unwrap_or(-1)
    }

    /// Asks it to stop as a service manager does; its exit code.
    pub(crate) async fn terminate(mut self) -> i32 {
        self.signal(Signal::TERM);
        self.ended().await
    }
}

/// Runs a command of the binary on the data in `folder`.
pub(crate) async fn rollcall(folder: &Path, words: &[&str]) -> Said {
    rollcall_with(folder, words, &[]).await
}

/// The same with settings of the test's own, by the environment.
pub(crate) async fn rollcall_with(folder: &Path, words: &[&str], settings: &[(&str, &str)]) -> Said {
    let mut command = binary(folder).await;
    let run = command.args(words).envs(settings.iter().copied()).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(START, run).await.unwrap().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn binary(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    configure(&mut command, folder);
    if let Some(url) = on_server(folder).await {
        command.env("ROLLCALL__DATABASE__URL", url).env("ROLLCALL__DATABASE__AUTO_MIGRATE", "true");
    }
    command
}

/// The folder's database on the server that tests run on: made for the first command, found by the next.
async fn on_server(folder: &Path) -> Option<String> {
    let note = folder.join("database-url");
    if let Ok(url) = std::fs::read_to_string(&note) {
        return Some(url);
    }
    let url = database::on_server().await?;
    std::fs::write(note, &url).unwrap();
    Some(url)
}

fn configure(command: &mut Command, folder: &Path) {
    command
        .env("ROLLCALL__DATA__DIR", folder)
        .env("ROLLCALL__DATABASE__URL", format!("sqlite://{}/rollcall.db", folder.display()))
        .env("ROLLCALL__AUTH__FOLLOW_INTERVAL", "50ms")
        .env("ROLLCALL_ADMIN_PASSWORD", PASSWORD);
}
