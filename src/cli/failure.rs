//! Why a command failed: one sentence.

use std::fmt;
use std::process::ExitCode;

use crate::app::StartError;
use crate::auth::{KeyError, PasswordError, PasswordRule};
use crate::config::ConfigError;
use crate::store::StoreError;

/// How a command ends.
pub(super) type Done = Result<(), Failure>;

/// A sentence for the person who typed the command.
#[derive(Debug)]
pub(super) struct Failure(String);

impl Failure {
    pub(super) fn new(sentence: impl Into<String>) -> Failure {
        Failure(sentence.into())
    }

    /// The same with what was tried before it.
    pub(super) fn about(self, what: &str) -> Failure {
        Failure(format!("{what}: {}", self.0))
    }

    /// Says it on the standard error stream.
    pub(super) fn told(&self) -> ExitCode {
        eprintln!("rollcall: {self}");
        ExitCode::FAILURE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let sentence = match error {
            StoreError::LastAdministrator => {
                "That would leave nobody who can administrate; give another account the role admin first."
            }
            StoreError::NotFound("role") => {
                "There is no such role; the roles of a new database are admin, operator and member."
            }
            StoreError::Full("API keys") => {
                "There are as many API keys as auth.max_keys allows; revoke one with `rollcall key revoke ID`, or raise it."
            }
            StoreError::Disabled => "The account is disabled; run `rollcall user enable NAME` first.",
            error => return StartError::from(error).into(),
        };
        Failure::new(sentence)
    }
}

macro_rules! sentences {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure(error.to_string())
            }
        })*
    };
}

sentences!(StartError, KeyError, PasswordError, PasswordRule, ConfigError, std::io::Error);
