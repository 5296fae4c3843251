//! Tickets, which open a socket once. Where there are other nodes they are in Redis, so that any node takes them; one that Redis did
//! not take is in the database. A ticket is in one of the two, so that nobody can spend it in each.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Denied, Services};
use crate::auth::{random_ticket, ticket_digest};
use crate::cluster::Cluster;

/// What a ticket stands for: the session that asked for it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ticket {
    /// The login.
    pub session: Uuid,
    /// When the access token ends that asked for the ticket.
    pub expires_at: chrono::DateTime<chrono::Utc>,
}

impl Services {
    /// A new ticket; it lives for `auth.ticket_ttl`. With other nodes, [`Denied::Unavailable`] when neither Redis nor the database
    /// takes it, or this node has made `auth.max_tickets` within that time.
    pub async fn issue_ticket(&self, ticket: Ticket) -> Result<String, Denied> {
        let Some(Cluster { link, .. }) = self.cluster() else { return Ok(self.0.tickets.issue(ticket)) };
        if self.limits().tickets.check(&()).is_err() {
            return Err(Denied::Unavailable);
        }
        let (ttl, value) = (self.config().auth.ticket_ttl, serde_json::to_string(&ticket).unwrap_or_default());
        let word = random_ticket();
        if link.put(&key(&word).unwrap_or_default(), value.as_bytes(), ttl).await.is_ok() {
            return Ok(word);
        }
        // Redis may have the word although it did not say so.
        let word = random_ticket();
        self.keep(&key(&word).unwrap_or_default(), &value, ttl).await?;
        Ok(word)
    }

    /// What the ticket stands for; it is spent, on every node. Whether the session still stands is for the caller to look up.
    pub async fn take_ticket(&self, ticket: &str) -> Result<Ticket, Denied> {
        let Some(Cluster { link, .. }) = self.cluster() else {
            return self.0.tickets.take(ticket).ok_or(Denied::Ticket);
        };
        let key = key(ticket).ok_or(Denied::Ticket)?;
        if let Ok(Some(value)) = link.take_key(&key).await {
            return serde_json::from_slice(&value).map_err(|_| Denied::Ticket);
        }
        // Made while Redis was away, or never.
        let taken = {
            let _turn = self.turn().await?;
            self.store().take_ephemeral(&key, self.clock().now()).await?
        };
        taken.and_then(|value| serde_json::from_str(&value).ok()).ok_or(Denied::Ticket)
    }
}

/// None for what can be no ticket.
fn key(ticket: &str) -> Option<String> {
    Some(format!("ticket:{}", ticket_digest(ticket)?))
}
