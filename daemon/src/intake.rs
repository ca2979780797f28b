//! Where refused updates that Git hosts report go to.

use std::path::Path;

use refwatch_core::refuse::Refusal;
use refwatch_store::{CommitError, RepositoryKey};

/// Whether the log can take something of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is not followed.
    Unknown,
    /// It was found, and the commit that creates it is not in the log yet.
    Uncommitted,
    /// It is in the log.
    Committed,
}

/// Where a report went in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Sequence of its first event; the others follow without a gap.
    pub(crate) first_sequence: u64,
    /// Events.
    pub(crate) events: u64,
}

/// Told once: where the report went, or why nothing of it is there. Dropped untold when the store is closed.
pub(crate) type Told = Box<dyn FnOnce(Result<Stored, CommitError>) + Send>;

/// Takes reports into the log.
pub(crate) trait Intake: Send + Sync + 'static {
    /// The repositories at a path, which is absolute or relative to a root; several where several roots have one there.
    fn find(&self, path: &Path) -> Vec<RepositoryKey>;

    /// Whether something of a repository can be taken. What was `Uncommitted` is `Committed` when the log tells of its
    /// discovery.
    fn standing(&self, key: RepositoryKey) -> Standing;

    /// Commits refused updates of one repository as one transaction, in order, after what was committed of it before.
    /// Blocks while the store's queue is full. `told` is called once they are durable and published.
    fn take(&self, key: RepositoryKey, refusals: Vec<Refusal>, told: Told);
}
