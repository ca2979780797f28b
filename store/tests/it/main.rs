//! The store's guarantees, on real SQLite.
#![expect(clippy::unwrap_used, reason = "what the tests share is outside of them")]

mod baseline;
mod commits;
mod epoch;
mod model;
mod opening;
mod retention;
mod support;
mod survives;
