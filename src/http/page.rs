//! Pages of lists: `page`, `pageSize`, `sort` as they come, checked, and HotGo's names in the answer.

use poem_openapi::Object;
use poem_openapi::types::{ParseFromJSON, ToJSON};

use super::error::Problem;

/// Rows of a page where none are asked for.
const DEFAULT_SIZE: u64 = 20;
/// Rows of a page, at most.
const MAX_SIZE: u64 = 500;
/// Characters of a filter, at most.
const MAX_FILTER: usize = 200;

/// A page that was asked for, within its bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paging {
    pub(crate) page: u64,
    pub(crate) size: u64,
}

/// A page of rows.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct List<T: ParseFromJSON + ToJSON> {
    /// At most `pageSize` rows, no row twice.
    pub(crate) list: Vec<T>,
    /// From 1.
    pub(crate) page: u64,
    /// Rows of a page.
    pub(crate) page_size: u64,
    /// Pages there are.
    pub(crate) page_count: u64,
    /// Rows of all pages.
    pub(crate) total_count: u64,
}

impl Paging {
    pub(crate) fn new(page: Option<i64>, size: Option<i64>) -> Result<Paging, Problem> {
        let page =
            page.map_or(Some(1), |page| u64::try_from(page).ok().filter(|page| (1..=1_000_000_000).contains(page)));
        let size = size
            .map_or(Some(DEFAULT_SIZE), |size| u64::try_from(size).ok().filter(|size| (1..=MAX_SIZE).contains(size)));
        Ok(Paging {
            page: page.ok_or_else(|| Problem::invalid("page", "is a whole number from 1"))?,
            size: size
                .ok_or_else(|| Problem::invalid("pageSize", format!("is a whole number from 1 to {MAX_SIZE}")))?,
        })
    }

    /// Rows to pass over.
    pub(crate) fn offset(self) -> u64 {
        (self.page - 1) * self.size
    }

    /// Pages there are for so many rows.
    pub(crate) fn pages(self, total: u64) -> u64 {
        total.div_ceil(self.size)
    }

    pub(crate) fn list<T: ParseFromJSON + ToJSON>(self, list: Vec<T>, total: u64) -> List<T> {
        List { list, page: self.page, page_size: self.size, page_count: self.pages(total), total_count: total }
    }
}

impl From<Paging> for crate::store::Paging {
    fn from(paging: Paging) -> crate::store::Paging {
        crate::store::Paging { page: paging.page, page_size: paging.size }
    }
}

/// A text to filter by; nothing for an empty one.
pub(crate) fn filter(field: &str, text: Option<String>) -> Result<Option<String>, Problem> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    if text.chars().count() > MAX_FILTER {
        return Err(Problem::invalid(field, format!("has at most {MAX_FILTER} characters")));
    }
    Ok(Some(text.trim().to_owned()))
}
