//! The AsyncAPI 3 document of the socket, written from the handler registry itself.

use serde_json::{Map, Value, json};

use super::PUSHES;
use super::registry::{Entry, Registry};
use crate::protocol::CloseCode;

/// The document, ready to be served or printed.
pub fn document(registry: &Registry) -> Value {
    let (mut messages, mut operations, mut in_channel) = (Map::new(), Map::new(), Map::new());
    for entry in registry.entries() {
        let key = key(entry.name);
        let (request, reply) = (format!("{key}Request"), format!("{key}Reply"));
        let (data, reply_data) = (entry.schemas)();
        messages.insert(request.clone(), message(entry.name, entry.summary, data.to_value(), false));
        messages.insert(reply.clone(), message(entry.name, "The reply.", reply_data.to_value(), true));
        operations.insert(key, operation(entry, &request, &reply));
        for name in [request, reply] {
            in_channel.insert(name.clone(), json!({"$ref": format!("#/components/messages/{name}")}));
        }
    }
    for (name, summary) in PUSHES {
        let push = format!("{}Push", key(name));
        messages.insert(push.clone(), message(name, summary, json!({}), true));
        in_channel.insert(push.clone(), json!({"$ref": format!("#/components/messages/{push}")}));
        operations.insert(
            push.clone(),
            json!({
                "action": "send", "channel": {"$ref": "#/channels/socket"}, "summary": summary,
                "messages": [{"$ref": format!("#/channels/socket/messages/{push}")}],
            }),
        );
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Rollcall socket",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!("JSON text frames over a WebSocket. {}", close_codes()),
        },
        "channels": {"socket": {"address": "/socket", "messages": in_channel}},
        "operations": operations,
        "components": {"messages": messages},
    })
}

fn operation(entry: &Entry, request: &str, reply: &str) -> Value {
    let permission = entry.permission.map_or("none but a login", |permission| permission.word());
    json!({
        "action": "receive",
        "channel": {"$ref": "#/channels/socket"},
        "summary": entry.summary,
        "description": format!("Permission: {permission}."),
        "x-permission": entry.permission.map_or("login", |permission| permission.word()),
        "messages": [{"$ref": format!("#/channels/socket/messages/{request}")}],
        "reply": {
            "channel": {"$ref": "#/channels/socket"},
            "messages": [{"$ref": format!("#/channels/socket/messages/{reply}")}],
        },
    })
}

/// A frame: the client's has `event`, `id`, `data`; the server's also `code`, `errorMsg` and `timestamp`.
fn message(event: &str, summary: &str, data: Value, from_server: bool) -> Value {
    let mut properties = json!({
        "event": {"const": event},
        "id": {"type": ["string", "integer"], "description": "Echoed in the reply; absent in a push."},
        "data": data,
    });
    let mut required = vec!["event"];
    if from_server {
        properties["code"] =
            json!({"type": "integer", "description": "0, or 400, 401, 403, 404, 409, 413, 422, 429, 500, 503."});
        properties["errorMsg"] = json!({"type": "string", "description": "For people, when code is not 0."});
        properties["timestamp"] = json!({"type": "integer", "description": "Unix seconds."});
        required.extend(["code", "timestamp"]);
    }
    json!({"name": event, "summary": summary, "contentType": "application/json",
        "payload": {"type": "object", "properties": properties, "required": required}})
}

/// `online/subscribe` as a key of a document: `onlineSubscribe`.
fn key(name: &str) -> String {
    let mut parts = name.split('/');
    let mut key = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        key.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        key.push_str(letters.as_str());
    }
    key
}

fn close_codes() -> String {
    let codes: Vec<String> = CloseCode::ALL.iter().map(|code| format!("{} {}", *code as u16, code.word())).collect();
    format!("Close codes: {}. Stay away after 1000, 1002, 1003, 1007, 1009, 1010 and 4400-4999.", codes.join(", "))
}
