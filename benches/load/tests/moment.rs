//! The ruler works: a moment of everything it measures. What it measures then means nothing.

use std::path::Path;
use std::process::Command;

#[test]
fn the_table_of_goals_can_be_measured() {
    let load = Path::new(env!("CARGO_BIN_EXE_rollcall-load"));
    let beside = |name: &str| {
        let path = load.with_file_name(name);
        assert!(path.exists(), "{} is not built; run `cargo test --all`", path.display());
        path
    };
    let run = Command::new(load).arg("moment").arg(beside("rollcall")).arg(beside("rollcall-limit")).output().unwrap();
    let (out, err) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    assert!(run.status.success(), "{out}{err}");
    let last = out.lines().last().unwrap();
    assert!(last.starts_with("goals: ") && last.ends_with(" fall short"), "{out}");
    for goal in ["handshake", "idle client", "ping to reply", "broadcast", "push to one user", "page of 20", "sweep"] {
        let row = out.lines().find(|line| line.contains(goal)).unwrap_or_else(|| panic!("no {goal} in\n{out}"));
        assert!(!row.contains("NaN"), "{row}");
    }
}
