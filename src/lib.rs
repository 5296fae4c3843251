//! Rollcall: who is online, how the server is doing, and a way to tell them.

pub mod auth;
pub mod clock;
pub mod config;
pub mod store;
