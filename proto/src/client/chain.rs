//! The last target of each ref, as a fingerprint: what the next event must begin with.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::v1::{EventFilter, GitEvent, GitEventType, RefChange, SnapshotRefs};

use super::Violation;

/// Refs whose last target is remembered.
const REFS_MAX: usize = 1_000_000;

/// 128 bits, keyed at random: two refs or targets that share one are not to be expected.
type Fingerprint = (u64, u64);

#[derive(Debug, Default)]
pub(super) struct Chains {
    keys: (RandomState, RandomState),
    /// By repository, so that one can be forgotten.
    targets: HashMap<String, HashMap<Fingerprint, Fingerprint>>,
    /// Refs in all of them.
    count: usize,
}

impl Chains {
    /// Whether every change of a ref passes the filter, and whatever else ends a chain.
    pub(super) fn are_visible(filter: Option<&EventFilter>) -> bool {
        let Some(filter) = filter else { return true };
        let needed =
            [GitEventType::RefUpdated, GitEventType::RepositoryDeleted, GitEventType::RepositoryMoved];
        filter.types.is_empty() || needed.iter().all(|kind| filter.types.contains(&i32::from(*kind)))
    }

    /// Takes what a snapshot brings.
    pub(super) fn begin(&mut self, part: &SnapshotRefs) {
        let Some(repository) = &part.repository else { return };
        for taken in &part.refs {
            let name = exact(&taken.name, &taken.name_bytes);
            let symbolic = exact(&taken.symbolic_target, &taken.symbolic_target_bytes);
            let (name, target) = (self.of(name, b""), self.of_target(&taken.oid, symbolic));
            self.put(&repository.id, name, target);
        }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// When it does not begin where its ref stood.
    pub(super) fn go_on(&mut self, event: &GitEvent) -> Result<(), Violation> {
        let Some(repository) = &event.repository else { return Ok(()) };
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "no other begins anew what is known of a repository"
        )]
        match event.r#type() {
            // Where it moved to, a filter by path may have hidden it for a while.
            GitEventType::RepositoryDiscovered
            | GitEventType::RepositoryDeleted
            | GitEventType::RepositoryMoved => {
                let forgotten = self.targets.remove(&repository.id).map_or(0, |refs| refs.len());
                self.count -= forgotten;
            }
            _ => {}
        }
        if event.change() == RefChange::Unspecified {
            return Ok(());
        }
        let name = self.of(exact(&event.ref_name, &event.ref_name_bytes), b"");
        let old = self
            .of_target(&event.old_oid, exact(&event.old_symbolic_target, &event.old_symbolic_target_bytes));
        let known = self.targets.get(&repository.id).and_then(|refs| refs.get(&name));
        if known.is_some_and(|known| *known != old) {
            return Err(Violation::BrokenChain {
                event_id: event.event_id.clone(),
                repository_id: repository.id.clone(),
                ref_name: event.ref_name.clone(),
            });
        }
        let new = self
            .of_target(&event.new_oid, exact(&event.new_symbolic_target, &event.new_symbolic_target_bytes));
        self.put(&repository.id, name, new);
        Ok(())
    }

    fn put(&mut self, repository_id: &str, name: Fingerprint, target: Fingerprint) {
        if !self.targets.contains_key(repository_id) {
            self.targets.insert(repository_id.to_owned(), HashMap::new());
        }
        let Some(refs) = self.targets.get_mut(repository_id) else { return };
        if let Some(known) = refs.get_mut(&name) {
            *known = target;
        } else if self.count < REFS_MAX {
            refs.insert(name, target);
            self.count += 1;
        }
    }

    fn of(&self, first: &[u8], second: &[u8]) -> Fingerprint {
        (self.keys.0.hash_one((first, second)), self.keys.1.hash_one((first, second)))
    }

    /// All zeroes are no object, whatever the object format.
    fn of_target(&self, oid: &str, symbolic: &[u8]) -> Fingerprint {
        let absent = oid.bytes().all(|byte| byte == b'0');
        self.of(if absent { b"" } else { oid.as_bytes() }, symbolic)
    }
}

/// A name as it is: the text, or the bytes where it is not UTF-8.
pub(super) fn exact<'a>(text: &'a str, bytes: &'a [u8]) -> &'a [u8] {
    if bytes.is_empty() { text.as_bytes() } else { bytes }
}
