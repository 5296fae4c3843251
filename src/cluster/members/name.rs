//! One process for each name.

use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::{Members, Word};
use crate::cluster::channel::Channel;
use crate::cluster::envelope::Topic;

/// Time a process has to answer that it is there. Asked twice.
const ANSWER: Duration = Duration::from_millis(500);

/// A living process has the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Another node calls itself {0:?} and is alive; set cluster.node to a name of this node's own.")]
pub struct NameTaken(pub String);

impl Members {
    /// Takes this node's name or keeps it, also from a process that does not answer any more. Without Redis it is taken later.
    pub(super) async fn claim_name(&self) -> Result<(), NameTaken> {
        let (link, me) = (&self.0.link, self.generation().to_string());
        let Ok(Some(holder)) = link.claim(&self.name_key(), &me, self.0.settings.dead).await else { return Ok(()) };
        if self.answers(&holder).await {
            return Err(NameTaken(self.name().to_string()));
        }
        tracing::info!(node = %self.name(), "the process that had this node's name before does not answer");
        let _ = link.put(&self.name_key(), me.as_bytes(), self.0.settings.dead).await;
        Ok(())
    }

    pub(super) async fn give_name_back(&self) {
        let me = self.generation().to_string();
        let _ = self.0.link.claim(&self.name_key(), &me, Duration::from_millis(1)).await;
    }

    async fn answers(&self, holder: &str) -> bool {
        let Ok(generation) = Uuid::parse_str(holder) else { return false };
        for _ in 0..2 {
            let here = self.0.here.notified();
            tokio::pin!(here);
            here.as_mut().enable();
            match self.0.link.send(Channel::Node(generation), Topic::Members, &Word::Who, b"").await {
                Ok(0) | Err(_) => return false,
                Ok(_) if timeout(ANSWER, here).await.is_ok() => return true,
                Ok(_) => {}
            }
        }
        false
    }

    fn name_key(&self) -> String {
        format!("node:{}", self.name())
    }
}
