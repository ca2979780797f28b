//! Reports of Git hosts: refused updates, which no file shows.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use refwatch_core::refuse::{Refusal, refused};
use refwatch_core::{Origin, event};
use refwatch_store::{Commit, RepositoryKey};

use super::{Engine, now_us};
use crate::intake::{Intake, Standing, Stored, Told};
use crate::protected::is_protected;

/// The engine as an intake.
pub(crate) struct EngineIntake(pub(crate) Arc<Engine>);

impl Intake for EngineIntake {
    fn find(&self, path: &Path) -> Vec<RepositoryKey> {
        let engine = &self.0;
        let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        let configured = engine.settings.roots.iter().zip(&engine.roots);
        let places: BTreeSet<PathBuf> = configured
            .filter_map(|(configured, root)| {
                if path.is_relative() {
                    return Some(root.path.join(&path));
                }
                // A root may be configured by way of a link.
                let below = path.strip_prefix(&*root.path).or_else(|_| path.strip_prefix(configured));
                below.ok().map(|below| root.path.join(below))
            })
            .collect();
        let followed = engine.followed.read().unwrap_or_else(PoisonError::into_inner);
        places.iter().filter_map(|place| followed.by_path.get(place.as_path()).copied()).collect()
    }

    fn standing(&self, key: RepositoryKey) -> Standing {
        match self.0.repository(key) {
            None => Standing::Unknown,
            Some(repository) if repository.created.load(Ordering::Acquire) => Standing::Committed,
            Some(_) => Standing::Uncommitted,
        }
    }

    fn take(&self, key: RepositoryKey, refusals: Vec<Refusal>, told: Told) {
        let since = Instant::now();
        let commit = self.0.commit_of_report(key, refusals);
        let engine = Arc::clone(&self.0);
        let sent = self.0.store.submit(commit, move |result| {
            told(result.map(|events| {
                let first_sequence = events.first().map_or(0, |logged| logged.sequence);
                let stored = Stored { first_sequence, events: events.len() as u64 };
                engine.announce(events, since);
                stored
            }));
        });
        if sent.is_err() {
            tracing::debug!(repository = key, "a report came when the store was closed");
        }
    }
}

impl Engine {
    /// Events and nothing else: a report never writes a ref.
    fn commit_of_report(&self, key: RepositoryKey, refusals: Vec<Refusal>) -> Commit {
        let is_protected = |name: &[u8]| is_protected(&self.protected, name);
        let mut commit = Commit::new(key, now_us());
        commit.events =
            refusals.into_iter().map(|refusal| refused(&is_protected, Origin::Report, refusal)).collect();
        event::number(&mut commit.events);
        commit
    }
}
