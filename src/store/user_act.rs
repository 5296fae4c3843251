//! What can be done to one account: the columns, the row of the audit log, and the revocation where open sockets must hear of it.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use serde_json::json;

use super::connection::Write;
use super::revocations::{self, Audited, Kind, NewRevocation, Revocation, Targets};
use super::roles::{self, ADMIN};
use super::text::cut;
use super::{Actor, NewAudit, StoreError, administrators, user_roles, users};
use crate::auth::UserKey;

/// An act on one account, in its transaction.
pub(super) struct Act<'a> {
    pub(super) tx: &'a Write,
    pub(super) user: &'a UserKey,
    pub(super) by: &'a Actor,
    pub(super) reason: &'a str,
    pub(super) now: DateTime<Utc>,
}

impl Act<'_> {
    /// Only an administrator changes an administrator.
    pub(super) async fn guard_administrator(&self) -> Result<(), StoreError> {
        let roles = user_roles::of(&**self.tx, std::slice::from_ref(self.user)).await?.remove(self.user);
        let admin = roles.is_some_and(|roles| roles.iter().any(|role| role == ADMIN));
        if admin && !self.by.makes_admins { Err(StoreError::AdministratorsOnly) } else { Ok(()) }
    }

    pub(super) async fn name(
        &self,
        row: &users::Model,
        display_name: Option<String>,
        email: Option<String>,
    ) -> Result<(), StoreError> {
        let display_name = display_name.map_or_else(|| row.display_name.clone(), |name| cut(&name, 128));
        let email = email.map_or_else(|| row.email.clone(), |email| cut(&email, 254));
        if display_name == row.display_name && email == row.email {
            return Ok(());
        }
        let detail = json!({
            "before": { "displayName": row.display_name, "email": row.email },
            "after": { "displayName": display_name, "email": email },
        });
        let named = users::ActiveModel { display_name: Set(display_name), email: Set(email), ..Default::default() };
        self.update(named).await?;
        self.audit("user.name", detail);
        Ok(())
    }

    pub(super) async fn give_roles(&self, roles: &[String]) -> Result<Option<Revocation>, StoreError> {
        let roles = users::distinct(roles);
        let before = user_roles::of(&**self.tx, std::slice::from_ref(self.user)).await?.remove(self.user);
        let before = before.unwrap_or_default();
        let added: Vec<String> = roles.iter().filter(|role| !before.contains(role)).cloned().collect();
        roles::check(self.tx, &added, self.by).await?;
        if before == roles {
            return Ok(None);
        }
        if !roles.iter().any(|role| role == ADMIN) {
            administrators::guard(self.tx, std::slice::from_ref(self.user), self.now).await?;
        }
        user_roles::replace(self.tx, self.user, &roles).await?;
        let detail = json!({ "before": before, "after": roles });
        let new = self.revocation(Kind::Roles, "user.roles", detail);
        Ok(Some(revocations::carry_out(self.tx, new, self.now).await?))
    }

    pub(super) async fn set_disabled(&self, disabled: bool) -> Result<Option<Revocation>, StoreError> {
        if disabled {
            administrators::guard(self.tx, std::slice::from_ref(self.user), self.now).await?;
        }
        self.update(users::ActiveModel { disabled_at: Set(disabled.then_some(self.now)), ..Default::default() })
            .await?;
        if !disabled {
            self.audit("user.enable", json!({}));
            return Ok(None);
        }
        let new = NewRevocation { ends_sessions: true, ..self.revocation(Kind::Disable, "user.disable", json!({})) };
        Ok(Some(revocations::carry_out(self.tx, new, self.now).await?))
    }

    pub(super) async fn demand_password(&self, must: bool) -> Result<Option<Revocation>, StoreError> {
        self.update(users::ActiveModel { must_change_password: Set(must), ..Default::default() }).await?;
        let (action, detail) = ("user.passwordDemand", json!({ "mustChange": must }));
        if !must {
            self.audit(action, detail);
            return Ok(None);
        }
        let mut new = NewRevocation { ends_sessions: true, ..self.revocation(Kind::Password, action, detail) };
        if new.reason.is_empty() {
            new.reason = "A new password is asked for; log in again.".to_owned();
        }
        Ok(Some(revocations::carry_out(self.tx, new, self.now).await?))
    }

    async fn update(&self, columns: users::ActiveModel) -> Result<(), StoreError> {
        users::Entity::update_many().set(columns).filter(users::is(self.user)).exec(&**self.tx).await?;
        Ok(())
    }

    pub(super) fn revocation(&self, kind: Kind, action: &str, detail: serde_json::Value) -> NewRevocation {
        NewRevocation {
            targets: Targets { users: vec![self.user.clone()], ..Default::default() },
            reason: self.reason.to_owned(),
            audit: Some(Audited { detail, ..Audited::of(action, self.user) }),
            ..NewRevocation::new(kind, self.by)
        }
    }

    fn audit(&self, action: &str, detail: serde_json::Value) {
        let row = NewAudit {
            at: self.now,
            by: self.by.clone(),
            action: action.to_owned(),
            target: self.user.to_string(),
            reason: self.reason.to_owned(),
            detail,
        };
        self.tx.log(|rows| rows.audits.push(row));
    }
}
