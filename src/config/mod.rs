//! Settings: the embedded file, a file of one's own, the environment, in this order; then checks.

mod secret;
mod sections;

pub use secret::Secret;
pub use sections::*;
