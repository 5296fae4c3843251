//! Why a socket closes. The ranges are the whole reconnect policy: stay away after 1000, 1002, 1003, 1007, 1009, 1010 and
//! 4400–4999; come back after everything else.

use bytes::{BufMut, Bytes, BytesMut};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

/// Bytes of a close reason, at most: a control frame carries 125, two of them the code (RFC 6455 section 5.5).
const MAX_REASON_BYTES: usize = 123;
/// FIN and the opcode of a close frame.
const FINAL_CLOSE: u8 = 0x88;

/// Words of reasons that say more than their code's.
const WORDS: [&str; 2] = [TOKEN_EXPIRED, LOGGED_OUT];
/// Fetch a new token and come back.
const TOKEN_EXPIRED: &str = "tokenExpired";
/// The user ended the login: a login page, not an explanation.
pub const LOGGED_OUT: &str = "loggedOut";

macro_rules! close_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $word:literal;)*) => {
        /// The catalogue of close codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum CloseCode { $($(#[doc = $doc])* $name = $code),* }

        impl CloseCode {
            /// Every code there is.
            pub const ALL: &[CloseCode] = &[$(CloseCode::$name),*];

            /// The code with this number, if there is one.
            pub fn of(number: u16) -> Option<CloseCode> {
                CloseCode::ALL.iter().copied().find(|code| *code as u16 == number)
            }

            /// The `reason` of the close frame.
            pub fn word(self) -> &'static str {
                match self { $(CloseCode::$name => $word),* }
            }
        }
    };
}

close_codes! {
    /// The client closed; we answer the same.
    Normal = 1000, "closed";
    /// The frame breaks RFC 6455.
    Protocol = 1002, "protocol";
    /// A binary frame.
    Unsupported = 1003, "unsupported";
    /// The text is not UTF-8.
    InvalidText = 1007, "invalidText";
    /// A message larger than `maxFrameBytes`.
    TooBig = 1009, "tooBig";
    /// This node is shutting down or draining.
    Restart = 4000, "restart";
    /// No heartbeat.
    Stale = 4001, "stale";
    /// The client reads slower than we write: its queue was full.
    Slow = 4008, "slow";
    /// Try later.
    Overload = 4013, "overload";
    /// Too many malformed frames.
    BadFrames = 4400, "badFrames";
    /// The token is bad, or the session was revoked.
    Unauthorized = 4401, "unauthorized";
    /// The account is disabled.
    Forbidden = 4403, "forbidden";
    /// The account's connection or login limit was used by a newer one.
    Replaced = 4409, "replaced";
    /// An operator ended it.
    Kicked = 4410, "kicked";
    /// Kicked with a lockout.
    Locked = 4429, "locked";
}

/// A code and what a person may read about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// Decides whether the client comes back.
    pub code: CloseCode,
    /// The word of the reason, where it says more than the code's (`tokenExpired`).
    pub word: &'static str,
    /// A sentence; cut at a character boundary to fit.
    pub text: Option<String>,
    /// Until when a lockout lasts.
    pub until: Option<DateTime<Utc>>,
    /// When the client may come back.
    pub retry_after_ms: Option<u64>,
}

#[derive(Serialize)]
struct Written<'a> {
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl CloseReason {
    /// A reason that its code says completely.
    pub fn new(code: CloseCode) -> CloseReason {
        CloseReason { code, word: code.word(), text: None, until: None, retry_after_ms: None }
    }

    /// A reason that another node has made: its word is the code's, or one of the few that say more.
    pub fn with_word(code: CloseCode, word: &str) -> CloseReason {
        let word = WORDS.iter().copied().find(|known| *known == word).unwrap_or(code.word());
        CloseReason { word, ..CloseReason::new(code) }
    }

    /// 4401 with the one word after which a client fetches a new token and comes back.
    pub fn token_expired() -> CloseReason {
        CloseReason { word: TOKEN_EXPIRED, ..CloseReason::new(CloseCode::Unauthorized) }
    }

    /// With a sentence for people.
    pub fn text(mut self, text: impl Into<String>) -> CloseReason {
        self.text = Some(text.into()).filter(|text: &String| !text.is_empty());
        self
    }

    /// The complete close frame.
    pub fn frame(&self) -> Bytes {
        let reason = self.json();
        let mut frame = BytesMut::with_capacity(4 + reason.len());
        frame.put_u8(FINAL_CLOSE);
        frame.put_u8(2 + reason.len() as u8);
        frame.put_u16(self.code as u16);
        frame.put_slice(reason.as_bytes());
        frame.freeze()
    }

    /// The JSON of the reason, at most 123 bytes.
    pub fn json(&self) -> String {
        let mut text = self.text.as_deref();
        loop {
            let json = serde_json::to_string(&Written {
                reason: self.word,
                text,
                until: self.until.map(|until| until.to_rfc3339_opts(SecondsFormat::Secs, true)),
                retry_after_ms: self.retry_after_ms,
            })
            .expect("strings and numbers serialize");
            let excess = json.len().saturating_sub(MAX_REASON_BYTES);
            match text {
                Some(long) if excess > 0 => text = shortened(long, excess),
                _ => return json,
            }
        }
    }
}

/// The text without its last characters: at least one, and as many as `excess` bytes need; nothing rather than "".
fn shortened(text: &str, excess: usize) -> Option<&str> {
    let mut end = text.len().saturating_sub(excess.div_ceil(6).max(1));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (end > 0).then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reason_is_json_with_the_operators_sentence() {
        let reason = CloseReason::new(CloseCode::Kicked).text("维护");
        assert_eq!(reason.json(), r#"{"reason":"kicked","text":"维护"}"#);
        assert_eq!(&reason.frame()[..4], &[0x88, reason.frame().len() as u8 - 2, 0x11, 0x3A]);
    }

    proptest! {
        #[test]
        fn any_sentence_fits_and_stays_valid(text in "\\PC{0,200}|[\"\\\\\u{1}]{0,200}", locked in any::<bool>()) {
            let mut reason = CloseReason::new(CloseCode::Locked).text(text.clone());
            reason.until = locked.then(DateTime::default);
            let json = reason.json();
            prop_assert!(json.len() <= 123);
            let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert!(text.starts_with(parsed["text"].as_str().unwrap_or("")));
        }
    }
}
