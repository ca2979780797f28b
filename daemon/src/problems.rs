//! The last few things that went wrong, for the status page. Each is logged once, here.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// Problems kept.
const PROBLEMS_MAX: usize = 100;

/// Something that went wrong and that a person may have to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) at: Timestamp,
    pub(crate) path: PathBuf,
    pub(crate) message: String,
}

/// The last [`PROBLEMS_MAX`] problems, each once.
#[derive(Debug, Default)]
pub(crate) struct Problems(Mutex<VecDeque<Problem>>);

impl Problems {
    /// Logs a problem and keeps it, unless the same is known already.
    pub(crate) fn report(&self, path: &Path, message: impl Into<String>) {
        let message = message.into();
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.iter().any(|known| known.path == path && known.message == message) {
            return;
        }
        tracing::warn!(path = %path.display(), "{message}");
        if problems.len() == PROBLEMS_MAX {
            problems.pop_front();
        }
        problems.push_back(Problem { at: Timestamp::now(), path: path.to_owned(), message });
    }

    /// Forgets what was wrong with a path, and below it.
    pub(crate) fn resolve(&self, path: &Path) {
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        problems.retain(|known| !known.path.starts_with(path));
    }

    /// What is kept, the newest first.
    pub(crate) fn list(&self) -> Vec<Problem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}
