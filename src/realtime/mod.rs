//! The sockets: their codec and queue, the client manager that knows them, the broker that reaches them, presence that
//! lists them. Deliberately absent: HTTP (a socket arrives open), the database, and what an event means.

mod broker;
mod client;
mod cluster;
mod codec;
mod connection;
mod difference;
mod heartbeat;
#[cfg(test)]
mod interleavings;
mod local;
mod manager;
mod outbound;
mod presence;
mod query;
mod shard;
mod shards;
mod stream;
#[cfg(test)]
mod testing;

mod wire;

/// What the queue is built of; `interleavings` builds the same file of other stuff, to try it in every order.
mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard};

    pub(super) use futures_util::task::AtomicWaker;
}

pub use broker::{Broker, ClusterBroker, Delivered, Expected, Interest, MemoryBroker, Payload, Publication, Target};
pub use client::{Agent, Client, NewClient};
pub use cluster::ClusterPresence;
pub use connection::{ConnectionLimits, Dispatch, Handling, run, send_away};
pub use heartbeat::{Heartbeat, TICK, tick};
pub use local::LocalPresence;
pub use manager::{ClientManager, ManagerLimits, Refused, Registration};
pub use outbound::{Delivery, QueueLimits};
pub use presence::{
    Cause, Column, Evidence, Found, LastLeave, Nodes, OnlineClient, OnlineCounts, OnlineFilter, OnlineQuery,
    OnlineUser, Page, Presence, PresenceError, StreamState, UserColumn, UserQuery, Why,
};
pub use wire::Wire;
