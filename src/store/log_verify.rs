//! Whether the logs are as they were written.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sea_orm::QuerySelect;
use sea_orm::entity::prelude::*;

use super::log_chains::{self, Link, Log};
use super::{Store, StoreError, audit_log, log_people, login_log};

/// Rows that are looked at in one go.
const AT_ONCE: u64 = 500;
/// How often a chain is read again because retention deleted its beginning meanwhile.
const TRIES: u32 = 5;

/// What is to be said of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReport {
    /// Each chain, by name.
    pub chains: Vec<ChainReport>,
    /// Rows that belong to no chain: of a release before there were any.
    pub unchained: u64,
    /// When the last of them was written.
    pub last_unchained: Option<DateTime<Utc>>,
}

/// What is to be said of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainReport {
    /// `login/` or `audit/`, and the node's name.
    pub chain: String,
    /// Rows that were found in it.
    pub rows: u64,
    /// When its first one was written.
    pub from: Option<DateTime<Utc>>,
    /// When its last one was written.
    pub to: Option<DateTime<Utc>>,
    /// Rows whose names, addresses and devices were erased, or partly.
    pub erased: u64,
    /// Up to which number retention has deleted rows, and when.
    pub pruned: Option<(i64, DateTime<Utc>)>,
    /// The first thing that is not as it was written, in a sentence.
    pub broken: Option<String>,
}

impl LogReport {
    /// Whether everything is as it was written.
    pub fn is_whole(&self) -> bool {
        self.chains.iter().all(|chain| chain.broken.is_none())
    }
}

impl Store {
    /// Reads every row of the logs, some at a time, and holds it against its chain.
    pub async fn verify_logs(&self) -> Result<LogReport, StoreError> {
        let (mut names, mut unchained, mut last_unchained) = (BTreeSet::new(), 0, None);
        for head in log_chains::Entity::find().all(self.db()).await? {
            names.insert(head.chain);
        }
        macro_rules! look_into {
            ($log:ident) => {
                let select = $log::Entity::find().select_only().column($log::Column::Chain).distinct();
                let chains: Vec<Option<String>> = select.into_tuple().all(self.db()).await?;
                names.extend(chains.into_iter().flatten());
                let outside = $log::Entity::find().filter($log::Column::Chain.is_null());
                unchained += outside.clone().count(self.db()).await?;
                let last = sea_orm::QueryOrder::order_by_desc(outside, $log::Column::At).one(self.db()).await?;
                last_unchained = last_unchained.max(last.map(|row| row.at));
            };
        }
        look_into!(login_log);
        look_into!(audit_log);
        let mut chains = Vec::new();
        for name in names {
            chains.push(self.verify_chain(&name).await?);
        }
        Ok(LogReport { chains, unchained, last_unchained })
    }

    async fn verify_chain(&self, name: &str) -> Result<ChainReport, StoreError> {
        let mut report = ChainReport::default();
        for _ in 0..TRIES {
            let head = log_chains::Entity::find_by_id(name).one(self.db()).await?;
            report = self.verify_from(name, head.as_ref()).await?;
            let now = log_chains::Entity::find_by_id(name).one(self.db()).await?;
            let pruned = |head: Option<log_chains::Model>| head.map(|head| head.pruned_seq);
            if report.broken.is_none() || pruned(head) == pruned(now) {
                break;
            }
        }
        Ok(report)
    }

    async fn verify_from(&self, name: &str, head: Option<&log_chains::Model>) -> Result<ChainReport, StoreError> {
        let mut report = ChainReport { chain: name.to_owned(), ..ChainReport::default() };
        let Some(log) = Log::of(name) else {
            report.breaks(|| "its name is none that we give".to_owned());
            return Ok(report);
        };
        let Some(head) = head else {
            report.breaks(|| "the signed row that says where it begins and ends is missing".to_owned());
            return Ok(report);
        };
        report.pruned = head.pruned_at.map(|at| (head.pruned_seq, at));
        if !self.chain().sealed(head) {
            report.breaks(|| "the row that says where it begins and ends was not signed with a key of ours".to_owned());
        }
        let (mut seq, mut before) = (head.pruned_seq, head.pruned_hash.clone());
        loop {
            let links = log.links(self.db(), name, seq, AT_ONCE).await?;
            let ids: Vec<&str> = links.iter().map(|link| link.id.as_str()).collect();
            let people = log_people::beside(self.db(), &ids).await?;
            let last = (links.len() as u64) < AT_ONCE;
            for link in links {
                self.hold(&mut report, &link, seq, &before);
                if link.seq == head.seq && link.hash != head.hash {
                    report.breaks(|| format!("row {} is not the one that was written last", link.seq));
                }
                let beside = |part: &str| people.get(&(link.id.clone(), part.to_owned()));
                if link.parts.iter().any(|(part, digest)| beside(part).is_some_and(|found| found.digest() != *digest)) {
                    report.breaks(|| format!("what stands beside row {} ({}) was altered", link.seq, link.id));
                }
                report.erased += u64::from(link.parts.iter().any(|(part, _)| beside(part).is_none()));
                (seq, before) = (link.seq, link.hash);
            }
            if last {
                break;
            }
        }
        // Rows beyond it were written since we have begun; their hashes say that it was us.
        if seq < head.seq {
            report.breaks(|| format!("its end is missing: row {} was the last one, {seq} is found last", head.seq));
        }
        Ok(report)
    }

    fn hold(&self, report: &mut ChainReport, link: &Link, seq: i64, before: &str) {
        report.rows += 1;
        report.from = report.from.or(Some(link.at));
        report.to = Some(link.at);
        if link.seq != seq + 1 {
            let missing = if link.seq == seq {
                format!("row {seq} is there twice")
            } else {
                format!("row {} is missing", seq + 1)
            };
            report.breaks(|| missing);
        } else if !self.chain().hashes(&report.chain, link.seq, before, &link.says).any(|hash| hash == link.hash) {
            let (number, id, at) = (link.seq, &link.id, link.at);
            report.breaks(|| format!("row {number} ({id}, {at}) was altered or moved"));
        }
    }
}

impl ChainReport {
    fn breaks(&mut self, why: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some(why());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::store::testing::{at, migrated, new_user, shared, store};
    use crate::store::{Actor, NewAudit};

    async fn audit(store: &Store, target: &str, second: i64) {
        let (action, target) = ("role.change".to_owned(), target.to_owned());
        let tx = store.begin().await.unwrap();
        tx.log(|rows| rows.audits.push(NewAudit { by: Actor::system(), action, target, ..NewAudit::at(at(second)) }));
        tx.commit().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn processes_of_one_name_that_write_at_once_continue_one_chain() {
        let (settings, _file) = shared().await;
        let keys = vec![[7; 32]];
        let one = migrated(&settings).await.with_chain("node", keys.clone());
        let other = Store::open(&settings).await.unwrap().with_chain("node", keys);
        audit(&one, "first", 0).await;
        join_all((0..40).map(|number| {
            let store = if number % 2 == 0 { one.clone() } else { other.clone() };
            async move { audit(&store, "x", number).await }
        }))
        .await;
        let report = other.verify_logs().await.unwrap();
        assert!(report.is_whole(), "{report:?}");
        assert_eq!((report.chains.len(), report.chains[0].rows), (1, 41));
    }

    #[tokio::test]
    async fn another_key_verifies_nothing_and_one_that_was_replaced_still_does() {
        let store = store().await.with_chain("node", vec![[1; 32]]);
        audit(&store, "x", 0).await;
        let rotated = store.clone().with_chain("node", vec![[2; 32], [1; 32]]);
        audit(&rotated, "y", 1).await;
        let report = rotated.verify_logs().await.unwrap();
        assert!(report.is_whole() && report.chains[0].rows == 2, "{report:?}");
        let stranger = store.with_chain("node", vec![[3; 32]]);
        assert!(!stranger.verify_logs().await.unwrap().is_whole());
        audit(&stranger, "z", 2).await;
        let report = rotated.verify_logs().await.unwrap();
        assert!(report.chains[0].broken.is_none(), "a stranger's rows do not continue ours: {report:?}");
    }

    #[tokio::test]
    async fn retention_deletes_the_beginning_and_signs_how_far() {
        let store = store().await.with_chain("node", vec![[1; 32]]);
        new_user(&store, "bob", &[]).await;
        for second in 1..10 {
            audit(&store, "x", second).await;
        }
        let keep = Duration::from_secs(100);
        assert_eq!(store.prune(at(105), keep, keep).await.unwrap().audits, 5);
        let report = store.verify_logs().await.unwrap();
        assert!(report.is_whole(), "{report:?}");
        assert_eq!((report.chains[0].rows, report.chains[0].pruned), (5, Some((5, at(105)))));
        assert_eq!(store.prune(at(500), keep, keep).await.unwrap().audits, 5);
        audit(&store, "y", 500).await;
        let report = store.verify_logs().await.unwrap();
        assert!(report.is_whole() && report.chains[0].rows == 1, "{report:?}");
        assert_eq!(
            log_people::Entity::find().count(store.db()).await.unwrap(),
            1,
            "what stood beside them is gone, too"
        );
    }
}
