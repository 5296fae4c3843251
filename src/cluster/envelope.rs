//! What travels between nodes: a version, a topic, who sends it, a head and bytes.
//!
//! ```text
//! 0        1       2        18             22
//! version  topic   origin   head's length  head (JSON)  the rest, as it is
//! ```
//!
//! The head is JSON: versions N and N−1 run together, and JSON alone lets either add a field that the other does not know. A
//! WebSocket frame is the rest: encoded once at its sender, and written to sockets as it is.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// Of what this release sends and reads.
const VERSION: u8 = 1;
/// Bytes before the head.
const FIXED: usize = 22;

/// Whom in a node a message is for. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Topic {
    /// Who the nodes are.
    Members = 0,
    /// Publications and their answers.
    Delivery = 1,
    /// Who is online.
    Presence = 2,
    /// That rows changed, which everybody would read a little later anyway.
    Rows = 3,
    /// What one node is asked to do.
    Orders = 4,
    /// What a node has let through of what is limited.
    Limits = 5,
}

impl Topic {
    pub(super) const ALL: [Topic; 6] =
        [Topic::Members, Topic::Delivery, Topic::Presence, Topic::Rows, Topic::Orders, Topic::Limits];

    /// The word in figures.
    pub fn word(self) -> &'static str {
        match self {
            Topic::Members => "members",
            Topic::Delivery => "delivery",
            Topic::Presence => "presence",
            Topic::Rows => "rows",
            Topic::Orders => "orders",
            Topic::Limits => "limits",
        }
    }
}

/// A message from a node.
#[derive(Clone, Debug)]
pub struct Received {
    /// The sender's generation.
    pub origin: Uuid,
    /// The bytes after the head.
    pub rest: Bytes,
    pub(super) head: Bytes,
}

impl Received {
    /// The head; none when it is not understood.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.head).ok()
    }

    /// Bytes in memory.
    pub(super) fn size(&self) -> usize {
        FIXED + self.head.len() + self.rest.len()
    }
}

pub(super) fn seal<T: Serialize>(topic: Topic, origin: Uuid, head: &T, rest: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(256 + rest.len());
    bytes.put_u8(VERSION);
    bytes.put_u8(topic as u8);
    bytes.put_slice(origin.as_bytes());
    bytes.put_u32(0);
    let mut writer = bytes.writer();
    serde_json::to_writer(&mut writer, head).expect("our own types serialize into memory");
    let mut bytes = writer.into_inner();
    let length = (bytes.len() - FIXED) as u32;
    bytes[FIXED - 4..FIXED].copy_from_slice(&length.to_be_bytes());
    bytes.put_slice(rest);
    bytes.freeze()
}

/// None for another version, an unknown topic, or something that is none of ours.
pub(super) fn open(bytes: Bytes) -> Option<(Topic, Received)> {
    if bytes.len() < FIXED || bytes[0] != VERSION {
        return None;
    }
    let topic = *Topic::ALL.get(usize::from(bytes[1]))?;
    let origin = Uuid::from_slice(&bytes[2..18]).ok()?;
    let length = u32::from_be_bytes(bytes[FIXED - 4..FIXED].try_into().ok()?) as usize;
    let end = FIXED.checked_add(length).filter(|end| *end <= bytes.len())?;
    Some((topic, Received { origin, head: bytes.slice(FIXED..end), rest: bytes.slice(end..) }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let origin = Uuid::now_v7();
        let (topic, received) = open(seal(Topic::Presence, origin, &("a", 1), b"frame")).unwrap();
        assert_eq!((topic, received.origin, &received.rest[..]), (Topic::Presence, origin, &b"frame"[..]));
        assert_eq!(received.read(), Some(("a".to_owned(), 1)));
        assert_eq!(received.read::<bool>(), None);
    }

    #[test]
    fn another_version_and_an_unknown_topic_are_not_read() {
        let sealed = seal(Topic::Members, Uuid::nil(), &1, b"");
        for (place, value) in [(0, VERSION + 1), (1, Topic::ALL.len() as u8)] {
            let mut other = sealed.to_vec();
            other[place] = value;
            assert!(open(other.into()).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(version) = bytes.first_mut() {
                *version = VERSION;
            }
            let _ = open(bytes.into());
        }
    }
}
