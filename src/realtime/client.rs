//! One connected socket, as everybody else sees it: a cheap handle to send to, to close, to look at.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

use super::outbound::{Delivery, Outbound, QueueLimits};
use super::presence::Cause;
use super::wire::Wire;
use crate::auth::{Permission, Permissions, Rights, UserKey};
use crate::protocol::{CloseCode, CloseReason, Message};

/// Browser, system and kind of device, as far as the `User-Agent` tells.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Agent {
    /// `Chrome/142`.
    pub browser: String,
    /// `Windows 10`.
    pub os: String,
    /// `pc`, `smartphone`, `mobilephone`, `crawler`, `appliance`; empty when unknown.
    pub device: String,
}

/// What the handshake knows of a socket.
pub struct NewClient {
    /// Who.
    pub user: UserKey,
    /// By which login.
    pub session: Uuid,
    /// The login's application.
    pub app: Arc<str>,
    /// Name, roles and permissions now.
    pub rights: Arc<Rights>,
    /// What the token narrows the permissions to; everything for a login.
    pub scopes: Permissions,
    /// Address of the picture; empty when there is none.
    pub avatar: Arc<str>,
    /// The peer, or what a trusted proxy says of it.
    pub ip: IpAddr,
    /// Its browser.
    pub agent: Arc<Agent>,
    /// When the session began (HotGo's `firstTime`).
    pub logged_in_at: DateTime<Utc>,
    /// When the token, or the session for clients that know no refresh, ends.
    pub expires_at: DateTime<Utc>,
    /// The answer to the handshake, as far as it is not out yet: [`Client::greet`] sends it.
    pub answer: Bytes,
}

/// A registered socket.
pub struct Client {
    /// UUIDv7, so that ids sort by the time of connecting; the last byte says in which shard the client is.
    pub id: Uuid,
    /// Who.
    pub user: UserKey,
    /// By which login.
    pub session: Uuid,
    /// The login's application; empty for our own page.
    pub app: Arc<str>,
    /// Address of the user's picture; empty when there is none.
    pub avatar: Arc<str>,
    /// The peer, or what a trusted proxy says of it.
    pub ip: IpAddr,
    /// Its browser.
    pub agent: Arc<Agent>,
    /// When the session began (HotGo's `firstTime`).
    pub logged_in_at: DateTime<Utc>,
    /// When the socket opened.
    pub connected_at: DateTime<Utc>,
    rights: ArcSwap<Rights>,
    scopes: Permissions,
    /// Unix seconds.
    expires_at: AtomicI64,
    /// Whether `auth/expiring` was pushed for this `expires_at`.
    pub(super) warned: AtomicBool,
    pub(super) vitals: Vitals,
    pub(super) out: Outbound,
    limits: QueueLimits,
    end: OnceLock<Cause>,
    shut: AtomicBool,
}

/// Signs of life: plain numbers, written by the socket's task, read by the sweeper and the lists. Milliseconds are those
/// of the monotonic clock; 0 means never.
#[derive(Default)]
pub(super) struct Vitals {
    pub(super) last_frame: AtomicU64,
    pub(super) last_pong: AtomicU64,
    pub(super) next_ping: AtomicU64,
    pub(super) ping_sent: AtomicU64,
    /// Round trip in milliseconds plus one; 0 means not measured yet.
    rtt: AtomicU32,
    frames_in: AtomicU64,
    frames_out: AtomicU64,
    bad_minute: AtomicU64,
    bad_frames: AtomicU32,
}

impl Client {
    pub(super) fn new(
        id: Uuid,
        new: NewClient,
        stream: Arc<Wire>,
        limits: QueueLimits,
        now: DateTime<Utc>,
        monotonic: Duration,
    ) -> Client {
        let vitals = Vitals { last_frame: AtomicU64::new(millis(monotonic)), ..Vitals::default() };
        Client {
            id,
            user: new.user,
            session: new.session,
            app: new.app,
            avatar: new.avatar,
            ip: new.ip,
            agent: new.agent,
            logged_in_at: new.logged_in_at,
            connected_at: now.trunc_subsecs(3),
            rights: ArcSwap::new(narrowed(new.rights, new.scopes)),
            scopes: new.scopes,
            expires_at: AtomicI64::new(new.expires_at.timestamp()),
            warned: AtomicBool::new(false),
            vitals,
            out: Outbound::new(stream, new.answer),
            limits,
            end: OnceLock::new(),
            shut: AtomicBool::new(false),
        }
    }

    /// The first message, which goes out with the answer to the handshake. What others sent before waits for it.
    pub fn greet(&self, message: &Message) {
        self.out.greet(message.frame());
        self.vitals.frames_out.fetch_add(1, Relaxed);
    }

    /// Sends a message, or queues it where the kernel takes no more. A full queue means the peer reads slower than we
    /// write: the socket closes with 4008 rather than letting memory grow.
    pub fn send(&self, message: &Message) -> Delivery {
        let delivery = self.out.send(message.frame(), self.limits);
        match delivery {
            Delivery::Queued => _ = self.vitals.frames_out.fetch_add(1, Relaxed),
            Delivery::Full => self.close(&CloseReason::new(CloseCode::Slow), Cause::Slow),
            Delivery::Gone => {}
        }
        delivery
    }

    /// Ends the socket after what is queued; the first reason wins. 4008 does not wait for the queue that never empties.
    pub fn close(&self, reason: &CloseReason, cause: Cause) {
        if self.end.set(cause).is_ok() {
            self.out.close([reason.frame()], reason.code == CloseCode::Slow);
        }
    }

    /// Ends the socket at once: `last` and the close frame jump the queue.
    pub fn close_now(&self, last: Option<&Message>, reason: &CloseReason, cause: Cause) {
        if self.end.set(cause).is_ok() {
            let last = last.map(|message| message.frame().clone());
            self.out.close(last.into_iter().chain([reason.frame()]), true);
        }
    }

    /// Sends a control frame of the protocol itself: never counted, dropped rather than queued beyond the bound.
    pub(super) fn control(&self, frame: &Bytes) {
        let _ = self.out.send(frame, self.limits);
    }

    /// The client itself said goodbye, or the network did: nothing needs to be told.
    pub(super) fn ended(&self, cause: Cause) {
        let _ = self.end.set(cause);
    }

    /// Why it ended, once it has.
    pub fn end(&self) -> Option<Cause> {
        self.end.get().copied()
    }

    /// Name, roles and permissions as of now.
    pub fn rights(&self) -> Arc<Rights> {
        self.rights.load_full()
    }

    /// Whether the user may do this, as of now.
    pub fn may(&self, permission: Permission) -> bool {
        self.rights.load().permissions.contains(permission)
    }

    /// Replaces the rights, narrowed by the token's scopes; the old ones come back.
    pub(super) fn set_rights(&self, rights: &Arc<Rights>) -> Arc<Rights> {
        self.rights.swap(narrowed(rights.clone(), self.scopes))
    }

    /// When the token ends.
    pub fn expires_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.expires_at.load(Relaxed), 0).unwrap_or_default()
    }

    /// A newer token was shown.
    pub fn renew(&self, expires_at: DateTime<Utc>) {
        self.expires_at.store(expires_at.timestamp(), Relaxed);
        self.warned.store(false, Relaxed);
    }

    /// A frame arrived: only what comes from the peer counts as a heartbeat.
    pub(super) fn touch(&self, monotonic: Duration) {
        self.vitals.last_frame.store(millis(monotonic), Relaxed);
        self.vitals.frames_in.fetch_add(1, Relaxed);
    }

    /// Whether a ping has not been answered by a pong yet.
    pub(super) fn awaits_pong(&self) -> bool {
        self.vitals.ping_sent.load(Relaxed) > 0
    }

    pub(super) fn ponged(&self, monotonic: Duration) {
        let now = millis(monotonic);
        self.vitals.last_pong.store(now, Relaxed);
        let sent = self.vitals.ping_sent.swap(0, Relaxed);
        if sent > 0 {
            self.vitals.rtt.store(now.saturating_sub(sent).min(u64::from(u32::MAX - 1)) as u32 + 1, Relaxed);
        }
    }

    /// Counts a malformed frame; whether there were more than `allowed` in this minute.
    pub fn bad_frame(&self, monotonic: Duration, allowed: u32) -> bool {
        let minute = monotonic.as_secs() / 60 + 1;
        if self.vitals.bad_minute.swap(minute, Relaxed) != minute {
            self.vitals.bad_frames.store(0, Relaxed);
        }
        self.vitals.bad_frames.fetch_add(1, Relaxed) >= allowed
    }

    /// Monotonic time of the last frame from the peer.
    pub fn last_frame(&self) -> Duration {
        Duration::from_millis(self.vitals.last_frame.load(Relaxed))
    }

    /// Monotonic time of the last pong; `None` before the first.
    pub fn last_pong(&self) -> Option<Duration> {
        Some(self.vitals.last_pong.load(Relaxed)).filter(|at| *at > 0).map(Duration::from_millis)
    }

    /// The last measured round trip.
    pub fn rtt_ms(&self) -> Option<u32> {
        self.vitals.rtt.load(Relaxed).checked_sub(1)
    }

    /// Frames received.
    pub fn frames_in(&self) -> u64 {
        self.vitals.frames_in.load(Relaxed)
    }

    /// Messages sent.
    pub fn frames_out(&self) -> u64 {
        self.vitals.frames_out.load(Relaxed)
    }

    /// Waiting for a slow reader: (messages, bytes).
    pub fn waiting(&self) -> (usize, usize) {
        self.out.waiting()
    }

    /// Whether nothing can be sent any more.
    pub fn is_closing(&self) -> bool {
        self.out.is_closing()
    }

    /// Whether the socket is shut down for writing and the client is out of the manager's care.
    pub fn is_shut(&self) -> bool {
        self.shut.load(Relaxed)
    }

    pub(super) fn set_shut(&self) {
        self.out.abandon();
        self.shut.store(true, Relaxed);
    }
}

fn narrowed(rights: Arc<Rights>, scopes: Permissions) -> Arc<Rights> {
    let permissions = rights.permissions.intersection(scopes);
    if permissions == rights.permissions { rights } else { Arc::new(Rights { permissions, ..(*rights).clone() }) }
}

/// Milliseconds, never 0: that means never.
pub(super) fn millis(monotonic: Duration) -> u64 {
    (monotonic.as_millis() as u64).max(1)
}
