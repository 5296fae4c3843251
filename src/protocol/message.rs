//! What the server says: `{"event", "id"?, "data"?, "code", "errorMsg"?, "timestamp"}`, keys in HotGo's order, encoded
//! once into a complete WebSocket frame and shared by all receivers.

use bytes::Bytes;
use serde::Serialize;

use super::RequestId;

/// Room in front of the payload for the longest header of an unmasked frame.
const HEADER: usize = 10;
/// FIN and the opcode of a text frame, RFC 6455 section 5.2.
const FINAL_TEXT: u8 = 0x81;

/// A complete WebSocket text frame, cheap to clone.
#[derive(Clone, Debug)]
pub struct Message(Bytes);

/// The `code` of a reply: 0 or the number people know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// Malformed.
    BadRequest = 400,
    /// Not, or no longer, authenticated.
    Unauthorized = 401,
    /// Not permitted.
    Forbidden = 403,
    /// Unknown event.
    NotFound = 404,
    /// A limit or another state is in the way.
    Conflict = 409,
    /// `data` does not fit the event.
    Unprocessable = 422,
    /// Too fast.
    TooMany = 429,
    /// Our fault.
    Internal = 500,
    /// Try later.
    Unavailable = 503,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a T>,
    code: u16,
    #[serde(rename = "errorMsg", skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    timestamp: i64,
}

impl Message {
    /// An announcement: nobody asked, so it has no `id`.
    pub fn push<T: Serialize>(event: &str, data: Option<&T>, timestamp: i64) -> Message {
        encode(&Envelope { event, id: None, data, code: 0, error: None, timestamp })
    }

    /// The answer to a request. `data` is absent where the event has none, as in HotGo.
    pub fn reply<T: Serialize>(event: &str, id: Option<&RequestId>, data: Option<&T>, timestamp: i64) -> Message {
        encode(&Envelope { event, id, data, code: 0, error: None, timestamp })
    }

    /// The answer to a request that failed: a code for the client, a sentence for people.
    pub fn failure<T: Serialize>(
        event: &str,
        id: Option<&RequestId>,
        code: Code,
        error: &str,
        data: Option<&T>,
        timestamp: i64,
    ) -> Message {
        encode(&Envelope { event, id, data, code: code as u16, error: Some(error), timestamp })
    }

    /// A frame that another node has encoded; none when the bytes are not one complete text frame.
    pub fn from_frame(frame: Bytes) -> Option<Message> {
        let (header, payload) = match *frame.get(1)? {
            126 => (4, usize::from(u16::from_be_bytes(frame.get(2..4)?.try_into().ok()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(frame.get(2..10)?.try_into().ok()?)).ok()?),
            short => (2, usize::from(short)),
        };
        let whole = frame[0] == FINAL_TEXT && payload.checked_add(header) == Some(frame.len());
        whole.then_some(Message(frame))
    }

    /// The whole frame, header first.
    pub fn frame(&self) -> &Bytes {
        &self.0
    }

    /// The JSON text inside.
    pub fn payload(&self) -> &[u8] {
        match self.0[1] {
            126 => &self.0[4..],
            127 => &self.0[10..],
            _ => &self.0[2..],
        }
    }
}

fn encode<T: Serialize>(envelope: &Envelope<'_, T>) -> Message {
    let mut buffer = Vec::with_capacity(256);
    buffer.resize(HEADER, 0);
    serde_json::to_writer(&mut buffer, envelope).expect("our own types serialize into memory");
    let length = buffer.len() - HEADER;
    let start = match length {
        0..=125 => {
            buffer[HEADER - 1] = length as u8;
            HEADER - 2
        }
        126..=0xFFFF => {
            buffer[HEADER - 3] = 126;
            buffer[HEADER - 2..HEADER].copy_from_slice(&(length as u16).to_be_bytes());
            HEADER - 4
        }
        _ => {
            buffer[HEADER - 9] = 127;
            buffer[HEADER - 8..HEADER].copy_from_slice(&(length as u64).to_be_bytes());
            0
        }
    };
    buffer[start] = FINAL_TEXT;
    Message(Bytes::from(buffer).slice(start..))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(message: &Message) -> &str {
        std::str::from_utf8(message.payload()).unwrap()
    }

    #[test]
    fn replies_look_as_in_hotgo_byte_for_byte() {
        let pong = Message::reply::<()>("ping", None, None, 1715670733);
        assert_eq!(text(&pong), r#"{"event":"ping","code":0,"timestamp":1715670733}"#);
        let joined = Message::reply("join", None, Some(&["room1"]), 1);
        assert_eq!(text(&joined), r#"{"event":"join","data":["room1"],"code":0,"timestamp":1}"#);
    }

    #[test]
    fn a_failure_echoes_the_id_and_says_why() {
        let id = RequestId::Text("a".into());
        let failure = Message::failure("x", Some(&id), Code::TooMany, "slow down", Some(&json!({"retryAfterMs":5})), 1);
        assert_eq!(
            text(&failure),
            r#"{"event":"x","id":"a","data":{"retryAfterMs":5},"code":429,"errorMsg":"slow down","timestamp":1}"#
        );
    }

    #[test]
    fn headers_follow_rfc_6455_at_every_length() {
        for length in [0, 20, 60, 200, 65_400, 70_000] {
            let message = Message::push("e", Some(&"x".repeat(length)), 1);
            let payload = message.payload().len();
            let frame = message.frame();
            assert_eq!(frame[0], 0x81);
            match payload {
                ..126 => assert_eq!(frame[1] as usize, payload),
                126..65_536 => {
                    assert_eq!((frame[1], u16::from_be_bytes([frame[2], frame[3]]) as usize), (126, payload))
                }
                _ => assert_eq!(
                    (frame[1], u64::from_be_bytes(frame[2..10].try_into().unwrap()) as usize),
                    (127, payload)
                ),
            }
            assert!(text(&message).starts_with(r#"{"event":"e","data":""#));
            assert_eq!(text(&Message::from_frame(frame.clone()).unwrap()), text(&message));
            for broken in [frame.slice(1..), frame.slice(..frame.len() - 1), frame.slice(..1), Bytes::new()] {
                assert!(Message::from_frame(broken).is_none());
            }
        }
    }
}
