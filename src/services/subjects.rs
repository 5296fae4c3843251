//! What is kept of people: told, and erased.

use serde_json::json;

use super::Services;
use crate::auth::UserKey;
use crate::store::{Actor, Entry, NewAudit, StoreError};

impl Services {
    /// Erases somebody and tells their sockets. What waits to be written is written before, or it would come after.
    pub async fn erase(&self, user: &UserKey, by: &Actor, reason: &str) -> Result<(), StoreError> {
        self.writer().flush().await;
        let ended = self.store().erase(user, by, reason, self.clock().now()).await?;
        self.announce(&ended).await;
        Ok(())
    }

    /// That somebody took a file of what is kept.
    pub fn audit_export(&self, what: &str, by: &Actor) {
        self.writer().write(Entry::Audit(NewAudit {
            by: by.clone(),
            action: "log.export".to_owned(),
            target: what.to_owned(),
            detail: json!({}),
            ..NewAudit::at(self.clock().now())
        }));
    }
}
