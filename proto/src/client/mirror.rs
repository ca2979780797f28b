//! The refs as they are, kept by applying updates.

use std::collections::{BTreeMap, BTreeSet};

use crate::v1::{EventRepository, GitEvent, GitEventType, Ref, RefChange, Repository, SnapshotRefs};

use super::Update;
use super::chain::exact;

/// Repositories and refs as of the last update. In memory only; the filter decides what is in it.
///
/// A subscriber that keeps refs elsewhere puts them in at start, so that a snapshot also tells what was deleted while it
/// was away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    repositories: BTreeMap<String, Mirrored>,
    /// What the present snapshot has brought so far, by repository.
    snapshot: Option<BTreeMap<String, BTreeSet<Vec<u8>>>>,
}

/// A repository in a [`Mirror`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// Path relative to its root.
    pub path: String,
    /// Refs by their full names, as Git spells them: bytes, as a rule UTF-8.
    pub refs: BTreeMap<Vec<u8>, Target>,
}

/// What a ref names: an object or another ref, never both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// 40 or 64 lower-case hexadecimal digits; all zeroes for a symbolic ref.
    pub oid: String,
    /// Full name of the ref that it points to; empty for one that names an object.
    pub symbolic: Vec<u8>,
    /// What an annotated tag finally leads to, shaped as `oid`; empty for anything else.
    pub peeled_oid: String,
}

/// One difference that an update made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A repository was not known before.
    RepositoryAdded {
        /// Its id.
        repository_id: String,
        /// Its path.
        path: String,
    },
    /// A repository has another path.
    RepositoryMoved {
        /// Its id.
        repository_id: String,
        /// Its path now.
        path: String,
    },
    /// A repository is gone, and every ref of it: they are not told one by one.
    RepositoryDeleted {
        /// Its id.
        repository_id: String,
        /// What was known of it.
        before: Mirrored,
    },
    /// A ref was created or names something else.
    RefSet {
        /// Id of its repository.
        repository_id: String,
        /// Full name.
        name: Vec<u8>,
        /// What it named before; `None` if it was not known.
        before: Option<Target>,
        /// What it names now.
        after: Target,
    },
    /// A ref is gone.
    RefDeleted {
        /// Id of its repository.
        repository_id: String,
        /// Full name.
        name: Vec<u8>,
        /// What it named before.
        before: Target,
    },
}

impl Mirror {
    /// Repositories by id.
    pub fn repositories(&self) -> &BTreeMap<String, Mirrored> {
        &self.repositories
    }

    /// What a ref names.
    pub fn target(&self, repository_id: &str, name: &[u8]) -> Option<&Target> {
        self.repositories.get(repository_id)?.refs.get(name)
    }

    /// A snapshot is under way: what is known and did not come yet may be deleted.
    pub fn is_in_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Puts a repository in that was known before.
    pub fn put_repository(&mut self, repository_id: &str, path: &str) {
        path.clone_into(&mut self.repositories.entry(repository_id.to_owned()).or_default().path);
    }

    /// Puts a ref in that was known before.
    pub fn put_ref(&mut self, repository_id: &str, name: &[u8], target: Target) {
        self.repositories.entry(repository_id.to_owned()).or_default().refs.insert(name.to_owned(), target);
    }

    /// Takes an update in; gives what it changed, in order.
    ///
    /// What a snapshot brings counts at once; what it no longer brings is deleted at its end. A snapshot that breaks off
    /// deletes nothing: it comes again.
    pub fn take(&mut self, update: &Update) -> Vec<Change> {
        let mut changes = Vec::new();
        match update {
            Update::SnapshotBegin(_) => self.snapshot = Some(BTreeMap::new()),
            Update::SnapshotRefs(part) => self.part(part, &mut changes),
            Update::SnapshotEnd(_) => self.whole(&mut changes),
            Update::Events(batch) => {
                for event in &batch.events {
                    self.event(event, &mut changes);
                }
            }
            Update::Started(_)
            | Update::Progress(_)
            | Update::Reset(_)
            | Update::Disconnected(_)
            | Update::Reconnected => {}
        }
        changes
    }

    fn part(&mut self, part: &SnapshotRefs, changes: &mut Vec<Change>) {
        let Some(Repository { id, path, .. }) = &part.repository else { return };
        self.repository(id, path, changes);
        for taken in &part.refs {
            let after = Target::of_ref(taken);
            // A broken ref that never had a good value: there is nothing to hold.
            if after.is_nothing() {
                continue;
            }
            let name = exact(&taken.name, &taken.name_bytes).to_vec();
            if let Some(seen) = &mut self.snapshot {
                seen.entry(id.clone()).or_default().insert(name.clone());
            }
            self.set(id, name, after, changes);
        }
        if let Some(seen) = &mut self.snapshot {
            seen.entry(id.clone()).or_default();
        }
    }

    fn whole(&mut self, changes: &mut Vec<Change>) {
        let Some(seen) = self.snapshot.take() else { return };
        let gone: Vec<String> =
            self.repositories.keys().filter(|id| !seen.contains_key(*id)).cloned().collect();
        for id in gone {
            self.delete(&id, changes);
        }
        for (id, names) in seen {
            let Some(known) = self.repositories.get(&id) else { continue };
            let gone: Vec<Vec<u8>> =
                known.refs.keys().filter(|name| !names.contains(*name)).cloned().collect();
            for name in gone {
                self.drop_ref(&id, name, changes);
            }
        }
    }

    fn event(&mut self, event: &GitEvent, changes: &mut Vec<Change>) {
        let Some(EventRepository { id, path, .. }) = &event.repository else { return };
        if event.r#type() == GitEventType::RepositoryDeleted {
            return self.delete(id, changes);
        }
        self.repository(id, path, changes);
        let name = exact(&event.ref_name, &event.ref_name_bytes).to_vec();
        match event.change() {
            RefChange::Created | RefChange::Updated => self.set(id, name, Target::of_event(event), changes),
            RefChange::Deleted => self.drop_ref(id, name, changes),
            RefChange::Unspecified => {}
        }
    }

    fn repository(&mut self, id: &str, path: &str, changes: &mut Vec<Change>) {
        let (repository_id, path) = (id.to_owned(), path.to_owned());
        match self.repositories.get_mut(id) {
            Some(known) if known.path == path => {}
            Some(known) => {
                known.path.clone_from(&path);
                changes.push(Change::RepositoryMoved { repository_id, path });
            }
            None => {
                self.put_repository(id, &path);
                changes.push(Change::RepositoryAdded { repository_id, path });
            }
        }
    }

    fn delete(&mut self, id: &str, changes: &mut Vec<Change>) {
        if let Some(before) = self.repositories.remove(id) {
            changes.push(Change::RepositoryDeleted { repository_id: id.to_owned(), before });
        }
    }

    fn set(&mut self, id: &str, name: Vec<u8>, after: Target, changes: &mut Vec<Change>) {
        let Some(known) = self.repositories.get_mut(id) else { return };
        let before = known.refs.insert(name.clone(), after.clone());
        if before.as_ref() != Some(&after) {
            changes.push(Change::RefSet { repository_id: id.to_owned(), name, before, after });
        }
    }

    fn drop_ref(&mut self, id: &str, name: Vec<u8>, changes: &mut Vec<Change>) {
        let before = self.repositories.get_mut(id).and_then(|known| known.refs.remove(&name));
        if let Some(before) = before {
            changes.push(Change::RefDeleted { repository_id: id.to_owned(), name, before });
        }
    }
}

impl Target {
    fn is_nothing(&self) -> bool {
        self.symbolic.is_empty() && self.oid.bytes().all(|digit| digit == b'0')
    }

    fn of_ref(taken: &Ref) -> Self {
        Self {
            oid: taken.oid.clone(),
            symbolic: exact(&taken.symbolic_target, &taken.symbolic_target_bytes).to_vec(),
            peeled_oid: taken.peeled_oid.clone(),
        }
    }

    fn of_event(event: &GitEvent) -> Self {
        Self {
            oid: event.new_oid.clone(),
            symbolic: exact(&event.new_symbolic_target, &event.new_symbolic_target_bytes).to_vec(),
            peeled_oid: event.new_peeled_oid.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{EventBatch, SnapshotBegin, SnapshotEnd};

    fn target(digit: char) -> Target {
        Target { oid: digit.to_string().repeat(40), symbolic: Vec::new(), peeled_oid: String::new() }
    }

    fn part(id: &str, refs: &[(&str, char)]) -> Update {
        let refs = refs.iter().map(|(name, digit)| Ref {
            name: (*name).to_owned(),
            oid: target(*digit).oid,
            ..Ref::default()
        });
        Update::SnapshotRefs(SnapshotRefs {
            repository: Some(Repository {
                id: id.to_owned(),
                path: format!("{id}.git"),
                ..Repository::default()
            }),
            refs: refs.collect(),
            last: true,
        })
    }

    fn events(id: &str, events: &[(GitEventType, &str, RefChange, char)]) -> Update {
        let events = events.iter().map(|(kind, name, change, digit)| GitEvent {
            r#type: (*kind).into(),
            repository: Some(EventRepository {
                id: id.to_owned(),
                path: format!("{id}.git"),
                ..EventRepository::default()
            }),
            ref_name: (*name).to_owned(),
            change: (*change).into(),
            new_oid: target(*digit).oid,
            ..GitEvent::default()
        });
        Update::Events(EventBatch { events: events.collect(), cursor: String::new() })
    }

    fn take(mirror: &mut Mirror, updates: &[Update]) -> Vec<Change> {
        updates.iter().flat_map(|update| mirror.take(update)).collect()
    }

    fn begin() -> Update {
        Update::SnapshotBegin(SnapshotBegin::default())
    }

    fn end() -> Update {
        Update::SnapshotEnd(SnapshotEnd::default())
    }

    fn set(id: &str, name: &str, before: Option<char>, after: char) -> Change {
        Change::RefSet {
            repository_id: id.to_owned(),
            name: name.into(),
            before: before.map(target),
            after: target(after),
        }
    }

    #[test]
    fn what_a_snapshot_no_longer_brings_is_deleted_at_its_end_and_not_before() {
        let mut mirror = Mirror::default();
        for name in [&b"x"[..], b"y", b"z"] {
            mirror.put_ref("a", name, target('1'));
        }
        mirror.put_repository("a", "a.git");
        mirror.put_repository("b", "b.git");
        // Breaks off, and comes again.
        let first = take(&mut mirror, &[begin(), part("a", &[("z", '1')]), begin()]);
        assert_eq!(first, []);
        assert!(mirror.is_in_snapshot());
        let brought =
            take(&mut mirror, &[part("a", &[("x", '1')]), part("a", &[("y", '2')]), part("c", &[])]);
        let added = Change::RepositoryAdded { repository_id: "c".to_owned(), path: "c.git".to_owned() };
        assert_eq!(brought, [set("a", "y", Some('1'), '2'), added]);
        let before = Mirrored { path: "b.git".to_owned(), refs: BTreeMap::new() };
        let gone = Change::RepositoryDeleted { repository_id: "b".to_owned(), before };
        let deleted =
            Change::RefDeleted { repository_id: "a".to_owned(), name: b"z".to_vec(), before: target('1') };
        assert_eq!(mirror.take(&end()), [gone, deleted]);
        assert_eq!(mirror.repositories().keys().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn events_go_on_from_there_and_marks_change_nothing() {
        let mut mirror = Mirror::default();
        take(&mut mirror, &[begin(), part("a", &[("x", '1')]), end()]);
        let told = [
            (GitEventType::BranchUpdated, "x", RefChange::Updated, '2'),
            (GitEventType::RefBroken, "x", RefChange::Unspecified, '9'),
            (GitEventType::BranchDeleted, "x", RefChange::Deleted, '0'),
            (GitEventType::BranchCreated, "y", RefChange::Created, '3'),
        ];
        let deleted =
            Change::RefDeleted { repository_id: "a".to_owned(), name: b"x".to_vec(), before: target('2') };
        let changes = mirror.take(&events("a", &told));
        assert_eq!(changes, [set("a", "x", Some('1'), '2'), deleted, set("a", "y", None, '3')]);
        assert_eq!(mirror.target("a", b"y"), Some(&target('3')));
        // What comes twice changes nothing.
        assert_eq!(mirror.take(&events("a", &told[3..])), []);
        let gone = (GitEventType::RepositoryDeleted, "", RefChange::Unspecified, '0');
        assert_eq!(mirror.take(&events("a", &[gone])).len(), 1);
        assert_eq!(mirror, Mirror::default());
    }

    #[test]
    fn names_that_are_not_text_are_told_apart() {
        let mut mirror = Mirror::default();
        let odd = |byte| {
            let Update::Events(mut batch) =
                events("a", &[(GitEventType::BranchCreated, "\u{fffd}", RefChange::Created, '1')])
            else {
                panic!("events")
            };
            batch.events[0].ref_name_bytes = vec![byte];
            Update::Events(batch)
        };
        take(&mut mirror, &[odd(0xe8), odd(0xe9)]);
        assert_eq!(mirror.repositories()["a"].refs.len(), 2);
    }
}
