//! The ruler. It opens many authenticated sockets to a real Rollcall and prints what it saw: how fast, against the bare limit of
//! the machine, or how true, against what it knows itself to hold open.
//!
//! `rollcall-load full|quick|moment ROLLCALL LIMIT [RESULTS]` prints the table of goals, `rollcall-load truth full|quick|moment
//! ROLLCALL [RESULTS]` the table of truth: paths of binaries, and a file for the table. With `cluster` before it, a table is that of
//! several nodes. `rollcall-load strangers NUMBER ROLLCALL` shows that memory stays where it was.

mod alone;
mod bytes;
mod cluster;
mod goals;
mod growth;
mod hold;
mod interrupt;
mod machine;
mod measure;
mod nodes;
mod process;
mod report;
mod server;
mod slow;
mod socket;
mod strangers;
mod swarm;
mod truth;

use std::io;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "rollcall-load full|quick|moment ROLLCALL LIMIT [RESULTS]
rollcall-load truth full|quick|moment ROLLCALL [RESULTS]
rollcall-load cluster full|quick|moment ROLLCALL [RESULTS]
rollcall-load cluster truth full|quick|moment ROLLCALL [RESULTS]
rollcall-load strangers NUMBER ROLLCALL";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        // What the truth starts of itself, to take its network away.
        ["hold", server, sockets, token] => truth::hold(server, sockets, token).map(|()| true),
        // What the cluster's ruler starts of itself: one process may not have as many open files as ten nodes have clients.
        ["swarm", number, first_user] => hold::hold(number, first_user).map(|()| true),
        ["cluster", "truth", size, ours, ref rest @ ..] if rest.len() <= 1 => match truth::cluster::Size::named(size) {
            Some(size) => {
                truth::cluster::run(&size, Path::new(ours)).and_then(|table| shown(table, rest.first().copied()))
            }
            None => return usage(),
        },
        ["cluster", size, ours, ref rest @ ..] if rest.len() <= 1 => match cluster::Size::named(size) {
            Some(size) => cluster::run(&size, Path::new(ours))
                .and_then(|report| shown((report.text(size.title), true), rest.first().copied())),
            None => return usage(),
        },
        ["truth", size, ours, ref rest @ ..] if rest.len() <= 1 => match truth::Size::named(size) {
            Some(size) => truth::run(&size, Path::new(ours)).and_then(|table| shown(table, rest.first().copied())),
            None => return usage(),
        },
        ["strangers", number, ours] => match number.parse() {
            Ok(number) => strangers::run(number, Path::new(ours)).and_then(|table| shown(table, None)),
            Err(_) => return usage(),
        },
        [size, ours, limit, ref rest @ ..] if rest.len() <= 1 => match goals::Size::named(size) {
            Some(size) => goals::run(&size, Path::new(ours), Path::new(limit))
                .and_then(|report| shown((report.text(size.title), true), rest.first().copied())),
            None => return usage(),
        },
        _ => return usage(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rollcall-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Prints a table and writes it to the file, where one is named.
fn shown((text, good): (String, bool), file: Option<&str>) -> io::Result<bool> {
    print!("{text}");
    if let Some(file) = file {
        std::fs::write(file, text)?;
    }
    Ok(good)
}
