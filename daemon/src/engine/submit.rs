//! The last step of a pass: events and refs into one commit, and what the log holds to its subscribers.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use refwatch_core::describe::{Facts, Rules, describe};
use refwatch_core::event::Extra;
use refwatch_core::{Event, EventType, ObjectId, RefName};
use refwatch_store::{Commit, CommitError, Logged, NewRepository, RefWrite, RepositoryWrite};
use refwatch_watcher::wake::Whole;

use super::{Engine, Job, RETRY_FIRST, Repository, Unwritten, lock};

impl Engine {
    /// Commits a job whose facts are known.
    pub(crate) fn submit(self: &Arc<Self>, repository: &Arc<Repository>, mut job: Job) {
        let ticket = job.ticket;
        let since = job.since;
        let unwritten =
            job.write.as_ref().map(|write| Unwritten { write: write.clone(), events: job.first.clone() });
        let commit = self.commit_of(repository, &mut job);
        let engine = Arc::clone(self);
        let owner = Arc::clone(repository);
        let names: Vec<RefName> = job.seen.into_iter().map(|seen| seen.look.name).collect();
        let sent = self.store.submit(commit, move |result| match result {
            Ok(events) => {
                let creates = |of: &Unwritten| matches!(of.write, RepositoryWrite::Create(_));
                if unwritten.as_ref().is_some_and(creates) {
                    owner.created(&names, ticket);
                } else {
                    owner.written(&names, ticket);
                }
                if let Some(unwritten) = unwritten {
                    engine.written(&owner, unwritten.write, &events);
                }
                engine.announce(events, since);
            }
            Err(error) => engine.commit_failed(&owner, &error, unwritten),
        });
        if sent.is_err() {
            repository.failed.store(true, Ordering::Release);
        }
    }

    fn commit_of(&self, repository: &Repository, job: &mut Job) -> Commit {
        let mut commit = Commit::new(repository.key, job.observed_at_us);
        commit.signature = job.signature;
        commit.generation = Some(job.generation);
        commit.journal_position = job.journal.take();
        commit.repository_write = job.write.take();
        commit.baseline = job.known;
        commit.events = std::mem::take(&mut job.first);
        let facts: Vec<Facts> =
            std::mem::take(&mut job.facts).into_iter().map(Option::unwrap_or_default).collect();
        let releases = &self.releases;
        let is_release =
            |tag: &[u8]| std::str::from_utf8(tag).is_ok_and(|tag| crate::releases::is_release(releases, tag));
        let rules = Rules {
            bareness: repository.bareness(),
            is_release: &is_release,
            bulk_refs_min: self.settings.classify.bulk_refs_min,
            mirror: repository.is_mirror(),
        };
        let mut at = 0;
        for draft in std::mem::take(&mut job.drafts) {
            let steps = draft.steps.len();
            commit.events.extend(describe(&rules, &draft, &facts[at..at + steps]));
            at += steps;
        }
        commit.events.append(&mut job.last);
        for event in &mut commit.events {
            if event.kind == EventType::RefBroken {
                let seen = job.seen.iter().find(|seen| event.name.as_ref() == Some(&seen.look.name));
                let reason = seen.and_then(|seen| seen.broken).map(|broken| broken.to_string());
                event.extra = Some(Box::new(Extra { reason, ..Extra::default() }));
            }
        }
        commit.refs = job
            .seen
            .iter()
            .map(|seen| RefWrite {
                name: seen.look.name.clone(),
                state: seen.look.after.clone(),
                peeled: peeled_after(seen, &commit.events),
            })
            .collect();
        commit
    }

    /// Tells subscribers what is durable now. Runs on the store's writer thread, in the order of the log.
    pub(super) fn announce(&self, events: Vec<Logged>, since: std::time::Instant) {
        *self.store_failing.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        if events.is_empty() {
            return;
        }
        for logged in &events {
            self.metrics.events.inc(logged.event.kind.as_str());
        }
        self.log.publish(events);
        self.metrics.event_visible.observe(since.elapsed());
    }

    /// Takes over what the log holds now of a repository itself.
    fn written(&self, repository: &Repository, write: RepositoryWrite, events: &[Logged]) {
        match write {
            RepositoryWrite::Create(NewRepository { root, path, .. })
            | RepositoryWrite::Move { root, path } => {
                // First, or events from before the move would be told under the new path.
                self.log.learn_moves(events);
                let root = PathBuf::from(OsString::from_vec(root));
                let root = self.roots.iter().find(|known| *known.path == root);
                self.directory.update(repository.key, |entry| {
                    if let Some(root) = root {
                        entry.root = Arc::clone(&root.path);
                    }
                    entry.path = path.into();
                });
            }
            RepositoryWrite::Delete => drop(lock(&self.failing).remove(&repository.key)),
            RepositoryWrite::Layout { .. } => {}
        }
    }

    /// Writes again that repositories are gone, where that failed.
    pub(crate) fn bury(self: &Arc<Self>) {
        let _burying = lock(&self.burying);
        let unburied = std::mem::take(&mut *lock(&self.unburied));
        for repository in unburied {
            let unwritten = lock(&self.failing).remove(&repository.key).unwrap_or_default();
            if repository.created.load(Ordering::Acquire) {
                let mut state = repository.lock();
                state.generation += 1;
                for unwritten in unwritten {
                    let generation = state.generation;
                    let job = Job { generation, ..Job::of_unwritten(&state, unwritten) };
                    self.submit(&repository, job);
                }
            }
        }
    }

    /// What was concluded is not in the log: all of it is concluded again, from what the log holds.
    fn commit_failed(&self, repository: &Arc<Repository>, error: &CommitError, unwritten: Option<Unwritten>) {
        match error {
            CommitError::Closed => return,
            CommitError::Invalid(_) => {
                // Also follows from the failure of an earlier commit of the same repository.
                tracing::debug!(repository = repository.key, %error, "a commit was refused");
            }
            CommitError::Full | CommitError::Io { .. } | CommitError::Corrupt { .. } => {
                let mut failing =
                    self.store_failing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if failing.is_none() {
                    tracing::error!(%error, "the log cannot be written; nothing is lost, trying again");
                }
                *failing = Some(error.to_string());
            }
        }
        if unwritten.as_ref().is_some_and(|unwritten| matches!(unwritten.write, RepositoryWrite::Delete)) {
            lock(&self.unburied).push(Arc::clone(repository));
        }
        // A creation is made anew from where the repository is then.
        let unwritten = unwritten.filter(|unwritten| !matches!(unwritten.write, RepositoryWrite::Create(_)));
        lock(&self.failing).entry(repository.key).or_default().extend(unwritten);
        repository.failed.store(true, Ordering::Release);
        self.board.post_later(repository.key, Whole::Retry, RETRY_FIRST * 4);
    }
}

/// What a ref's tag names now: told by the scan, by the last event that moved it, or as before.
fn peeled_after(seen: &crate::pass::Seen, events: &[Event]) -> Option<ObjectId> {
    if seen.after_peeled.is_some() || !seen.look.name.as_bytes().starts_with(b"refs/tags/") {
        return seen.after_peeled;
    }
    let last = events
        .iter()
        .rev()
        .find(|event| event.change.is_some() && event.name.as_ref() == Some(&seen.look.name));
    match last {
        Some(event) => event.new_peeled,
        None => seen.before_peeled,
    }
}
