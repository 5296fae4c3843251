//! The channels, and their names in Redis.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Where a message goes. Redis passes it to every node that has subscribed, the sender included if it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Every node. A node subscribes to it last: who has it has all of its others too.
    All,
    /// One node, by its generation: answers and questions.
    Node(Uuid),
    /// Every node: differences of presence.
    Presence,
    /// The nodes that have a client of the user with this [`hash`].
    User(u64),
    /// The nodes that have a member of the room with this [`hash`].
    Room(u64),
}

impl Channel {
    pub(super) fn name(self, prefix: &str) -> String {
        match self {
            Channel::All => format!("{prefix}:all"),
            Channel::Node(generation) => format!("{prefix}:node:{}", generation.simple()),
            Channel::Presence => format!("{prefix}:presence"),
            Channel::User(hash) => format!("{prefix}:user:{hash:016x}"),
            Channel::Room(hash) => format!("{prefix}:room:{hash:016x}"),
        }
    }
}

/// A name in 64 bits that are the same on every node and in every version: the first of its SHA-256, so that nobody can choose
/// a name that falls together with a given one. Two that do wake a node needlessly and no more, if the receiver compares whole names.
pub fn hash(name: &str) -> u64 {
    let digest = Sha256::digest(name);
    u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_alike_by_every_version() {
        assert_eq!(Channel::User(hash("42")).name("rollcall"), "rollcall:user:73475cb40a568e8d");
        assert_eq!(Channel::Room(hash("42")).name("r"), "r:room:73475cb40a568e8d");
        assert_eq!(Channel::Node(Uuid::nil()).name("r"), "r:node:00000000000000000000000000000000");
    }
}
