//! The server itself: version, uptime, events by name, and what the log writer lost.

use std::sync::atomic::Ordering::Relaxed;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::Tag;
use crate::http::SocketDoor;
use crate::http::security::MayMonitor;
use crate::services::Services;

pub(crate) struct ServerApi;

/// What this node says of itself.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct ServerFacts {
    node: String,
    version: String,
    build: String,
    now: DateTime<Utc>,
    /// Clients of this node, those in the grace included.
    clients: u64,
    /// Rows of logs that were not written: the queue was full, or the database away for too long.
    log_rows_lost: u64,
    draining: bool,
    events: Vec<EventFacts>,
}

/// One event of the handler registry since the start.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct EventFacts {
    name: String,
    /// What it needs; absent for a login.
    #[oai(skip_serializing_if_is_none)]
    permission: Option<String>,
    summary: String,
    calls: u64,
    failures: u64,
    /// Of the handler, from frame to reply; 0 without calls.
    mean_micros: u64,
}

#[OpenApi(tag = "Tag::Server")]
impl ServerApi {
    /// The server
    #[oai(path = "/server", method = "get")]
    async fn facts(
        &self,
        _caller: MayMonitor,
        Data(services): Data<&Services>,
        Data(door): Data<&SocketDoor>,
    ) -> Json<ServerFacts> {
        let events = door.registry.entries().map(|entry| {
            let calls = entry.stats.calls.load(Relaxed);
            EventFacts {
                name: entry.name.to_owned(),
                permission: entry.permission.map(|permission| permission.word().to_owned()),
                summary: entry.summary.to_owned(),
                calls,
                failures: entry.stats.failures.load(Relaxed),
                mean_micros: entry.stats.micros.load(Relaxed).checked_div(calls).unwrap_or(0),
            }
        });
        Json(ServerFacts {
            node: services.node().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: crate::http::build_id().to_owned(),
            now: services.clock().now(),
            clients: services.manager().len() as u64,
            log_rows_lost: services.writer().lost(),
            draining: services.is_draining(),
            events: events.collect(),
        })
    }
}
