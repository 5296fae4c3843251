//! What users notice, through the doors users have: REST, sockets, the command line. One binary, so that it links once.

mod architecture;
mod cli;
mod cors;
mod databases;
mod diffs;
mod failures;
mod frames;
mod handshake;
mod harness;
mod health;
mod hotgo;
mod issuers;
mod keys;
mod kick;
mod login;
mod online;
mod openapi;
mod presence;
mod problems;
mod push;
mod revoke;
mod rooms;
mod slow;
mod sockets;
mod tour;
mod upstream;
