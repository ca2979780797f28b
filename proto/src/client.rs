//! Follows a refwatch: connects, resumes, verifies, and says what was lost.
//!
//! | layer | gives |
//! |---|---|
//! | [`Server`] | where the server is and how to be let in; [`Server::connect`] for single calls |
//! | [`Watch`] | [`Update`]s without end: connects again with growing, jittered delays, resumes, hands each event out once |
//! | [`Follow`] | a `Watch` that starts where a [`Checkpoint`] says, and stores there how far it came |
//! | [`Mirror`] | the refs as they are, and what each update changed: also what a snapshot no longer brings |
//! | [`Signer`] | for Git hosts: reports signed with a shared secret |
//!
//! # What is verified
//!
//! Whatever comes is held against the contract before it is handed out, see [`Verify`]: sequences rise, events are of the
//! stream's log, transactions lie in one piece, and each ref's old target is its last new one. A breach is a
//! [`Failure`] with its [`Violation`]: it is never passed on, and never healed by trying again.
//!
//! # What to do about failures
//!
//! [`Failure::kind`] says it. Transient ones are dealt with here; they show as [`Update::Disconnected`]. A lost cursor is
//! [`FailureKind::Gap`] with its [`Gap`], or, if the request's `on_gap` is `RESNAPSHOT`, an [`Update::Reset`] and a snapshot.
//!
//! # Example
//!
//! Lists, then watches, and goes on after any interruption where it stopped:
//!
//! ```no_run
//! use refwatch_proto::client::{FileCheckpoint, Follow, Mirror, Policy, Server, ServerOptions, Update};
//! use refwatch_proto::v1::{OnGap, WatchEventsRequest};
//!
//! # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::new(&ServerOptions { address: "127.0.0.1:50052".to_owned(), ..ServerOptions::default() })?;
//! let checkpoint = FileCheckpoint::open("cursor")?;
//! let request = WatchEventsRequest { on_gap: OnGap::Resnapshot.into(), ..WatchEventsRequest::default() };
//! let mut follow = Follow::open(server, request, Policy::default(), checkpoint).await?;
//! // Refs that were known before, if they are kept somewhere, go in first: `Mirror::put_ref`.
//! let mut mirror = Mirror::default();
//! loop {
//!     let update = follow.next().await?;
//!     if let Update::Disconnected(failure) = &update {
//!         eprintln!("disconnected: {failure}");
//!     }
//!     for change in mirror.take(&update) {
//!         println!("{change:?}");
//!     }
//!     follow.processed().await?;
//! }
//! # }
//! ```

mod chain;
mod checkpoint;
mod failure;
mod follow;
mod mirror;
mod order;
mod server;
mod sign;
#[cfg(feature = "testing")]
pub mod testing;
mod watch;

#[cfg(test)]
mod tests;

pub use self::checkpoint::{Checkpoint, CheckpointError, FileCheckpoint, is_cursor};
pub use self::failure::{Failure, FailureKind, Gap};
pub use self::follow::{Follow, FollowError};
pub use self::mirror::{Change, Mirror, Mirrored, Target};
pub use self::order::{Verify, Violation};
pub use self::server::{Bearer, Client, InvalidServer, Server, ServerOptions};
pub use self::sign::{InvalidSecret, Report, SECRET_BYTES_MIN, SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
pub use self::watch::{FirstConnect, Policy, Update, Watch};
