//! The queue in thousands of orders of its threads: whoever sends, whoever closes, the connection's task, the kernel and the
//! peer. `outbound.rs` is the file that ships; the mutex, the waker and the wire under it are shuttle's and a model. A wake-up
//! that is lost leaves everybody waiting, which shuttle reports with the order that led there.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use outbound::{Delivery, Outbound, QueueLimits};
use wire::Wire;

#[path = "outbound.rs"]
#[expect(clippy::duplicate_mod, reason = "the same file, made of other stuff")]
#[expect(unreachable_pub, reason = "public where it ships")]
mod outbound;
mod wire;

mod sync {
    use std::task::Waker;

    pub(super) use shuttle::sync::{Mutex, MutexGuard};

    /// Like the one that ships, whose inside is its library's to prove.
    pub(super) struct AtomicWaker(Mutex<Option<Waker>>);

    impl AtomicWaker {
        pub(super) fn new() -> AtomicWaker {
            AtomicWaker(Mutex::new(None))
        }

        pub(super) fn register(&self, waker: &Waker) {
            *self.0.lock().unwrap() = Some(waker.clone());
        }

        pub(super) fn wake(&self) {
            let waker = self.0.lock().unwrap().take();
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

const SENDERS: u8 = 3;
/// Frames of each sender.
const EACH: u8 = 3;
/// The answer to the handshake and the greeting, which make one frame here.
const ANSWER: &[u8] = &[6, b'A', 0];
const GREETING: &[u8] = &[b'G', 0, 0];
const CLOSE: &[u8] = &[3, b'C', 0];
const LAST_WORDS: &[u8] = &[5, b'L', 0, 0, 0];
const ROOMY: QueueLimits = QueueLimits { bytes: 1000, messages: 1000 };

/// Tries orders at random, and with few changes of thread at the worst moments (PCT): with TLS and without.
fn in_every_order(scenario: impl Fn(Arc<Connection>) + Clone + Send + Sync + 'static) {
    answering(b"", move |connection| {
        connection.out.greet(&Bytes::new());
        scenario(connection);
    });
}

/// The same with a connection whose handshake is not answered yet.
fn answering(answer: &'static [u8], scenario: impl Fn(Arc<Connection>) + Clone + Send + Sync + 'static) {
    let iterations = std::env::var("ROLLCALL_SHUTTLE_ITERATIONS");
    let iterations = iterations.map_or(1000, |number| number.parse().expect("a number"));
    for tls in [false, true] {
        let scenario = scenario.clone();
        let once = move || scenario(Connection::unanswered(tls, answer));
        shuttle::check_random(once.clone(), iterations);
        shuttle::check_pct(once, iterations, 3);
    }
}

struct Connection {
    out: Outbound,
    wire: Arc<Wire>,
}

impl Connection {
    fn unanswered(tls: bool, answer: &'static [u8]) -> Arc<Connection> {
        let wire = Arc::new(Wire::new(tls));
        Arc::new(Connection { out: Outbound::new(wire.clone(), Bytes::from_static(answer)), wire })
    }

    /// What the connection's task does on the way out, in the order of `Reader::poll` and `end`.
    fn task(self: &Arc<Self>) -> JoinHandle<()> {
        let connection = self.clone();
        thread::spawn(move || {
            let Connection { out, wire } = &*connection;
            block_on(poll_fn(|context| {
                out.wake_with(context.waker());
                loop {
                    if out.is_closing() {
                        return Poll::Ready(());
                    }
                    match out.poll_drain(wire, context) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                        Poll::Pending => return wire.poll_reset(context),
                    }
                }
            }));
            while !out.is_empty() && block_on(poll_fn(|context| out.poll_drain(wire, context))).is_ok() {}
            wire.shutdown();
            out.abandon();
        })
    }

    /// Sends its frames; how many were taken.
    fn sender(self: &Arc<Self>, sender: u8, limits: QueueLimits) -> JoinHandle<u8> {
        let connection = self.clone();
        thread::spawn(move || {
            let deliveries: Vec<_> = (0..EACH).map(|number| connection.send(&frame(sender, number), limits)).collect();
            let taken = deliveries.iter().take_while(|delivery| **delivery == Delivery::Queued).count();
            let refused = deliveries[taken..].iter().all(|delivery| *delivery != Delivery::Queued);
            assert!(refused, "after a full queue, or the end, nothing more is taken: {deliveries:?}");
            taken as u8
        })
    }

    fn senders(self: &Arc<Self>, limits: QueueLimits) -> Vec<JoinHandle<u8>> {
        (0..SENDERS).map(|sender| self.sender(sender, limits)).collect()
    }

    /// As a client does: a queue that is full closes at once.
    fn send(&self, frame: &Bytes, limits: QueueLimits) -> Delivery {
        let delivery = self.out.send(frame, limits);
        if delivery == Delivery::Full {
            self.out.close([Bytes::from_static(CLOSE)], true);
        }
        let (messages, bytes) = self.out.waiting();
        assert!(messages <= limits.messages + 1 && bytes <= limits.bytes + CLOSE.len(), "{messages}, {bytes}");
        delivery
    }

    fn close(&self, urgent: bool) {
        self.out.close([Bytes::from_static(LAST_WORDS), Bytes::from_static(CLOSE)], urgent);
    }

    /// Reads to the end, and tells `seen` of each frame.
    fn peer(self: &Arc<Self>, mut seen: impl FnMut(&Self) + Send + 'static) -> JoinHandle<Frames> {
        let connection = self.clone();
        thread::spawn(move || {
            let (mut bytes, mut frames) = (Vec::new(), Vec::new());
            loop {
                let read = connection.wire.receive(3);
                if read.is_empty() {
                    assert!(bytes.is_empty(), "half a frame: {bytes:?}");
                    return frames;
                }
                bytes.extend(read);
                while let Some(length) = bytes.first().copied().filter(|length| bytes.len() >= usize::from(*length)) {
                    assert!(length >= 3, "torn: {bytes:?} after {frames:?}");
                    frames.push(bytes.drain(..usize::from(length)).collect());
                    seen(&connection);
                }
            }
        })
    }
}

type Frames = Vec<Vec<u8>>;

/// Its length, whose it is, which of theirs it is, and filler that only this frame has.
fn frame(sender: u8, number: u8) -> Bytes {
    let length = 3 + (2 * sender + 5 * number) % 7;
    let filler = vec![sender << 4 | number; usize::from(length) - 3];
    [vec![length, sender, number], filler].concat().into()
}

/// Of each sender the first so many arrived: whole, once, in order. `last` comes after, and nothing else.
fn arrived(frames: &Frames, last: &[&[u8]]) -> [u8; SENDERS as usize] {
    let (of_senders, end) = frames.split_at(frames.len() - last.len());
    assert_eq!(end, last, "{frames:?}");
    let mut next = [0; SENDERS as usize];
    for whole in of_senders {
        let sender = whole[1];
        assert_eq!(*whole, frame(sender, next[usize::from(sender)]), "{frames:?}");
        next[usize::from(sender)] += 1;
    }
    next
}

fn taken(senders: Vec<JoinHandle<u8>>) -> Vec<u8> {
    senders.into_iter().map(|sender| sender.join().unwrap()).collect()
}

#[test]
fn everything_arrives_without_anybodys_help() {
    in_every_order(|connection| {
        let (task, senders) = (connection.task(), connection.senders(ROOMY));
        // Nobody closes before the last frame is there: a task that sleeps over it sleeps for ever.
        let mut missing = SENDERS * EACH;
        let peer = connection.peer(move |connection| {
            missing = missing.wrapping_sub(1);
            if missing == 0 {
                connection.close(false);
            }
        });
        assert_eq!(taken(senders), [EACH; SENDERS as usize]);
        task.join().unwrap();
        assert_eq!(arrived(&peer.join().unwrap(), &[LAST_WORDS, CLOSE]), [EACH; SENDERS as usize]);
    });
}

#[test]
fn the_answer_and_the_greeting_come_before_what_others_send() {
    answering(ANSWER, |connection| {
        let (senders, peer) = (connection.senders(ROOMY), connection.peer(|_| {}));
        connection.out.greet(&Bytes::from_static(GREETING));
        let task = connection.task();
        let taken = taken(senders);
        connection.close(false);
        task.join().unwrap();
        let (first, others) =
            (peer.join().unwrap()).split_first().map(|(first, others)| (first.clone(), others.to_vec())).unwrap();
        assert_eq!(first, [ANSWER, GREETING].concat());
        assert_eq!(arrived(&others, &[LAST_WORDS, CLOSE]), *taken);
    });
}

#[test]
fn a_handshake_that_ends_in_a_refusal_is_answered_first() {
    answering(ANSWER, |connection| {
        let (senders, peer) = (connection.senders(ROOMY), connection.peer(|_| {}));
        connection.out.close([Bytes::from_static(GREETING), Bytes::from_static(CLOSE)], true);
        connection.out.greet(&Bytes::from_static(LAST_WORDS));
        let task = connection.task();
        taken(senders);
        task.join().unwrap();
        assert_eq!(peer.join().unwrap(), [[ANSWER, GREETING].concat(), CLOSE.to_vec()]);
    });
}

#[test]
fn the_last_words_follow_what_was_taken_and_nothing_follows_them() {
    in_every_order(|connection| {
        let (task, senders, peer) = (connection.task(), connection.senders(ROOMY), connection.peer(|_| {}));
        connection.close(false);
        let taken = taken(senders);
        task.join().unwrap();
        assert_eq!(arrived(&peer.join().unwrap(), &[LAST_WORDS, CLOSE]), *taken);
    });
}

#[test]
fn urgent_last_words_jump_the_queue_and_tear_no_frame() {
    in_every_order(|connection| {
        let (task, senders, peer) = (connection.task(), connection.senders(ROOMY), connection.peer(|_| {}));
        connection.close(true);
        assert!(connection.out.waiting().0 <= 3, "the rest of one frame, and the words");
        let taken = taken(senders);
        task.join().unwrap();
        let arrived = arrived(&peer.join().unwrap(), &[LAST_WORDS, CLOSE]);
        assert!(arrived.iter().zip(&taken).all(|(arrived, taken)| arrived <= taken), "{arrived:?} of {taken:?}");
    });
}

#[test]
fn only_the_first_of_two_ends_is_told() {
    in_every_order(|connection| {
        let (task, senders, peer) = (connection.task(), connection.senders(ROOMY), connection.peer(|_| {}));
        let other = connection.clone();
        let other = thread::spawn(move || other.close(false));
        connection.close(true);
        other.join().unwrap();
        taken(senders);
        task.join().unwrap();
        arrived(&peer.join().unwrap(), &[LAST_WORDS, CLOSE]);
    });
}

#[test]
fn a_full_queue_holds_no_more_than_its_bounds_and_ends_with_the_reason() {
    in_every_order(|connection| {
        // The first to wait may be larger than the bound, none of these frames is.
        let limits = QueueLimits { bytes: 12, messages: 2 };
        let (task, senders) = (connection.task(), connection.senders(limits));
        let taken = taken(senders);
        let full = taken != [EACH; SENDERS as usize];
        if !full {
            connection.out.close([Bytes::from_static(CLOSE)], false);
        }
        let peer = connection.peer(|_| {});
        task.join().unwrap();
        let arrived = arrived(&peer.join().unwrap(), &[CLOSE]);
        assert!(arrived.iter().zip(&taken).all(|(arrived, taken)| arrived <= taken && (full || arrived == taken)));
    });
}

#[test]
fn a_broken_connection_keeps_neither_descriptor_nor_frames() {
    in_every_order(|connection| {
        let (task, senders) = (connection.task(), connection.senders(ROOMY));
        connection.wire.receive(2);
        connection.wire.reset();
        taken(senders);
        task.join().unwrap();
        assert_eq!(connection.out.waiting(), (0, 0));
        assert_eq!(Arc::strong_count(&connection.wire), 1, "only the test has it");
        assert_eq!(connection.out.send(&frame(0, 0), ROOMY), Delivery::Gone);
        connection.close(true);
        assert!(connection.out.is_empty());
    });
}
