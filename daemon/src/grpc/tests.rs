//! The server over a real connection, with a real store.

mod access;
mod auth;
mod drain;
pub(crate) mod harness;
mod ingest;
mod listing;
mod serving;
mod slow;
mod snapshots;
mod statuses;
mod throughput;
mod views;
mod watching;
