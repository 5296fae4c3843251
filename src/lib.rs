//! Rollcall: who is online, how the server is doing, and a way to tell them.
//!
//! Few rooms, two doors (HTTP and the socket), a clock tower that strikes now and then, one hall where everything shared
//! stands, and all arrows point down. `tests/architecture.rs` keeps this picture true.
//!
//! ```text
//!                  main ── cli                    the step: command line
//!                           │
//!                    app  lifecycle  telemetry    builds the house, opens the door, says goodbye
//!             ┌─────────────┼──────────────┐
//!           http            │            jobs     who comes: requests and sockets; the clock tower
//!             └──────── events              │     what a frame means: the handler registry
//!                           │              │
//!                        services ◄────────┘      the hall: what is shared, and the acts that need several rooms
//!             ┌─────────────┼──────────────┐
//!      realtime   store   auth   outgoing         the rooms: sockets, rows, identity, calls to other systems
//!          │  └─────────────┼──────────────┘
//!       cluster             │                     the link to the other nodes: channels and bytes
//!             └─────────────┤
//!              protocol   clock   config          the ground: words, time, settings
//! ```
//!
//! The path of a message that a client sends: the socket's task ([`realtime`], `connection`) reads a whole frame; the handler
//! registry ([`events`]) finds the event, checks the permission and parses `data`; `handle` answers; the reply goes straight
//! to the kernel, or into the client's bounded queue. The path of a push: an endpoint ([`http`]) encodes one message and gives
//! it to the broker; the broker asks the client manager for the receivers and sends to each.
//!
//! Two rules keep one node and ten nodes the same program: **only a broker delivers to the client manager**, and **the online
//! list is read from `Presence`, never from the manager**.
//!
//! To add an event, write one file in `events/` and its line in `events::registry`; a REST resource, one file in `http/api/`
//! and its line in `http/api/mod.rs`, then `make openapi`; a migration, a dated file in `migrations/`; a job, one file in
//! `jobs/` and its row in the timetable; a setting, a field in `config/sections.rs` and the key with its reason in
//! `config/rollcall.toml`.

pub mod app;
pub mod cli;
pub mod lifecycle;
pub mod telemetry;

pub mod events;
pub mod http;
pub mod jobs;

pub mod services;

pub mod auth;
pub mod cluster;
pub mod outgoing;
pub mod realtime;
pub mod store;

pub mod clock;
pub mod config;
pub mod protocol;
