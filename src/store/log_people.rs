//! What is personal in the logs: names, addresses, devices, and what was said of somebody. It stands beside the row that it belongs
//! to, which keeps only a salted digest of it: erasing it leaves the row, and the chain, whole, and nothing to guess from.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::{Condition, IntoActiveModel, QuerySelect};
use sha2::{Digest, Sha256};

use super::StoreError;
use super::log_chains::{hex, measured};
use super::text::CHUNK;

#[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) row_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) part: String,
    pub(super) subject: Option<String>,
    pub(super) salt: String,
    pub(super) name: String,
    pub(super) ip: String,
    pub(super) device: String,
    pub(super) os: String,
    pub(super) browser: String,
    pub(super) user_agent: String,
    pub(super) reason: String,
    pub(super) detail: String,
}

super::entity!(LogPeople);

/// Of whoever did it.
pub(super) const BY: &str = "by";
/// Of whom it was done to.
pub(super) const ABOUT: &str = "about";

impl Model {
    /// What belongs to this part of this row, to be filled.
    pub(super) fn of(row: &str, part: &str, subject: Option<String>) -> Model {
        let salt = hex(&rand::random::<[u8; 16]>());
        Model { row_id: row.to_owned(), part: part.to_owned(), subject, salt, ..Model::default() }
    }

    /// What the row keeps of it.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let subject = self.subject.as_deref().unwrap_or_default();
        for text in [
            &self.salt,
            subject,
            &self.name,
            &self.ip,
            &self.device,
            &self.os,
            &self.browser,
            &self.user_agent,
            &self.reason,
            &self.detail,
        ] {
            hash.update(measured(text));
        }
        hex(&hash.finalize())
    }
}

pub(super) async fn insert(db: &impl ConnectionTrait, people: Vec<Model>) -> Result<(), StoreError> {
    let people = people.into_iter().map(|one| one.into_active_model().reset_all());
    Entity::insert_many(people).exec_without_returning(db).await?;
    Ok(())
}

/// What stands beside these rows, by row and part.
pub(super) async fn beside(
    db: &impl ConnectionTrait,
    rows: &[&str],
) -> Result<HashMap<(String, String), Model>, StoreError> {
    let mut found = HashMap::new();
    for rows in rows.chunks(CHUNK) {
        let models = Entity::find().filter(Column::RowId.is_in(rows.iter().copied())).all(db).await?;
        found.extend(models.into_iter().map(|model| ((model.row_id.clone(), model.part.clone()), model)));
    }
    Ok(found)
}

/// The ids of the rows whose `by` part fits, for a condition on a log.
pub(super) fn rows_by(which: Condition) -> sea_orm::sea_query::SelectStatement {
    use sea_orm::QueryTrait;
    let select = Entity::find().select_only().column(Column::RowId);
    select.filter(Column::Part.eq(BY)).filter(which).into_query()
}

/// The keys of whatever stands beside these rows.
pub(super) fn keys_of(rows: &[String]) -> Vec<(String, String)> {
    rows.iter().flat_map(|row| [BY, ABOUT].map(|part| (row.clone(), part.to_owned()))).collect()
}

/// Deletes by row and part.
pub(super) async fn delete(db: &impl ConnectionTrait, keys: &[(String, String)]) -> Result<(), StoreError> {
    for keys in keys.chunks(CHUNK / 2) {
        let which = keys.iter().fold(Condition::any(), |any, (row, part)| {
            any.add(Condition::all().add(Column::RowId.eq(row)).add(Column::Part.eq(part)))
        });
        Entity::delete_many().filter(which).exec(db).await?;
    }
    Ok(())
}
