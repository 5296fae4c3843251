//! Text and identifiers as columns take them.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::LikeExpr;
use unicode_normalization::UnicodeNormalization;
use uuid::{NoContext, Timestamp, Uuid};

use super::StoreError;

/// Values of one `IN` or rows of one insert, at most: databases bound the parameters of a statement.
pub(super) const CHUNK: usize = 500;

/// A new identifier, UUIDv7 of `now`: ids made later sort later, to the millisecond.
pub fn new_id(now: DateTime<Utc>) -> Uuid {
    let seconds = now.timestamp().try_into().unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos()))
}

/// What makes two spellings one username: trimmed, composed (NFC), lower case. Whoever counts failed logins per name
/// counts them under this, or a guesser spells the name anew each time.
pub fn username_key(username: &str) -> String {
    username.trim().nfc().collect::<String>().to_lowercase()
}

/// At most `max` characters, without NUL, which PostgreSQL cannot store. For text that others wrote.
pub(super) fn cut(text: &str, max: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(max).collect()
}

/// A pattern for "contains"; what the caller wrote stands for itself.
pub(super) fn contains(text: &str) -> LikeExpr {
    let escaped: String =
        text.chars().flat_map(|c| matches!(c, '%' | '_' | '!').then_some('!').into_iter().chain([c])).collect();
    LikeExpr::new(format!("%{escaped}%")).escape('!')
}

/// An id column as an id.
pub(super) fn uuid(text: &str) -> Result<Uuid, StoreError> {
    text.parse().map_err(|error: uuid::Error| StoreError::Failed(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_a_name_are_one_user() {
        assert_eq!(username_key(" Ren\u{e9}e "), username_key("rene\u{301}e"));
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("a\0äöü", 3), "aäö");
    }
}
