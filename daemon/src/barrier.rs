//! The barrier behind `GetPosition` with `sync`.

use std::time::Instant;

use refwatch_store::RepositoryKey;

/// What was on disk before the call was not in the log by the deadline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SyncError {
    /// There was more to look at than there was time.
    TimedOut {
        /// Repositories still to be looked at.
        pending: u64,
    },
    /// The log cannot be written.
    Store(String),
}

/// Waits for the log to hold what is on disk.
pub(crate) trait Barrier: Send + Sync + 'static {
    /// Returns once every change that was on disk before the call, in these repositories (all, if `None`), is in
    /// the log. Blocks the thread.
    ///
    /// A repository that cannot be read keeps nobody waiting but who names it: it is looked at once more.
    fn sync(&self, repositories: Option<&[RepositoryKey]>, deadline: Instant) -> Result<(), SyncError>;

    /// Repositories that are still to be looked at.
    fn pending(&self) -> u64;
}
