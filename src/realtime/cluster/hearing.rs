//! What this node hears of the others: what they tell and ask, and that they come and go.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::words::{Told, Words};
use super::{Asked, ClusterPresence};
use crate::realtime::presence::Cause;

impl ClusterPresence {
    /// Another node lives, perhaps again: it may know nothing of this one, and this one of it.
    pub(super) fn node_up(&self, node: Uuid) {
        self.directory().admit(node);
        let _order = self.telling.lock().expect("nothing panics while telling");
        let digest = self.directory().digest();
        let mut watching = self.watching();
        self.peers.send(node, &Words::Announced { digest, watching: watching.looking });
        self.peers.send(node, &Words::Whole);
        if watching.miss(node) {
            self.peers.send(node, &Words::Watch(true));
        }
    }

    /// Another node is dead since this moment, or has said goodbye.
    pub(super) fn node_gone(&self, node: Uuid, died: Option<DateTime<Utc>>) {
        self.directory().forget(node, died);
        self.asking.gone(node);
        let cause = if died.is_some() { Cause::NodeLost } else { Cause::Shutdown };
        let (unknown, watched) = {
            let mut watching = self.watching();
            (watching.gone(node, cause), watching.is_watched())
        };
        let mut stream = self.local.manager().shards().stream();
        stream.watch(watched);
        stream.others_changed();
        if unknown {
            stream.start_over();
        }
    }

    /// The others can be reached again: what was told meanwhile is lost.
    pub(super) fn reconnected(&self) {
        self.announce();
        for peer in self.peers.others() {
            self.watch_anew(peer.generation);
        }
    }

    /// Something from another node, in the order in which it was sent.
    pub(super) fn heard(&self, node: Uuid, words: Words) {
        match words {
            Words::Told(told) => self.told(node, told),
            Words::Announced { digest, watching } => {
                let ask = self.directory().check(node, &digest);
                if ask {
                    // What was lost may have told of rows too, and nothing may come after it that shows the gap.
                    self.watching().miss(node);
                    self.peers.send(node, &Words::Whole);
                }
                self.watches(node, watching);
                if self.is_few() && self.watching().is_deaf(node) {
                    self.watch_anew(node);
                }
            }
            Words::Watch(true) => self.show(node),
            Words::Watch(false) => self.watches(node, false),
            Words::Watched(clients) => {
                if self.watching().watched(node, clients) {
                    self.start_over();
                }
            }
            Words::Whole => {
                let _order = self.telling.lock().expect("nothing panics while telling");
                let parts = self.directory().snapshot();
                parts.into_iter().for_each(|part| self.peers.send(node, &Words::Part(part)));
            }
            Words::Part(part) => {
                let whole = self.directory().install(node, part);
                if whole {
                    self.local.manager().shards().stream().others_changed();
                }
            }
            Words::Question { id, watching, question } => {
                self.watches(node, watching);
                let _ = self.questions.try_send(Asked { node, id, question });
            }
            Words::Answer { id, answer } => self.asking.answered(node, id, answer),
        }
    }

    fn told(&self, node: Uuid, Told { delta, rows }: Told) {
        let (applied, few) = {
            let mut directory = self.directory();
            (directory.apply(node, &delta), directory.clients() <= self.local.live_max())
        };
        let Some(applied) = applied else { return };
        if applied.ask {
            self.peers.send(node, &Words::Whole);
        }
        let deaf = self.watching().told(node, rows, applied.missed);
        if deaf && few {
            self.peers.send(node, &Words::Watch(true));
        }
        let came = {
            let mut leaving = self.leaving();
            delta.here.iter().filter_map(|user| leaving.remove(user)).collect()
        };
        self.end_graces(came);
        self.local.manager().shards().stream().others_changed();
    }

    /// A node wants this one's rows, or no more.
    fn watches(&self, node: Uuid, wants: bool) {
        let (new, watched) = {
            let mut watching = self.watching();
            (watching.set_watcher(node, wants), watching.is_watched())
        };
        match (new, wants) {
            (false, _) => {}
            (true, true) => self.show(node),
            (true, false) => self.local.manager().shards().stream().watch(watched),
        }
    }

    /// From this moment on a node is told the rows of these clients.
    fn show(&self, node: Uuid) {
        let few = self.is_few();
        let _order = self.telling.lock().expect("nothing panics while telling");
        self.watching().set_watcher(node, true);
        let mut whole = self.local.manager().shards().whole();
        whole.stream.watch(true);
        let clients =
            if few { whole.shards().flat_map(|shard| shard.clients.keys().copied()).collect() } else { Vec::new() };
        drop(whole);
        if few {
            self.peers.send(node, &Words::Watched(clients));
        }
    }

    /// Rows of a node may have been missed: it says anew what it has, and pages begin anew.
    fn watch_anew(&self, node: Uuid) {
        let mut watching = self.watching();
        if watching.miss(node) {
            self.peers.send(node, &Words::Watch(true));
        }
    }

    /// Whether pages get rows at all.
    fn is_few(&self) -> bool {
        self.directory().clients() <= self.local.live_max()
    }
}
