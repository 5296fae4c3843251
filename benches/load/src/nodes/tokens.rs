//! Another system, whose tokens we sign ourselves: any number of users without a password.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

/// As the nodes know it.
pub(super) const ISSUER: &str = r#"
[[auth.issuers]]
name = "load"
iss = "load"
algorithm = "HS256"
key = "a secret of the load's own, which is long enough"
name_claim = "name"
"#;
const SECRET: &[u8] = b"a secret of the load's own, which is long enough";
/// Seconds that a token is good: longer than any measurement.
const LIFE: u64 = 6 * 3600;

/// Signs.
pub(crate) struct Signer {
    key: EncodingKey,
    /// Seconds since 1970, of all its tokens: who comes back shows the one that it had.
    at: u64,
}

impl Signer {
    #[expect(clippy::disallowed_methods, reason = "a ruler's tokens are for servers that have the machine's time")]
    pub(crate) fn new() -> Signer {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Signer { key: EncodingKey::from_secret(SECRET), at }
    }

    /// A token of the user of this number, of its login of that number.
    pub(crate) fn token(&self, user: usize, login: usize) -> String {
        let claims = json!({
            "iss": "load", "sub": user.to_string(), "name": format!("load{user}"), "sid": format!("{user}.{login}"),
            "iat": self.at, "exp": self.at + LIFE,
        });
        encode(&Header::default(), &claims, &self.key).expect("HS256 signs anything")
    }
}

/// The user of this number, as it is called in REST.
pub(crate) fn user(number: usize) -> String {
    format!("load:{number}")
}
