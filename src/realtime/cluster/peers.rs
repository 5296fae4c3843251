//! The other nodes, as presence needs them.

use uuid::Uuid;

use super::words::Words;

/// Another node that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// The process.
    pub(super) generation: Uuid,
    /// Whether it was heard of lately. A suspect one is asked, and not waited for.
    pub(super) suspect: bool,
}

/// Reaches the other nodes. Whatever is told and sent leaves in the order of the calls; what is lost is lost.
pub(super) trait Peers: Send + Sync + 'static {
    /// Those that live, as far as is known; without this one.
    fn others(&self) -> Vec<Peer>;
    /// Whether they can be reached at all.
    fn connected(&self) -> bool;
    /// To all.
    fn tell(&self, words: &Words);
    /// To one.
    fn send(&self, node: Uuid, words: &Words);
}
