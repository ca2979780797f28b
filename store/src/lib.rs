//! The log of ref changes in SQLite.
//!
//! One writer thread makes commits durable in groups; readers see consistent snapshots and never wait for it.
//! Snapshot, events and journal position of a repository move in one transaction.
//!
//! **Architecture invariant:** the crate knows nothing of filesystems below repositories, of gRPC or of async. It
//! blocks; callers bring the threads.

mod body;
mod bytes;
mod checkpoint;
mod commit;
mod model;
mod open;
mod options;
mod read;
mod read_only;
mod retention;
mod row;
mod store;
mod value;
mod verify;
mod writer;

pub use commit::{CommitError, Invalid};
pub use model::*;
pub use open::{EpochReason, OpenError, Opened, SetAside, open};
pub use options::{Checkpointed, Durability, GroupCommitted, Observer, OnCorrupt, Options, Retention};
pub use read::{ReadError, Reader};
pub use read_only::ReadOnly;
pub use retention::{RetainError, Retained};
pub use store::{Closed, Store};
pub use verify::{Finding, Verified};
