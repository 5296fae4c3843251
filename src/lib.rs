//! Rollcall: who is online, how the server is doing, and a way to tell them.

pub mod app;
pub mod auth;
pub mod cli;

pub mod clock;
pub mod config;
pub mod events;
pub mod http;
pub mod jobs;
pub mod lifecycle;
pub mod protocol;
pub mod realtime;
pub mod services;
pub mod store;
pub mod telemetry;
