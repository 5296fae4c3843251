//! Following the sequence of revocations, so that what another process did (the command line today, other nodes later)
//! holds here within `auth.follow_interval`. Nothing is believed but the rows: each affected session is looked up again.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Denied, Door, Services, ended_words};
use crate::auth::UserKey;
use crate::realtime::{Client, Payload, Publication, Target};
use crate::store::{Kind, Revocation, StoreError, Targets, username_key};

/// Rows read at once.
const BATCH: u64 = 200;

impl Services {
    /// Applies what came after `seq`; the new end of the sequence.
    pub async fn follow(&self, mut seq: i64) -> Result<i64, StoreError> {
        loop {
            let rows = self.store().revocations_after(seq, BATCH).await?;
            let Some(last) = rows.last() else { return Ok(seq) };
            seq = last.seq;
            for row in &rows {
                self.apply(row).await;
            }
        }
    }

    async fn apply(&self, row: &Revocation) {
        self.forget_sessions(&row.targets);
        if row.kind == Kind::Unlock {
            for user in &row.targets.users {
                self.unlock_name_of(user).await;
            }
        }
        let mut affected = self.manager().select(&Target::Users(row.targets.users.clone()), false);
        affected.extend(self.manager().select(&Target::Sessions(row.targets.sessions.clone()), false));
        let mut seen = HashSet::new();
        for client in affected.into_iter().filter(|client| seen.insert(client.session)) {
            self.look_again(&client).await;
        }
    }

    /// Closes the clients of a session that no longer stands; renews the rights of those whose session does.
    async fn look_again(&self, client: &Arc<Client>) {
        let publication = match self.standing(Door::Login, client.session, client.expires_at()).await {
            Ok(_) => return self.refresh_rights(&client.user).await,
            Err(Denied::Unavailable) => return,
            Err(denied) => {
                let (reason, cause) = match &denied {
                    Denied::Disabled => ended_words(Some(Kind::Disable), "", None),
                    Denied::Locked { until, reason, .. } => ended_words(Some(Kind::Kick), reason, Some(*until)),
                    Denied::Revoked { kind, reason } => ended_words(*kind, reason, None),
                    _ => ended_words(None, "", None),
                };
                Publication {
                    target: Target::Sessions(vec![client.session]),
                    payload: Payload::Close { last: None, reason, cause },
                }
            }
        };
        if let Err(error) = self.broker().publish(publication).await {
            tracing::warn!(%error, "an end could not be published");
        }
    }

    /// Gives a user's open sockets the rights the database says, without reconnecting.
    pub async fn refresh_rights(&self, user: &UserKey) {
        self.forget_sessions(&Targets { users: vec![user.clone()], ..Targets::default() });
        let Ok(Some(rights)) = self.rights(user).await else { return };
        let publication =
            Publication { target: Target::Users(vec![user.clone()]), payload: Payload::Rights(Arc::new(rights)) };
        if let Err(error) = self.broker().publish(publication).await {
            tracing::warn!(%error, "new rights could not be published");
        }
    }

    async fn unlock_name_of(&self, user: &UserKey) {
        if let Ok(Some(user)) = self.store().user(user).await {
            self.failures().unlock(&username_key(&user.username));
        }
    }
}
