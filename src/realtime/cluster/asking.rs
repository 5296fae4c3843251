//! Questions to other nodes, and their answers until the deadline.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;

use super::words::Answer;

/// The questions that are open.
#[derive(Default)]
pub(super) struct Asking {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
}

struct Open {
    asked: HashSet<Uuid>,
    /// Those of `asked` that are worth waiting for, and have not answered.
    awaited: HashSet<Uuid>,
    answers: Vec<(Uuid, Answer)>,
    enough: Arc<Notify>,
}

/// An open question; closed when dropped.
pub(super) struct Question<'a> {
    pub(super) id: u64,
    asking: &'a Asking,
    enough: Arc<Notify>,
}

impl Asking {
    /// Opens a question to these nodes; those with `true` are waited for.
    pub(super) fn open(&self, asked: &[(Uuid, bool)]) -> Question<'_> {
        let (id, enough) = (self.next.fetch_add(1, Relaxed), Arc::<Notify>::default());
        let awaited: HashSet<Uuid> = asked.iter().filter(|(_, waited)| *waited).map(|(node, _)| *node).collect();
        if awaited.is_empty() {
            enough.notify_one();
        }
        let asked = asked.iter().map(|(node, _)| *node).collect();
        self.all().insert(id, Open { asked, awaited, answers: Vec::new(), enough: enough.clone() });
        Question { id, asking: self, enough }
    }

    /// An answer came. Late ones, second ones and those of nobody who was asked are nothing.
    pub(super) fn answered(&self, node: Uuid, id: u64, answer: Answer) {
        let mut all = self.all();
        if let Some(open) = all.get_mut(&id)
            && open.asked.remove(&node)
        {
            open.answers.push((node, answer));
            open.done_with(node);
        }
    }

    /// Nobody needs to wait for this node any more.
    pub(super) fn gone(&self, node: Uuid) {
        self.all().values_mut().for_each(|open| open.done_with(node));
    }

    /// Nobody answers any more: what was asked, or its answer, is lost.
    pub(super) fn give_up(&self) {
        for open in self.all().values_mut() {
            open.awaited.clear();
            open.enough.notify_one();
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().expect("nothing panics while holding the questions")
    }
}

impl Open {
    fn done_with(&mut self, node: Uuid) {
        if self.awaited.remove(&node) && self.awaited.is_empty() {
            self.enough.notify_one();
        }
    }
}

impl Question<'_> {
    /// The answers of all that were waited for, or those that came in time.
    pub(super) async fn answers(self, longest: Duration) -> Vec<(Uuid, Answer)> {
        let _ = timeout(longest, self.enough.notified()).await;
        self.asking.all().get_mut(&self.id).map(|open| std::mem::take(&mut open.answers)).unwrap_or_default()
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.asking.all().remove(&self.id);
    }
}
