//! `online/subscribe` and `online/unsubscribe`: the live online list.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Event, EventError};
use crate::auth::Permission;
use crate::protocol::Code;
use crate::realtime::{Nodes, OnlineCounts, PresenceError};

#[derive(Deserialize, JsonSchema)]
pub(super) struct Subscribe {}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Unsubscribe {}

/// Where the stream stands.
#[derive(Serialize, JsonSchema)]
pub(super) struct Subscribed {
    /// Differences with a greater `rev` follow.
    rev: u64,
    /// How many are online now.
    counts: OnlineCounts,
    /// Of how many nodes they are, and the differences will be.
    nodes: Nodes,
}

impl Event for Subscribe {
    const NAME: &'static str = "online/subscribe";
    const PERMISSION: Option<Permission> = Some(Permission::OnlineRead);
    const SUMMARY: &'static str = "Starts `online/diff`: nothing comes before the reply, nothing is missed after it.";
    type Reply = Subscribed;

    async fn handle(self, context: &Context) -> Result<Subscribed, EventError> {
        let (counts, state) = context.services.presence().subscribe(&context.client).await.map_err(unavailable)?;
        Ok(Subscribed { rev: state.rev, counts, nodes: state.nodes })
    }

    fn after_reply(context: &Context) {
        context.services.presence().release(&context.client);
    }
}

impl Event for Unsubscribe {
    const NAME: &'static str = "online/unsubscribe";
    const PERMISSION: Option<Permission> = Some(Permission::OnlineRead);
    const SUMMARY: &'static str = "Stops `online/diff`.";
    type Reply = Subscribed;

    async fn handle(self, context: &Context) -> Result<Subscribed, EventError> {
        context.services.presence().unsubscribe(&context.client);
        let (counts, state) = context.services.presence().counts().await.map_err(unavailable)?;
        Ok(Subscribed { rev: state.rev, counts, nodes: state.nodes })
    }
}

fn unavailable(error: PresenceError) -> EventError {
    tracing::warn!(%error, "presence failed");
    EventError::new(Code::Unavailable, "the online list cannot be read right now; try again")
}
