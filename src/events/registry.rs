//! The handler registry: finds an event by its name, checks the permission, parses `data` into the event's own type, and
//! sends exactly one reply.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::auth::Permission;
use crate::protocol::{CloseCode, CloseReason, Code, Frame, Message, RequestId};
use crate::realtime::{Cause, Client, Dispatch, Handling};
use crate::services::Services;

/// How unlike a name may be and still be suggested: 1 is the same, 0 has nothing in common.
const SIMILAR: f64 = 0.7;

/// A request a client may send: its fields are the frame's `data`, `handle` is its meaning.
pub trait Event: DeserializeOwned + JsonSchema + Send + 'static {
    /// The value of the frame's `event` key.
    const NAME: &'static str;
    /// What the caller must be permitted, as of now; `None` for every logged-in client.
    const PERMISSION: Option<Permission>;
    /// One sentence of documentation.
    const SUMMARY: &'static str;
    /// `data` of the reply; `()` for a reply without data.
    type Reply: Serialize + JsonSchema + Send;

    /// May be dropped at any `.await` when the socket goes away: what must be whole is one transaction.
    fn handle(self, context: &Context) -> impl Future<Output = Result<Self::Reply, EventError>> + Send;

    /// What may only happen once the reply is on its way.
    fn after_reply(_context: &Context) {}
}

/// Who asks, and the hall.
pub struct Context {
    /// Everything shared.
    pub services: Services,
    /// The client that sent the frame.
    pub client: Arc<Client>,
}

/// Why an event failed: a code for the client, a sentence for people.
#[derive(Debug)]
pub struct EventError {
    /// Of the reply.
    pub code: Code,
    /// `errorMsg`.
    pub detail: String,
}

impl EventError {
    /// An error with a sentence.
    pub fn new(code: Code, detail: impl Into<String>) -> EventError {
        EventError { code, detail: detail.into() }
    }
}

/// How often an event came, how often it failed, and how long it took in all.
#[derive(Debug, Default)]
pub struct EventStats {
    /// Frames.
    pub calls: AtomicU64,
    /// Of them with a code other than 0.
    pub failures: AtomicU64,
    /// Microseconds from the frame to its reply, summed.
    pub micros: AtomicU64,
}

/// Every event by name.
pub struct Registry {
    services: Services,
    entries: BTreeMap<&'static str, Entry>,
}

/// One event with its type erased.
pub struct Entry {
    /// The value of the frame's `event` key.
    pub name: &'static str,
    /// What the caller must be permitted.
    pub permission: Option<Permission>,
    /// One sentence.
    pub summary: &'static str,
    /// JSON schema of `data` in the request and in the reply.
    pub schemas: fn() -> (schemars::Schema, schemars::Schema),
    /// Numbers for the monitor.
    pub stats: Arc<EventStats>,
    start: fn(Context, &Frame<'_>, Arc<EventStats>, Duration) -> Option<Handling>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RetryAfter {
    retry_after_ms: u64,
}

impl Registry {
    /// An empty one.
    pub fn new(services: Services) -> Registry {
        Registry { services, entries: BTreeMap::new() }
    }

    /// With one event more.
    ///
    /// # Panics
    /// When the name is taken: that is found at the first start, not by a user.
    pub fn with<E: Event>(mut self) -> Registry {
        let schemas = || (schemars::schema_for!(E), schemars::schema_for!(E::Reply));
        let entry = Entry {
            name: E::NAME,
            permission: E::PERMISSION,
            summary: E::SUMMARY,
            schemas,
            stats: Arc::default(),
            start: start::<E>,
        };
        assert!(self.entries.insert(E::NAME, entry).is_none(), "two events are named {}", E::NAME);
        self
    }

    /// The entries by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    fn nearest(&self, name: &str) -> Option<&'static str> {
        let similar = self.entries.keys().map(|known| (strsim::jaro_winkler(name, known), *known));
        similar.filter(|(similarity, _)| *similarity >= SIMILAR).max_by(|a, b| a.0.total_cmp(&b.0)).map(|best| best.1)
    }

    /// A text that is no frame. The eleventh in a minute closes the socket.
    fn malformed(&self, client: &Client, id: Option<&RequestId>, detail: &str) {
        let (clock, allowed) = (self.services.clock(), self.services.config().socket.bad_frames);
        client.send(&Message::failure::<()>("error", id, Code::BadRequest, detail, None, clock.unix()));
        if client.bad_frame(clock.monotonic(), allowed) {
            let reason = CloseReason::new(CloseCode::BadFrames).text("too many malformed frames in a minute");
            client.close(&reason, Cause::BadFrames);
        }
    }
}

impl Dispatch for Registry {
    fn dispatch(&self, client: &Arc<Client>, text: &str, received: Duration) -> Option<Handling> {
        let frame = match Frame::parse(text) {
            Ok(frame) => frame,
            Err(error) => {
                self.malformed(client, error.id.as_ref(), error.detail);
                return None;
            }
        };
        let context = Context { services: self.services.clone(), client: client.clone() };
        let Some(entry) = self.entries.get(&*frame.event) else {
            let detail = match self.nearest(&frame.event) {
                Some(known) => format!("there is no such event; did you mean {known}?"),
                None => "there is no such event".to_owned(),
            };
            context.fail(&frame.event, frame.id.as_ref(), &EventError::new(Code::NotFound, detail));
            return None;
        };
        entry.stats.calls.fetch_add(1, Relaxed);
        if let Some(permission) = entry.permission.filter(|permission| !client.may(*permission)) {
            entry.stats.failures.fetch_add(1, Relaxed);
            let detail = format!("this needs the permission {permission}");
            context.fail(entry.name, frame.id.as_ref(), &EventError::new(Code::Forbidden, detail));
            return None;
        }
        (entry.start)(context, &frame, entry.stats.clone(), received)
    }

    fn refuse(&self, client: &Arc<Client>, text: &str, retry_after: Duration) {
        let (event, id) = match Frame::parse(text) {
            Ok(frame) => (frame.event.into_owned(), frame.id),
            Err(error) => ("error".to_owned(), error.id),
        };
        let data = RetryAfter { retry_after_ms: (retry_after.as_millis() as u64).max(1) };
        let now = self.services.clock().unix();
        client.send(&Message::failure(&event, id.as_ref(), Code::TooMany, "too many frames", Some(&data), now));
    }
}

impl Context {
    fn fail(&self, event: &str, id: Option<&RequestId>, error: &EventError) {
        let now = self.services.clock().unix();
        self.client.send(&Message::failure::<()>(event, id, error.code, &error.detail, None, now));
    }

    fn answer<T: Serialize>(&self, event: &str, id: Option<&RequestId>, reply: &T) {
        let now = self.services.clock().unix();
        // A reply of `()` has no `data`, as in HotGo.
        let data = (size_of::<T>() > 0).then_some(reply);
        self.client.send(&Message::reply(event, id, data, now));
    }
}

fn start<E: Event>(
    context: Context,
    frame: &Frame<'_>,
    stats: Arc<EventStats>,
    received: Duration,
) -> Option<Handling> {
    let id = frame.id.clone();
    let event = match parse::<E>(frame.data) {
        Ok(event) => event,
        Err(error) => {
            stats.failures.fetch_add(1, Relaxed);
            context.fail(E::NAME, id.as_ref(), &error);
            return None;
        }
    };
    Some(Box::pin(async move {
        match event.handle(&context).await {
            Ok(reply) => {
                context.answer(E::NAME, id.as_ref(), &reply);
                E::after_reply(&context);
            }
            Err(error) => {
                stats.failures.fetch_add(1, Relaxed);
                context.fail(E::NAME, id.as_ref(), &error);
            }
        }
        // A difference of coarse times is right on average, and only the sum is shown.
        let took = context.services.clock().coarse().saturating_sub(received);
        stats.micros.fetch_add(took.as_micros() as u64, Relaxed);
    }))
}

/// Absent data is `{}`. Only an object has fields: serde would read an array into them as well.
fn parse<E: Event>(data: Option<&RawValue>) -> Result<E, EventError> {
    let text = data.map_or("{}", RawValue::get);
    if !text.starts_with('{') {
        return Err(EventError::new(Code::Unprocessable, "data is not an object"));
    }
    // Where it does not fit is looked for only when it does not: that costs more than reading it.
    serde_json::from_str(text).or_else(|_| at_fault(text))
}

fn at_fault<E: Event>(text: &str) -> Result<E, EventError> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "data".to_owned() } else { format!("data.{path}") };
        EventError::new(Code::Unprocessable, format!("{field} does not fit: {}", without_position(error.inner())))
    })
}

/// serde's sentence without "at line 1 column 7", which nobody who sent one line can use.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}
