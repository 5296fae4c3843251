//! The task of one socket: reads, hands each message to the handler registry in order, drains the queue, says goodbye.
//! Pings and pongs are read while a handler runs, and no buffer belongs to a connection that is idle.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::timeout;

use super::client::Client;
use super::codec::{Decoder, Incoming};
use super::manager::Registration;
use super::outbound::Outbound;
use super::presence::Cause;
use super::wire::Wire;
use crate::protocol::CloseReason;

/// Messages that wait while a handler runs before nothing more is read from this socket; what one read brought is kept.
const MAX_PENDING: usize = 32;
/// Time for the last words to leave, and for the peer to close its side.
const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes read at once, in a buffer all connections of a thread share.
const READ_BUFFER: usize = 16 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into_boxed_slice());
}

/// A handler at work.
pub type Handling = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who gives messages a meaning. Exactly one reply is sent by each future before it completes.
pub trait Dispatch: Send + Sync + 'static {
    /// Handles one text message of this client; what is left to do of it, if anything. `received` is monotonic and coarse.
    fn dispatch(&self, client: &Arc<Client>, text: &str, received: Duration) -> Option<Handling>;
    /// Answers a message that came too fast.
    fn refuse(&self, client: &Arc<Client>, text: &str, retry_after: Duration);
}

/// What a connection may do.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Bytes of a message.
    pub max_frame: usize,
    /// Messages a second, on average.
    pub frames_per_second: u32,
    /// Messages at once.
    pub frame_burst: u32,
}

/// Runs a registered socket to its end, whoever ends it. `early` are bytes that came with the handshake.
///
/// What is kept between two messages is what every idle socket costs, so nothing waits in a future of its own: readiness and
/// wakers have their places in the stream and in the queue, and the end, which needs timers, is boxed when it comes.
pub fn run<D: Dispatch>(
    registration: Registration,
    stream: Arc<Wire>,
    early: Vec<u8>,
    dispatch: Arc<D>,
    limits: ConnectionLimits,
) -> impl Future<Output = ()> + Send {
    let mut reader = Reader { registration, dispatch, limits, decoder: Decoder::default(), bucket: None };
    let mut work = Work::default();
    let mut early = Some(early);
    async move {
        poll_fn(|context| reader.poll(context, &stream, &mut work, &mut early)).await;
        drop(work);
        Box::pin(end(reader.registration, &stream)).await;
    }
}

async fn end(registration: Registration, stream: &Wire) {
    let client = registration.client().clone();
    client.ended(Cause::Lost);
    goodbye(&client.out, stream).await;
    client.set_shut();
    drop(registration);
    linger(stream).await;
}

/// Tells a peer that is registered nowhere why it may not stay, after the answer to its handshake.
pub async fn send_away(stream: Arc<Wire>, answer: Bytes, reason: &CloseReason) {
    let out = Outbound::new(stream.clone(), answer);
    out.close([reason.frame()], true);
    goodbye(&out, &stream).await;
    linger(&stream).await;
}

struct Reader<D> {
    registration: Registration,
    dispatch: Arc<D>,
    limits: ConnectionLimits,
    decoder: Decoder,
    /// Created by the first message: (tokens left, when).
    bucket: Option<(f64, Duration)>,
}

/// What has been read and not been handled yet.
#[derive(Default)]
struct Work {
    running: Option<Handling>,
    /// Messages in order; one that came too fast carries the time after which the next is taken.
    waiting: VecDeque<(String, Option<Duration>)>,
}

impl<D: Dispatch> Reader<D> {
    /// Does what can be done now; ready when either side has ended it.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        stream: &Wire,
        work: &mut Work,
        early: &mut Option<Vec<u8>>,
    ) -> Poll<()> {
        if let Some(mut early) = early.take().filter(|early| !early.is_empty())
            && self.take(&mut early, work).is_err()
        {
            return Poll::Ready(());
        }
        // Before looking, so that whoever sends or closes after that wakes us.
        self.registration.client().out.wake_with(context.waker());
        loop {
            if self.registration.client().is_closing() {
                return Poll::Ready(());
            }
            let finished = work.running.as_mut().is_some_and(|handling| handling.as_mut().poll(context).is_ready());
            if finished {
                self.next(work);
            }
            let written = match self.registration.client().out.poll_drain(stream, context) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => false,
            };
            let read = match work.waiting.len() < MAX_PENDING {
                false => false,
                true => match stream.poll_readable(context) {
                    Poll::Ready(Ok(())) if self.read(stream, work).is_ok() => true,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => false,
                },
            };
            if !(finished || written || read) {
                return Poll::Pending;
            }
        }
    }

    /// Reads once, into a buffer that is shared by the thread.
    fn read(&mut self, stream: &Wire, work: &mut Work) -> io::Result<()> {
        BUFFER.with_borrow_mut(|buffer| match stream.read(buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.take(&mut buffer[..length], work),
            Err(error) => would_block(error),
        })
    }

    /// Handles what has arrived. An error ends the connection; the client has been told.
    fn take(&mut self, bytes: &mut [u8], work: &mut Work) -> io::Result<()> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let fed = decoder.feed(bytes, self.limits.max_frame, |incoming| self.incoming(incoming, work));
        self.decoder = decoder;
        if let Err(code) = fed {
            self.registration.client().close(&CloseReason::new(code), Cause::Protocol);
        }
        Ok(())
    }

    fn incoming(&mut self, incoming: Incoming<'_>, work: &mut Work) {
        let (client, clock) = (self.registration.client(), self.registration.clock());
        // What may be the answer to a ping must not seem older than the ping, and its round trip is measured.
        let now = if client.awaits_pong() { clock.monotonic() } else { clock.coarse() };
        client.touch(now);
        match incoming {
            Incoming::Text(text) => {
                let refused = self.too_fast(now);
                if work.running.is_some() {
                    work.waiting.push_back((text.to_owned(), refused));
                } else if !self.registration.client().is_closing() {
                    work.running = self.handle(text, refused, now);
                }
            }
            Incoming::Ping(payload) => self.registration.client().control(&pong(payload)),
            Incoming::Pong(_) => self.registration.client().ponged(now),
            Incoming::Close(code) => self.closed_by_peer(code),
        }
    }

    /// Answers the client's close frame with its own code (RFC 6455 section 5.5.1).
    fn closed_by_peer(&self, code: Option<u16>) {
        let cause = if code == Some(1001) { Cause::Reload } else { Cause::Closed };
        let mut frame = BytesMut::from(&[0x88, 0x02][..]);
        frame.put_u16(code.unwrap_or(1000));
        self.registration.client().ended(cause);
        self.registration.client().out.close([frame.freeze()], true);
    }

    /// Starts what waits, until one does not finish at once.
    fn next(&self, work: &mut Work) {
        work.running = None;
        while work.running.is_none() && !self.registration.client().is_closing() {
            let Some((text, refused)) = work.waiting.pop_front() else { return };
            work.running = self.handle(&text, refused, self.registration.clock().coarse());
        }
    }

    /// What is left to do of it: most handlers finish at once.
    fn handle(&self, text: &str, refused: Option<Duration>, now: Duration) -> Option<Handling> {
        match refused {
            Some(retry_after) => {
                self.dispatch.refuse(self.registration.client(), text, retry_after);
                None
            }
            None => self.dispatch.dispatch(self.registration.client(), text, now).and_then(unfinished),
        }
    }

    /// A token bucket; `Some` is the time after which the next message will be taken.
    fn too_fast(&mut self, now: Duration) -> Option<Duration> {
        let (rate, burst) = (f64::from(self.limits.frames_per_second), f64::from(self.limits.frame_burst));
        let (left, before) = self.bucket.unwrap_or((burst, now));
        let left = (left + (now.saturating_sub(before)).as_secs_f64() * rate).min(burst);
        let allowed = left >= 1.0;
        self.bucket = Some((if allowed { left - 1.0 } else { left }, now));
        (!allowed).then(|| Duration::from_secs_f64((1.0 - left) / rate))
    }
}

/// Polls once, without a waker: whoever keeps the rest polls it again.
fn unfinished(mut handling: Handling) -> Option<Handling> {
    let mut context = Context::from_waker(std::task::Waker::noop());
    match handling.as_mut().poll(&mut context) {
        Poll::Ready(()) => None,
        Poll::Pending => Some(handling),
    }
}

/// Writes what is queued, the close frame last, and closes our side.
async fn goodbye(out: &Outbound, stream: &Wire) {
    let words = async {
        while !out.is_empty() {
            poll_fn(|context| out.poll_drain(stream, context)).await?;
        }
        io::Result::Ok(())
    };
    let _ = timeout(GOODBYE, words).await;
    stream.shutdown();
}

/// Reads until the peer closes too: closing with unread bytes would reset the connection and lose the last words.
async fn linger(stream: &Wire) {
    let rest = async {
        while stream.tcp().readable().await.is_ok() {
            let read = BUFFER.with_borrow_mut(|buffer| stream.read(buffer));
            if !matches!(read, Ok(1..))
                && read.map_or_else(would_block, |_| Err(io::ErrorKind::UnexpectedEof.into())).is_err()
            {
                return;
            }
        }
    };
    let _ = timeout(GOODBYE, rest).await;
}

fn would_block(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) }
}

fn pong(payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(2 + payload.len());
    frame.put_u8(0x8A);
    frame.put_u8(payload.len() as u8);
    frame.put_slice(payload);
    frame.freeze()
}
