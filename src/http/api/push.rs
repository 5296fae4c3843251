//! Telling them: one call reaches a user on every open tab.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::Tag;
use super::kick::{bounded, uuids};
use crate::auth::UserKey;
use crate::events::{PUSHES, Registry};
use crate::http::body::Body;
use crate::http::security::MayPush;
use crate::http::{Problem, SocketDoor};
use crate::protocol::Message;
use crate::realtime::{Delivered, Payload, Publication, Target};
use crate::services::Services;

/// Bytes of a pushed `data`, at most.
const MAX_DATA: usize = 64 * 1024;
/// Characters of an event's name, at most.
const MAX_EVENT: usize = 64;

pub(crate) struct PushApi;

/// For whom: exactly one of these.
#[derive(Object)]
#[oai(rename = "PushTarget")]
struct TargetFields {
    everyone: Option<bool>,
    users: Option<Vec<String>>,
    roles: Option<Vec<String>>,
    rooms: Option<Vec<String>>,
    clients: Option<Vec<String>>,
}

/// What for whom.
#[derive(Object)]
struct PushRequest {
    target: TargetFields,
    /// The `event` of the frame; none of Rollcall's own, except `notice`.
    event: String,
    /// Any JSON, at most 64 KiB.
    data: Option<serde_json::Value>,
}

#[derive(Object)]
struct Targeted {
    users: u64,
    clients: u64,
}

/// "Delivered" means handed to the socket's queue; nothing else is claimed.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct PushAnswer {
    targeted: Targeted,
    delivered: u64,
    dropped: u64,
    nodes_answered: u64,
    nodes_expected: u64,
    complete: bool,
}

#[OpenApi(tag = "Tag::Push")]
impl PushApi {
    /// Push
    ///
    /// Zero delivered is an answer, not an error: the user is offline.
    #[oai(path = "/push", method = "post")]
    async fn push(
        &self,
        _caller: MayPush,
        Data(services): Data<&Services>,
        Data(door): Data<&SocketDoor>,
        body: Body<PushRequest>,
    ) -> poem::Result<Json<PushAnswer>> {
        let PushRequest { target, event, data } = body.take()?;
        check_event(&event, &door.registry)?;
        let target = target.check()?;
        let delivered = publish(services, target, &event, data.as_ref()).await?;
        Ok(Json(PushAnswer {
            targeted: Targeted { users: delivered.users as u64, clients: delivered.clients as u64 },
            delivered: delivered.delivered as u64,
            dropped: delivered.dropped as u64,
            nodes_answered: delivered.nodes_answered as u64,
            nodes_expected: delivered.nodes_expected as u64,
            complete: delivered.complete,
        }))
    }
}

impl TargetFields {
    fn check(self) -> Result<Target, Problem> {
        let some = [self.users.is_some(), self.roles.is_some(), self.rooms.is_some(), self.clients.is_some()];
        let everyone = self.everyone.unwrap_or(false);
        if some.iter().filter(|given| **given).count() + usize::from(everyone) != 1 {
            return Err(Problem::invalid("target", "names exactly one of everyone, users, roles, rooms, clients"));
        }
        let shared = |texts: Vec<String>| texts.into_iter().map(Arc::from).collect();
        Ok(if everyone {
            Target::Everyone
        } else if self.users.is_some() {
            Target::Users(bounded("target.users", self.users)?.iter().map(|user| UserKey::from_wire(user)).collect())
        } else if self.roles.is_some() {
            Target::Roles(shared(bounded("target.roles", self.roles)?))
        } else if self.rooms.is_some() {
            Target::Rooms(shared(bounded("target.rooms", self.rooms)?))
        } else {
            Target::Clients(uuids("target.clients", self.clients)?)
        })
    }
}

/// Rollcall's own events would lie about Rollcall: only `notice` may be pushed from outside.
pub(crate) fn check_event(event: &str, registry: &Registry) -> Result<(), Problem> {
    let length = event.chars().count();
    if length == 0 || length > MAX_EVENT || event.chars().any(char::is_control) {
        return Err(Problem::invalid(
            "event",
            format!("is a name of 1 to {MAX_EVENT} characters without control characters"),
        ));
    }
    let ours = PUSHES.iter().any(|(name, _)| *name == event) || registry.entries().any(|entry| entry.name == event);
    if ours && event != "notice" {
        return Err(Problem::invalid("event", format!("is {event}, which only Rollcall itself may say")));
    }
    Ok(())
}

pub(crate) async fn publish(
    services: &Services,
    target: Target,
    event: &str,
    data: Option<&serde_json::Value>,
) -> Result<Delivered, Problem> {
    let length = data.map_or(0, |data| data.to_string().len());
    let message = Message::push(event, data, services.clock().now().timestamp());
    if length > MAX_DATA {
        return Err(Problem::invalid("data", format!("has at most {MAX_DATA} bytes")));
    }
    let publication = Publication { target, payload: Payload::Message(message) };
    services.broker().publish(publication).await.map_err(|error| {
        tracing::warn!(%error, "a push failed");
        Problem::unavailable()
    })
}
