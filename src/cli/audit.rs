//! `rollcall audit`.

use chrono::{DateTime, Utc};
use clap::Subcommand;

use super::{Done, Failure, open_with_keys, say};
use crate::config::Config;
use crate::store::ChainReport;

#[derive(Subcommand)]
pub(super) enum What {
    /// Hold every row against its chain; exit code 1 when one is missing, altered or moved. A server may run meanwhile
    Verify,
}

pub(super) async fn run(config: &Config, What::Verify: What) -> Done {
    let (store, _) = open_with_keys(config).await?;
    let report = store.verify_logs().await?;
    store.close().await;
    for chain in &report.chains {
        say(line(chain));
    }
    if report.unchained > 0 {
        let last = report.last_unchained.map(moment).unwrap_or_default();
        say(format_args!(
            "{} rows belong to no chain, the last one of {last}: a release before there were any wrote them.",
            report.unchained
        ));
    }
    let broken = report.chains.iter().filter(|chain| chain.broken.is_some()).count();
    if !report.is_whole() {
        return Err(Failure::new(format!(
            "The logs are not as they were written: {broken} of {} chains are broken.",
            report.chains.len()
        )));
    }
    say("The logs are whole.");
    Ok(())
}

fn line(chain: &ChainReport) -> String {
    let mut line = format!("{}: {} rows", chain.chain, chain.rows);
    if let (Some(from), Some(to)) = (chain.from, chain.to) {
        line += &format!(" from {} to {}", moment(from), moment(to));
    }
    if let Some((seq, at)) = chain.pruned {
        line += &format!(", 1 to {seq} deleted by retention at {}", moment(at));
    }
    if chain.erased > 0 {
        line += &format!(", {} with something erased", chain.erased);
    }
    match &chain.broken {
        Some(why) => line + ", BROKEN: " + why,
        None => line + ", whole",
    }
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
