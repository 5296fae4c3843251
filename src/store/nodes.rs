//! The nodes of late, for people and for the check of versions. Whether one lives is not decided here: that is what the nodes
//! tell each other.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

use super::text::{cut, uuid};
use super::{Store, StoreError};

/// How long a node is remembered that is seen no more.
pub(super) const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) generation: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) address: String,
    pub(super) started_at: DateTime<Utc>,
    pub(super) seen_at: DateTime<Utc>,
}

super::entity!(Nodes);

/// A process that is or was a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Made at its start: started again under the same name it is another one.
    pub generation: Uuid,
    /// What it is called; at most 128 characters are kept.
    pub name: String,
    /// Its release.
    pub version: String,
    /// Where it listens, as host and port; at most 300 characters are kept.
    pub address: String,
    /// By its own clock.
    pub started_at: DateTime<Utc>,
    /// When it last said so, by its own clock.
    pub seen_at: DateTime<Utc>,
}

impl Store {
    /// Notes that a node is there.
    pub async fn note_node(&self, node: &NodeRow) -> Result<(), StoreError> {
        let row = ActiveModel {
            generation: Set(node.generation.to_string()),
            name: Set(cut(&node.name, 128)),
            version: Set(cut(&node.version, 64)),
            address: Set(cut(&node.address, 300)),
            started_at: Set(node.started_at),
            seen_at: Set(node.seen_at),
        };
        let newer = OnConflict::column(Column::Generation).update_columns([Column::Address, Column::SeenAt]).to_owned();
        let tx = self.begin().await?;
        Entity::insert(row).on_conflict(newer).exec_without_returning(&*tx).await?;
        tx.commit().await
    }

    /// The nodes of the last seven days, by name, those seen last first.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let rows = Entity::find().order_by_asc(Column::Name).order_by_desc(Column::SeenAt).all(self.db()).await?;
        rows.into_iter().map(node).collect()
    }
}

fn node(row: Model) -> Result<NodeRow, StoreError> {
    Ok(NodeRow {
        generation: uuid(&row.generation)?,
        name: row.name,
        version: row.version,
        address: row.address,
        started_at: row.started_at,
        seen_at: row.seen_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::new_id;
    use crate::store::testing::{at, store};

    fn node(name: &str, second: i64) -> NodeRow {
        NodeRow {
            generation: new_id(at(second)),
            name: name.into(),
            version: "0.1.0".into(),
            address: "10.0.0.1:8080".into(),
            started_at: at(second),
            seen_at: at(second),
        }
    }

    #[tokio::test]
    async fn a_node_is_seen_again_and_forgotten_a_week_after_the_last_time() {
        let store = store().await;
        let (mut first, again) = (node("a", 0), node("a", 10));
        for noted in [&first, &again, &node("b", 5)] {
            store.note_node(noted).await.unwrap();
        }
        first.seen_at = at(20);
        store.note_node(&first).await.unwrap();
        let nodes = store.nodes().await.unwrap();
        assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["a", "a", "b"]);
        assert_eq!(nodes[..2], [first, again]);
        let week = REMEMBERED.as_secs() as i64;
        store.prune(at(15 + week), Duration::from_secs(1), Duration::from_secs(1)).await.unwrap();
        assert_eq!(store.nodes().await.unwrap(), nodes[..1]);
    }
}
