//! A redis-server of our own, and what it says of itself.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::process::{Process, mortal};

/// Longest wait for it to start.
const START: Duration = Duration::from_secs(30);

/// Running, with nothing in it at the beginning.
pub(crate) struct Redis {
    pub(crate) process: Process,
    port: u16,
    folder: PathBuf,
}

/// What it has done so far.
#[derive(Clone, Default)]
pub(crate) struct Said {
    /// Processor time of its process.
    pub(crate) cpu: Duration,
    /// Calls and microseconds, by command.
    pub(crate) commands: BTreeMap<String, (f64, f64)>,
}

impl Redis {
    pub(crate) fn start(folder: &Path) -> io::Result<Redis> {
        let port = free_port()?;
        Ok(Redis { process: spawn(port, folder)?, port, folder: folder.to_owned() })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// It dies, and comes again on the same port with nothing in it.
    pub(crate) fn start_again(&mut self, away: Duration) -> io::Result<()> {
        self.process.signal(rustix::process::Signal::KILL)?;
        let begun = Instant::now();
        while !self.process.has_ended() || begun.elapsed() < away {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process = spawn(self.port, &self.folder)?;
        Ok(())
    }

    /// What it has done so far.
    pub(crate) fn said(&self) -> io::Result<Said> {
        let text = info(self.port, "commandstats")?;
        let figure = |line: &str, name: &str| -> Option<f64> {
            line.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        let commands = text.lines().filter_map(|line| {
            let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            Some((name.to_owned(), (figure(figures, "calls")?, figure(figures, "usec")?)))
        });
        Ok(Said { cpu: self.process.cpu(), commands: commands.collect() })
    }
}

impl Said {
    /// Calls of each command since, as often as there was something to do.
    pub(crate) fn calls_since(&self, before: &Said, times: f64) -> String {
        let calls = self.commands.iter().filter_map(|(name, (calls, _))| {
            let each = (calls - before.commands.get(name).map_or(0.0, |(calls, _)| *calls)) / times;
            (each >= 0.01 && name != "info").then(|| format!("{each:.2} {}", name.replace('|', " ").to_uppercase()))
        });
        calls.collect::<Vec<_>>().join(", ")
    }
}

fn spawn(port: u16, folder: &Path) -> io::Result<Process> {
    let mut command = mortal(Path::new("redis-server"));
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(folder);
    let mut process = Process::of(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    let begun = Instant::now();
    while info(port, "server").is_err() {
        if process.has_ended() || begun.elapsed() > START {
            return Err(io::Error::other("redis-server did not start; on Debian: apt-get install redis-server"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}

fn info(port: u16, section: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(START))?;
    write!(stream, "INFO {section}\r\n")?;
    let (mut reader, mut line) = (BufReader::new(stream), String::new());
    reader.read_line(&mut line)?;
    let length: usize = line.trim().strip_prefix('$').and_then(|length| length.parse().ok()).unwrap_or_default();
    let mut text = vec![0; length];
    reader.read_exact(&mut text)?;
    if length == 0 { Err(io::Error::other(line)) } else { Ok(String::from_utf8_lossy(&text).into_owned()) }
}

/// Not one that the system hands out to whoever asks for any: it must still be free when the server starts, and starts again.
fn free_port() -> io::Result<u16> {
    let first = std::process::id() as u16 % 10_000;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (10_240 + first..30_240).find(free).ok_or_else(|| io::Error::other("no port is free"))
}
