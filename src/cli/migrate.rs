//! `rollcall migrate`.

use clap::Subcommand;

use super::{Done, say};
use crate::config::Config;
use crate::store::{Direction, Store};

#[derive(Subcommand)]
pub(super) enum What {
    /// Show which migrations are applied
    Status,
    /// Apply what is missing (`serve` does it by itself for SQLite, else with database.auto_migrate)
    Up,
    /// Take back the newest migrations; rows of dropped tables are lost
    Down {
        /// How many
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
    },
}

pub(super) async fn run(config: &Config, what: What) -> Done {
    let store = Store::open(&config.database).await?;
    match what {
        What::Status => {}
        What::Up => store.migrate(Direction::Up).await?,
        What::Down { count } => store.migrate(Direction::Down(count)).await?,
    }
    for (name, applied) in store.migration_status().await? {
        say(format_args!("{} {name}", if applied { "applied" } else { "pending" }));
    }
    store.close().await;
    Ok(())
}
