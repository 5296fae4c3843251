//! `/metrics` in the OpenMetrics text that Prometheus reads, on a listener of its own. Figures are read where they lie when
//! somebody asks; nothing is counted twice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use poem::http::header;
use poem::web::Data;
use poem::{Endpoint, EndpointExt, Response, Route, get, handler};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry as Exposition;
use tokio::runtime::Handle;

use super::gate::Gate;
use super::memory::{Memory, memory};
use crate::cluster::Cluster;
use crate::events::Registry;
use crate::realtime::OnlineCounts;
use crate::services::Services;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the listener of `metrics.listen` answers.
pub(crate) fn metrics_endpoint(
    services: Services,
    gate: Arc<Gate>,
    registry: Arc<Registry>,
) -> impl Endpoint<Output = Response> + 'static {
    Route::new().at("/metrics", get(scrape)).data(services).data(gate).data(registry).map_to_response().catch_all_error(
        |error: poem::Error| async move { Response::builder().status(error.status()).body(error.to_string()) },
    )
}

#[handler]
async fn scrape(
    Data(services): Data<&Services>,
    Data(gate): Data<&Arc<Gate>>,
    Data(registry): Data<&Arc<Registry>>,
) -> Response {
    let mut entries = services.entries().await;
    entries.extend(gate.sizes());
    let figures = Figures {
        entries,
        database: services.database_latency().await,
        online: services.presence().here(),
        services: services.clone(),
        registry: registry.clone(),
    };
    let (mut exposition, mut body) = (Exposition::default(), String::new());
    exposition.register_collector(Box::new(figures));
    match text::encode(&mut body, &exposition) {
        Ok(()) => Response::builder().header(header::CONTENT_TYPE, CONTENT_TYPE).body(body),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            Response::builder().status(poem::http::StatusCode::INTERNAL_SERVER_ERROR).finish()
        }
    }
}

/// What had to be waited for, and where the rest lies.
struct Figures {
    entries: Vec<(&'static str, usize)>,
    database: Option<Duration>,
    online: OnlineCounts,
    services: Services,
    registry: Arc<Registry>,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let version = env!("CARGO_PKG_VERSION");
        out.gauges("rollcall_build", "The release, as a label.", "version", [(version.to_owned(), 1.0)])?;
        let online = &self.online;
        out.gauge("rollcall_clients", "Clients of this node, as in the online list.", online.clients as f64)?;
        out.gauge("rollcall_users", "Distinct users of this node.", online.users as f64)?;
        let handshakes = self.services.handshakes().all().into_iter().map(|(word, count)| (word.to_owned(), count));
        out.counters("rollcall_handshakes", "Handshakes by result.", "result", handshakes)?;
        let ends = self.services.manager().ends().into_iter().map(|(cause, count)| (cause.word(), count));
        out.counters("rollcall_disconnects", "Sockets that ended, by cause.", "cause", ends)?;
        let (delivered, dropped) = self.services.manager().deliveries();
        out.counter("rollcall_deliveries", "Pushed messages handed to sockets or their queues.", delivered)?;
        out.counter("rollcall_drops", "Pushed messages that found a full queue or a socket that was gone.", dropped)?;
        out.counter("rollcall_log_rows_lost", "Rows of logs that were not written.", self.services.writer().lost())?;
        self.cluster(&mut out)?;
        self.events(&mut out)?;
        self.process(&mut out)?;
        out.gauge(
            "rollcall_database_up",
            "Whether the database took a write just now.",
            f64::from(u8::from(self.database.is_some())),
        )?;
        if let Some(took) = self.database {
            let help = "Time an empty write took just now, in seconds.";
            out.gauge("rollcall_database_latency_seconds", help, took.as_secs_f64())?;
        }
        let entries = self.entries.iter().map(|(table, entries)| ((*table).to_owned(), *entries as f64));
        out.gauges("rollcall_entries", "Entries of what callers can make grow; each has a bound.", "table", entries)
    }
}

impl Figures {
    /// Of the link to other nodes, where there are any.
    fn cluster(&self, out: &mut Out<'_>) -> fmt::Result {
        let Some(Cluster { link, members }) = self.services.cluster() else { return Ok(()) };
        let up = f64::from(u8::from(link.state().up));
        out.gauge("rollcall_cluster_up", "Whether Redis is there and everything is subscribed.", up)?;
        out.gauge(
            "rollcall_cluster_nodes",
            "Nodes that are not dead, this one included.",
            1.0 + members.live().len() as f64,
        )?;
        let received = link.received().map(|(topic, count)| (topic.word().to_owned(), count));
        out.counters("rollcall_cluster_received", "Messages that Redis brought.", "topic", received)?;
        let help = "Messages of other versions or of unknown kinds that were skipped.";
        out.counter("rollcall_cluster_skipped", help, link.skipped())?;
        out.counter("rollcall_cluster_lost", "Messages that came faster than they were read.", link.lost())
    }

    fn events(&self, out: &mut Out<'_>) -> fmt::Result {
        let each = |figure: fn(&crate::events::EventStats) -> u64| {
            let entries = self.registry.entries();
            entries.map(|entry| (entry.name.to_owned(), figure(&entry.stats))).collect::<Vec<_>>()
        };
        out.counters("rollcall_events", "Events handled, by name.", "event", each(|stats| stats.calls.load(Relaxed)))?;
        let failures = each(|stats| stats.failures.load(Relaxed));
        out.counters("rollcall_event_failures", "Events answered with a code that is not 0.", "event", failures)?;
        let micros = each(|stats| stats.micros.load(Relaxed));
        out.counters("rollcall_event_microseconds", "Time in handlers, from frame to reply.", "event", micros)
    }

    /// Of the process itself: what a leak would grow.
    fn process(&self, out: &mut Out<'_>) -> fmt::Result {
        let tasks = Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks());
        out.gauge(
            "rollcall_tasks",
            "Tasks of the runtime that have not ended, one for each socket among them.",
            tasks as f64,
        )?;
        let Some(Memory { parts, allocations }) = memory() else { return Ok(()) };
        let help = "Resident memory by part; they add up to that of the process.";
        out.gauges("rollcall_memory_bytes", help, "part", named(parts))?;
        let help = "Live allocations by size class in bytes.";
        out.gauges("rollcall_allocations", help, "bytes", named(allocations))
    }
}

fn named(figures: Vec<(impl ToString, u64)>) -> impl Iterator<Item = (String, f64)> {
    figures.into_iter().map(|(word, value)| (word.to_string(), value as f64))
}

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.describe(name, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.describe(name, help, MetricType::Counter)?.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, f64)>,
    ) -> fmt::Result {
        let mut family = self.describe(name, help, MetricType::Gauge)?;
        values.into_iter().try_for_each(|(word, value)| family.encode_family(&[(label, word)])?.encode_gauge(&value))
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) -> fmt::Result {
        let mut family = self.describe(name, help, MetricType::Counter)?;
        values.into_iter().try_for_each(|(word, value)| {
            family.encode_family(&[(label, word)])?.encode_counter::<NoLabelSet, u64, u64>(&value, None)
        })
    }

    /// The library ends a sentence of help with a dot of its own.
    fn describe<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help.trim_end_matches('.'), None, kind)
    }
}
