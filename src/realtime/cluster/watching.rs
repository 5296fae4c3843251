//! Rows of other nodes for the pages that look at this one, and who looks at this node's. Pure: what is to be sent is answered.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::realtime::difference::{Left, Rows};
use crate::realtime::presence::Cause;

#[derive(Default)]
pub(super) struct Watching {
    /// Whether pages look here, so that other nodes tell their rows.
    pub(super) looking: bool,
    /// What they told since the last difference.
    pending: Rows,
    /// The clients of every node that tells its rows: they left when it is dead.
    listed: HashMap<Uuid, HashSet<Uuid>>,
    /// Nodes of which a row may have been missed. When they have said anew what they have, pages begin anew.
    missed: HashSet<Uuid>,
    /// Nodes that want this one's rows.
    watchers: HashSet<Uuid>,
}

impl Watching {
    /// Pages look, or no more; whether that is new.
    pub(super) fn look(&mut self, looking: bool) -> bool {
        let new = self.looking != looking;
        if new {
            let watchers = std::mem::take(&mut self.watchers);
            *self = Watching { looking, watchers, ..Watching::default() };
        }
        new
    }

    /// A node told something, in order or after something `lost`; whether it must be asked to say anew what it has.
    pub(super) fn told(&mut self, node: Uuid, rows: Option<Rows>, lost: bool) -> bool {
        if !self.looking {
            return false;
        }
        let listed = self.listed.get_mut(&node).filter(|_| !lost);
        let (Some(rows), Some(listed)) = (rows, listed) else { return self.miss(node) };
        listed.extend(rows.joined.iter().map(|row| row.id));
        rows.left.iter().for_each(|left| _ = listed.remove(&left.id));
        self.pending.append(rows);
        false
    }

    /// Rows of this node may have been missed; whether it must be asked, which is so while pages look.
    pub(super) fn miss(&mut self, node: Uuid) -> bool {
        self.listed.remove(&node);
        if self.looking {
            self.missed.insert(node);
        }
        self.looking
    }

    /// A node says which clients it has, and tells of them from now on; whether pages must begin anew.
    pub(super) fn watched(&mut self, node: Uuid, clients: Vec<Uuid>) -> bool {
        if self.looking {
            self.listed.insert(node, clients.into_iter().collect());
        }
        self.missed.remove(&node)
    }

    /// Whether a node that lives does not tell its rows although pages look.
    pub(super) fn is_deaf(&self, node: Uuid) -> bool {
        self.looking && !self.listed.contains_key(&node)
    }

    /// A node is gone, and so are its clients; whether pages must begin anew because nobody knows which.
    pub(super) fn gone(&mut self, node: Uuid, cause: Cause) -> bool {
        self.watchers.remove(&node);
        self.missed.remove(&node);
        let listed = self.listed.remove(&node);
        let unknown = self.looking && listed.is_none();
        self.pending.left.extend(listed.into_iter().flatten().map(|id| Left { id, cause }));
        unknown
    }

    /// What other nodes told since the last time.
    pub(super) fn take(&mut self) -> Rows {
        std::mem::take(&mut self.pending)
    }

    /// A node wants this one's rows, or no more; whether that is new.
    pub(super) fn set_watcher(&mut self, node: Uuid, watches: bool) -> bool {
        if watches { self.watchers.insert(node) } else { self.watchers.remove(&node) }
    }

    /// Whether another node wants this one's rows.
    pub(super) fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looking(node: Uuid, clients: &[Uuid]) -> Watching {
        let mut watching = Watching::default();
        watching.look(true);
        assert!(!watching.watched(node, clients.to_vec()), "a page that has just come reads the list by itself");
        watching
    }

    fn left(ids: &[Uuid]) -> Rows {
        let left = ids.iter().map(|id| Left { id: *id, cause: Cause::Lost }).collect();
        Rows { left, ..Rows::default() }
    }

    #[test]
    fn whoever_left_does_not_leave_again_with_its_node() {
        let (node, ids) = (Uuid::now_v7(), [Uuid::now_v7(), Uuid::now_v7()]);
        let mut watching = looking(node, &ids);
        assert!(!watching.told(node, Some(left(&ids[..1])), false));
        assert!(!watching.gone(node, Cause::NodeLost));
        let told: Vec<_> = watching.take().left.into_iter().map(|left| (left.id, left.cause)).collect();
        assert_eq!(told, [(ids[0], Cause::Lost), (ids[1], Cause::NodeLost)]);
        assert!(watching.take().left.is_empty());
    }

    #[test]
    fn pages_begin_anew_once_when_rows_were_lost() {
        let node = Uuid::now_v7();
        for (rows, lost) in [(None, false), (Some(Rows::default()), true)] {
            let mut watching = looking(node, &[]);
            assert!(watching.told(node, rows, lost), "it is asked what it has");
            assert!(watching.is_deaf(node));
            assert!(watching.watched(node, Vec::new()), "pages begin anew");
            assert!(!watching.watched(node, Vec::new()), "and not again");
        }
    }

    #[test]
    fn a_node_that_dies_before_it_has_said_whom_it_has_makes_pages_begin_anew() {
        let mut watching = Watching::default();
        watching.look(true);
        assert!(watching.gone(Uuid::now_v7(), Cause::NodeLost));
        watching.look(false);
        assert!(!watching.gone(Uuid::now_v7(), Cause::NodeLost), "nobody looks");
    }

    #[test]
    fn nothing_is_kept_while_nobody_looks() {
        let (node, id) = (Uuid::now_v7(), Uuid::now_v7());
        let mut watching = looking(node, &[id]);
        watching.told(node, Some(left(&[id])), false);
        assert!(watching.look(false) && watching.take().left.is_empty());
        assert!(!watching.told(node, Some(left(&[id])), false));
        assert!(watching.take().left.is_empty());
    }
}
