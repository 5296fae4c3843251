//! New passwords on the command line: from the standard input, or random and shown once. Never an argument: other users of
//! the machine could read it in the list of processes.

use std::io::{self, BufRead};

use super::{Failure, say};
use crate::auth::{Cost, Passwords, check_rule, random_password};
use crate::config::Secret;

/// A new password, and whether we made it up.
pub(super) struct Password {
    secret: Secret,
    generated: bool,
}

impl Password {
    /// The first line of the standard input, or a random one.
    pub(super) fn new(from_stdin: bool) -> Result<Password, Failure> {
        if !from_stdin {
            return Ok(Password { secret: Secret::new(random_password()), generated: true });
        }
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        let secret = Secret::new(line.trim_end_matches(['\r', '\n']));
        check_rule(secret.expose())?;
        Ok(Password { secret, generated: false })
    }

    pub(super) async fn hash(&self) -> Result<Secret, Failure> {
        Ok(Secret::new(Passwords::new(Cost::OWASP, 1).hash(self.secret.expose()).await?))
    }

    /// Shows it, if nobody knows it yet.
    pub(super) fn show(&self) {
        if self.generated {
            say(format_args!("Password (shown once): {}", self.secret.expose()));
        }
    }
}
