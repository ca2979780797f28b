//! A store in a temporary directory, and commits to fill it with.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use refwatch_core::classify::Bareness;
use refwatch_core::{Event, EventType, ObjectFormat, ObjectId, Origin, RefChange, RefName, RefState, Target};
use refwatch_store::{
    Commit, Finding, FsIdentity, Logged, NewRepository, Opened, Options, ReadError, RefStorage, RefWrite,
    RepositoryKey, RepositoryWrite, Store, open,
};

pub(crate) const NOW_US: i64 = 1_700_000_000_000_000;

pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("refwatch.db")
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(self.path())
    }

    pub(crate) fn open(&self) -> Opened {
        open(self.options(), NOW_US).unwrap()
    }

    pub(crate) fn store(&self) -> Store {
        self.open().store
    }
}

pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) fn name(text: &str) -> RefName {
    RefName::new(text.as_bytes()).unwrap()
}

pub(crate) fn branch(number: usize) -> RefName {
    name(&format!("refs/heads/feature/branch-{number:07}"))
}

/// An object id that differs for each number.
pub(crate) fn oid(number: u64) -> ObjectId {
    let mut raw = [0xab; 20];
    raw[..8].copy_from_slice(&number.to_be_bytes());
    ObjectId::Sha1(raw)
}

pub(crate) fn direct(number: u64) -> Target {
    Target::Direct(oid(number))
}

pub(crate) fn new_repository(store: &Store) -> NewRepository {
    NewRepository {
        uid: store.random_uid(),
        root: b"/srv/git".to_vec(),
        path: b"a/b.git".to_vec(),
        object_format: ObjectFormat::Sha1,
        ref_storage: RefStorage::Files,
        bareness: Bareness::Bare,
        identity: FsIdentity { dev: u64::MAX, ino: 7, birth_ns: Some(-1) },
    }
}

/// A commit that adds a repository, with its event.
pub(crate) fn creation(store: &Store) -> Commit {
    let key = store.allocate_key();
    Commit {
        repository_write: Some(RepositoryWrite::Create(new_repository(store))),
        events: vec![Event::of_repository(EventType::RepositoryDiscovered, Origin::Startup)],
        ..Commit::new(key, NOW_US)
    }
}

pub(crate) fn create(store: &Store) -> RepositoryKey {
    store.commit(creation(store)).unwrap()[0].repository
}

/// The event that takes a ref from one value to another.
pub(crate) fn event(name: &RefName, old: Option<Target>, new: Option<Target>) -> Event {
    let (kind, change) = match (&old, &new) {
        (None, _) => (EventType::BranchCreated, RefChange::Created),
        (Some(_), Some(_)) => (EventType::BranchUpdated, RefChange::Updated),
        (Some(_), None) => (EventType::BranchDeleted, RefChange::Deleted),
    };
    Event {
        name: Some(name.clone()),
        change: Some(change),
        old,
        new,
        ..Event::of_repository(kind, Origin::Notify)
    }
}

pub(crate) fn write(name: &RefName, new: Option<Target>) -> RefWrite {
    RefWrite { name: name.clone(), state: new.map(RefState::Good), peeled: None }
}

/// One transaction that takes each ref from one value to another.
pub(crate) fn update(key: RepositoryKey, changes: &[(RefName, Option<Target>, Option<Target>)]) -> Commit {
    let mut events: Vec<_> =
        changes.iter().map(|(name, old, new)| event(name, old.clone(), new.clone())).collect();
    refwatch_core::event::number(&mut events);
    let refs = changes.iter().map(|(name, _, new)| write(name, new.clone())).collect();
    Commit { events, refs, ..Commit::new(key, NOW_US) }
}

/// A transaction that creates `count` branches from number `first`.
pub(crate) fn branches(key: RepositoryKey, first: usize, count: usize) -> Commit {
    let changes: Vec<_> = (first..first + count)
        .map(|number| (branch(number), None, Some(direct(number as u64 + 1))))
        .collect();
    update(key, &changes)
}

pub(crate) fn events_after(store: &Store, after: u64, limit: usize) -> Result<Vec<Logged>, ReadError> {
    let mut events = Vec::new();
    let count = store.read()?.events_after(after, limit, |event| {
        events.push(event);
        ControlFlow::Continue(())
    })?;
    assert_eq!(count, events.len());
    Ok(events)
}

pub(crate) fn findings(store: &Store) -> Vec<Finding> {
    let mut findings = Vec::new();
    let verified = store
        .read()
        .unwrap()
        .verify(|finding| {
            findings.push(finding);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(verified.findings, findings.len() as u64);
    findings
}

/// The value that the log's last event gave a ref.
pub(crate) fn current(store: &Store, key: RepositoryKey, name: &RefName) -> Option<Target> {
    store.read().unwrap().get_ref(key, name).unwrap().and_then(|(state, _)| state.target().cloned())
}
