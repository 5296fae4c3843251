//! The green dot: which of somebody's own users are online.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem::{IntoResponse, Response};
use poem_openapi::payload::Json;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::rows::Nodes;
use super::unavailable;
use crate::auth::UserKey;
use crate::http::Problem;
use crate::http::api::Tag;
use crate::http::body::Body;
use crate::http::security::MayReadOnline;
use crate::services::Services;

/// Users of a lookup, at most.
const MAX_LOOKUP: usize = 500;

pub(crate) struct LookupApi;

/// Whose green dot.
#[derive(Object)]
struct LookupRequest {
    /// At most 500 users. One named twice is answered once.
    users: Vec<String>,
}

/// One green dot. Who is unknown here is offline, without a `lastSeenAt`.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct LookupEntry {
    online: bool,
    /// Sockets that can be reached now.
    clients: u64,
    /// The last sign of life; absent when there never was one.
    #[oai(skip_serializing_if_is_none)]
    last_seen_at: Option<DateTime<Utc>>,
}

/// The users in the order asked.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct LookupAnswer {
    users: std::collections::BTreeMap<String, LookupEntry>,
    rev: u64,
    node: String,
    as_of: DateTime<Utc>,
    /// Whether it is about every node.
    complete: bool,
    nodes: Nodes,
}

/// [`LookupAnswer`] as it is written: `serde_json::Value`, through which poem-openapi writes, would sort the users.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InOrder {
    #[serde(serialize_with = "map")]
    users: Vec<(String, Box<RawValue>)>,
    rev: u64,
    node: String,
    as_of: String,
    complete: bool,
    #[serde(serialize_with = "nodes")]
    nodes: Nodes,
}

#[OpenApi(tag = "Tag::Online")]
impl LookupApi {
    /// The green dot beside your own users
    #[oai(path = "/online/lookup", method = "post")]
    async fn lookup(
        &self,
        _caller: MayReadOnline,
        Data(services): Data<&Services>,
        body: Body<LookupRequest>,
    ) -> poem::Result<InOrder> {
        let mut users = body.take()?.users;
        if users.len() > MAX_LOOKUP {
            return Err(Problem::invalid("users", format!("has at most {MAX_LOOKUP} entries")).into());
        }
        let mut seen = HashSet::new();
        users.retain(|user| seen.insert(user.clone()));
        let keys: Vec<UserKey> = users.iter().map(|user| UserKey::from_wire(user)).collect();
        let (found, state) = services.presence().lookup(&keys).await.map_err(unavailable)?;
        let unseen: Vec<UserKey> =
            keys.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(key, _)| key.clone()).collect();
        let before = services.store().last_seen(&unseen).await.map_err(Problem::from)?;
        let entries = keys.iter().zip(found).map(|(key, found)| LookupEntry {
            online: found.is_some_and(|found| found.online),
            clients: found.map_or(0, |found| found.clients as u64),
            last_seen_at: found.map_or_else(|| before.get(key).copied(), |found| found.last_seen_at),
        });
        Ok(InOrder {
            users: users.into_iter().zip(entries.map(raw)).collect(),
            rev: state.rev,
            node: services.node().to_string(),
            as_of: state.as_of.to_rfc3339(),
            complete: state.complete,
            nodes: state.into(),
        })
    }
}

fn raw(entry: LookupEntry) -> Box<RawValue> {
    RawValue::from_string(entry.to_json_string()).expect("an object is JSON")
}

fn nodes<S: Serializer>(nodes: &Nodes, serializer: S) -> Result<S::Ok, S::Error> {
    nodes.to_json().serialize(serializer)
}

fn map<S: Serializer>(users: &[(String, Box<RawValue>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(users.iter().map(|(user, entry)| (user, entry)))
}

impl IntoResponse for InOrder {
    fn into_response(self) -> Response {
        poem::web::Json(self).into_response()
    }
}

impl ApiResponse for InOrder {
    fn meta() -> MetaResponses {
        Json::<LookupAnswer>::meta()
    }

    fn register(registry: &mut Registry) {
        Json::<LookupAnswer>::register(registry);
    }
}
