//! Lists by pages.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, Condition, EntityTrait, FromQueryResult, PaginatorTrait, QuerySelect, Select};

use uuid::Uuid;

use super::{Store, StoreError};

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// From 1.
    pub page: u64,
    /// Rows a page; the caller bounds it.
    pub page_size: u64,
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Its rows; empty beyond the last page.
    pub list: Vec<T>,
    /// Rows on all pages.
    pub total: u64,
}

impl Default for Paging {
    fn default() -> Paging {
        Paging { page: 1, page_size: 20 }
    }
}

impl Store {
    /// The page of an ordered `select`, and how many rows there are. The order must be total, or a row may appear twice.
    pub(super) async fn page<E>(&self, select: Select<E>, paging: Paging) -> Result<Page<E::Model>, StoreError>
    where
        E: EntityTrait,
        E::Model: FromQueryResult + Send + Sync,
    {
        let total = select.clone().count(self.db()).await?;
        let offset = paging.page.saturating_sub(1).saturating_mul(paging.page_size).min(i64::MAX as u64);
        let list = select.offset(offset).limit(paging.page_size).all(self.db()).await?;
        Ok(Page { list, total })
    }
}

/// What comes after a row where the newest are first, told apart by their ids; everything without one.
pub(super) fn older<C: ColumnTrait>(at: C, id: C, after: Option<(DateTime<Utc>, Uuid)>) -> Condition {
    Condition::all().add_option(after.map(|(when, which)| {
        let same = Condition::all().add(at.eq(when)).add(id.lt(which.to_string()));
        Condition::any().add(at.lt(when)).add(same)
    }))
}

impl<T> Page<T> {
    /// The same page of something that may be unreadable.
    pub(super) fn try_map<U, E>(self, change: impl FnMut(T) -> Result<U, E>) -> Result<Page<U>, E> {
        Ok(Page { list: self.list.into_iter().map(change).collect::<Result<_, E>>()?, total: self.total })
    }
}
