//! `rollcall key`: API keys for other programs. A running server knows a new or a revoked key with its next call.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Subcommand;
use humantime_serde::re::humantime::parse_duration;
use ipnet::IpNet;
use uuid::Uuid;

use super::{Done, Failure, open_with_keys, say, token};
use crate::auth::{ApiKey, KeyTerms, Permission, network};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::store::{Actor, ApiKeyRow, Paging, Store};

/// Rows read at once.
const PAGE: u64 = 200;

#[derive(Subcommand)]
pub(super) enum What {
    /// Make a key and print it; nothing else is printed
    Create(Create),
    /// List the keys
    List,
    /// End a key
    Revoke {
        /// Its id, as `rollcall key list` shows it
        id: Uuid,
    },
}

#[derive(clap::Args)]
pub(super) struct Create {
    /// What the key is for; at most 64 characters
    #[arg(long)]
    name: String,
    /// What the key may do, as push:send; may be given again
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',', value_parser = token::scope)]
    scopes: Vec<Permission>,
    /// How long the key lives, as 12h or 90d, or `never`; without this auth.key_ttl
    #[arg(long, value_name = "TIME", value_parser = life)]
    expires: Option<Life>,
    /// A network it may be used from, as 10.0.0.0/8; may be given again; without this from everywhere
    #[arg(long = "address", value_name = "NETWORK", value_delimiter = ',', value_parser = address)]
    addresses: Vec<IpNet>,
    /// Calls it may make a minute; without this auth.calls_per_key
    #[arg(long, value_name = "CALLS")]
    calls_per_minute: Option<u32>,
}

#[derive(Clone, Copy)]
enum Life {
    For(Duration),
    Endless,
}

pub(super) async fn run(config: &Config, what: What) -> Done {
    let (store, _) = open_with_keys(config).await?;
    match what {
        What::Create(create) => make(&store, config, create).await?,
        What::List => list(&store).await?,
        What::Revoke { id } => revoke(&store, id).await?,
    }
    store.close().await;
    Ok(())
}

async fn make(store: &Store, config: &Config, create: Create) -> Done {
    let now = SystemClock::new().now();
    let terms = KeyTerms {
        name: create.name.trim().to_owned(),
        scopes: create.scopes.into_iter().collect(),
        addresses: create.addresses,
        calls_per_minute: create.calls_per_minute,
        expires_at: match create.expires.unwrap_or(Life::For(config.auth.key_ttl)) {
            Life::Endless => None,
            // What is beyond the calendar is refused as too far ahead.
            Life::For(life) => {
                let life = TimeDelta::from_std(life).unwrap_or(TimeDelta::MAX);
                Some(now.checked_add_signed(life).unwrap_or(DateTime::<Utc>::MAX_UTC))
            }
        },
    };
    terms.check(now).map_err(|(field, why)| Failure::new(format!("{} {why}.", option(field))))?;
    let key = ApiKey::random();
    store.create_api_key(&key, &terms, config.auth.max_keys as u64, &Actor::command_line(), now).await?;
    say(key.expose());
    Ok(())
}

async fn list(store: &Store) -> Done {
    let now = SystemClock::new().now();
    say(format_args!(
        "{:<36} {:<20} {:<10} {:<10} {:<21} {:<21} SCOPES",
        "ID", "NAME", "KEY", "STATE", "ENDS", "LAST USED"
    ));
    for page in 1.. {
        let keys = store.api_keys(Paging { page, page_size: PAGE }).await?.list;
        for key in &keys {
            let minute = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M UTC").to_string();
            let (id, name, hint, state) = (key.id, &key.terms.name, format!("{}…", key.hint), state(key, now));
            let end = key.terms.expires_at.map_or("never".to_owned(), minute);
            let used = key.last_used.as_ref().map_or("never".to_owned(), |(at, _)| minute(*at));
            let scopes = key.terms.scopes.words().join(",");
            say(format_args!("{id} {name:<20} {hint:<10} {state:<10} {end:<21} {used:<21} {scopes}"));
        }
        if (keys.len() as u64) < PAGE {
            break;
        }
    }
    Ok(())
}

async fn revoke(store: &Store, id: Uuid) -> Done {
    let Some(key) = store.api_key(id).await? else {
        return Err(Failure::new(format!("There is no API key {id}; `rollcall key list` shows them.")));
    };
    if key.revoked_at.is_some() {
        say(format_args!("The key {} is revoked already.", key.terms.name));
        return Ok(());
    }
    store.revoke_api_key(id, &Actor::command_line(), SystemClock::new().now()).await?;
    say(format_args!("The key {} opens nothing any more.", key.terms.name));
    Ok(())
}

fn state(key: &ApiKeyRow, now: DateTime<Utc>) -> &'static str {
    match key {
        ApiKeyRow { revoked_at: Some(_), .. } => "revoked",
        ApiKeyRow { terms: KeyTerms { expires_at: Some(end), .. }, .. } if *end <= now => "expired",
        _ => "good",
    }
}

/// The option that sets a field.
fn option(field: &str) -> &'static str {
    match field {
        "name" => "--name",
        "scopes" => "--scope",
        "addresses" => "--address",
        _ => "--expires",
    }
}

fn life(text: &str) -> Result<Life, String> {
    match text {
        "never" => Ok(Life::Endless),
        text => parse_duration(text).map(Life::For).map_err(|error| error.to_string()),
    }
}

fn address(text: &str) -> Result<IpNet, String> {
    network(text).ok_or_else(|| "this is neither a network as 10.0.0.0/8 nor an address".to_owned())
}
