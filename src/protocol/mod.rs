//! The words: what travels over a socket, as data. A [`Frame`] comes in, a [`Message`] goes out, a [`CloseReason`] ends it.
//! Deliberately absent: sockets, tasks, the meaning of an event.

mod close;
mod frame;
mod message;

pub use close::{CloseCode, CloseReason, LOGGED_OUT};
pub use frame::{Frame, FrameError, RequestId};
pub use message::{Code, Message};

/// Characters of an operator's sentence (`reason` of a kick), at most.
pub const MAX_REASON_CHARS: usize = 200;
