//! What the process can hold, by its limit of open files. When descriptors run out nobody can log in, so some are set aside:
//! for the process itself, for operators, and for requests that come and go.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::StartError;
use crate::config::Config;

/// The process itself: the log, listeners, the runtime, files read again, calls to other systems.
const OWN: u64 = 44;
/// Of each database connection: a SQLite file and its log.
const PER_DATABASE_CONNECTION: u64 = 2;
/// Connections that neither handshakes nor anonymous requests may take.
const OPERATORS: u64 = 32;
/// Requests that come and go beside all clients: so many at least, and one for so many files.
const PASSING: u64 = 32;
/// As many as no machine has sockets. Some systems have no limit at all.
const MOST: u64 = 1 << 20;

/// How the open files are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The limit of open files, or a million.
    pub open_files: usize,
    /// Connections of any kind, at most.
    pub connections: usize,
    /// Of these, kept for operators.
    pub operators: usize,
    /// Sockets that are registered, at most.
    pub clients: usize,
    /// `limits.clients`, where it is more than that.
    pub too_many: Option<usize>,
}

impl Capacity {
    /// Of this process as it is now. Fewer files than anything can be done with are an error.
    pub fn of(config: &Config) -> Result<Capacity, StartError> {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(MOST).min(MOST);
        let own = OWN + PER_DATABASE_CONNECTION * u64::from(config.database.max_connections);
        let needed = own + OPERATORS + PASSING.max(files / 32);
        if files <= needed {
            return Err(StartError::OpenFiles { open: files, needed: needed + 1 });
        }
        let (possible, wished) = ((files - needed) as usize, config.limits.clients);
        Ok(Capacity {
            open_files: files as usize,
            connections: (files - own) as usize,
            operators: OPERATORS as usize,
            clients: if wished == 0 { possible } else { possible.min(wished) },
            too_many: (wished > possible).then_some(wished),
        })
    }

    /// The soft limit of open files becomes the hard one, where the system lets us.
    pub fn raise() {
        let limit = getrlimit(Resource::Nofile);
        let most = limit.maximum.unwrap_or(MOST).min(MOST);
        if limit.current.is_some_and(|current| current < most) {
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit });
        }
    }
}

/// "open files 1,024: at most 900 clients"
impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "open files {}: at most {} clients", Grouped(self.open_files), Grouped(self.clients))?;
        match self.too_many {
            Some(wished) => {
                write!(f, "; for limits.clients = {wished} raise the limit of open files (LimitNOFILE, ulimit -n)")
            }
            None => Ok(()),
        }
    }
}

/// A number with commas.
struct Grouped(usize);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            few @ ..1000 => write!(f, "{few}"),
            many => write!(f, "{},{:03}", Grouped(many / 1000), many % 1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_can_hold_is_said_in_a_line() {
        let capacity = Capacity { open_files: 1024, connections: 964, operators: 32, clients: 900, too_many: None };
        assert_eq!(capacity.to_string(), "open files 1,024: at most 900 clients");
        let capacity = Capacity { clients: 1_048_576, too_many: Some(2_000_000), ..capacity };
        let said = capacity.to_string();
        assert!(
            said.starts_with("open files 1,024: at most 1,048,576 clients; for limits.clients = 2000000"),
            "{said}"
        );
    }

    #[test]
    fn fewer_clients_than_the_open_files_allow_are_as_many_as_wished() {
        let mut config = Config::defaults();
        let possible = Capacity::of(&config).unwrap();
        config.limits.clients = 7;
        assert_eq!(Capacity::of(&config).unwrap(), Capacity { clients: 7, ..possible });
        config.limits.clients = possible.clients + 1;
        let wished = Some(possible.clients + 1);
        assert_eq!(Capacity::of(&config).unwrap(), Capacity { too_many: wished, ..possible });
    }
}
