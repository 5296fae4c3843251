//! Settings: the embedded file, a file of one's own, the environment, in this order; then checks. Every failure is one
//! sentence that names the key, where it came from, and the way out. Deliberately absent: defaults in code.

mod check;
mod load;
mod secret;
mod sections;

pub use load::{ConfigError, DEFAULT_FILE, Loaded, load};
pub use secret::Secret;
pub use sections::*;
