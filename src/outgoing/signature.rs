//! Signatures as Standard Webhooks (standardwebhooks.com, 1.0) has them, so that receivers verify with a library that
//! exists for their language: HMAC-SHA-256 over `id.timestamp.body`, the time against replays, the id against doubles.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::config::Secret;

/// Signs calls with one secret.
pub struct Signer(Vec<u8>);

impl Signer {
    /// `whsec_` and base64, as the standard writes a secret; any other text is its own bytes. None when it is shorter than
    /// the 24 bytes that the standard asks for.
    pub fn new(secret: &Secret) -> Option<Signer> {
        let key = match secret.expose().strip_prefix("whsec_") {
            Some(encoded) => STANDARD.decode(encoded).ok()?,
            None => secret.expose().as_bytes().to_vec(),
        };
        (key.len() >= 24).then_some(Signer(key))
    }

    /// The three headers of a call.
    pub fn headers(&self, id: Uuid, now: DateTime<Utc>, body: &str) -> [(&'static str, String); 3] {
        let time = now.timestamp();
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{time}.").as_bytes());
        mac.update(body.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        [
            ("webhook-id", id.to_string()),
            ("webhook-timestamp", time.to_string()),
            ("webhook-signature", format!("v1,{signature}")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_standards() {
        // Computed with Python: base64(hmac.new(b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), …, sha256).digest())
        let signer = Signer::new(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let now = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let [id, time, signature] = signer.headers(Uuid::nil(), now, r#"{"test": 2432232314}"#);
        assert_eq!(id, ("webhook-id", "00000000-0000-0000-0000-000000000000".to_owned()));
        assert_eq!(time, ("webhook-timestamp", "1614265330".to_owned()));
        assert_eq!(signature, ("webhook-signature", "v1,Y5/uRWupLQOPxe4D5mBYrd9dRGhY+xtWrnxDwy59WDE=".to_owned()));
        assert!(Signer::new(&Secret::new("short")).is_none());
        assert!(Signer::new(&Secret::new("whsec_no base64!")).is_none());
    }
}
