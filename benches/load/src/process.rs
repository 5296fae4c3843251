//! A child process, and what the kernel says of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Running; killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Of each thread, also of those that have ended.
    spent: Mutex<HashMap<OsString, u64>>,
}

impl Process {
    pub(crate) fn of(child: Child) -> Process {
        Process { child, spent: Mutex::default() }
    }

    /// Processor time of all its threads so far.
    pub(crate) fn cpu(&self) -> Duration {
        let mut spent = self.spent.lock().expect("nothing panics while holding it");
        for task in std::fs::read_dir(self.file("task")).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            if let Some(nanoseconds) = text.split_whitespace().next().and_then(|first| first.parse().ok()) {
                spent.insert(task.file_name(), nanoseconds);
            }
        }
        Duration::from_nanos(spent.values().sum())
    }

    /// From now on all its threads run on these cores.
    pub(crate) fn run_on(&self, cores: &CpuSet) -> io::Result<()> {
        for task in std::fs::read_dir(self.file("task"))?.flatten() {
            let id = task.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            sched_setaffinity(id, cores)?;
        }
        Ok(())
    }

    /// Resident memory in bytes.
    pub(crate) fn rss(&self) -> f64 {
        let status = std::fs::read_to_string(self.file("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default() * 1024.0
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(self.file("fd")).map_or(0, Iterator::count)
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command whose process dies with the thread that starts it, however that ends; setpriv is part of every Debian.
pub(crate) fn mortal(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}
