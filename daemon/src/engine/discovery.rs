//! Repositories that appear, move and go.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use refwatch_core::event::{EventType, Extra};
use refwatch_core::{Event, Origin};
use refwatch_store::{
    FsIdentity, NewRepository, ReadError, RepositoryKey, RepositoryRow, RepositoryState, RepositoryWrite,
};
use refwatch_watcher::discover::{self, Limits, Visit};
use refwatch_watcher::journal::{Found, Journal};
use refwatch_watcher::layout::{self, Layout, ProbeError};
use refwatch_watcher::notify::{Notifier, WatchError};
use refwatch_watcher::wake::{Board, Wake, Whole};
use refwatch_watcher::{scan, signature};

use super::{DOUBT, DOUBT_MAX, Engine, Followed, Job, Parts, Repository, Root, State, Unwritten, lock};
use crate::directory::{Entry, Health, Watched};
use crate::pass::Hooks;
use crate::settings::WatchMode;

/// Directories below one root that are looked into.
const DIRECTORIES_MAX: usize = 4_000_000;
/// Threads that take a first look at start. They mostly wait for watches, which are added one at a time: more of them
/// wait for each other.
const FIRST_LOOKS: usize = 2;
/// Repositories that wait for a first look at start: found and not met, and met and not looked at.
const FIRST_LOOKS_QUEUED_MAX: usize = 256;

/// Starts notifications, unless they are not wanted or not to be had.
pub(super) fn start_notifier(parts: &Parts, board: &Arc<Board>) -> Option<Notifier> {
    if parts.settings.watch.mode == WatchMode::Poll {
        return None;
    }
    // Beside the database, and named after it: its lock says that it is ours alone.
    let mut fences = parts.settings.store.path.clone().into_os_string();
    fences.push(".fences");
    let fences = PathBuf::from(fences);
    match Notifier::start(Arc::clone(board), &fences) {
        Ok(notifier) => Some(notifier),
        Err(error) => {
            parts.problems.report(&fences, format!("{error}; all repositories are polled"));
            None
        }
    }
}

impl Engine {
    /// Takes up the repositories that the store knows.
    pub(super) fn take_up(&self) -> anyhow::Result<()> {
        let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
        let devices = self.renumbered_devices()?;
        self.store.read()?.for_each_repository(|row| {
            let root = self.root_of(&row);
            let entry = self.entry_of(&row, root);
            self.directory.put(entry);
            if row.state != RepositoryState::Active {
                return;
            }
            if root.is_none() {
                // Without its birth time another one may have its number by now.
                if row.identity.birth_ns.is_some() {
                    lock(&self.unserved).insert(anywhere(row.identity), row.key);
                }
                return;
            }
            let mut identity = row.identity;
            if let Some(dev) = devices.get(&row.identity.dev)
                && layout::identity(&git_dir_of(&row)).ok() != Some(row.identity)
            {
                // Wherever it is now: it may have moved as well.
                identity.dev = *dev;
            }
            self.follow(&mut followed, row, identity);
        })?;
        Ok(())
    }

    /// Follows a repository that the log knows, where the log has it.
    fn follow(&self, followed: &mut Followed, row: RepositoryRow, identity: FsIdentity) -> Arc<Repository> {
        let layout = Layout {
            git_dir: git_dir_of(&row).into(),
            identity,
            storage: row.ref_storage,
            format: row.object_format,
            bareness: row.bareness,
            mirror: false,
        };
        followed.by_path.insert(Arc::clone(&layout.git_dir), row.key);
        followed.by_identity.insert(identity, row.key);
        if let Some(notifier) = &self.notifier {
            notifier.register(Arc::clone(&layout.git_dir), row.key);
        }
        let repository = Arc::new(Repository::new(row.key, layout));
        {
            let mut state = repository.lock();
            state.is_renumbered = identity != row.identity;
            state.signature = row.signature;
            state.hooks = row
                .journal_position
                .map(|bytes| Box::new(Hooks::from_saved(bytes, row.object_format, &self.settings.hooks)));
        }
        repository.created.store(true, Ordering::Relaxed);
        followed.by_key.insert(row.key, Arc::clone(&repository));
        repository
    }

    /// The repository of an identity that the log knows below a root that is none any more.
    fn unserved(&self, identity: FsIdentity) -> Option<RepositoryRow> {
        let key = *lock(&self.unserved).get(&anywhere(identity))?;
        let row = self.store.read().and_then(|reader| reader.repository(key));
        row.inspect_err(|error| tracing::error!(%error, "a repository cannot be looked up")).ok().flatten()
    }

    /// Follows a repository that the log knows below a root that is none any more, and that is here now.
    fn serve_again(self: &Arc<Self>, root: &Root, git_dir: &Path, identity: FsIdentity, row: RepositoryRow) {
        if lock(&self.unserved).remove(&anywhere(identity)).is_none() {
            // Another thread met it at the same time.
            return;
        }
        let repository = {
            let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
            self.follow(&mut followed, row, identity)
        };
        let mut state = repository.lock();
        self.move_to(root, &repository, &mut state, git_dir);
    }

    /// The devices that have other numbers than when repositories were last looked at, and these numbers: a start of the
    /// machine or another mount gives them anew.
    fn renumbered_devices(&self) -> anyhow::Result<HashMap<u64, u64>> {
        let mut devices = HashMap::new();
        self.store.read()?.for_each_repository(|row| {
            if row.state == RepositoryState::Active
                && self.root_of(&row).is_some()
                && let Ok(there) = layout::identity(&git_dir_of(&row))
                && there.dev != row.identity.dev
                && there.resembles(&row.identity)
            {
                devices.entry(row.identity.dev).or_insert(there.dev);
            }
        })?;
        Ok(devices)
    }

    fn root_of(&self, row: &RepositoryRow) -> Option<&Root> {
        self.roots.iter().find(|root| root.path.as_os_str().as_bytes() == row.root)
    }

    fn entry_of(&self, row: &RepositoryRow, root: Option<&Root>) -> Entry {
        let path = || PathBuf::from(std::ffi::OsString::from_vec(row.root.clone()));
        Entry {
            key: row.key,
            uid: row.uid,
            root: root.map_or_else(|| Arc::new(path()), |root| Arc::clone(&root.path)),
            path: row.path.clone().into(),
            format: row.object_format,
            storage: row.ref_storage,
            bareness: row.bareness,
            watched: if self.notifier.is_some() { Watched::Notify } else { Watched::Poll },
            health: match (row.state, root) {
                (RepositoryState::Deleted, _) => Health::Deleted,
                (RepositoryState::Active, Some(_)) => Health::Discovering,
                (RepositoryState::Active, None) => {
                    Health::Unreadable("its root is not among the roots any more".to_owned())
                }
            },
            last_observed_us: 0,
        }
    }

    /// Walks all roots, and looks at what is found for the first time since the start. `turns` is called for each
    /// directory and repository; so below.
    pub(super) fn first_scan(self: &Arc<Self>, turns: &(dyn Fn() + Sync)) {
        let (found, looks) = mpsc::sync_channel::<(usize, PathBuf)>(FIRST_LOOKS_QUEUED_MAX);
        let looks = Mutex::new(looks);
        std::thread::scope(|scope| {
            for _ in 0..FIRST_LOOKS {
                scope.spawn(|| {
                    loop {
                        let next = looks.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok((root, git_dir)) = next else { return };
                        turns();
                        self.board.wait_for_room(FIRST_LOOKS_QUEUED_MAX);
                        turns();
                        self.meet(&self.roots[root], &git_dir, Whole::Startup);
                    }
                });
            }
            for (index, root) in self.roots.iter().enumerate() {
                self.walk(root, &root.path, turns, |git_dir| {
                    found.send((index, git_dir)).expect("the threads that receive outlive the walk");
                });
            }
            drop(found);
        });
        self.walked.store(true, Ordering::Release);
        for repository in self.repositories() {
            let state = repository.lock();
            let is_due = !state.looked || state.is_missed();
            drop(state);
            if is_due {
                self.board.post(repository.key, Wake::Whole(Whole::Startup));
            }
        }
    }

    /// Walks all roots for repositories that are new.
    pub(crate) fn discover_all(self: &Arc<Self>, turns: &dyn Fn()) {
        let began = Instant::now();
        for root in &self.roots {
            self.walk(root, &root.path, turns, |git_dir| self.meet(root, &git_dir, Whole::Notified));
        }
        let mut last = lock(&self.walk_began);
        *last = (*last).max(Some(began));
    }

    /// Says whether a repository that was missed at this time may yet be met by a walk over the roots, where nothing but a
    /// walk shows that it moved; asks for one then.
    fn awaits_walk(&self, missed: Instant) -> bool {
        let awaits = self.roots_polled.load(Ordering::Relaxed)
            && lock(&self.walk_began).is_none_or(|began| began < missed);
        if awaits {
            self.walk_wanted.store(true, Ordering::Relaxed);
        }
        awaits
    }

    /// Looks at paths of the roots at which something came or went.
    pub(super) fn look_at_roots(self: &Arc<Self>, paths: &HashSet<Box<[u8]>>, turns: &dyn Fn()) {
        let mut starts = HashSet::new();
        for path in paths {
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            let name = path.file_name().map_or(&b""[..], |name| name.as_bytes());
            let start = match name {
                // What makes a directory a repository.
                b"HEAD" | b"objects" | b"refs" | b"config" | b"reftable" => path.parent().unwrap_or(path),
                _ => path,
            };
            starts.insert(start.to_owned());
        }
        for start in starts {
            let Some(root) = self.roots.iter().find(|root| start.starts_with(&*root.path)) else { continue };
            if self.is_in_working_tree(root, &start) {
                continue;
            }
            if start.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                self.walk(root, &start, turns, |git_dir| {
                    self.meet(root, &git_dir, Whole::Notified);
                    // Its watches may have gone with a folder above it that was renamed away and back.
                    let followed = self.followed.read().unwrap_or_else(PoisonError::into_inner);
                    if let Some(key) = followed.by_path.get(&*git_dir) {
                        self.board.post(*key, Wake::Structure);
                    }
                });
            } else if start.symlink_metadata().is_err() {
                let followed = self.followed.read().unwrap_or_else(PoisonError::into_inner);
                let below = followed.by_path.range::<Path, _>((Bound::Included(&*start), Bound::Unbounded));
                let keys: Vec<_> =
                    below.take_while(|(path, _)| path.starts_with(&start)).map(|(_, key)| *key).collect();
                drop(followed);
                for key in keys {
                    self.board.post(key, Wake::Structure);
                }
            }
        }
    }

    fn walk(&self, root: &Root, start: &Path, turns: &dyn Fn(), mut found: impl FnMut(PathBuf)) {
        if !root.is_there() {
            self.problems.report(&root.path, "the root is not there: what is known below it is kept");
            return;
        }
        let depth = start.strip_prefix(&*root.path).map_or(0, |below| below.components().count());
        let limits = Limits {
            depth_max: self.settings.watch.depth_max.saturating_sub(depth),
            directories_max: DIRECTORIES_MAX,
        };
        discover::walk(start, &limits, &mut |visit| match visit {
            Visit::Directory(path) => {
                turns();
                self.watch_root(path);
            }
            Visit::Repository(repository) => {
                turns();
                found(repository.git_dir);
            }
            Visit::InFlux { path, missing } => {
                tracing::debug!(path = %path.display(), missing, "a repository is being made");
            }
            Visit::LinkOut { path, target } => {
                let target = target.display();
                self.problems
                    .report(&path, format!("a symbolic link to {target}: not followed; add it as a root"));
            }
            Visit::Problem { path, error } => self.problems.report(&path, error.to_string()),
        });
    }

    fn watch_root(&self, path: &Path) {
        let Some(notifier) = &self.notifier else { return };
        match notifier.watch(path) {
            Ok(()) | Err(WatchError::Gone { .. }) => {}
            Err(error @ (WatchError::Limit { .. } | WatchError::Other { .. })) => {
                self.metrics.watch_limit_reached.inc();
                self.problems.report(path, error.to_string());
                self.roots_polled.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Takes the lock of a repository, unless the pass that had it found that it is gone.
    fn lock_followed<'a>(
        &self,
        repository: &'a Arc<Repository>,
    ) -> Option<(&'a Arc<Repository>, MutexGuard<'a, State>)> {
        let state = repository.lock();
        let followed = self.followed.read().unwrap_or_else(PoisonError::into_inner);
        let is_followed =
            followed.by_key.get(&repository.key).is_some_and(|known| Arc::ptr_eq(known, repository));
        is_followed.then_some((repository, state))
    }

    /// A repository is there: known, moved, or new.
    pub(super) fn meet(self: &Arc<Self>, root: &Root, git_dir: &Path, why: Whole) {
        let Ok(identity) = layout::identity(git_dir) else { return };
        let (here, same) = {
            let followed = self.followed.read().unwrap_or_else(PoisonError::into_inner);
            let by_key = |key| followed.by_key.get(key).cloned();
            (
                followed.by_path.get(git_dir).and_then(by_key),
                followed.by_identity.get(&identity).and_then(by_key),
            )
        };
        if let Some((repository, mut state)) = here.as_ref().and_then(|here| self.lock_followed(here)) {
            if same.is_none()
                && state.layout.identity != identity
                && state.layout.identity.resembles(&identity)
            {
                self.renumber(repository, &mut state, identity);
            }
            if state.layout.identity == identity {
                state.waits_no_longer(|waits| waits.gone = None);
                if !state.looked && why == Whole::Startup {
                    self.look_first(repository, &mut state);
                }
                return;
            }
            // Another one at the same path. What became of this one is seen at its next look, which then looks here again;
            // it may be met elsewhere first.
            drop(state);
            self.board.post(repository.key, Wake::Structure);
            if same.is_none() {
                return;
            }
        }
        if let Some((repository, mut state)) = same.as_ref().and_then(|same| self.lock_followed(same)) {
            let is_link = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
            let still_there = layout::identity(state.git_dir()).is_ok_and(|there| there == identity)
                // A link that is left where it was leads to where it is.
                && (!is_link(state.git_dir()) || is_link(git_dir));
            if !still_there {
                self.move_to(root, repository, &mut state, git_dir);
                return;
            }
            if state.git_dir() != git_dir {
                if layout::identity(git_dir).ok() != Some(identity) {
                    // It was here, and is there again.
                    return;
                }
                let other = state.git_dir().display().to_string();
                self.problems.report(git_dir, format!("the same directory as {other}: served there only"));
                return;
            }
            self.come_back(repository, &mut state);
            return;
        }
        self.welcome(root, git_dir, identity, why);
    }

    /// The first look since the start at a repository that is known: where the files look as they did, it is over.
    fn look_first(self: &Arc<Self>, repository: &Arc<Repository>, state: &mut State) {
        if let Some(notifier) = &self.notifier {
            notifier.register(Arc::clone(&state.layout.git_dir), repository.key);
        }
        let known = state.signature;
        let layout = state.layout.clone();
        state.polled = self.must_poll(&layout);
        // Before the files are asked for: where they look as they did, these are the tables of then.
        let stacks = scan::stacks(&layout);
        let watch = &mut |directory: &Path| self.watch(repository.key, state, directory);
        let seen = signature::watched_signature(&layout, watch).ok().flatten();
        let is_waiting = state.hooks.as_ref().is_some_and(|hooks| hooks.is_waiting());
        if !is_waiting && seen.is_some_and(|seen| Some(seen.0) == known) {
            // The signature covers the configuration as well: the layout is what it was.
            state.looked = true;
            state.stacks = stacks.unwrap_or_default();
            self.is_well(repository, state);
            self.looked.fetch_add(1, Ordering::Relaxed);
            if !matches!(Journal::find(&layout), Ok(Found::Nothing)) {
                // What hooks recorded no signature covers, nor whether a push has ended.
                self.board.post(repository.key, Wake::Journal);
            }
        } else {
            self.board.post(repository.key, Wake::Whole(Whole::Startup));
        }
    }

    /// Follows a new repository. Its first look makes it known to the log.
    fn welcome(self: &Arc<Self>, root: &Root, git_dir: &Path, identity: FsIdentity, why: Whole) {
        let probed = layout::probe(git_dir).or_else(|_| {
            // Watched and then asked again, so that nothing is missed that makes it one.
            self.watch_root(git_dir);
            layout::probe(git_dir)
        });
        let layout = match probed {
            Ok(layout) => layout,
            Err(ProbeError::InFlux { .. } | ProbeError::NotARepository { .. }) => return,
            Err(error) => {
                self.problems.report(git_dir, error.to_string());
                return;
            }
        };
        if layout.identity != identity {
            // Yet another one has come.
            self.board.post_root(git_dir.as_os_str().as_bytes());
            return;
        }
        if let Some(row) = self.unserved(identity) {
            self.serve_again(root, git_dir, identity, row);
            return;
        }
        let relative = match git_dir.strip_prefix(&*root.path) {
            Ok(relative) if !relative.as_os_str().is_empty() => relative,
            Ok(_) | Err(_) => Path::new("."),
        };
        let git_dir = Arc::clone(&layout.git_dir);
        let key = {
            let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
            if followed.by_path.contains_key(&git_dir) {
                return;
            }
            if followed.by_identity.get(&identity).is_some_and(|key| followed.by_key.contains_key(key)) {
                // It was met elsewhere meanwhile.
                drop(followed);
                self.board.post_root(git_dir.as_os_str().as_bytes());
                return;
            }
            let key = self.store.allocate_key();
            let entry = Entry {
                key,
                uid: self.store.random_uid(),
                root: Arc::clone(&root.path),
                path: relative.as_os_str().as_bytes().into(),
                format: layout.format,
                storage: layout.storage,
                bareness: layout.bareness,
                watched: if self.notifier.is_some() { Watched::Notify } else { Watched::Poll },
                health: Health::Discovering,
                last_observed_us: 0,
            };
            let new = entry.to_new(identity);
            self.directory.put(entry);
            followed.by_path.insert(Arc::clone(&git_dir), key);
            followed.by_identity.insert(identity, key);
            let repository = Repository::new(key, layout);
            {
                let mut state = repository.lock();
                state.create = Some(Box::new(new));
                state.baseline = *self.baseline.read().unwrap_or_else(PoisonError::into_inner);
            }
            followed.by_key.insert(key, Arc::new(repository));
            key
        };
        if let Some(notifier) = &self.notifier {
            notifier.register(git_dir, key);
        }
        self.board.post(key, Wake::Whole(why));
    }

    /// A repository is at its path again, where another had come for a while.
    fn come_back(&self, repository: &Arc<Repository>, state: &mut State) {
        let git_dir = Arc::clone(&state.layout.git_dir);
        let other = {
            let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
            followed.by_path.insert(Arc::clone(&git_dir), repository.key)
        };
        if let Some(notifier) = &self.notifier {
            notifier.register(git_dir, repository.key);
        }
        state.waits_no_longer(|waits| waits.gone = None);
        for key in other.into_iter().chain([repository.key]) {
            self.board.post(key, Wake::Structure);
        }
    }

    /// A repository was renamed: the same one at another path.
    fn move_to(
        self: &Arc<Self>,
        root: &Root,
        repository: &Arc<Repository>,
        state: &mut State,
        git_dir: &Path,
    ) {
        let before = Arc::clone(&state.layout.git_dir);
        let relative = git_dir.strip_prefix(&*root.path).unwrap_or(Path::new("."));
        let path = relative.as_os_str().as_bytes().to_vec();
        let git_dir: Arc<Path> = git_dir.into();
        {
            let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
            if followed.by_path.get(&before) == Some(&repository.key) {
                followed.by_path.remove(&before);
            }
            followed.by_path.insert(Arc::clone(&git_dir), repository.key);
        }
        if let Some(notifier) = &self.notifier {
            notifier.unregister(&before, repository.key);
            notifier.register(Arc::clone(&git_dir), repository.key);
        }
        self.objects.forget(repository.key);
        self.problems.resolve(&before);
        self.problems.resolve(&git_dir);
        let known = || self.directory.get(repository.key).map(|known| known.path.clone());
        let previous = self.place_of(&before).map(|(_, path)| path).or_else(known);
        let layout = Layout { git_dir, ..state.layout.clone() };
        repository.lay_out(state, layout);
        state.waits_no_longer(|waits| waits.gone = None);
        if let Some(new) = &mut state.create {
            // The log does not know it yet: it will learn of the new path only.
            new.root = root.path.as_os_str().as_bytes().to_vec();
            new.path.clone_from(&path);
            self.directory.update(repository.key, |entry| {
                entry.root = Arc::clone(&root.path);
                entry.path = path.into();
            });
        } else {
            let unwritten = move_of(root, path, previous);
            if let Some(before) = lock(&self.failing).get_mut(&repository.key) {
                // Behind what else could not be written of it.
                before.push(unwritten);
            } else {
                let job = Job::of_unwritten(state, unwritten);
                self.hand_on(repository, state, job);
            }
        }
        self.board.post(repository.key, Wake::Whole(Whole::Notified));
        if before.symlink_metadata().is_ok() {
            // Notifications of what is there now were taken for this one's.
            self.board.post_root(before.as_os_str().as_bytes());
        }
    }

    /// The move of a repository from where the log knows it to be, if it is elsewhere.
    pub(crate) fn moved(&self, key: RepositoryKey, state: &State) -> Option<Unwritten> {
        let (root, path) = self.place_of(state.git_dir())?;
        let known = self.directory.get(key)?;
        let is_elsewhere = (&known.root, &known.path) != (&root.path, &path);
        is_elsewhere.then(|| move_of(root, path.into_vec(), Some(known.path.clone())))
    }

    /// A repository whose device has another number now, or whose birth time is known now, or no longer.
    fn renumber(&self, repository: &Repository, state: &mut State, identity: FsIdentity) {
        let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
        if followed.by_identity.get(&identity).is_some_and(|key| followed.by_key.contains_key(key)) {
            return;
        }
        if followed.by_identity.get(&state.layout.identity) == Some(&repository.key) {
            followed.by_identity.remove(&state.layout.identity);
        }
        followed.by_identity.insert(identity, repository.key);
        state.layout.identity = identity;
        state.is_renumbered = true;
        self.objects.forget(repository.key);
    }

    /// True for a path in the working tree of a repository: what is there is not looked at.
    fn is_in_working_tree(&self, root: &Root, path: &Path) -> bool {
        let followed = self.followed.read().unwrap_or_else(PoisonError::into_inner);
        path.ancestors()
            .skip(1)
            .take_while(|above| above.starts_with(&*root.path))
            .any(|above| followed.by_path.contains_key(&*above.join(".git")) && path != above.join(".git"))
    }

    /// Says whether a repository is still at its path, where `probed` was found. Where it is not, what follows from
    /// that is under way.
    pub(crate) fn is_gone(
        self: &Arc<Self>,
        repository: &Arc<Repository>,
        state: &mut State,
        probed: &Result<Layout, ProbeError>,
    ) -> bool {
        let there = layout::identity(state.git_dir());
        if let Ok(there) = there
            && there != state.layout.identity
            && there.resembles(&state.layout.identity)
        {
            self.renumber(repository, state, there);
        }
        let is_same = there.as_ref().is_ok_and(|there| *there == state.layout.identity);
        let is_one = !matches!(probed, Err(ProbeError::NotARepository { .. }));
        if is_same && is_one {
            state.waits_no_longer(|waits| waits.gone = None);
            return false;
        }
        if is_same && state.probe().is_ok() {
            // Another one was there for a moment.
            state.waits_no_longer(|waits| waits.gone = None);
            self.board.put_back_whole(repository.key, Whole::Notified, Duration::ZERO);
            return true;
        }
        let git_dir = state.git_dir().to_owned();
        let root = self.roots.iter().find(|root| git_dir.starts_with(&*root.path));
        if !root.is_some_and(Root::is_there) {
            self.is_away(repository, state, "its root is not there; what is known is kept");
            return true;
        }
        if there.is_err_and(|error| !is_absence(&error)) {
            // It cannot be told: the look that follows fails, and is repeated.
            return false;
        }
        if is_elsewhere(&git_dir, state.layout.identity) {
            self.is_away(
                repository,
                state,
                "the filesystem that it was on is not there; what is known is kept",
            );
            return true;
        }
        let now = Instant::now();
        let missed = *state.waits().gone.get_or_insert(now);
        let since = now.duration_since(missed);
        let may_be_met = self.board.looks_at_roots() || self.awaits_walk(missed);
        if since >= DOUBT && !self.walked.load(Ordering::Acquire) {
            // Only the first walk tells where it went while nobody watched. It is looked at once more when that is over.
            return true;
        }
        if since < DOUBT || (since < DOUBT_MAX && may_be_met) {
            // It may be on its way to another path, where it will be met.
            self.board.put_back_whole(repository.key, Whole::Notified, DOUBT);
            return true;
        }
        if git_dir.is_dir() {
            self.replace(repository, state);
        } else {
            self.retire(repository, state);
        }
        true
    }

    /// A repository cannot be looked at, and is not believed gone: it is looked for again later.
    fn is_away(&self, repository: &Repository, state: &mut State, message: &str) {
        self.look_later(repository, state, Health::Unreadable(message.to_owned()));
    }

    /// A repository is gone, and another one is in its place, which is met next.
    pub(crate) fn replace(self: &Arc<Self>, repository: &Arc<Repository>, state: &mut State) {
        self.retire(repository, state);
        self.board.post_root(state.git_dir().as_os_str().as_bytes());
        tracing::debug!(path = %state.git_dir().display(), "replaced by another");
    }

    /// A repository is gone.
    fn retire(self: &Arc<Self>, repository: &Arc<Repository>, state: &mut State) {
        {
            let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
            followed.by_key.remove(&repository.key);
            if followed.by_path.get(state.git_dir()) == Some(&repository.key) {
                followed.by_path.remove(state.git_dir());
            }
            if followed.by_identity.get(&state.layout.identity) == Some(&repository.key) {
                followed.by_identity.remove(&state.layout.identity);
            }
        }
        if let Some(notifier) = &self.notifier {
            notifier.unregister(state.git_dir(), repository.key);
        }
        self.board.forget(repository.key);
        self.objects.forget(repository.key);
        self.problems.resolve(state.git_dir());
        self.polled.write().unwrap_or_else(PoisonError::into_inner).remove(&repository.key);
        lock(&self.troubled).remove(&repository.key);
        lock(&self.pushing).remove(&repository.key);
        if state.create.take().is_some() {
            lock(&self.failing).remove(&repository.key);
            self.directory.remove(repository.key);
            return;
        }
        self.directory.update(repository.key, |entry| entry.health = Health::Deleted);
        let events = vec![Event::of_repository(EventType::RepositoryDeleted, Origin::Notify)];
        let unwritten = Unwritten { write: RepositoryWrite::Delete, events };
        if let Some(before) = lock(&self.failing).get_mut(&repository.key) {
            // Behind what else could not be written of it.
            before.push(unwritten);
            lock(&self.unburied).push(Arc::clone(repository));
            return;
        }
        let job = Job::of_unwritten(state, unwritten);
        self.hand_on(repository, state, job);
    }

    /// Drops what is known of deleted repositories that retention has forgotten.
    ///
    /// # Errors
    /// [`ReadError`] where the store cannot be asked; none of them is dropped wrongly.
    pub(crate) fn forget_deleted(&self) -> Result<(), ReadError> {
        let mut deleted = Vec::new();
        self.directory.each(|entry| {
            if entry.health == Health::Deleted {
                deleted.push(entry.key);
            }
        });
        // Those that are on their way to the store are there then, or failed.
        if self.store.flush().is_err() {
            return Ok(());
        }
        let reader = self.store.read()?;
        for key in deleted {
            if reader.repository(key)?.is_none() && !lock(&self.failing).contains_key(&key) {
                self.directory.remove(key);
            }
        }
        Ok(())
    }

    /// The innermost root that a path is below, and the path relative to it.
    fn place_of(&self, git_dir: &Path) -> Option<(&Root, Box<[u8]>)> {
        let roots = self.roots.iter().filter(|root| git_dir.starts_with(&*root.path));
        let root = roots.max_by_key(|root| root.path.as_os_str().len())?;
        let relative = git_dir.strip_prefix(&*root.path).ok()?.as_os_str().as_bytes();
        Some((root, if relative.is_empty() { b"."[..].into() } else { relative.into() }))
    }

    /// What makes a repository known to the log, where it is now.
    pub(crate) fn creation_of(&self, key: RepositoryKey, state: &State) -> Option<NewRepository> {
        let (root, path) = self.place_of(state.git_dir())?;
        let entry = self.directory.get(key)?;
        let root = root.path.as_os_str().as_bytes().to_vec();
        Some(NewRepository { root, path: path.into(), ..entry.to_new(state.layout.identity) })
    }
}

/// What is left of an identity on a device that may have another number now.
const fn anywhere(identity: FsIdentity) -> FsIdentity {
    FsIdentity { dev: 0, ..identity }
}

fn git_dir_of(row: &RepositoryRow) -> PathBuf {
    let root = PathBuf::from(std::ffi::OsString::from_vec(row.root.clone()));
    if row.path == b"." { root } else { root.join(std::ffi::OsStr::from_bytes(&row.path)) }
}

fn move_of(root: &Root, path: Vec<u8>, previous: Option<Box<[u8]>>) -> Unwritten {
    let mut event = Event::of_repository(EventType::RepositoryMoved, Origin::Notify);
    event.extra = Some(Box::new(Extra { previous, ..Extra::default() }));
    let write = RepositoryWrite::Move { root: root.path.as_os_str().as_bytes().to_vec(), path };
    Unwritten { write, events: vec![event] }
}

/// True for an error that says that there is nothing, and not that it cannot be told.
fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// True when what is left of the path of a repository is on another filesystem than the repository was: a mount went
/// away, or has not come yet.
fn is_elsewhere(git_dir: &Path, identity: FsIdentity) -> bool {
    let nearest = git_dir.ancestors().skip(1).find_map(|above| layout::identity(above).ok());
    nearest.is_some_and(|nearest| nearest.dev != identity.dev)
}
