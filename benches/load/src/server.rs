//! A server under test as a process of its own, on a core of its own.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;

pub(crate) const PASSWORD: &str = "a password for the load";
/// Sockets of one user.
pub(crate) const PER_USER: usize = 100;

/// Running; killed when dropped.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    metrics: Option<SocketAddr>,
    /// From the start of the process to its address.
    pub(crate) started_in: Duration,
    rest: Rest,
    _data: Option<TempDir>,
}

/// A user of ours.
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) token: String,
}

impl Server {
    /// Rollcall with its defaults, but for what would stop so many sockets of one machine.
    pub(crate) fn rollcall(binary: &Path, settings: &[(&str, &str)]) -> io::Result<Server> {
        let data = tempfile::tempdir()?;
        // Twice: the first start makes the database and the keys.
        drop(Server::start(Command::new(binary), data.path(), settings)?);
        let mut server = Server::start(Command::new(binary), data.path(), settings)?;
        server._data = Some(data);
        Ok(server)
    }

    /// The same with data that outlive it.
    pub(crate) fn start(mut command: Command, data: &Path, settings: &[(&str, &str)]) -> io::Result<Server> {
        // Free a moment ago; the server does not say which port of its own choice /metrics has.
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        command.arg("serve").env("ROLLCALL_ADMIN_PASSWORD", PASSWORD).env("ROLLCALL__DATA__DIR", data);
        let database = format!("sqlite://{}/rollcall.db", data.display());
        for (key, value) in [
            ("DATABASE__URL", database.as_str()),
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("LOG__LEVEL", "error"),
            ("LIMITS__CLIENTS", "20000"),
            ("SOCKET__PER_ADDRESS", "20000"),
            ("SOCKET__HANDSHAKES_PER_USER", "0"),
            ("SOCKET__FRAMES_PER_SECOND", "1000000"),
            ("SOCKET__FRAME_BURST", "1000000"),
            ("AUTH__LOGINS_PER_ADDRESS", "0"),
            ("ONLINE__LIVE_MAX", "20000"),
            ("PRESENCE__GRACE", "0s"),
            ("METRICS__LISTEN", &metrics.to_string()),
        ]
        .iter()
        .chain(settings)
        {
            command.env(format!("ROLLCALL__{key}"), value);
        }
        let mut server = Server::spawn(command)?;
        server.metrics = Some(metrics);
        Ok(server)
    }

    /// The bare loop.
    pub(crate) fn limit(binary: &Path) -> io::Result<Server> {
        Server::spawn(Command::new(binary))
    }

    fn spawn(mut command: Command) -> io::Result<Server> {
        let (theirs, ours) = cores()?;
        let begun = Instant::now();
        // A child inherits the core.
        sched_setaffinity(None, &theirs)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        sched_setaffinity(None, &ours)?;
        let mut child = child?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line)?;
        let started_in = begun.elapsed();
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("http://")?.parse().ok());
        let address = address.ok_or_else(|| io::Error::other("the server did not start"))?;
        let (process, rest) = (Process::of(child), Rest::default());
        Ok(Server { process, address, metrics: None, started_in, rest, _data: None })
    }

    /// What `/metrics` says now, by name and labels as they stand there; nothing for the limit.
    pub(crate) fn figures(&self) -> HashMap<String, f64> {
        let Some(metrics) = self.metrics else { return HashMap::new() };
        let answer = self.rest.0.get(format!("http://{metrics}/metrics")).call();
        let text = answer.and_then(|mut answer| answer.body_mut().read_to_string()).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                line.rsplit_once(' ')?
                    .1
                    .parse()
                    .ok()
                    .map(|value| (line.rsplit_once(' ').unwrap_or_default().0.to_owned(), value))
            })
            .collect()
    }

    /// A user for every hundred of so many sockets.
    pub(crate) fn members(&self, admin: &str, sockets: usize) -> Vec<Member> {
        (0..sockets.div_ceil(PER_USER)).map(|number| self.member(admin, &format!("load{number}"))).collect()
    }

    /// A new user, logged in.
    pub(crate) fn member(&self, admin: &str, name: &str) -> Member {
        let new = json!({"username": name, "password": PASSWORD, "roles": ["member"]});
        let user = self.call("POST", "/users", admin, Some(&new));
        Member { id: text(&user["id"]), token: self.login(name) }
    }

    /// A login; its access token.
    pub(crate) fn login(&self, username: &str) -> String {
        let login = json!({"username": username, "password": PASSWORD});
        text(&self.call("POST", "/auth/login", "", Some(&login))["accessToken"])
    }

    /// A REST call; its answer, or nothing.
    pub(crate) fn call(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> Value {
        self.rest.ask(self.address, method, path, token, body).1
    }
}

/// Makes REST calls, and keeps its connections as a backend does.
pub(crate) struct Rest(ureq::Agent);

impl Default for Rest {
    fn default() -> Rest {
        Rest(ureq::Agent::config_builder().http_status_as_error(false).build().new_agent())
    }
}

impl Rest {
    /// A call; its status, 0 when nobody answers, and its answer.
    pub(crate) fn ask(
        &self,
        server: SocketAddr,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let url = format!("http://{server}/api/v1{path}");
        let request = ureq::http::Request::builder().method(method).uri(url);
        let request =
            request.header("authorization", format!("Bearer {token}")).header("content-type", "application/json");
        let request = request.body(body.map(Value::to_string).unwrap_or_default()).expect("a request");
        match self.0.run(request) {
            Ok(mut answer) => (answer.status().as_u16(), answer.body_mut().read_json().unwrap_or_default()),
            Err(_) => (0, Value::Null),
        }
    }
}

/// A string of an answer; empty for anything else.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A core for the servers and one for us; the same where there is only one.
fn cores() -> io::Result<(CpuSet, CpuSet)> {
    let all = all_cores()?;
    let one = |core: usize| set_of(&[core]);
    Ok((one(all[0]), one(*all.last().expect("a machine has a core"))))
}

/// For several servers, of which each answers for itself.
pub(crate) fn every_core() -> io::Result<CpuSet> {
    Ok(set_of(all_cores()?))
}

/// Those that this process had when it began.
fn all_cores() -> io::Result<&'static [usize]> {
    static ALL: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    match ALL.get() {
        Some(all) => Ok(all),
        None => {
            let set = sched_getaffinity(None)?;
            Ok(ALL.get_or_init(|| (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()))
        }
    }
}

fn set_of(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    set
}
