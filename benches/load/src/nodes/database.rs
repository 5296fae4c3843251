//! A PostgreSQL of our own, by the script that the tests use.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Running; stopped when dropped, and when this process ends: its script reads orders until then.
pub(crate) struct Database {
    script: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    url: String,
}

impl Database {
    pub(crate) fn start() -> io::Result<Database> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let script: PathBuf = repository.join("tests/databases.sh");
        let mut script =
            Command::new(script).args(["postgres", "control"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, answers) = (script.stdin.take(), BufReader::new(script.stdout.take().expect("a pipe")));
        let mut database = Database { script, orders, answers, url: String::new() };
        database.url = database.answer()?;
        Ok(database)
    }

    /// The URL of a new database of this name.
    pub(crate) fn create(&self, name: &str) -> io::Result<String> {
        let made = Command::new("psql").args([&self.url, "-qc", &format!("CREATE DATABASE {name}")]).status()?;
        let url = self.url.rsplit_once('/').map_or("", |(server, _)| server);
        if made.success() { Ok(format!("{url}/{name}")) } else { Err(io::Error::other("no database could be made")) }
    }

    /// `stop`, `start`, `pause` or `resume`; done when it returns.
    pub(crate) fn order(&mut self, order: &str) -> io::Result<()> {
        let orders = self.orders.as_mut().expect("it is taken only at the end");
        writeln!(orders, "{order}")?;
        self.answer().map(|_| ())
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err(io::Error::other("PostgreSQL did not start, or ended; what its script says is above")),
            _ => Ok(line.trim().to_owned()),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.script.wait();
    }
}
