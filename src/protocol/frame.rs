//! A request as it arrives: `{"event", "id"?, "data"?}`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Bytes of a string `id`, at most.
const MAX_ID_BYTES: usize = 64;
/// The largest integer that JavaScript keeps exactly.
const MAX_ID_NUMBER: u64 = (1 << 53) - 1;

/// A request as it arrived. Borrowed: the text is parsed once, `data` later into the event's own type.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The key of the handler registry.
    pub event: Cow<'a, str>,
    /// Echoed in the reply.
    pub id: Option<RequestId>,
    /// Any JSON; absent and `null` are `None`.
    pub data: Option<&'a RawValue>,
}

/// The client's own name of a request, echoed as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RequestId {
    /// A string of at most 64 bytes.
    Text(String),
    /// An integer between -(2^53 - 1) and 2^53 - 1.
    Number(i64),
}

/// Why a text is no frame.
#[derive(Debug)]
pub struct FrameError {
    /// The `id`, where it could be read.
    pub id: Option<RequestId>,
    /// A sentence for the developer of the client.
    pub detail: &'static str,
}

impl<'a> Frame<'a> {
    /// Reads one text message. Unknown keys are ignored, duplicate ones are refused.
    pub fn parse(text: &'a str) -> Result<Frame<'a>, FrameError> {
        #[derive(Deserialize)]
        struct Keys<'a> {
            #[serde(borrow, default)]
            event: Option<&'a RawValue>,
            #[serde(borrow, default)]
            id: Option<&'a RawValue>,
            #[serde(borrow, default)]
            data: Option<&'a RawValue>,
        }
        let fail = |id, detail| Err(FrameError { id, detail });
        // serde reads an array into a struct as well; a frame is an object only.
        if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            return fail(None, "a frame is a JSON object with the key event");
        }
        let Ok(keys) = serde_json::from_str::<Keys<'a>>(text) else {
            return fail(None, "the text is not one valid JSON object");
        };
        let id = match keys.id.map(RequestId::parse) {
            None => None,
            Some(Ok(id)) => id,
            Some(Err(detail)) => return fail(None, detail),
        };
        let Some(event) = keys.event else { return fail(id, "the key event is missing") };
        let Some(event) = borrowed_text(event) else { return fail(id, "event is not a string") };
        let data = keys.data.filter(|data| data.get() != "null");
        Ok(Frame { event, id, data })
    }
}

impl RequestId {
    fn parse(raw: &RawValue) -> Result<Option<RequestId>, &'static str> {
        let text = raw.get();
        let id = match text.as_bytes().first() {
            Some(b'n') => return Ok(None),
            Some(b'"') => {
                let text = serde_json::from_str::<String>(text).ok().filter(|text| text.len() <= MAX_ID_BYTES);
                text.map(RequestId::Text)
            }
            _ => {
                let number = serde_json::from_str::<i64>(text).ok();
                number.filter(|number| number.unsigned_abs() <= MAX_ID_NUMBER).map(RequestId::Number)
            }
        };
        id.map(Some).ok_or("id is a string of at most 64 bytes or an integer below 2^53")
    }
}

/// The string a raw value holds, without a copy where it has no escapes.
fn borrowed_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(raw.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_an_event_and_maybe_an_id_and_data() {
        let frame = Frame::parse(r#"{"event":"join","id":7,"data":{"id":"room1"},"more":[]}"#).unwrap();
        assert_eq!(frame.event, "join");
        assert_eq!(frame.id, Some(RequestId::Number(7)));
        assert_eq!(frame.data.unwrap().get(), r#"{"id":"room1"}"#);
    }

    #[test]
    fn null_is_no_id_and_no_data() {
        let frame = Frame::parse(r#"{"event":"p\u0069ng","id":null,"data":null}"#).unwrap();
        assert_eq!(frame.event, "ping");
        assert!(frame.id.is_none() && frame.data.is_none());
    }

    #[test]
    fn what_is_no_frame_is_refused_with_its_id_where_it_can_be_read() {
        for text in ["", "x", "[]", r#"["ping"]"#, "7", r#"{"event":"a","event":"b"}"#, "{\"event\":\"a\0\"}"] {
            assert!(Frame::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Frame::parse(r#"{"id":"x"}"#).unwrap_err().id, Some(RequestId::Text("x".into())));
        assert!(Frame::parse(r#"{"event":"ping","id":1.5}"#).is_err());
        assert!(Frame::parse(r#"{"event":"ping","id":9007199254740992}"#).is_err());
        assert!(Frame::parse(&format!(r#"{{"event":"ping","id":"{}"}}"#, "x".repeat(65))).is_err());
        assert!(Frame::parse(r#"{"event":"\ud800"}"#).is_err());
    }

    #[test]
    fn ten_thousand_brackets_are_only_text() {
        let text = format!(r#"{{"event":"ping","data":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(Frame::parse(&text).unwrap().event, "ping");
    }
}
