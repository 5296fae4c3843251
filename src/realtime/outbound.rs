//! The way out of one socket. Whoever has a message sends it straight to the kernel under this connection's own short
//! lock; only what the kernel does not take is queued, bounded in bytes and in messages, and drained by the connection's task.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};

use super::sync::{AtomicWaker, Mutex, MutexGuard};
use super::wire::Wire;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The kernel or the queue has it; nothing more is claimed.
    Queued,
    /// The queue was full: the peer reads slower than we write.
    Full,
    /// The socket is closing or closed.
    Gone,
}

/// Bounds of the queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Bytes waiting, at most.
    pub bytes: usize,
    /// Messages waiting, at most.
    pub messages: usize,
}

pub(super) struct Outbound {
    state: Mutex<State>,
    /// Tells the connection's task that there is something to drain or that the end has come.
    wake: AtomicWaker,
}

struct State {
    /// `None` once the task has left: whoever still holds the client holds no descriptor.
    stream: Option<Arc<Wire>>,
    queue: VecDeque<Bytes>,
    bytes: usize,
    closing: bool,
}

impl Outbound {
    /// `answer` is what is left to say of the handshake. Everything waits behind it, for [`Outbound::greet`] or the end.
    pub(super) fn new(stream: Arc<Wire>, answer: Bytes) -> Outbound {
        let bytes = answer.len();
        let state = State { stream: Some(stream), queue: VecDeque::from([answer]), bytes, closing: false };
        Outbound { state: Mutex::new(state), wake: AtomicWaker::new() }
    }

    /// The first frame: in one piece with the answer, and before all that others have sent since the handshake.
    pub(super) fn greet(&self, frame: &Bytes) {
        let mut state = self.lock();
        if state.closing {
            return;
        }
        if let Some(answer) = state.queue.front_mut() {
            *answer = [&answer[..], frame].concat().into();
            state.bytes += frame.len();
        }
        drop(state);
        if !matches!(self.drain(), Ok(true)) {
            self.wake.wake();
        }
    }

    /// Sends or queues a complete frame. Never blocks.
    pub(super) fn send(&self, frame: &Bytes, limits: QueueLimits) -> Delivery {
        let mut state = self.lock();
        if state.closing {
            return Delivery::Gone;
        }
        let Some(stream) = &state.stream else { return Delivery::Gone };
        if !state.queue.is_empty() {
            if state.bytes + frame.len() > limits.bytes || state.queue.len() >= limits.messages {
                return Delivery::Full;
            }
            state.bytes += frame.len();
            state.queue.push_back(frame.clone());
            return Delivery::Queued;
        }
        match stream.transmit(frame) {
            Ok(sent) if sent == frame.len() => {
                if stream.has_unsent() {
                    self.wake.wake();
                }
                Delivery::Queued
            }
            Ok(sent) => {
                // The first to wait is taken whatever its size: half a frame is out already.
                state.bytes += frame.len() - sent;
                state.queue.push_back(frame.slice(sent..));
                self.wake.wake();
                Delivery::Queued
            }
            Err(_) => Delivery::Gone,
        }
    }

    /// The last words. `urgent` ones jump the queue: all that is waiting is dropped but the rest of a frame that the
    /// peer has begun to read. Nothing can be sent after.
    pub(super) fn close(&self, last: impl IntoIterator<Item = Bytes>, urgent: bool) {
        let mut state = self.lock();
        if state.closing {
            return;
        }
        state.closing = true;
        if urgent {
            // Only the first entry can be a frame's rest, and dropping a whole frame instead would be right as well.
            state.queue.truncate(1);
        }
        state.queue.extend(last);
        state.bytes = state.queue.iter().map(Bytes::len).sum();
        self.wake.wake();
    }

    /// One step of the connection's task, which has said `wake_with` before: writes what the kernel takes now. Pending when
    /// nothing waits, or when the kernel takes nothing: then the next to send or close wakes it, or the kernel does.
    pub(super) fn poll_drain(&self, stream: &Wire, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_empty() {
            return Poll::Pending;
        }
        ready!(stream.poll_writable(context))?;
        Poll::Ready(stream.try_write(|| self.drain()))
    }

    /// Whom to wake when there may be something to do. Whoever says so before looking misses nothing.
    pub(super) fn wake_with(&self, waker: &Waker) {
        self.wake.register(waker);
    }

    /// Whether nothing waits to go out.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.queue.is_empty() && !state.stream.as_ref().is_some_and(|stream| stream.has_unsent())
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Waiting (messages, bytes).
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.queue.len(), state.bytes)
    }

    /// Lets go of the descriptor and of everything waiting.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.stream = None;
        state.closing = true;
        state.queue = VecDeque::new();
        state.bytes = 0;
    }

    /// Writes what the kernel takes now. Whether everything is out.
    fn drain(&self) -> io::Result<bool> {
        let mut state = self.lock();
        while let (Some(stream), Some(frame)) = (&state.stream, state.queue.front()) {
            let sent = stream.transmit(frame)?;
            state.bytes -= sent;
            let front = state.queue.front_mut().expect("it was there under the same lock");
            front.advance(sent);
            if !front.is_empty() {
                return Ok(false);
            }
            state.queue.pop_front();
        }
        if state.queue.is_empty() {
            state.queue.shrink_to(0);
        }
        state.stream.as_ref().map_or(Ok(true), |stream| stream.flush())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding the queue")
    }
}
