//! One look a second at every client: who gets a ping, who has not answered one, whose token is about to end. One timer for
//! all connections instead of one for each; it looks at one shard after the other, so that a second's work is not done at once.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;
use tokio::task::yield_now;

use super::client::{Client, millis};
use super::manager::ClientManager;
use super::presence::Cause;
use super::shards::SHARDS;
use crate::protocol::{CloseCode, CloseReason, Message};

/// A ping without payload, RFC 6455 section 5.5.2.
const PING: Bytes = Bytes::from_static(&[0x89, 0x00]);
/// Time between two ticks of the same shard.
const ROUND: Duration = Duration::from_secs(1);
/// Time between two ticks.
pub const TICK: Duration = Duration::from_nanos(ROUND.as_nanos() as u64 / SHARDS as u64);
/// Clients looked at before somebody else has a turn: some 50 µs.
const CLIENTS_PER_TURN: usize = 256;
/// Rows whose heartbeat alone is shown anew in a second, at most: what changes all the time must not fill the stream.
const MAX_SEEN: usize = 500;
/// Time before the end of a token at which the client is told.
const WARNING: TimeDelta = TimeDelta::seconds(60);

/// How often, and how long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// Between two pings. The first comes after a random half to whole of it, so that ten thousand clients that came
    /// together do not answer together.
    pub ping_interval: Duration,
    /// For any frame after a ping.
    pub pong_timeout: Duration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Expiring {
    expires_at: String,
}

/// What has to happen once a second for the clients of a shard; the shards take turns, so `turn` counts ticks. Messages are not
/// kept waiting for all of it.
pub async fn tick(manager: &ClientManager, heartbeat: Heartbeat, turn: usize) {
    let (monotonic, now) = (manager.clock().monotonic(), manager.clock().now());
    let shard = || manager.shards().at(turn % SHARDS);
    let clients: Vec<_> = shard().everyone().filter(|client| !client.is_closing()).cloned().collect();
    for some in clients.chunks(CLIENTS_PER_TURN) {
        for client in some {
            // First, since the first reason wins, and a client that is told of its token can mend it.
            expire(client, now);
            if !ping(client, monotonic, heartbeat) {
                client.close_now(None, &CloseReason::new(CloseCode::Stale), Cause::Timeout);
            }
        }
        yield_now().await;
    }
    shard().expire_leaving(monotonic);
    let recent = |client: &&Arc<Client>| client.last_pong().is_some_and(|pong| pong + ROUND >= monotonic);
    let seen = clients.iter().filter(recent).take(MAX_SEEN.div_ceil(SHARDS)).map(|client| client.id);
    let mut stream = manager.shards().stream();
    seen.for_each(|client| stream.seen(client));
}

/// Whether the client still counts as alive.
fn ping(client: &Client, monotonic: Duration, heartbeat: Heartbeat) -> bool {
    let (now, vitals) = (millis(monotonic), &client.vitals);
    let interval = heartbeat.ping_interval.as_millis() as u64;
    let sent = vitals.ping_sent.load(Relaxed);
    if sent > 0 && vitals.last_frame.load(Relaxed) < sent {
        return now - sent.min(now) <= heartbeat.pong_timeout.as_millis() as u64;
    }
    match vitals.next_ping.load(Relaxed) {
        0 => vitals
            .next_ping
            .store(now + interval / 2 + u64::from(rand::random::<u32>()) % (interval / 2).max(1), Relaxed),
        due if due <= now => {
            vitals.ping_sent.store(now, Relaxed);
            vitals.next_ping.store(now + interval, Relaxed);
            client.control(&PING);
        }
        _ => {}
    }
    true
}

fn expire(client: &Client, now: DateTime<Utc>) {
    let expires_at = client.expires_at();
    if expires_at <= now {
        client.close(&CloseReason::token_expired(), Cause::Expired);
    } else if expires_at - now <= WARNING && !client.warned.swap(true, Relaxed) {
        let data = Expiring { expires_at: expires_at.to_rfc3339_opts(SecondsFormat::Secs, true) };
        client.send(&Message::push("auth/expiring", Some(&data), now.timestamp()));
    }
}
