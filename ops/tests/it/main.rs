//! Drives the server over real sockets.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod harness;
mod metrics;
mod probes;
mod server;
mod status;
