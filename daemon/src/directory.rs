//! Which repositories there are: what the engine knows of each, for everyone who has to name one.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use refwatch_core::ObjectFormat;
use refwatch_core::classify::Bareness;
use refwatch_store::{FsIdentity, NewRepository, RefStorage, RepositoryKey};

/// How a repository fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Its refs are known.
    Ready,
    /// Its first look is not done.
    Discovering,
    /// It is being made or deleted; what was known of it is kept.
    InFlux(String),
    /// It cannot be read; what was known of it is kept.
    Unreadable(String),
    /// It is gone. Kept because the log may still speak of it.
    Deleted,
}

/// How a repository is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// By notifications.
    Notify,
    /// By polling.
    Poll,
}

/// One repository, as others see it. Replaced as a whole when something of it changes.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: RepositoryKey,
    /// Public id: 16 hex digits of it.
    pub(crate) uid: u64,
    /// The root it was found under.
    pub(crate) root: Arc<PathBuf>,
    /// Path of the git directory relative to the root; `.` for the root itself.
    pub(crate) path: Box<[u8]>,
    pub(crate) format: ObjectFormat,
    pub(crate) storage: RefStorage,
    pub(crate) bareness: Bareness,
    pub(crate) watched: Watched,
    pub(crate) health: Health,
    /// When refs of it were last looked at, in microseconds since 1970; 0 before the first look.
    pub(crate) last_observed_us: i64,
}

impl Entry {
    /// It as the log is told of it at first.
    pub(crate) fn to_new(&self, identity: FsIdentity) -> NewRepository {
        NewRepository {
            uid: self.uid,
            root: self.root.as_os_str().as_bytes().to_vec(),
            path: self.path.to_vec(),
            object_format: self.format,
            ref_storage: self.storage,
            bareness: self.bareness,
            identity,
        }
    }

    /// The path as text, with U+FFFD for what is not UTF-8.
    pub(crate) fn path_text(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// All repositories, and those that are deleted for as long as the log holds them.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    entries: RwLock<HashMap<RepositoryKey, Arc<Entry>>>,
}

impl Directory {
    /// The repository with a key.
    pub(crate) fn get(&self, key: RepositoryKey) -> Option<Arc<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Adds a repository, or replaces what is known of it.
    pub(crate) fn put(&self, entry: Entry) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(entry.key, Arc::new(entry));
    }

    /// Changes what is known of a repository.
    pub(crate) fn update(&self, key: RepositoryKey, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&key) {
            change(Arc::make_mut(entry));
        }
    }

    /// Forgets a repository that the log does not speak of.
    pub(crate) fn remove(&self, key: RepositoryKey) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// All of them, in order of key.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> =
            self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        all.sort_by_key(|entry| entry.key);
        all
    }

    /// Shows every one, in no order.
    pub(crate) fn each(&self, mut show: impl FnMut(&Entry)) {
        for entry in self.entries.read().unwrap_or_else(PoisonError::into_inner).values() {
            show(entry);
        }
    }

    /// The repository with a public id.
    pub(crate) fn by_uid(&self, uid: u64) -> Option<Arc<Entry>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().find(|entry| entry.uid == uid).cloned()
    }
}
