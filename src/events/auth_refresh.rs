//! `auth/refresh`: a newer token for an open socket.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Event, EventError};
use crate::auth::Permission;
use crate::protocol::Code;
use crate::services::Denied;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Refresh {
    /// An access token of the same user and session.
    token: String,
}

/// The new end.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refreshed {
    /// When the token ends.
    expires_at: DateTime<Utc>,
}

impl Event for Refresh {
    const NAME: &'static str = "auth/refresh";
    const PERMISSION: Option<Permission> = None;
    const SUMMARY: &'static str = "Renews the token in place; another user's or session's token changes nothing.";
    type Reply = Refreshed;

    async fn handle(self, context: &Context) -> Result<Refreshed, EventError> {
        let identity = context.services.identify(&self.token).await.map_err(|denied| match denied {
            Denied::Unavailable => EventError::new(Code::Unavailable, "the session cannot be looked up right now"),
            denied if denied.status() == 403 => EventError::new(Code::Forbidden, denied.sentence()),
            denied => EventError::new(Code::Unauthorized, denied.sentence()),
        })?;
        let client = &context.client;
        if identity.user != client.user || identity.session != client.session {
            return Err(EventError::new(Code::Forbidden, "the token belongs to another user or session"));
        }
        client.renew(identity.expires_at);
        Ok(Refreshed { expires_at: client.expires_at() })
    }
}
