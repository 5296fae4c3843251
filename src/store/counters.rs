//! Numbers in the order of commits. A counter is a row: whoever raises it keeps it locked to the end of the transaction, so the
//! next number is given when the one before is visible, or will never be. Columns that count by themselves give numbers at once
//! and in any order of commits.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};

use super::StoreError;
use super::connection::Write;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) name: String,
    pub(super) value: i64,
}

super::entity!(Counters);

/// Revocations, in their sequence.
pub(super) const REVOCATIONS: &str = "revocations";
/// Changes of the signing keys.
pub(super) const SIGNING_KEYS: &str = "signing keys";

/// The next number; nobody else gets one before this transaction ends.
pub(super) async fn next(tx: &Write, name: &str) -> Result<i64, StoreError> {
    let raised = ExprTrait::add(Expr::col(Column::Value), 1);
    Entity::update_many().col_expr(Column::Value, raised).filter(Column::Name.eq(name)).exec(&**tx).await?;
    let row = Entity::find_by_id(name).one(&**tx).await?;
    row.map(|row| row.value).ok_or(StoreError::NotFound("counter"))
}

/// The last number of a committed transaction.
pub(super) async fn last(db: &impl ConnectionTrait, name: &str) -> Result<i64, StoreError> {
    Ok(Entity::find_by_id(name).one(db).await?.map(|row| row.value).unwrap_or_default())
}
