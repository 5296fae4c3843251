//! The table of truth: a server is treated as badly as clients, networks and operators can, while this program knows by itself
//! what must be listed.

mod calls;
mod churn;
pub(crate) mod cluster;
mod crowd;
mod doors;
mod live;
mod misbehaviour;
mod oracle;
mod random;
mod table;
mod vanish;

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use calls::Calls;
use churn::Churn;
use doors::Doors;
use oracle::Findings;
use table::{Table, Truth, Use};
pub(crate) use vanish::hold;
use vanish::{VANISHING, Vanished, vanish};

use crate::server::{Member, Server};

/// How long and how many.
pub(crate) struct Size {
    title: &'static str,
    name: &'static str,
    /// Before anything is counted: what a first use of everything leaves behind.
    warm: Duration,
    churn: Duration,
    /// After everybody has gone.
    after: Duration,
    /// Between two quiet points.
    quiet: Duration,
    /// Between two looks at the memory.
    look: Duration,
    members: usize,
    /// Sockets at once.
    most: usize,
    vanishing: usize,
    /// `socket.ping_interval` and `socket.pong_timeout` in seconds.
    ping: (u64, u64),
}

/// `presence.grace` in seconds.
const GRACE: u64 = 2;

impl Size {
    /// `full`, `quick`, or `moment`, which shows only that it runs.
    pub(crate) fn named(name: &str) -> Option<Size> {
        let full = Size {
            title: "How true",
            name: "full",
            warm: Duration::from_secs(10),
            churn: Duration::from_secs(600),
            after: Duration::from_secs(300),
            quiet: Duration::from_secs(30),
            look: Duration::from_secs(10),
            members: 60,
            most: 2_000,
            vanishing: 100,
            ping: (25, 10),
        };
        let secs = Duration::from_secs;
        match name {
            "full" => Some(full),
            "quick" => Some(Size {
                title: "How true, quickly",
                name: "quick",
                warm: secs(3),
                churn: secs(40),
                after: secs(12),
                quiet: secs(10),
                look: secs(10),
                members: 20,
                most: 1_000,
                ..full
            }),
            "moment" => Some(Size {
                title: "A moment",
                name: "moment",
                warm: secs(0),
                churn: secs(2),
                after: secs(0),
                quiet: secs(1),
                look: secs(1),
                members: 3,
                most: 60,
                vanishing: 5,
                ping: (1, 1),
            }),
            _ => None,
        }
    }

    fn gone_after(&self) -> Duration {
        // The server looks once a second whether a ping is due, then whether it was answered; and we look at the list.
        Duration::from_secs(self.ping.0 + self.ping.1 + 3)
    }
}

/// The table, and whether all of it is true. Runs in a network of its own where that can be had, so that cables can be cut.
pub(crate) fn run(size: &Size, rollcall: &Path) -> io::Result<(String, bool)> {
    let can = |flag: &&str| {
        let script = "ip link set lo up && ip link add ours type veth peer name theirs && command -v nsenter";
        let tried = Command::new("unshare").args([flag, "sh", "-c", script]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    // The second is for those who are not root.
    let isolation = ["--net", "-rn"].into_iter().find(can);
    let Some(flag) = isolation.filter(|_| !vanish::is_isolated()) else {
        let table = measured(size, rollcall)?;
        return Ok((table.text(size.title), table.is_true()));
    };
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args([flag, "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .args(["truth", size.name])
        .arg(rollcall)
        .env("ROLLCALL_TRUTH_ISOLATED", "1")
        .stderr(std::process::Stdio::inherit())
        .output()?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success()))
}

fn measured(size: &Size, rollcall: &Path) -> io::Result<Table> {
    let (interval, timeout) = (format!("{}s", size.ping.0), format!("{}s", size.ping.1));
    let server = Server::rollcall(
        rollcall,
        &[
            // Those who vanish come over a cable.
            ("SERVER__LISTEN", if vanish::is_isolated() { "0.0.0.0:0" } else { "127.0.0.1:0" }),
            ("SOCKET__PING_INTERVAL", &interval),
            ("SOCKET__PONG_TIMEOUT", &timeout),
            ("PRESENCE__GRACE", &format!("{GRACE}s")),
            ("AUTH__ACCESS_TTL", "2h"),
        ],
    )?;
    let start = Use::of(&server);
    let admin = server.login("admin");
    let members: Vec<Member> =
        (0..size.members).map(|number| server.member(&admin, &format!("member{number}"))).collect();
    let vanishing = server.member(&admin, VANISHING);
    let doors = Doors::of(vec![server.address]);
    std::thread::scope(|scope| {
        let mut churn = Churn::new(&doors, &admin, members, Calls::start(scope, &doors), size.most)?;
        if !size.warm.is_zero() {
            churn.run(size.warm)?;
            empty(&mut churn)?;
        }
        let before = Use::of(&server);
        let vanished = scope.spawn(|| vanish(&server, &admin, &vanishing, size.vanishing, size.gone_after()));
        let (findings, uses) = soak(size, (&server, &doors), &admin, &mut churn)?;
        let vanished: Vanished = vanished.join().map_err(|_| io::Error::other("the thread of the vanished died"))??;
        empty(&mut churn)?;
        let emptied = Use::of(&server);
        std::thread::sleep(size.after);
        let after = Use::of(&server);
        let truth = Truth {
            vanished,
            findings,
            kicks: std::mem::take(&mut churn.crowd.kicks),
            start,
            before,
            emptied,
            after,
            uses,
        };
        Ok(table::table(size, truth, &churn))
    })
}

/// Churn with quiet points.
fn soak(
    size: &Size,
    (server, doors): (&Server, &Doors),
    admin: &str,
    churn: &mut Churn<'_>,
) -> io::Result<(Findings, Vec<(f64, Use)>)> {
    let (begun, mut findings) = (Instant::now(), Findings::default());
    let (mut uses, mut quiet, mut look) = (Vec::new(), size.quiet, Duration::ZERO);
    churn.watch()?;
    while begun.elapsed() < size.churn {
        churn.run(Duration::from_millis(250).min(size.look))?;
        if begun.elapsed() > quiet {
            findings.compare(churn, doors, admin)?;
            quiet = begun.elapsed() + size.quiet;
        }
        if begun.elapsed() >= look {
            uses.push((begun.elapsed().as_secs_f64() / 60.0, Use::of(server)));
            look += size.look;
        }
    }
    findings.compare(churn, doors, admin)?;
    Ok((findings, uses))
}

/// Everybody goes, and the server has done what there was to do.
fn empty(churn: &mut Churn<'_>) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    churn.crowd.undeafen();
    churn.close_all();
    while (!churn.crowd.people.is_empty() || churn.calls.waiting > 0) && Instant::now() < deadline {
        churn.hear()?;
        churn.crowd.poll(Duration::from_millis(20))?;
    }
    // The server lingers a second for the last words, and keeps those who were lost for the grace.
    let settled = Instant::now() + Duration::from_secs(GRACE + 2);
    while Instant::now() < settled {
        churn.hear()?;
        churn.crowd.poll(Duration::from_millis(50))?;
    }
    Ok(())
}
