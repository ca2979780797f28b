//! Sees what changes in Git repositories.
pub(crate) mod dir;
pub mod discover;
pub mod filesystem;
pub mod journal;
pub mod layout;
pub mod notify;
pub mod objects;
pub mod scan;
pub mod signature;
pub mod wake;
