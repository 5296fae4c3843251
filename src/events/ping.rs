//! `ping`: HotGo's own heartbeat.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Context, Event, EventError};
use crate::auth::Permission;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Ping {}

impl Event for Ping {
    const NAME: &'static str = "ping";
    const PERMISSION: Option<Permission> = None;
    const SUMMARY: &'static str = "Says that the client is there; any frame does, and so do the pongs of a browser.";
    type Reply = ();

    async fn handle(self, _context: &Context) -> Result<(), EventError> {
        Ok(())
    }
}
