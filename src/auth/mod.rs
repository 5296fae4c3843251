//! Who is calling: identities, permissions, keys, tokens, passwords, limits on guessing, addresses.
//! Deliberately absent: HTTP, sockets and the database. What is needed of those comes in as arguments, and the time
//! from `Clock`.

mod address;
mod api_key;
mod expiring;
mod identity;
mod interner;
mod issuers;
mod keys;
mod limits;
mod password;
mod permission;
mod recent;
mod refresh;
#[cfg(test)]
mod testing;
mod tickets;
mod tokens;

pub use address::{client_ip, limit_key, masked, network_of, origin_allowed};
pub use api_key::{ApiKey, KeyTerms, MAX_KEY_ADDRESSES, looks_like_api_key, network};
pub use identity::{Identity, KEY_ISSUER, Rights, UserKey};
pub use interner::Interner;
pub use issuers::{Foreign, IssuerError, Issuers, OWN_ISSUER};
pub use keys::{KeyError, Keyring, MasterKey, SealedKey};
pub use limits::{Failures, Rate, Spent, name_digest};
pub use password::{
    Cost, MAX_PASSWORD, MIN_PASSWORD, PasswordError, PasswordRule, Passwords, check_rule, random_password,
};
pub use permission::{Permission, Permissions};
pub use recent::Recent;
pub use refresh::{RefreshError, RefreshTokens};
pub use tickets::{Tickets, random_ticket, ticket_digest};
pub use tokens::{Claims, TokenError, Tokens};
