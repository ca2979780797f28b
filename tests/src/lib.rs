//! Drives the refwatch binaries over their public faces: real Git, real SQLite, real sockets.
//!
//! [`World`] makes repositories, [`Daemon`] runs the binary over them, [`Client`] talks to it, [`Recorder`] keeps what
//! a stream brings, and [`validate`] says of a recording whether each guarantee held. Nothing sleeps to decide: tests
//! wait for an observable, until [`DEADLINE`].

pub mod binary;
mod client;
mod daemon;
mod document;
mod example;
mod git;
pub mod http;
mod library;
mod printing;
mod proxy;
mod random;
mod recorder;
mod reporter;
pub mod soak;
mod source;
mod state;
mod tail;
pub mod tools;
pub mod validate;
mod variant;
mod world;

use std::time::Duration;

pub use client::{Client, Refusal, Stream, filter, refs_filter, repositories_filter, request, types_filter};
pub use daemon::{Daemon, Options};
pub use document::{Block, Document};
pub use example::{Example, Language};
pub use git::{Flavour, git_in};
pub use library::Library;
pub use printing::Printing;
pub use proxy::Proxy;
pub use random::{Random, Writer};
pub use recorder::{Recorder, Recording};
pub use reporter::{Reporter, refused};
pub use source::Source;
pub use state::{Refs, State, Value};
pub use tail::Tail;
pub use variant::Variant;
pub use world::{Repo, World};

/// A wait that only a failing test reaches.
pub const DEADLINE: Duration = Duration::from_secs(30);
