//! Logins that were tried. Written through the [`LogWriter`](super::LogWriter) only.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use uuid::Uuid;

use super::StoreError;
use super::text::{cut, new_id};
use crate::auth::UserKey;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) id: String,
    pub(super) at: DateTime<Utc>,
    pub(super) user: Option<String>,
    pub(super) username: String,
    pub(super) outcome: String,
    pub(super) session_id: Option<String>,
    pub(super) ip: String,
    pub(super) device: String,
    pub(super) os: String,
    pub(super) browser: String,
    pub(super) request_id: String,
}

super::entity!(LoginLog);

/// A login that was tried. Texts beyond the columns' lengths are cut.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// When.
    pub at: DateTime<Utc>,
    /// Whose account it was; none when there is no such name.
    pub user: Option<UserKey>,
    /// The name as typed, at most 128 characters. Never a password.
    pub username: String,
    /// `ok`, or the code of the problem it was answered with.
    pub outcome: &'static str,
    /// The session it made.
    pub session: Option<Uuid>,
    /// The address it came from.
    pub ip: String,
    /// As in the online list.
    pub device: String,
    /// Operating system.
    pub os: String,
    /// Browser.
    pub browser: String,
    /// The request's id, as in log lines.
    pub request_id: String,
}

/// Writes rows.
pub(super) async fn insert(db: &impl ConnectionTrait, rows: Vec<NewLogin>) -> Result<(), StoreError> {
    let rows = rows.into_iter().map(|new| ActiveModel {
        id: Set(new_id(new.at).to_string()),
        at: Set(new.at),
        user: Set(new.user.map(|user| user.to_string())),
        username: Set(cut(&new.username, 128)),
        outcome: Set(new.outcome.to_owned()),
        session_id: Set(new.session.map(|session| session.to_string())),
        ip: Set(cut(&new.ip, 45)),
        device: Set(cut(&new.device, 64)),
        os: Set(cut(&new.os, 64)),
        browser: Set(cut(&new.browser, 64)),
        request_id: Set(cut(&new.request_id, 64)),
    });
    Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}
