//! What brokers tell each other: publications, and what became of them. A frame travels beside the head, as it is.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Cause, Payload, Publication, Target};
use crate::auth::{Permission, Rights, UserKey};
use crate::protocol::{CloseCode, CloseReason, Message};

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(super) enum Word {
    /// Numbered in the order in which a node publishes.
    Publish {
        id: u64,
        target: TargetWords,
        payload: PayloadWords,
    },
    Answer(Answer),
}

/// What became of a publication on one node.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) id: u64,
    pub(super) users: usize,
    pub(super) clients: usize,
    pub(super) delivered: usize,
    pub(super) dropped: usize,
    /// Hashes of the users, while they are few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) who: Option<Vec<u64>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum TargetWords {
    Everyone,
    Users(Vec<String>),
    OtherSessions(Vec<String>, Uuid),
    Roles(Vec<Arc<str>>),
    Rooms(Vec<Arc<str>>),
    Clients(Vec<Uuid>),
    Sessions(Vec<Uuid>),
}

/// The frame of a message, or the last one before a close, is beside it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum PayloadWords {
    Message,
    Close(CloseWords),
    Rights { username: Arc<str>, roles: Vec<Arc<str>>, permissions: Vec<String> },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CloseWords {
    code: u16,
    word: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    cause: Cause,
}

/// The words of a publication, and the frame beside them.
pub(super) fn words(publication: &Publication) -> (TargetWords, PayloadWords, &[u8]) {
    let names = |users: &[UserKey]| users.iter().map(ToString::to_string).collect();
    let target = match &publication.target {
        Target::Everyone => TargetWords::Everyone,
        Target::Users(users) => TargetWords::Users(names(users)),
        Target::OtherSessions(users, session) => TargetWords::OtherSessions(names(users), *session),
        Target::Roles(roles) => TargetWords::Roles(roles.clone()),
        Target::Rooms(rooms) => TargetWords::Rooms(rooms.clone()),
        Target::Clients(ids) => TargetWords::Clients(ids.clone()),
        Target::Sessions(ids) => TargetWords::Sessions(ids.clone()),
    };
    let (payload, frame) = match &publication.payload {
        Payload::Message(message) => (PayloadWords::Message, Some(message)),
        Payload::Close { last, reason, cause } => (PayloadWords::Close(CloseWords::of(reason, *cause)), last.as_ref()),
        Payload::Rights(rights) => {
            let permissions = rights.permissions.words().into_iter().map(str::to_owned).collect();
            let words =
                PayloadWords::Rights { username: rights.username.clone(), roles: rights.roles.to_vec(), permissions };
            (words, None)
        }
    };
    (target, payload, frame.map_or(&[], |message| &message.frame()[..]))
}

/// The publication that was told; none when something in it is not understood.
pub(super) fn publication(target: TargetWords, payload: PayloadWords, frame: Bytes) -> Option<Publication> {
    let keys = |names: Vec<String>| names.iter().map(|name| UserKey::from_wire(name)).collect();
    let target = match target {
        TargetWords::Everyone => Target::Everyone,
        TargetWords::Users(users) => Target::Users(keys(users)),
        TargetWords::OtherSessions(users, session) => Target::OtherSessions(keys(users), session),
        TargetWords::Roles(roles) => Target::Roles(roles),
        TargetWords::Rooms(rooms) => Target::Rooms(rooms),
        TargetWords::Clients(ids) => Target::Clients(ids),
        TargetWords::Sessions(ids) => Target::Sessions(ids),
    };
    let payload = match payload {
        PayloadWords::Message => Payload::Message(Message::from_frame(frame)?),
        PayloadWords::Close(words) => {
            let cause = words.cause;
            Payload::Close { last: Message::from_frame(frame), reason: words.reason()?, cause }
        }
        PayloadWords::Rights { username, roles, permissions } => {
            // A newer release may know permissions that this one has no use for.
            let permissions = permissions.iter().filter_map(|word| word.parse::<Permission>().ok()).collect();
            Payload::Rights(Arc::new(Rights { username, roles: roles.into(), permissions }))
        }
    };
    Some(Publication { target, payload })
}

impl CloseWords {
    fn of(reason: &CloseReason, cause: Cause) -> CloseWords {
        CloseWords {
            code: reason.code as u16,
            word: reason.word.to_owned(),
            text: reason.text.clone(),
            until: reason.until,
            retry_after_ms: reason.retry_after_ms,
            cause,
        }
    }

    fn reason(self) -> Option<CloseReason> {
        let CloseWords { code, word, text, until, retry_after_ms, .. } = self;
        Some(CloseReason { text, until, retry_after_ms, ..CloseReason::with_word(CloseCode::of(code)?, &word) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travelled(publication: &Publication) -> Option<Publication> {
        let (target, payload, frame) = words(publication);
        let head = serde_json::to_string(&Word::Publish { id: 1, target, payload }).unwrap();
        let Ok(Word::Publish { target, payload, .. }) = serde_json::from_str(&head) else { panic!("{head}") };
        super::publication(target, payload, Bytes::copy_from_slice(frame))
    }

    #[test]
    fn every_publication_arrives_as_it_was_made() {
        let (users, ids, names) = (vec![UserKey::new("shop", "7")], vec![Uuid::now_v7()], vec![Arc::<str>::from("名")]);
        let message = Payload::Message(Message::push("e", Some(&"ü"), 1));
        let reason = CloseReason {
            until: Some(DateTime::default()),
            retry_after_ms: Some(5),
            ..CloseReason::token_expired().text("x")
        };
        let close = |last| Payload::Close { last, reason: reason.clone(), cause: Cause::Kicked };
        let rights = Rights {
            username: "bob".into(),
            roles: names.clone().into(),
            permissions: crate::auth::Permissions::all(),
        };
        for (target, payload) in [
            (Target::Everyone, message.clone()),
            (Target::Users(users.clone()), Payload::Rights(Arc::new(rights))),
            (Target::OtherSessions(users, ids[0]), close(None)),
            (Target::Roles(names.clone()), close(Some(Message::push("kick", Some(&1), 1)))),
            (Target::Rooms(names), message.clone()),
            (Target::Clients(ids.clone()), message.clone()),
            (Target::Sessions(ids), message),
        ] {
            let publication = Publication { target, payload };
            assert_eq!(format!("{:?}", travelled(&publication).unwrap()), format!("{publication:?}"));
        }
    }

    #[test]
    fn a_frame_that_is_none_is_not_sent_on() {
        assert!(publication(TargetWords::Everyone, PayloadWords::Message, Bytes::from_static(b"{}")).is_none());
    }
}
