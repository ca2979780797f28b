//! Sees what changes in Git repositories.
pub mod notify;
pub mod objects;
pub mod wake;
pub mod discover;
pub mod layout;
pub mod scan;
pub mod signature;
pub(crate) mod dir;
