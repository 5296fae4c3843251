//! Clients that are gone without a FIN: another process holds them, and its network is taken away. Where no network namespace
//! can be made, that process is stopped instead: its kernel goes on acknowledging, but nothing answers a ping any more.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::server::{Member, Server};
use crate::socket::{Heard, Socket};

/// Their user.
pub(crate) const VANISHING: &str = "vanishing";
/// Where the server is, seen from the other end of the cable, and the other end.
const OURS: &str = "10.203.0.1";
const THEIRS: &str = "10.203.0.2";
/// Between two looks at the list.
const LOOK: Duration = Duration::from_millis(200);

/// How it went.
pub(crate) struct Vanished {
    pub(crate) how: &'static str,
    /// Seconds until each was gone from the list.
    pub(crate) seconds: Vec<f64>,
    /// Still listed when nobody may be.
    pub(crate) still: usize,
}

/// The process that holds them; ended when dropped.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this process is alone in a network of its own, so that cables may be laid and cut.
pub(crate) fn is_isolated() -> bool {
    std::env::var_os("ROLLCALL_TRUTH_ISOLATED").is_some()
}

/// Opens so many, takes their network away, and watches the list; they may be online there so long.
pub(crate) fn vanish(
    server: &Server,
    admin: &str,
    member: &Member,
    sockets: usize,
    at_most: Duration,
) -> io::Result<Vanished> {
    let holder = hold_elsewhere(server.address, sockets, &member.token)?;
    let path = format!("/online/clients?username={VANISHING}&pageSize=500");
    // A user whose last client was lost is shown as leaving for the grace, and no more as online.
    let here = |row: &&Value| row["leaving"] != true;
    let listed =
        || server.call("GET", &path, admin, None)["list"].as_array().map_or(0, |rows| rows.iter().filter(here).count());
    let before = listed();
    if before != sockets {
        return Err(io::Error::other(format!("{before} of {sockets} who shall vanish are listed")));
    }
    let how = match is_isolated() {
        true => {
            inside(&holder, "ip link set theirs down")?;
            "network cut"
        }
        false => {
            kill_process(Pid::from_child(&holder.0), Signal::STOP)?;
            "process stopped"
        }
    };
    let (begun, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < sockets && begun.elapsed() < at_most * 2 {
        std::thread::sleep(LOOK);
        let gone = sockets - listed().min(sockets);
        seconds.resize(gone.max(seconds.len()), begun.elapsed().as_secs_f64());
    }
    let still = sockets - seconds.len();
    Ok(Vanished { how, seconds, still })
}

fn hold_elsewhere(server: SocketAddr, sockets: usize, token: &str) -> io::Result<Holder> {
    let program = std::env::current_exe()?;
    let reached = if is_isolated() { format!("{OURS}:{}", server.port()) } else { server.to_string() };
    let mut command = match is_isolated() {
        true => {
            let mut command = Command::new("unshare");
            command.arg("--net").arg(program);
            command
        }
        false => Command::new(program),
    };
    command.args(["hold", &reached, &sockets.to_string(), token]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut holder = Holder(command.spawn()?);
    if is_isolated() {
        lay_cable(&holder)?;
    }
    let mut line = String::new();
    BufReader::new(holder.0.stdout.take().expect("a pipe")).read_line(&mut line)?;
    if line.trim() != "holding" {
        return Err(io::Error::other("who shall vanish could not connect"));
    }
    Ok(holder)
}

/// Between this network and the holder's.
fn lay_cable(holder: &Holder) -> io::Result<()> {
    let network = |who: &str| fs::read_link(format!("/proc/{who}/ns/net"));
    let (ours, deadline) = (network("self")?, Instant::now() + Duration::from_secs(10));
    while network(&holder.0.id().to_string())? == ours {
        if Instant::now() > deadline {
            return Err(io::Error::other("unshare made no network namespace"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    shell(&format!(
        "ip link add ours type veth peer name theirs netns {} && ip address add {OURS}/30 dev ours && ip link set ours up",
        holder.0.id()
    ))?;
    inside(holder, &format!("ip address add {THEIRS}/30 dev theirs && ip link set theirs up"))
}

fn inside(holder: &Holder, script: &str) -> io::Result<()> {
    shell(&format!("nsenter --net --target {} sh -c '{script}'", holder.0.id()))
}

fn shell(script: &str) -> io::Result<()> {
    match Command::new("sh").args(["-c", script]).status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("failed: {script}"))),
    }
}

/// What the other process does: connects as soon as it can, says so, and answers pings until it is ended.
pub(crate) fn hold(server: &str, sockets: &str, token: &str) -> io::Result<()> {
    let server: SocketAddr = server.parse().map_err(io::Error::other)?;
    let count: usize = sockets.parse().map_err(io::Error::other)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut sockets: Vec<Socket> = Vec::new();
    while sockets.len() < count {
        match Socket::dial(server, None, token) {
            Ok(socket) => sockets.push(socket),
            Err(error) if Instant::now() > deadline => return Err(error),
            // The cable is not there yet.
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    let (mut buffer, mut greeted) = (vec![0; 16 * 1024], 0);
    loop {
        for socket in &mut sockets {
            socket.read(&mut buffer, |what| greeted += usize::from(matches!(what, Heard::Text(_))));
        }
        if greeted >= count {
            println!("holding");
            greeted = 0;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
