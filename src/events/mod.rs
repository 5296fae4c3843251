//! What a frame means: the handler registry, and one file per event. Deliberately absent: sockets' bytes, poem and HTTP
//! status codes. To add an event, write its file and add its line to [`registry`].

mod asyncapi;
mod auth_refresh;
mod join;
mod online;
mod ping;
mod quit;
mod registry;

pub use asyncapi::document;
pub use registry::{Context, Event, EventError, EventStats, Registry};

use crate::services::Services;

/// Every event a client may send.
pub fn registry(services: Services) -> Registry {
    Registry::new(services)
        .with::<ping::Ping>()
        .with::<join::Join>()
        .with::<quit::Quit>()
        .with::<auth_refresh::Refresh>()
        .with::<online::Subscribe>()
        .with::<online::Unsubscribe>()
}

/// What the server says on its own: name, one sentence. None of these, and no event above, can be pushed from outside;
/// except `notice`.
pub const PUSHES: &[(&str, &str)] = &[
    ("connected", "The first word after the upgrade: who you are here, and the limits."),
    ("error", "The answer to a text that is no frame."),
    ("kick", "An operator ended this client; the close frame follows."),
    ("auth/expiring", "The token ends in less than a minute."),
    (
        "auth/changed",
        "The user's permissions changed: `gained`, `lost`, and in `ended` the subscriptions that need what is lost.",
    ),
    ("server/draining", "This node is about to stop; come back elsewhere or later."),
    (
        "online/diff",
        "What changed in the online list since `prev`; with several nodes, of how many of them it tells: `nodes`.",
    ),
    ("monitor/sample", "One sample of the server's gauges."),
    ("notice", "Something to tell people."),
    ("notice/changed", "A notice has a new text."),
    ("notice/retract", "A notice was taken back."),
    ("notice/unread", "The user's unread counts."),
    ("presence", "Somebody came to, or went from, a channel."),
    ("presence/diff", "What changed in a room since `prev`."),
    ("presence/readers", "Where the readers of a room are."),
    ("visitor/count", "How many visitors there are."),
    ("alert", "A threshold was crossed."),
    ("job/failed", "A scheduled job failed."),
];
