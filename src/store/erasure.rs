//! Whatever is kept of one person, erased. What must stay names them by id only.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QueryOrder, QuerySelect};
use serde_json::json;

use super::connection::Write;
use super::revocations::{self, Audited, Kind, NewRevocation, Revocation, Targets};
use super::roles::take_turn;
use super::subjects::Subject;
use super::text::CHUNK;
use super::user_act::Act;
use super::{
    Actor, Store, StoreError, administrators, api_keys, audit_log, ephemeral, lockouts, log_people, login_log, outbox,
    sessions, user_roles, users,
};
use crate::auth::UserKey;

/// What stands in a name's place once it is erased; a number follows.
const ERASED: &str = "erased-";
/// Revocations that are looked at in one go.
const AT_ONCE: u64 = 500;

impl Store {
    /// Deletes what is kept of somebody, and ends their sessions. What must stay names them by id only: rows of logs, of acts and of
    /// sessions that are over. An account of another system stays without a name and disabled, or it would be back with its next
    /// token. Erasing somebody again erases what has come since. Errors as [`Store::change_user`], but somebody without an account
    /// may be in the logs.
    pub async fn erase(
        &self,
        user: &UserKey,
        by: &Actor,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Revocation, StoreError> {
        let subject = self.subject(user).await?;
        // Whoever erases themself is not named for it.
        let by = if by.key == user.as_str() {
            Actor { name: String::new(), ip: String::new(), user_agent: String::new(), ..by.clone() }
        } else {
            by.clone()
        };
        let tx = self.begin_patient().await?;
        take_turn(&tx).await?;
        if subject.account {
            Act { tx: &tx, user, by: &by, reason, now }.guard_administrator().await?;
            administrators::guard(&tx, std::slice::from_ref(user), now).await?;
        }
        let new = NewRevocation {
            targets: Targets { users: vec![user.clone()], ..Targets::default() },
            ends_sessions: true,
            reason: reason.to_owned(),
            audit: Some(Audited::of("subject.erase", user)),
            ..NewRevocation::new(Kind::Delete, &by)
        };
        let revocation = revocations::carry_out(&tx, new, now).await?;
        lockouts::forget(&tx, user).await?;
        ephemeral::remove(&tx, &subject.ephemeral()).await?;
        erase_account(&tx, user, self.own_issuer(), now).await?;
        erase_from_sessions(&tx, user).await?;
        erase_from_acts(&tx, user, self.backend(), revocation.seq).await?;
        erase_from_logs(&tx, &subject).await?;
        let keys = api_keys::ActiveModel { last_used_ip: Set(String::new()), ..Default::default() };
        api_keys::Entity::update_many()
            .set(keys)
            .filter(api_keys::Column::CreatedBy.eq(user.as_str()))
            .exec(&*tx)
            .await?;
        let ended = outbox::Entity::delete_many().filter(outbox::Column::Stream.eq(user.as_str()));
        ended.filter(outbox::Column::EndedAt.is_not_null()).exec(&*tx).await?;
        tx.commit().await?;
        Ok(revocation)
    }
}

/// Whether it is the row of somebody who was erased; the keys of names of other systems hold a space.
pub(super) fn is_erased(row: &users::Model) -> bool {
    row.username_key == format!("{ERASED}{}", row.seq)
}

/// Our own accounts go, and their ids are never given again; those of other systems lose everything but their id.
async fn erase_account(tx: &Write, user: &UserKey, own: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
    let Some(row) = users::Entity::find().filter(users::is(user)).one(&**tx).await? else { return Ok(()) };
    user_roles::replace(tx, user, &[]).await?;
    if row.issuer == own {
        users::Entity::delete_many().filter(users::is(user)).exec(&**tx).await?;
        return Ok(());
    }
    let nameless = format!("{ERASED}{}", row.seq);
    let account = users::ActiveModel {
        username: Set(nameless.clone()),
        username_key: Set(nameless),
        avatar: Set(String::new()),
        display_name: Set(String::new()),
        email: Set(String::new()),
        foreign_roles: Set(None),
        last_login_at: Set(None),
        disabled_at: Set(Some(now)),
        tokens_refused_before: Set(Some(now)),
        ..Default::default()
    };
    users::Entity::update_many().set(account).filter(users::is(user)).exec(&**tx).await?;
    Ok(())
}

/// The rows of sessions that are over stay as long as their tokens are good.
async fn erase_from_sessions(tx: &Write, user: &UserKey) -> Result<(), StoreError> {
    let empty = || Set(String::new());
    let nameless = sessions::ActiveModel {
        ip: empty(),
        device: empty(),
        os: empty(),
        browser: empty(),
        user_agent: empty(),
        ..Default::default()
    };
    sessions::Entity::update_many().set(nameless).filter(sessions::of(user)).exec(&**tx).await?;
    Ok(())
}

/// Names and sentences in the sequence of revocations; that of this act is still to be heard by other nodes.
async fn erase_from_acts(tx: &Write, user: &UserKey, backend: sea_orm::DbBackend, this: i64) -> Result<(), StoreError> {
    use revocations::{ActiveModel, Column, Entity};
    let nameless = ActiveModel { actor_name: Set(String::new()), ..Default::default() };
    Entity::update_many().set(nameless).filter(Column::Actor.eq(user.as_str())).exec(&**tx).await?;
    let mut after = 0;
    loop {
        let which = Condition::all()
            .add(revocations::naming(backend, user))
            .add(Column::Seq.gt(after))
            .add(Column::Seq.ne(this));
        let found: Vec<i64> = Entity::find()
            .select_only()
            .column(Column::Seq)
            .filter(which)
            .order_by_asc(Column::Seq)
            .limit(AT_ONCE)
            .into_tuple()
            .all(&**tx)
            .await?;
        let Some(last) = found.last() else { return Ok(()) };
        after = *last;
        let silent = ActiveModel { reason: Set(String::new()), ..Default::default() };
        Entity::update_many().set(silent).filter(Column::Seq.is_in(found)).exec(&**tx).await?;
    }
}

/// What stands beside chained rows goes as a whole; rows from before there were chains lose it where it stands. By their keys, or
/// whoever appends to a log would wait for us, and we for them.
async fn erase_from_logs(tx: &Write, subject: &Subject) -> Result<(), StoreError> {
    use log_people::Column::{Part, RowId};
    let beside = log_people::Entity::find().filter(subject.in_logs()).select_only().columns([RowId, Part]);
    log_people::delete(&**tx, &beside.into_tuple::<(String, String)>().all(&**tx).await?).await?;
    let (key, empty) = (subject.key.as_str(), || Set(String::new()));
    macro_rules! erase {
        ($log:ident, $whose:expr, { $($column:ident: $nothing:expr),* }) => {
            let select = $log::Entity::find().select_only().column($log::Column::Id).filter($log::Column::Chain.is_null());
            let ids: Vec<String> = select.filter($whose).into_tuple().all(&**tx).await?;
            for ids in ids.chunks(CHUNK) {
                let nameless = $log::ActiveModel { $($column: $nothing,)* ..Default::default() };
                let update = $log::Entity::update_many().set(nameless);
                update.filter($log::Column::Id.is_in(ids)).exec(&**tx).await?;
            }
        };
    }
    let names = subject.names.iter().flat_map(|(name, key)| [name.as_str(), key]);
    let theirs = Condition::any().add(login_log::Column::User.eq(key)).add(login_log::Column::Username.is_in(names));
    erase!(login_log, theirs, { username: empty(), ip: empty(), device: empty(), os: empty(), browser: empty() });
    erase!(audit_log, audit_log::Column::Actor.eq(key), { actor_name: empty(), ip: empty() });
    erase!(audit_log, audit_log::Column::Target.eq(key), { reason: empty(), detail: Set(json!({})) });
    Ok(())
}
