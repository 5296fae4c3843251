//! Rights of open sockets. A socket keeps what its user may do as one integer, which each event is held against; whoever changes a
//! role or a user writes a row of the sequence of revocations, and every node that follows it replaces the integer. So no event asks
//! the database, and none is judged by rights that were taken away.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::yield_now;

use super::Services;
use crate::auth::{Permissions, Rights, UserKey};
use crate::realtime::{Broker, Payload, Publication, Target};
use crate::store::{StoreError, Targets};

/// Users after whom other tasks get a turn.
const USERS_PER_TURN: usize = 256;

impl Services {
    /// A change that is a row already holds here when this returns, and elsewhere as soon as the other nodes hear of it.
    pub async fn spread(&self) {
        self.tell_of_rows();
        if let Err(error) = self.follow().await {
            tracing::warn!(cause = error.cause(), "a change could not be followed; it holds when the sequence is");
        }
    }

    /// Gives a user's open sockets on all nodes the rights the database says, where no row tells of them.
    pub(super) async fn refresh_rights(&self, user: &UserKey) {
        if let Err(error) = self.renew_rights(user, self.broker()).await {
            tracing::warn!(cause = error.cause(), "new rights could not be read");
        }
    }

    /// The same for the sockets of this node, for one that was opened while something changed.
    pub async fn renew_rights_here(&self, user: &UserKey) {
        if let Err(error) = self.renew_rights(user, self.local()).await {
            tracing::warn!(cause = error.cause(), "new rights could not be read");
        }
    }

    pub(super) async fn renew_rights(&self, user: &UserKey, broker: &dyn Broker) -> Result<(), StoreError> {
        self.forget_sessions(&Targets { users: vec![user.clone()], ..Targets::default() });
        let Some(rights) = self.rights(user).await? else { return Ok(()) };
        let (target, payload) = (Target::Users(vec![user.clone()]), Payload::Rights(Arc::new(rights)));
        self.tell(broker, Publication { target, payload }).await;
        Ok(())
    }

    /// Gives everybody here who has one of these roles what their roles allow now. All roles are read once, however many users that
    /// is: who has which has not changed, or another row says so.
    pub(super) async fn renew_roles(&self, changed: &[String]) -> Result<(), StoreError> {
        let names: Vec<Arc<str>> = changed.iter().map(|name| name.as_str().into()).collect();
        let clients = self.manager().select(&Target::Roles(names), false);
        if clients.is_empty() {
            return Ok(());
        }
        let allowed: HashMap<String, Permissions> =
            self.store().roles().await?.into_iter().map(|role| (role.name, role.permissions)).collect();
        let mut seen = HashSet::new();
        for client in clients {
            if !seen.insert(client.user.clone()) {
                continue;
            }
            let Rights { username, roles, .. } = (*client.rights()).clone();
            let of = |role: &Arc<str>| allowed.get(&**role).copied().unwrap_or_default();
            let permissions = roles.iter().map(of).fold(Permissions::default(), |all, role| all | role);
            let rights = self.with_foreign_roles(&client.user, Rights { username, roles, permissions });
            self.manager().set_rights(&client.user, &Arc::new(rights));
            if seen.len().is_multiple_of(USERS_PER_TURN) {
                yield_now().await;
            }
        }
        Ok(())
    }
}
