//! The table of truth can be made: two seconds of everything, against the oracle.

use std::path::Path;
use std::process::Command;

#[test]
fn two_seconds_of_churn_leave_no_ghosts_and_miss_nobody() {
    let load = Path::new(env!("CARGO_BIN_EXE_rollcall-load"));
    let rollcall = load.with_file_name("rollcall");
    assert!(rollcall.exists(), "{} is not built; run `cargo test --all`", rollcall.display());
    let run = Command::new(load).args(["truth", "moment"]).arg(rollcall).output().unwrap();
    let (out, err) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    for none in ["ghosts", "missing", "other rooms", "counts", "differences beside the list", "gaps"] {
        let row = out.lines().find(|line| line.contains(none)).unwrap_or_else(|| panic!("no {none} in\n{out}{err}"));
        assert!(row.ends_with("| 0 | 0 | true |"), "{out}{err}");
    }
    // What depends on time is only there: a busy machine may be late.
    for timed in ["vanish without a FIN", "kicks, from the request", "resident memory", "descriptors", "tasks"] {
        assert!(out.contains(timed), "no {timed} in\n{out}{err}");
    }
    assert!(out.lines().last().unwrap().starts_with("truth: "), "{out}{err}");
}
