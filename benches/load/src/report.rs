//! The table of goals: measured values, their spread over the rounds, and whether each holds.

use std::fmt::Write;
use std::fs;
use std::process::Command;

/// A goal and what was measured of it, once or several times.
pub(crate) struct Goal {
    pub(crate) name: &'static str,
    pub(crate) at_most: f64,
    pub(crate) unit: &'static str,
    pub(crate) measured: Vec<f64>,
}

/// All of them, and what is only said.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) goals: Vec<Goal>,
    pub(crate) notes: Vec<String>,
}

impl Report {
    pub(crate) fn goal(&mut self, name: &'static str, at_most: f64, unit: &'static str, measured: Vec<f64>) {
        self.goals.push(Goal { name, at_most, unit, measured });
    }

    pub(crate) fn note(&mut self, note: String) {
        eprintln!("{note}");
        self.notes.push(note);
    }

    /// As Markdown; its last line counts.
    pub(crate) fn text(&self, title: &str) -> String {
        let mut text = format!(
            "# {title}\n\n{}\n\n| goal | at most | median | from | to | |\n| --- | --- | --- | --- | --- | --- |\n",
            machine()
        );
        for Goal { name, at_most, unit, measured } in &self.goals {
            let (low, median, high) = spread(measured);
            let holds = if median <= *at_most { "holds" } else { "**falls short**" };
            let _ = writeln!(text, "| {name} | {at_most} {unit} | {median:.2} | {low:.2} | {high:.2} | {holds} |");
        }
        text.push('\n');
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        let hold = self.goals.iter().filter(|goal| spread(&goal.measured).1 <= goal.at_most).count();
        let _ = writeln!(text, "\ngoals: {hold} hold, {} fall short", self.goals.len() - hold);
        text
    }
}

fn spread(measured: &[f64]) -> (f64, f64, f64) {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted[..] {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        _ => (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]),
    }
}

/// When, what, and on which machine.
fn machine() -> String {
    let said = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().ok().filter(|output| output.status.success());
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{}, commit {}, {cores} ×{}, {}.",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        said("git", &["rev-parse", "--short", "HEAD"]),
        model.trim_start_matches(['\t', ' ', ':']).to_owned().split_once('@').map_or_else(
            || format!(" {}", model.trim_start_matches(['\t', ' ', ':'])),
            |(name, _)| format!(" {}", name.trim())
        ),
        said("uname", &["-sr"]),
    )
}
