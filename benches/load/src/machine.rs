//! What the machine says of itself: what it is, how much a process may open, what the kernel keeps for sockets.

use std::fs;
use std::process::Command;

use rustix::process::{Resource, getrlimit};

/// Bytes of a page of TCP's memory.
const PAGE: f64 = 4096.0;

/// When, what, and on which machine.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{}, commit {}, {cores} × {}, {}.",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        commit(),
        model.split_once('@').map_or(model, |(name, _)| name.trim()),
        said("uname", &["-sr"]),
    )
}

fn commit() -> String {
    let changed = if said("git", &["status", "--porcelain", "--", "src", "Cargo.lock"]).is_empty() {
        ""
    } else {
        ", changed since"
    };
    said("git", &["rev-parse", "--short", "HEAD"]) + changed
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().ok().filter(|output| output.status.success());
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Files a process may have open; the server inherits it.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Bytes that programs may still have.
pub(crate) fn available_memory() -> f64 {
    number(&read("/proc/meminfo"), "MemAvailable:", "MemAvailable:") * 1024.0
}

/// Bytes the kernel keeps for the sockets of the whole machine: structures (slabs) and what is on its way (pages of TCP).
/// Other processes move it, and so it is read only around what was done at once.
pub(crate) fn kernel_memory() -> f64 {
    let (memory, sockets) = (read("/proc/meminfo"), read("/proc/net/sockstat"));
    number(&memory, "Slab:", "Slab:") * 1024.0 + number(&sockets, "TCP:", "mem") * PAGE
}

/// The number after a word, in the first line that begins so.
fn number(text: &str, line: &str, word: &str) -> f64 {
    let line = text.lines().find(|candidate| candidate.starts_with(line)).unwrap_or_default();
    let mut words = line.split_whitespace().skip_while(|candidate| *candidate != word).skip(1);
    words.next().and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
