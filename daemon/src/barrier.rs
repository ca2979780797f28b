//! The barrier behind `GetPosition` with `sync`.

use std::time::Instant;

use refwatch_store::RepositoryKey;

/// Not everything could be looked at in time.
#[derive(Debug, thiserror::Error)]
#[error("what was on disk before the call was not in the log by the deadline")]
pub(crate) struct SyncTimeout;

/// Waits for the log to hold what is on disk.
pub(crate) trait Barrier: Send + Sync + 'static {
    /// Returns once every change that was on disk before the call, in these repositories (all, if `None`), is in
    /// the log. Blocks the thread.
    fn sync(&self, repositories: Option<&[RepositoryKey]>, deadline: Instant) -> Result<(), SyncTimeout>;
}
