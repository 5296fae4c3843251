//! What became of a kick: who of those that it is about is still there, on which node.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Services;
use super::kick::{Affected, KickRefused};
use crate::realtime::{Delivered, OnlineClient};
use crate::store::{Revocation, StoreError};

/// What became of a kick, as of now.
#[derive(Debug)]
pub struct Outcome {
    /// Clients it is about.
    pub matched: usize,
    /// Of them gone.
    pub closed: usize,
    /// Clients that are still there.
    pub pending: Vec<Pending>,
    /// Whether nobody is, and every node that lives said so.
    pub complete: bool,
}

/// Clients a node has not closed yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Pending {
    /// The node.
    pub node: Arc<str>,
    /// How many; of a node that does not answer, at least.
    pub clients: usize,
}

impl Services {
    /// Asks every node who of those that a kick is about is still there.
    pub async fn outcome_of(&self, kick: &Revocation) -> Result<Outcome, KickRefused> {
        let mut targets = kick.targets.clone();
        if kick.ends_sessions {
            // Not whoever has logged in again since.
            targets.sessions = self.store().sessions_ended_by(kick).await?;
            targets.users.clear();
        }
        let Affected { mut list, complete } = self.affected(&targets).await?;
        // Nor, where sessions stand, whoever has come back.
        list.retain(|row| kick.ends_sessions || row.connected_at <= kick.at);
        let mut left = by_node(&list);
        if !complete && kick.ends_sessions {
            // Whoever answers has told before. So these are of nodes that do not.
            for (node, clients) in self.told_of(&targets.sessions) {
                left.entry(node).or_insert(clients);
            }
        }
        let pending = pending(left);
        let still: usize = pending.iter().map(|left| left.clients).sum();
        let matched = usize::try_from(kick.matched).unwrap_or(usize::MAX).max(still);
        Ok(Outcome { matched, closed: matched - still, complete: complete && still == 0, pending })
    }

    /// The same right after it was announced, when `affected` had been listed before: clients that a node could not shut down in
    /// time, and those of nodes that did not answer.
    pub(super) async fn pending(
        &self,
        kick: &Revocation,
        delivered: &Delivered,
        affected: &[OnlineClient],
    ) -> Result<Vec<Pending>, StoreError> {
        let mut left: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for (node, clients) in &delivered.dropped_by {
            *left.entry(node.clone()).or_default() += clients;
        }
        let elsewhere: usize = left.values().sum();
        left.insert(self.node().clone(), delivered.dropped.saturating_sub(elsewhere));
        if !delivered.silent.is_empty() {
            let (had, mut told) = (by_node(affected), BTreeMap::new());
            if kick.ends_sessions {
                told = self.told_of(&self.store().sessions_ended_by(kick).await?);
            }
            for node in &delivered.silent {
                left.insert(node.clone(), had.get(node).max(told.get(node)).copied().unwrap_or_default());
            }
        }
        Ok(pending(left))
    }

    /// How many of these logins the other nodes have, as far as they have told.
    fn told_of(&self, sessions: &[Uuid]) -> BTreeMap<Arc<str>, usize> {
        let live = self.cluster().map(|cluster| cluster.members.live()).unwrap_or_default();
        let name = |node| live.iter().find(|other| other.generation == node).map(|other| other.said.name.clone());
        self.presence().told_of(sessions).into_iter().filter_map(|(node, logins)| Some((name(node)?, logins))).collect()
    }
}

fn by_node(clients: &[OnlineClient]) -> BTreeMap<Arc<str>, usize> {
    let mut nodes = BTreeMap::new();
    for client in clients {
        *nodes.entry(client.node.clone()).or_default() += 1;
    }
    nodes
}

fn pending(left: BTreeMap<Arc<str>, usize>) -> Vec<Pending> {
    let left = left.into_iter().filter(|(_, clients)| *clients > 0);
    left.map(|(node, clients)| Pending { node, clients }).collect()
}
