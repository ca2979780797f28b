//! A client of the gRPC service: where the server is, and a watch that outlives connections.
//!
//! Nothing here knows of the command line or of the daemon: it is meant to be shared by every Rust subscriber.

mod failure;
mod order;
mod server;
mod watch;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use self::failure::{Failure, FailureKind};
pub(crate) use self::server::{Client, InvalidServer, Server, ServerOptions};
pub(crate) use self::watch::{FirstConnect, Policy, Update, Watch};
