//! The online list as a page keeps it: it subscribes, reads the list once, and applies every difference with a greater number.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::server::text;
use crate::socket::{TEXT, masked};

/// What a page knows.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) rev: u64,
    pub(crate) ids: BTreeSet<String>,
    /// Differences that came before the list was read; `None` after.
    held: Option<Vec<Value>>,
    listed: bool,
    /// The stream had a gap, which no page may see where there is one node; or the list it began with was not of every node, after which
    /// a page reads it again.
    pub(crate) gaps: usize,
}

impl Live {
    pub(crate) fn subscribe() -> Vec<u8> {
        masked(TEXT, br#"{"event":"online/subscribe","id":1}"#)
    }

    /// Whether the subscription was answered.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.listed || self.held.is_some()
    }

    /// A frame of the list's.
    pub(crate) fn take(&mut self, frame: &Value) {
        if frame["event"] == "online/subscribe" {
            self.rev = frame["data"]["rev"].as_u64().unwrap_or_default();
            self.held = Some(Vec::new());
        } else if frame["event"] == "online/diff" {
            match &mut self.held {
                Some(held) if !self.listed => held.push(frame["data"].clone()),
                _ => self.apply(&frame["data"]),
            }
        }
    }

    /// The list as REST gives it, read once after the subscription.
    pub(crate) fn begin(&mut self, list: &Value) {
        self.ids = ids(&list["list"]);
        let rev = list["rev"].as_u64().unwrap_or_default();
        let held = self.held.take().unwrap_or_default();
        self.listed = true;
        self.gaps += usize::from(list["complete"] != true);
        let newer = held.iter().filter(|difference| difference["rev"].as_u64() > Some(rev));
        self.rev = rev;
        newer.for_each(|difference| self.apply(difference));
    }

    fn apply(&mut self, difference: &Value) {
        let (rev, prev) = (difference["rev"].as_u64().unwrap_or_default(), difference["prev"].as_u64());
        if rev <= self.rev {
            return;
        }
        self.gaps += usize::from(prev != Some(self.rev));
        self.rev = rev;
        self.ids.extend(ids(&difference["joined"]));
        for left in difference["left"].as_array().into_iter().flatten() {
            self.ids.remove(left["id"].as_str().unwrap_or_default());
        }
    }
}

/// Of rows.
pub(crate) fn ids(rows: &Value) -> BTreeSet<String> {
    rows.as_array().into_iter().flatten().map(|row| text(&row["id"])).collect()
}
