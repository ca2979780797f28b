//! Filesystem notifications: the only file that names the `notify` crate.
//!
//! Turns "this path changed" into a [`Wake`] of a repository, and keeps the watches. Directories are watched one by
//! one, never recursively: a recursive watch of a git directory would watch `objects/`.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{ErrorKind, Event, EventKind, RecursiveMode, Watcher as _};

use crate::scan::walk::is_link_of_jgit;
use crate::wake::{Board, RepositoryKey, Wake};

/// Why a directory is not watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system's limit of watches is reached.
    #[error("no watches left for {path}: raise fs.inotify.max_user_watches; it is polled meanwhile")]
    Limit {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is gone.
    #[error("{path} is gone")]
    Gone {
        /// The directory.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot watch {path}: {message}")]
    Other {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
}

/// Notifications cannot be had at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot start filesystem notifications: {message}")]
pub struct StartError {
    message: String,
}

/// Counts kept by the watcher, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Times the queue overflowed.
    pub overflows: AtomicU64,
    /// Watches refused for want of budget.
    pub refused: AtomicU64,
    /// Notifications that named nothing of interest.
    pub ignored: AtomicU64,
    /// Errors that the notification thread reported.
    pub errors: AtomicU64,
}

/// Watches directories of repositories and roots, and posts wakes.
pub struct Notifier {
    /// One instance for everything: notifications come in one order, and no directory is watched twice.
    watcher: Mutex<notify::RecommendedWatcher>,
    shared: Arc<Shared>,
}

struct Shared {
    board: Arc<Board>,
    /// Git directories by path.
    repositories: RwLock<HashMap<GitDir, RepositoryKey>>,
    counts: Counts,
    failed: AtomicBool,
    fence_path: PathBuf,
    fence_next: AtomicU64,
    fence: Mutex<Passed>,
    fence_passed: Condvar,
}

/// What the notification thread has passed.
#[derive(Default)]
struct Passed {
    /// The last mark.
    mark: u64,
    /// How often notifications were lost, and perhaps marks with them.
    losses: u64,
}

impl Notifier {
    /// Starts the notification thread. `fences` is a directory of refwatch's own: it is made anew, a file is made and
    /// removed in it for each [`Notifier::fence`], and it is removed in the end.
    ///
    /// # Errors
    /// [`StartError`] when the system gives no notification instance, or `fences` cannot be made.
    pub fn start(board: Arc<Board>, fences: &Path) -> Result<Self, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError { message: error.to_string() };
        // A run that was killed leaves its files behind.
        std::fs::remove_dir_all(fences).ok();
        std::fs::create_dir_all(fences).map_err(|error| failed(&error))?;
        let fence_path = fences.canonicalize().map_err(|error| failed(&error))?;
        let shared = Arc::new(Shared {
            board,
            repositories: RwLock::default(),
            counts: Counts::default(),
            failed: AtomicBool::new(false),
            fence_path,
            fence_next: AtomicU64::new(1),
            fence: Mutex::default(),
            fence_passed: Condvar::new(),
        });
        let handler = {
            let shared = Arc::clone(&shared);
            move |event| shared.handle(event)
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        let mut watcher = notify::RecommendedWatcher::new(handler, config).map_err(|error| failed(&error))?;
        watcher.watch(&shared.fence_path, RecursiveMode::NonRecursive).map_err(|error| failed(&error))?;
        Ok(Self { watcher: Mutex::new(watcher), shared })
    }

    /// Says which repository a git directory is. Notifications below it are its wakes from now on.
    pub fn register(&self, git_dir: Arc<Path>, key: RepositoryKey) {
        debug_assert!(!git_dir.as_os_str().as_bytes().ends_with(b"/"), "BUG: {}", git_dir.display());
        let mut map = self.shared.repositories.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(GitDir(git_dir), key);
    }

    /// Ends [`Notifier::register`], unless the path belongs to another repository by now.
    pub fn unregister(&self, git_dir: &Path, key: RepositoryKey) {
        let mut map = self.shared.repositories.write().unwrap_or_else(PoisonError::into_inner);
        let path = git_dir.as_os_str().as_bytes();
        if map.get(path) == Some(&key) {
            map.remove(path);
        }
    }

    /// Watches one directory, not what is below it. Watching it again is harmless, and needed when it was removed
    /// and made anew: a watch belongs to the directory, not to its path.
    ///
    /// # Errors
    /// [`WatchError`]; nothing is watched then.
    pub fn watch(&self, directory: &Path) -> Result<(), WatchError> {
        // Joined with nothing a path ends with a slash. A directory that moves tells the path by which it was watched, and
        // repositories are found by its bytes.
        let directory = directory.components().as_path();
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let result = watcher.watch(directory, RecursiveMode::NonRecursive);
        drop(watcher);
        let path = || directory.to_owned();
        match result {
            Ok(()) => Ok(()),
            Err(error) => Err(match error.kind {
                ErrorKind::MaxFilesWatch => {
                    self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                    WatchError::Limit { path: path() }
                }
                ErrorKind::PathNotFound => WatchError::Gone { path: path() },
                ErrorKind::Io(ref io)
                    if matches!(
                        io.kind(),
                        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                    ) =>
                {
                    WatchError::Gone { path: path() }
                }
                ErrorKind::Io(_)
                | ErrorKind::Generic(_)
                | ErrorKind::WatchNotFound
                | ErrorKind::InvalidConfig(_) => {
                    WatchError::Other { path: path(), message: error.to_string() }
                }
            }),
        }
    }

    /// Waits until every notification that the kernel had queued before the call has been posted to the board, or that it
    /// was lost, or until `deadline`. Returns whether that was so.
    pub fn fence(&self, deadline: Instant) -> bool {
        self.begin_fence().wait(deadline)
    }

    /// Begins [`Notifier::fence`]: what the kernel has queued until now is waited for by [`Fence::wait`].
    ///
    /// A file made in a watched directory of our own is the mark: notifications of one instance come in order.
    pub fn begin_fence(&self) -> Fence<'_> {
        Fence::new(&self.shared)
    }

    /// The counts.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// False once the notification thread reported an error that it cannot come back from.
    pub fn is_well(&self) -> bool {
        !self.shared.failed.load(Ordering::Relaxed) && self.shared.fence_path.is_dir()
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        // The next start makes it anew anyhow.
        std::fs::remove_dir_all(&self.shared.fence_path).ok();
    }
}

/// The path of a git directory, looked up by its bytes. Shared with whoever registered it.
#[derive(PartialEq, Eq)]
struct GitDir(Arc<Path>);

impl Borrow<[u8]> for GitDir {
    fn borrow(&self) -> &[u8] {
        self.0.as_os_str().as_bytes()
    }
}

impl Hash for GitDir {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<[u8]>::borrow(self).hash(state);
    }
}

/// A mark among the notifications.
pub struct Fence<'a> {
    shared: &'a Shared,
    /// `None` when it could not be made.
    number: Option<u64>,
    /// Those that were known before it was made.
    losses: u64,
    path: PathBuf,
}

impl<'a> Fence<'a> {
    fn new(shared: &'a Shared) -> Self {
        let losses = shared.passed().losses;
        let number = shared.fence_next.fetch_add(1, Ordering::SeqCst);
        let path = shared.fence_path.join(number.to_string());
        let made = std::fs::File::create(&path).is_ok();
        Self { shared, number: made.then_some(number), losses, path }
    }

    /// Waits until everything that was queued before the mark has been posted to the board, or until `deadline`.
    /// Returns whether that was so; what was lost has been posted as that.
    pub fn wait(mut self, deadline: Instant) -> bool {
        while let Some(number) = self.number {
            let mut passed = self.shared.passed();
            while passed.mark < number && passed.losses == self.losses {
                let wait = deadline.saturating_duration_since(Instant::now());
                if wait.is_zero() {
                    return false;
                }
                let waited = self.shared.fence_passed.wait_timeout(passed, wait);
                passed = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if passed.mark >= number {
                return true;
            }
            drop(passed);
            // The mark may be among what was lost.
            self = Self::new(self.shared);
        }
        false
    }
}

impl Drop for Fence<'_> {
    fn drop(&mut self) {
        // The directory is removed whole at the end; a file left behind until then does no harm.
        std::fs::remove_file(&self.path).ok();
    }
}

/// Finds the registered git directory that a path is, or is below, and the rest of the path.
fn find<'a>(map: &HashMap<GitDir, RepositoryKey>, path: &'a [u8]) -> Option<(RepositoryKey, &'a [u8])> {
    let mut end = path.len();
    loop {
        if let Some(key) = map.get(&path[..end]) {
            return Some((*key, path.get(end + 1..).unwrap_or_default()));
        }
        end = path[..end].iter().rposition(|byte| *byte == b'/')?;
    }
}

/// What a notification says of its path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Happened {
    /// Came into being: made, linked or renamed here.
    Came,
    /// Was written in place and closed.
    Written,
    /// Was removed.
    Went,
    /// Was renamed away.
    Left,
}

impl Shared {
    fn handle(&self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.counts.errors.fetch_add(1, Ordering::Relaxed);
                if !matches!(error.kind, ErrorKind::MaxFilesWatch) {
                    self.failed.store(true, Ordering::Relaxed);
                }
                self.lose();
                return;
            }
        };
        if event.need_rescan() {
            self.counts.overflows.fetch_add(1, Ordering::Relaxed);
            self.lose();
            return;
        }
        let Some(path) = event.paths.first() else { return };
        tracing::trace!(?event, "notification");
        let directory = matches!(
            event.kind,
            EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder)
        );
        match event.kind {
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                self.route(path, Happened::Came, directory);
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                self.route(path, Happened::Written, false);
            }
            EventKind::Remove(_) => self.route(path, Happened::Went, directory),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                self.route(path, Happened::Left, false);
            }
            EventKind::Any | EventKind::Access(_) | EventKind::Modify(_) | EventKind::Other => {}
        }
    }

    fn route(&self, path: &Path, happened: Happened, directory: bool) {
        if path.parent() == Some(&self.fence_path) {
            if happened == Happened::Came {
                self.pass_fence(path.file_name());
            }
            return;
        }
        let bytes = path.as_os_str().as_bytes();
        let map = self.repositories.read().unwrap_or_else(PoisonError::into_inner);
        let found = find(&map, bytes);
        drop(map);
        match found {
            Some((key, relative)) => {
                match wake_of(relative, happened, directory) {
                    Some(wake) => self.board.post(key, wake),
                    None => drop(self.counts.ignored.fetch_add(1, Ordering::Relaxed)),
                }
                if relative.is_empty() && happened == Happened::Came {
                    // It may be another one than the one that is known at this path.
                    self.board.post_root(bytes);
                }
            }
            // One that was refused for what stands there may be mended in place.
            None if happened != Happened::Written || is_telling(path) => self.board.post_root(bytes),
            None => {}
        }
    }

    fn lose(&self) {
        self.board.post_overflow();
        self.passed().losses += 1;
        self.fence_passed.notify_all();
    }

    fn pass_fence(&self, name: Option<&OsStr>) {
        let number = name.and_then(OsStr::to_str).and_then(|name| name.parse::<u64>().ok());
        if let Some(number) = number {
            let mut passed = self.passed();
            passed.mark = number.max(passed.mark);
            self.fence_passed.notify_all();
        }
    }

    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True for the files whose content says whether a directory is a repository.
fn is_telling(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "HEAD" || name == "config")
}

/// Says what a path inside a git directory means, if anything.
fn wake_of(relative: &[u8], happened: Happened, directory: bool) -> Option<Wake<'_>> {
    let of_directory = match happened {
        Happened::Came => Wake::DirectoryCame,
        Happened::Written | Happened::Went | Happened::Left => Wake::DirectoryWent,
    };
    let local = match relative.strip_prefix(b"worktrees/") {
        Some(rest) => match rest.iter().position(|byte| *byte == b'/') {
            Some(slash) => &rest[slash + 1..],
            None => return Some(of_directory(relative)),
        },
        None => relative,
    };
    let of_a_ref = local == b"HEAD" || local == b"HEAD.lock" || local.starts_with(b"refs/");
    if of_a_ref && directory {
        return Some(of_directory(relative));
    }
    if of_a_ref && is_link_of_jgit(relative) {
        return None;
    }
    if of_a_ref {
        return match (relative.strip_suffix(b".lock"), happened) {
            (None, Happened::Came) => Some(Wake::Placed(relative)),
            (None, Happened::Written | Happened::Went | Happened::Left) => Some(Wake::Touched(relative)),
            (Some(path), Happened::Came) => Some(Wake::Locked(path)),
            (Some(path), Happened::Went) => Some(Wake::Unlocked(path)),
            // A lock that is renamed becomes its ref: that is told next.
            (Some(_), Happened::Written | Happened::Left) => None,
        };
    }
    match local {
        b"refs" if relative != local => Some(of_directory(relative)),
        // What hooks record in one that came is not watched yet.
        b"" | b"refs" | b"objects" | b"reftable" | b"refwatch" => Some(Wake::Structure),
        b"packed-refs" => Some(Wake::Packed),
        b"packed-refs.lock" => match happened {
            Happened::Came => Some(Wake::PackedLocked),
            Happened::Went => Some(Wake::PackedUnlocked),
            Happened::Written | Happened::Left => None,
        },
        b"config" => Some(Wake::Config),
        b"worktrees" => Some(of_directory(relative)),
        b"refwatch/journal" => Some(Wake::Journal),
        // Git renames it into place; dulwich writes it in place.
        b"reftable/tables.list" if matches!(happened, Happened::Came | Happened::Written) => {
            Some(Wake::Tables)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
