//! Calls to other systems: one sender for `verify_url`, `revoke_url` and every webhook, which goes only where it may.
//! Deliberately absent: what is told and when (services), and what waits to be told (store, the outbox).

mod guard;
mod sender;
mod signature;

pub use guard::allowed;
pub use sender::{Answer, SendError, Sender, install_crypto};
pub use signature::Signer;
