//! The tables of several nodes can be made: a moment of each, on a Redis and a PostgreSQL of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the ruler prints.
fn printed(words: &[&str]) -> String {
    let load = Path::new(env!("CARGO_BIN_EXE_rollcall-load"));
    let rollcall: PathBuf = load.with_file_name("rollcall");
    assert!(rollcall.exists(), "{} is not built; run `cargo test --all`", rollcall.display());
    let run = Command::new(load).args(words).arg(rollcall).output().unwrap();
    let (out, err) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    // Whether what depends on time is good is another question: a busy machine may be late.
    assert!(!out.is_empty(), "{err}");
    out
}

#[test]
fn the_table_of_several_nodes_can_be_measured() {
    let out = printed(&["cluster", "moment"]);
    for goal in ["a client of each node", "broadcast", "push to a user of another node", "page of 20", "kill -9"] {
        let row = out.lines().find(|line| line.contains(goal)).unwrap_or_else(|| panic!("no {goal} in\n{out}"));
        assert!(!row.contains("NaN"), "{row}");
    }
    let last = out.lines().last().unwrap();
    assert!(last.starts_with("goals: ") && last.ends_with(" fall short"), "{out}");
}

#[test]
fn a_killed_node_leaves_no_ghosts_and_no_kick_is_lost_while_everything_is_cut() {
    let out = printed(&["cluster", "truth", "moment"]);
    for none in ["ghosts", "missing", "other rooms", "counts", "differences beside the list", "open socket", "let in"] {
        let row = out.lines().find(|line| line.contains(none)).unwrap_or_else(|| panic!("no {none} in\n{out}"));
        assert!(row.ends_with("| 0 | 0 | true |"), "{out}");
    }
    assert!(out.lines().any(|line| line.contains("killed -9")), "{out}");
    assert!(out.lines().last().unwrap().starts_with("truth: "), "{out}");
}
