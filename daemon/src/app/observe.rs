//! What the store does, as metrics.

use refwatch_ops::Metrics;
use refwatch_store::{Checkpointed, CommitError, GroupCommitted, Observer, Retained};

/// Kinds of errors, all of which are there from the start: a rate must not miss the first of a kind.
pub(super) const ERROR_KINDS: [&str; 5] = ["full", "io", "corrupt", "invalid", "closed"];

/// Feeds metrics from the store's threads.
pub(super) struct StoreMetrics(pub(super) Metrics);

impl Observer for StoreMetrics {
    fn committed(&self, group: &GroupCommitted) {
        self.0.store_commits.inc();
        self.0.store_commit_duration.observe(group.duration);
        self.0.store_commit_events.observe(group.events);
    }

    fn failed(&self, error: &CommitError) {
        self.0.store_errors.inc(match error {
            CommitError::Full => "full",
            CommitError::Io { .. } => "io",
            CommitError::Corrupt { .. } => "corrupt",
            CommitError::Invalid(_) => "invalid",
            CommitError::Closed => "closed",
        });
    }

    fn checkpointed(&self, checkpoint: &Checkpointed) {
        self.0.checkpoint_duration.observe(checkpoint.duration);
    }

    fn retained(&self, step: &Retained) {
        self.0.retention_deleted.add(step.events);
    }
}
