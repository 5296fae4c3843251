//! Chains of log rows. Each node continues a chain of its own in each log: a row's hash is an HMAC of what it says and of the hash
//! before it, under a key that is not in the database. Where a chain begins and ends stands in a signed row, so that rows missing at
//! either end are noticed. Whoever also puts back an older copy of that row, or deletes a whole chain with it, is only found out by
//! what `rollcall audit verify` said before: keep it elsewhere.

use chrono::{DateTime, SubsecRound, Utc};
use hmac::{Hmac, Mac};
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryOrder, QuerySelect};
use sha2::Sha256;

use super::connection::Write;
use super::text::{CHUNK, cut, new_id};
use super::{NewAudit, NewLogin, Store, StoreError, audit_log, log_people, login_log};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) chain: String,
    pub(super) seq: i64,
    pub(super) hash: String,
    pub(super) pruned_seq: i64,
    pub(super) pruned_hash: String,
    pub(super) pruned_at: Option<DateTime<Utc>>,
    pub(super) seal: String,
}

super::entity!(LogChains);

/// Heads that were put aside because their seal was none of ours, at most, before rows are refused.
const MAX_ASIDE: u32 = 1_000;

/// What one process continues.
pub(super) struct Chain {
    node: String,
    keys: Vec<[u8; 32]>,
}

/// Rows that wait for the commit.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) logins: Vec<NewLogin>,
    pub(super) audits: Vec<NewAudit>,
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    Login,
    Audit,
}

/// A row's place in its chain.
pub(super) struct Place {
    pub(super) chain: String,
    pub(super) seq: i64,
    pub(super) hash: String,
}

/// A row as its chain sees it.
pub(super) struct Link {
    pub(super) id: String,
    pub(super) seq: i64,
    pub(super) hash: String,
    pub(super) at: DateTime<Utc>,
    /// What the hash covers, in order.
    pub(super) says: Vec<String>,
    /// The parts that stand beside it, and their digests.
    pub(super) parts: Vec<(&'static str, String)>,
}

impl Default for Chain {
    fn default() -> Chain {
        Chain { node: new_id(DateTime::UNIX_EPOCH).to_string(), keys: vec![rand::random()] }
    }
}

impl Chain {
    pub(super) fn new(node: &str, keys: Vec<[u8; 32]>) -> Chain {
        Chain { node: cut(node, 100), keys }
    }

    /// The hash of a row, by one of the keys that may have made it.
    pub(super) fn hashes(
        &self,
        chain: &str,
        seq: i64,
        before: &str,
        says: &[String],
    ) -> impl Iterator<Item = String> + use<'_> {
        let seq = seq.to_string();
        let texts = [chain, &seq, before].into_iter().chain(says.iter().map(String::as_str));
        let bytes: Vec<u8> = texts.flat_map(measured).collect();
        self.keys.iter().map(move |key| mac(key, &bytes))
    }

    /// Whether one of our keys has signed it.
    pub(super) fn sealed(&self, head: &Model) -> bool {
        self.keys.iter().any(|key| mac(key, &head.sealed_bytes()) == head.seal)
    }

    fn seal(&self, head: &mut Model) {
        head.seal = self.keys.first().map(|key| mac(key, &head.sealed_bytes())).unwrap_or_default();
    }
}

impl Log {
    pub(super) const ALL: [Log; 2] = [Log::Login, Log::Audit];

    pub(super) fn word(self) -> &'static str {
        match self {
            Log::Login => "login",
            Log::Audit => "audit",
        }
    }

    /// The log of a chain, by the chain's name.
    pub(super) fn of(chain: &str) -> Option<Log> {
        let word = chain.split('/').next();
        Log::ALL.into_iter().find(|log| Some(log.word()) == word)
    }

    pub(super) async fn links(
        self,
        db: &impl ConnectionTrait,
        chain: &str,
        after: i64,
        limit: u64,
    ) -> Result<Vec<Link>, StoreError> {
        match self {
            Log::Login => login_log::links(db, chain, after, limit).await,
            Log::Audit => audit_log::links(db, chain, after, limit).await,
        }
    }
}

impl Model {
    fn sealed_bytes(&self) -> Vec<u8> {
        let pruned_at = self.pruned_at.map(|at| at.timestamp_micros()).unwrap_or_default().to_string();
        let (seq, pruned_seq) = (self.seq.to_string(), self.pruned_seq.to_string());
        let texts = ["head", &self.chain, &seq, &self.hash, &pruned_seq, &self.pruned_hash, &pruned_at];
        texts.into_iter().flat_map(measured).collect()
    }

    /// The place of the next row.
    pub(super) fn next(&mut self, chain: &Chain, says: &[String]) -> Place {
        self.seq += 1;
        let hash = chain.hashes(&self.chain, self.seq, &self.hash, says).next();
        self.hash = hash.unwrap_or_default();
        Place { chain: self.chain.clone(), seq: self.seq, hash: self.hash.clone() }
    }

    pub(super) async fn put_back(mut self, db: &impl ConnectionTrait, chain: &Chain) -> Result<(), StoreError> {
        chain.seal(&mut self);
        let name = self.chain.clone();
        Entity::update_many().set(self.into_active_model().reset_all()).filter(Column::Chain.eq(name)).exec(db).await?;
        Ok(())
    }
}

/// Writes rows, each at the end of this process's chain. To be called last in a transaction.
pub(super) async fn append(db: &impl ConnectionTrait, chain: &Chain, rows: Rows) -> Result<(), StoreError> {
    if !rows.logins.is_empty() {
        let mut head = take(db, chain, Log::Login).await?;
        login_log::append(db, rows.logins, |says| head.next(chain, says)).await?;
        head.put_back(db, chain).await?;
    }
    if !rows.audits.is_empty() {
        let mut head = take(db, chain, Log::Audit).await?;
        audit_log::append(db, rows.audits, |says| head.next(chain, says)).await?;
        head.put_back(db, chain).await?;
    }
    Ok(())
}

/// The end of this process's chain, locked. One that is not sealed by a key of ours stays as it is, for whoever looks into it, and
/// another chain begins: continuing it would put our seal on what somebody else has written.
async fn take(db: &impl ConnectionTrait, chain: &Chain, log: Log) -> Result<Model, StoreError> {
    for number in 1..=MAX_ASIDE {
        let name = match number {
            1 => format!("{}/{}", log.word(), chain.node),
            _ => format!("{}/{}/{number}", log.word(), chain.node),
        };
        if Entity::find_by_id(&name).one(db).await?.is_none() {
            begin(db, chain, &name).await?;
        }
        let head = Entity::find_by_id(&name).lock_exclusive().one(db).await?;
        if let Some(head) = head.filter(|head| chain.sealed(head)) {
            return Ok(head);
        }
    }
    Err(StoreError::Full("chains of the logs"))
}

async fn begin(db: &impl ConnectionTrait, chain: &Chain, name: &str) -> Result<(), StoreError> {
    use sea_orm::sea_query::OnConflict;
    let mut head = Model {
        chain: name.to_owned(),
        seq: 0,
        hash: String::new(),
        pruned_seq: 0,
        pruned_hash: String::new(),
        pruned_at: None,
        seal: String::new(),
    };
    chain.seal(&mut head);
    // Somebody else of this name may be as fast.
    let unless_there = OnConflict::column(Column::Chain).do_nothing_on([Column::Chain]).to_owned();
    Entity::insert(head.into_active_model().reset_all()).on_conflict(unless_there).exec_without_returning(db).await?;
    Ok(())
}

impl Store {
    /// Deletes what is older from the beginning of each chain of a log, and what was written before there were chains. What was
    /// deleted up to where is signed. A chain whose end was tampered with is left as it is.
    pub(super) async fn prune_log(&self, log: Log, old: DateTime<Utc>, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let chains =
            Entity::find().filter(Column::Chain.starts_with(format!("{}/", log.word()))).all(self.db()).await?;
        let tx = self.begin_patient().await?;
        let mut deleted = delete(&tx, log, None, old).await?;
        tx.commit().await?;
        for Model { chain, .. } in chains {
            let tx = self.begin_patient().await?;
            deleted += self.prune_chain(&tx, log, &chain, old, now).await?;
            tx.commit().await?;
        }
        Ok(deleted)
    }

    async fn prune_chain(
        &self,
        tx: &Write,
        log: Log,
        chain: &str,
        old: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let head = Entity::find_by_id(chain).lock_exclusive().one(&**tx).await?;
        let Some(mut head) = head.filter(|head| self.chain().sealed(head)) else { return Ok(0) };
        macro_rules! first_since {
            ($log:ident) => {{
                use $log::{Column, Entity};
                let kept = Entity::find().filter(Column::Chain.eq(chain)).filter(Column::At.gte(old));
                kept.order_by_asc(Column::Seq).one(&**tx).await?.and_then(|row| row.seq)
            }};
        }
        let first_kept = match log {
            Log::Login => first_since!(login_log),
            Log::Audit => first_since!(audit_log),
        };
        let last = first_kept.map_or(head.seq, |seq| seq - 1);
        if last <= head.pruned_seq {
            return Ok(0);
        }
        let Some(link) = log.links(&**tx, chain, last - 1, 1).await?.pop().filter(|link| link.seq == last) else {
            return Ok(0);
        };
        let deleted = delete(tx, log, Some((chain, last)), old).await?;
        (head.pruned_seq, head.pruned_hash, head.pruned_at) = (last, link.hash, Some(now.trunc_subsecs(6)));
        head.put_back(&**tx, self.chain()).await?;
        Ok(deleted)
    }
}

/// Deletes a chain up to a row, or, without one, what is old and belongs to none; and what stands beside it. By their keys, some at a
/// time: a condition over the whole table would lock it for whoever appends.
async fn delete(tx: &Write, log: Log, up_to: Option<(&str, i64)>, old: DateTime<Utc>) -> Result<u64, StoreError> {
    use sea_orm::Condition;
    macro_rules! delete_of {
        ($log:ident) => {{
            use $log::{Column, Entity};
            let which = match up_to {
                Some((chain, seq)) => Condition::all().add(Column::Chain.eq(chain)).add(Column::Seq.lte(seq)),
                None => Condition::all().add(Column::Chain.is_null()).add(Column::At.lt(old)),
            };
            let some = Entity::find().select_only().column(Column::Id).filter(which).limit(CHUNK as u64);
            let mut deleted = 0;
            loop {
                let ids: Vec<String> = some.clone().into_tuple().all(&**tx).await?;
                if ids.is_empty() {
                    return Ok(deleted);
                }
                log_people::delete(&**tx, &log_people::keys_of(&ids)).await?;
                deleted += Entity::delete_many().filter(Column::Id.is_in(ids)).exec(&**tx).await?.rows_affected;
            }
        }};
    }
    match log {
        Log::Login => delete_of!(login_log),
        Log::Audit => delete_of!(audit_log),
    }
}

/// A text with its length before it: two texts are never taken for two others that read the same one after the other.
pub(super) fn measured(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_be_bytes(), text.as_bytes()].concat()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8; 32], bytes: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(bytes);
    hex(&mac.finalize().into_bytes())
}
