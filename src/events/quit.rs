//! `quit`: leaves a room.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::join::check_room;
use super::{Context, Event, EventError};
use crate::auth::Permission;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Quit {
    /// The room's name.
    id: String,
}

impl Event for Quit {
    const NAME: &'static str = "quit";
    const PERMISSION: Option<Permission> = None;
    const SUMMARY: &'static str = "Leaves a room; the reply lists the rooms this client is still in.";
    type Reply = Vec<Arc<str>>;

    async fn handle(self, context: &Context) -> Result<Vec<Arc<str>>, EventError> {
        check_room(&self.id)?;
        Ok(context.services.manager().quit(&context.client, &self.id))
    }
}
