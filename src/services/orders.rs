//! Asking another node to empty itself, and doing so when asked. What it is asked is published to that node alone, and it answers.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use super::{DrainProgress, NodeRefused, Services};
use crate::cluster::{Channel, Mailbox, Topic};

/// Who waits for an answer. No entry without somebody who does.
#[derive(Default)]
pub struct Orders(Mutex<HashMap<Uuid, oneshot::Sender<Option<DrainProgress>>>>);

/// What a node is to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Order {
    /// Send its clients elsewhere.
    Drain { per_second: Option<NonZeroU32> },
    /// Take clients again.
    Resume,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Word {
    Asked {
        id: Uuid,
        order: Order,
    },
    /// How far it is; none when it stops and cannot.
    Done {
        id: Uuid,
        progress: Option<DrainProgress>,
    },
}

impl Services {
    /// Has another node do it, at most `cluster.answer_timeout` long.
    pub(super) async fn order(&self, node: Uuid, order: Order) -> Result<DrainProgress, NodeRefused> {
        let link = &self.cluster().ok_or(NodeRefused::Unknown)?.link;
        let id = Uuid::now_v7();
        let (sender, answer) = oneshot::channel();
        self.0.orders.waiting().insert(id, sender);
        let sent = link.send(Channel::Node(node), Topic::Orders, &Word::Asked { id, order }, b"");
        let asked = async { if sent.await.is_ok_and(|heard| heard > 0) { answer.await.ok() } else { None } };
        let answered = timeout(self.config().cluster.answer_timeout, asked).await;
        self.0.orders.waiting().remove(&id);
        answered.ok().flatten().ok_or(NodeRefused::Silent)?.ok_or(NodeRefused::Stopping)
    }

    /// Does what other nodes ask, and hands out what they answer, as long as there is a link.
    pub async fn carry_out_orders(self, mut mailbox: Mailbox) {
        let Some(link) = self.cluster().map(|cluster| cluster.link.clone()) else { return };
        while let Some(message) = mailbox.next().await {
            match link.read::<Word>(&message) {
                Some(Word::Asked { id, order }) => {
                    let done = Word::Done { id, progress: self.carry_out(order).ok() };
                    // Not awaited: who asked waits only so long.
                    drop(link.send(Channel::Node(message.origin), Topic::Orders, &done, b""));
                }
                Some(Word::Done { id, progress }) => {
                    if let Some(waiting) = self.0.orders.waiting().remove(&id) {
                        let _ = waiting.send(progress);
                    }
                }
                None => {}
            }
        }
    }

    /// Here.
    pub(super) fn carry_out(&self, order: Order) -> Result<DrainProgress, NodeRefused> {
        match order {
            Order::Drain { per_second } => self.drain(per_second),
            Order::Resume => self.resume().map_err(|_| NodeRefused::Stopping)?,
        }
        Ok(self.drain_progress())
    }
}

impl Orders {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Uuid, oneshot::Sender<Option<DrainProgress>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
