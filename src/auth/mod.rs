//! Who is calling: identities, permissions, tokens, passwords, limits on guessing.
//! Deliberately absent: HTTP, sockets and the database. What is needed of those comes in as arguments.

mod identity;
mod permission;

pub use identity::{Identity, Rights, UserKey};
pub use permission::{Permission, Permissions};
