//! The pure core of refwatch: what a ref is, what changed, and what to call it.
//!
//! **Architecture invariant:** no clock, no randomness, no I/O. The crate is `no_std` + `alloc`, so none can slip
//! in. Everything that reads files, databases or sockets lives in other crates and hands its findings in as data.
#![no_std]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod classify;
pub mod cursor;
pub mod describe;
pub mod event;
pub mod journal;
pub mod name;
pub mod oid;
pub mod push;
pub mod reconcile;
pub mod refuse;
pub mod repository;
pub mod snapshot;

pub use classify::Namespace;
pub use cursor::{Cursor, CursorError};
pub use event::{Event, EventType, Forward, Origin, RefChange};
pub use name::{InvalidName, NAME_BYTES_MAX, RefName};
pub use oid::{InvalidObjectId, ObjectFormat, ObjectId};
pub use repository::{FsIdentity, RefStorage};
pub use snapshot::{Look, RefState, Snapshot, Target};
