//! The table of goals: measured values, their spread over the rounds, and whether each holds.

use std::fmt::Write;

use crate::machine::machine;
use crate::measure::spread;

/// Below it, ours costs less than what does nothing: then what it is compared with is badly made.
const SUSPECT: f64 = 0.95;

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
        for goal in self.goals.iter().filter(|goal| {
            goal.name.contains("processor") && goal.name.contains("ours ÷ limit") && spread(&goal.measured).1 < SUSPECT
        }) {
            let _ = writeln!(
                text,
                "- **warning**: {} is below {SUSPECT}: suspect benches/limit and mend it first",
                goal.name
            );
        }
        let hold = self.goals.iter().filter(|goal| spread(&goal.measured).1 <= goal.at_most).count();
        let _ = writeln!(text, "\ngoals: {hold} hold, {} fall short", self.goals.len() - hold);
        text
    }
}
