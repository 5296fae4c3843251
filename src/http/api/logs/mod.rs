//! The login log and the audit log: pages, one row, and everything as a file. Deliberately absent: any route that changes a row.

mod audits;
mod export;
mod logins;
mod subjects;

use chrono::{DateTime, Utc};

use crate::auth::{Identity, Permission, masked};
use crate::http::Problem;
use crate::http::page::filter;
use crate::http::security::forbidden;

pub(crate) type Apis = (logins::LoginsApi, audits::AuditsApi, subjects::SubjectsApi);

pub(crate) const APIS: Apis = (logins::LoginsApi, audits::AuditsApi, subjects::SubjectsApi);

/// An address to filter by, which takes the right to see whole ones.
fn ip_filter(ip: Option<String>, caller: &Identity) -> Result<Option<String>, Problem> {
    match filter("ip", ip)? {
        Some(_) if !caller.may(Permission::OnlineIp) => Err(forbidden(Permission::OnlineIp)),
        ip => Ok(ip),
    }
}

/// An address as this caller may see it.
fn ip_shown(ip: String, caller: &Identity) -> String {
    if caller.may(Permission::OnlineIp) { ip } else { ip.parse().map(masked).unwrap_or_default() }
}

/// A time span that is not upside down.
fn check_span(from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Result<(), Problem> {
    match (from, to) {
        (Some(from), Some(to)) if from > to => Err(Problem::invalid("to", "is not before `from`")),
        _ => Ok(()),
    }
}
