//! Where messages of a topic wait for whoever reads them. Bounded, so that a reader who stands still costs messages, not memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

use super::envelope::Received;

/// Messages that wait, at most: what a node reads in half a second.
const MESSAGES: usize = 8_192;
/// Bytes of them.
const BYTES: usize = 64 * 1024 * 1024;

/// Messages of one topic, in order per sender.
pub struct Mailbox {
    messages: mpsc::Receiver<Received>,
    bytes: Arc<AtomicUsize>,
}

/// The other end.
pub(super) struct Slot {
    messages: mpsc::Sender<Received>,
    bytes: Arc<AtomicUsize>,
}

impl Mailbox {
    pub(super) fn new() -> (Slot, Mailbox) {
        let (sender, messages) = mpsc::channel(MESSAGES);
        let bytes = Arc::<AtomicUsize>::default();
        (Slot { messages: sender, bytes: bytes.clone() }, Mailbox { messages, bytes })
    }

    /// The next message; none when the link is gone.
    pub async fn next(&mut self) -> Option<Received> {
        let message = self.messages.recv().await?;
        self.bytes.fetch_sub(message.size(), Relaxed);
        Some(message)
    }
}

impl Slot {
    /// Whether there was room.
    pub(super) fn put(&self, message: Received) -> bool {
        let size = message.size();
        if self.bytes.fetch_add(size, Relaxed) <= BYTES && self.messages.try_send(message).is_ok() {
            return true;
        }
        self.bytes.fetch_sub(size, Relaxed);
        false
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_reader_who_stands_still_costs_messages_and_no_memory() {
        let (slot, mut mailbox) = Mailbox::new();
        let message = |length| Received { origin: Uuid::nil(), head: Bytes::new(), rest: vec![0; length].into() };
        let large = (0..100).filter(|_| slot.put(message(1024 * 1024))).count();
        assert!((64..=65).contains(&large), "{large}");
        for _ in 0..large {
            mailbox.next().await.unwrap();
        }
        assert_eq!((0..10_000).filter(|_| slot.put(message(1))).count(), MESSAGES);
    }
}
