//! The command line: `serve` and what is done beside a running server. Commands that change something write rows; a running
//! server follows them within `auth.follow_interval`. Answers go to the standard output, everything else to the other
//! stream; a failure is one sentence and exit code 1 (2 when the command itself is misspelled).

mod audit;
mod backup;
mod documents;
mod drain;
mod failure;
mod health;
mod key;
mod lock;
mod migrate;
mod password;
mod serve;
mod signing_keys;
mod token;
mod user;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime;

use crate::auth::Keyring;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Loaded};
use crate::services::open_keys;
use crate::store::Store;
use failure::{Done, Failure};

/// Who is online, how the server is doing, and a way to tell them.
#[derive(Parser)]
#[command(name = "rollcall", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    /// Settings that differ from the defaults (TOML); `rollcall config print` shows every key
    #[arg(long, value_name = "FILE", env = "ROLLCALL_CONFIG", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  rollcall serve
      Start, with everything by default
  ROLLCALL__SERVER__LISTEN=0.0.0.0:80 rollcall serve
      Any setting can come from the environment
  rollcall user add alice --role operator
      Create an account; its password is shown once
  rollcall token issue --name nightly --scope push:send --expires 30d
      A token for a script
  rollcall key create --name shop --scope online:read,push:send --address 10.0.0.0/8
      A key for another program, shown once
  rollcall config print > rollcall.toml
      Every setting with its default, unit and reason";

#[derive(Subcommand)]
enum Command {
    /// Start the server
    #[command(after_help = serve::HELP)]
    Serve,
    /// Bring the database's tables up to date, or take that back
    Migrate {
        #[command(subcommand)]
        what: Option<migrate::What>,
    },
    /// Manage accounts
    #[command(subcommand)]
    User(user::What),
    /// Issue tokens for scripts and other systems
    #[command(subcommand)]
    Token(token::What),
    /// Manage API keys of other programs
    #[command(subcommand)]
    Key(key::What),
    /// Whether the login log and the audit log are as they were written
    #[command(subcommand)]
    Audit(audit::What),
    /// Manage the keys that sign tokens, where several nodes share them
    #[command(subcommand)]
    SigningKeys(signing_keys::What),
    /// Write database, keys and settings to one file; a server may run meanwhile
    #[command(after_help = backup::BACKUP_HELP)]
    Backup {
        /// The file to write, as rollcall.backup
        file: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Put a backup where the settings say; no server may run there
    #[command(after_help = backup::RESTORE_HELP)]
    Restore {
        /// What `rollcall backup` wrote
        file: PathBuf,
        /// Put aside what is there
        #[arg(long)]
        force: bool,
    },
    /// Ask the running server whether it is ready; exit code 1 if not
    Health,
    /// Send the running server's clients elsewhere, before a restart
    #[command(after_help = drain::HELP)]
    Drain(drain::Drain),
    /// Print the OpenAPI document of the REST interface
    Openapi,
    /// Print the AsyncAPI document of the socket
    Asyncapi,
    /// Check or print the settings
    #[command(subcommand)]
    Config(documents::What),
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let mut builder = match cli.command {
        Command::Serve => runtime::Builder::new_multi_thread(),
        _ => runtime::Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).told(),
    };
    let done = runtime.block_on(cli.command.carry_out(cli.config));
    // Whatever did not end in time is not waited for again.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.told(),
    }
}

impl Command {
    async fn carry_out(self, file: Option<PathBuf>) -> Done {
        match self {
            Command::Serve => serve::run(file).await,
            Command::Migrate { what } => migrate::run(&load(file)?.config, what.unwrap_or(migrate::What::Up)).await,
            Command::User(what) => user::run(&load(file)?.config, what).await,
            Command::Token(what) => token::run(&load(file)?.config, what).await,
            Command::Key(what) => key::run(&load(file)?.config, what).await,
            Command::Audit(what) => audit::run(&load(file)?.config, what).await,
            Command::SigningKeys(what) => signing_keys::run(&load(file)?.config, what).await,
            Command::Backup { file: to, force } => backup::back_up(&load(file.clone())?, file.as_deref(), &to, force),
            Command::Restore { file: from, force } => backup::restore(&load(file)?.config, &from, force).await,
            Command::Health => health::run(&load(file)?.config).await,
            Command::Drain(drain) => drain::run(&load(file)?.config, drain).await,
            Command::Openapi => documents::openapi(),
            Command::Asyncapi => documents::asyncapi().await,
            Command::Config(what) => documents::config(file, &what),
        }
    }
}

fn load(file: Option<PathBuf>) -> Result<Loaded, Failure> {
    Ok(config::load(file.as_deref(), environment()?)?)
}

/// The variables that are text. One that is none is nobody's business here, unless it means to be a setting.
fn environment() -> Result<Vec<(String, String)>, Failure> {
    let mut texts = Vec::new();
    for (name, value) in std::env::vars_os() {
        let shown = name.to_string_lossy().into_owned();
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => texts.push((name, value)),
            _ if shown.starts_with("ROLLCALL__") => {
                return Err(Failure::new(format!(
                    "{shown} in the environment is not UTF-8; write it anew, or unset it."
                )));
            }
            _ => {}
        }
    }
    Ok(texts)
}

/// The database, up to date.
async fn open(config: &Config) -> Result<Store, Failure> {
    let store = Store::open(&config.database).await?;
    store.prepare().await?;
    Ok(store.with_default_issuer(&config.auth.default_issuer, SystemClock::new().now()).await?)
}

/// The same for what writes into the logs, or reads them: with the keys of their chains.
async fn open_with_keys(config: &Config) -> Result<(Store, Keyring), Failure> {
    let store = open(config).await?;
    let keyring = open_keys(config, &store, SystemClock::new().now()).await??;
    Ok((store.with_chain("command line", keyring.log_keys(&config.auth)), keyring))
}

/// One line of answer. A reader that has gone away (`| head`) is no failure.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
