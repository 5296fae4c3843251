//! A load process as the measurement sees it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Tells a load process what to do. Several are told before any is heard, so that they work side by side.
pub(crate) struct Hand {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Hand {
    /// Starts the load process of this number; the user of its first socket has `first_user`.
    pub(crate) fn start(number: usize, first_user: usize) -> io::Result<Hand> {
        let mut command = Command::new(std::env::current_exe()?);
        // Addresses that neither another of ours nor one of another measurement has.
        let number = std::process::id() as usize * 25 + number;
        command.args(["swarm", &number.to_string(), &first_user.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, answers) = (child.stdin.take(), BufReader::new(child.stdout.take().expect("a pipe")));
        Ok(Hand { child, orders, answers })
    }

    pub(crate) fn tell(&mut self, order: &str) -> io::Result<()> {
        writeln!(self.orders.as_mut().expect("it is taken only at the end"), "{order}")
    }

    /// The numbers that answer what was told last.
    pub(crate) fn answer(&mut self) -> io::Result<Vec<u64>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a load process has ended"));
        }
        line.split_whitespace().map(|word| word.parse().map_err(|_| io::Error::other(line.trim().to_owned()))).collect()
    }

    pub(crate) fn ask(&mut self, order: &str) -> io::Result<Vec<u64>> {
        self.tell(order)?;
        self.answer()
    }

    /// So many are open at this address; told, not waited for.
    pub(crate) fn open(&mut self, server: SocketAddr, count: usize) -> io::Result<()> {
        self.tell(&format!("open {server} {count}"))
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
