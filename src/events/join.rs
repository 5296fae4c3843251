//! `join`: becomes a member of a room, HotGo's tag.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Context, Event, EventError};
use crate::auth::Permission;
use crate::protocol::Code;
use crate::realtime::Interest;

/// Characters of a room's name, at most.
pub(super) const MAX_ROOM_CHARS: usize = 128;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Join {
    /// The room's name: 1 to 128 characters, no control characters. A name with a prefix before `:` is closed.
    id: String,
}

impl Event for Join {
    const NAME: &'static str = "join";
    const PERMISSION: Option<Permission> = None;
    const SUMMARY: &'static str = "Joins a room; the reply lists the rooms this client is in.";
    type Reply = Vec<Arc<str>>;

    async fn handle(self, context: &Context) -> Result<Vec<Arc<str>>, EventError> {
        check_room(&self.id)?;
        // Rooms have no policies of their own yet: what has a prefix belongs to somebody.
        if self.id.contains(':') {
            return Err(EventError::new(Code::Forbidden, "rooms with a prefix are closed unless they are configured"));
        }
        // What another node publishes once the client has read the reply shall reach it.
        let _expected = match context.services.broker().expect(Interest::Room(self.id.as_str().into())) {
            Some(expecting) => Some(expecting.await),
            None => None,
        };
        let max = context.services.config().socket.max_rooms;
        context
            .services
            .manager()
            .join(&context.client, &self.id)
            .map_err(|_| EventError::new(Code::Conflict, format!("a client is in {max} rooms at most; quit one first")))
    }
}

pub(super) fn check_room(name: &str) -> Result<(), EventError> {
    let refuse = |why: &str| Err(EventError::new(Code::Unprocessable, format!("data.id does not fit: {why}")));
    match name.chars().count() {
        0 => refuse("a room has a name"),
        1..=MAX_ROOM_CHARS if name.chars().any(char::is_control) => refuse("no control characters in a room's name"),
        1..=MAX_ROOM_CHARS if name.trim() != name => refuse("no spaces around a room's name"),
        1..=MAX_ROOM_CHARS => Ok(()),
        _ => refuse(&format!("a room's name has at most {MAX_ROOM_CHARS} characters")),
    }
}
