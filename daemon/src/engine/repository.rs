//! What the engine holds of one repository.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use refwatch_core::classify::Bareness;
use refwatch_core::{Event, ObjectId, RefName, RefState};
use refwatch_store::{NewRepository, RepositoryKey, RepositoryWrite};
use refwatch_watcher::layout::{self, Layout, ProbeError};
use refwatch_watcher::scan::{Lock, Parts, Stack};

use super::{DOUBT, DOUBT_MAX, Job, RETRY_FIRST, RETRY_LAST};
use crate::pass::Hooks;

/// Values that the store holds already and that are kept in memory all the same.
const OVERLAY_KEPT_MAX: usize = 4;

/// How long looks that meet two transactions at once are repeated.
const MIXED_MAX: Duration = Duration::from_millis(500);

/// One repository that is followed.
///
/// Its lock is held over a pass, so passes of one repository come one after the other.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) key: RepositoryKey,
    state: Mutex<State>,
    /// Values that are on their way to the store, or just got there: never older than what it holds. Apart from the state, because
    /// the store's writer takes them out and must never wait for a pass.
    overlay: Mutex<HashMap<RefName, Overlaid>>,
    /// A commit failed: what is known is what the store holds.
    pub(crate) failed: AtomicBool,
    /// The store knows this repository.
    pub(crate) created: AtomicBool,
    bare: AtomicBool,
    mirror: AtomicBool,
}

/// What changes of a repository.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) layout: Layout,
    /// Set until the commit that creates it is under way.
    pub(crate) create: Option<Box<NewRepository>>,
    /// What it finds first is known, not new.
    pub(crate) baseline: bool,
    /// Its configuration was read once since the start.
    pub(crate) probed: bool,
    /// Its refs were read once since the start.
    pub(crate) looked: bool,
    /// What the files looked like when all refs were last read and nothing has been written since.
    pub(crate) signature: Option<u64>,
    /// What is kept of a long `packed-refs` that is read and concluded from.
    pub(crate) parts: Option<Parts>,
    /// The tables that are read and concluded from, where refs are in tables; none where everything is to be read.
    pub(crate) stacks: Vec<Stack>,
    /// Notifications are not to be had for all of it.
    pub(crate) polled: bool,
    /// Grows when what was concluded is void because a commit failed.
    pub(crate) generation: u32,
    /// Numbers jobs.
    pub(crate) tickets: u64,
    /// Work that waits for an ancestry question of its elder to be answered, oldest first.
    pub(crate) held: VecDeque<Job>,
    /// An ancestry question is being answered.
    pub(crate) holding: bool,
    /// Apart, because hardly any repository has any.
    waits: Option<Box<Waits>>,
    /// What hooks record; `None` where none are installed.
    pub(crate) hooks: Option<Box<Hooks>>,
    pub(crate) trouble: Option<Trouble>,
    /// The log knows it by another identity.
    pub(crate) is_renumbered: bool,
}

/// Since when looks have seen what is believed, or given up, when it lasts.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Waits {
    /// Refs that seem deleted or broken.
    pub(crate) doubted: HashMap<RefName, Instant>,
    /// A whole look has seen deletions that nothing announced.
    pub(crate) doubted_whole: Option<Instant>,
    /// `packed-refs` went away without its lock, which nobody does to a repository that stays.
    pub(crate) is_unpacked: bool,
    /// A look at everything, or at directories that came, has been put off for the sake of locks.
    pub(crate) settling: Option<Instant>,
    /// Locks that are there, and since when looks at everything have met them: so many of them as the board knows at most.
    pub(crate) locks: BTreeMap<Lock, Instant>,
    /// Refs in directories that came have been followed by others.
    pub(crate) followed: Option<Instant>,
    /// Directories of refs that came and have been looked at once.
    pub(crate) came: BTreeSet<Box<[u8]>>,
    /// Looks have met two transactions at once.
    pub(crate) mixed: Option<Instant>,
    /// The repository has not been at its path.
    pub(crate) gone: Option<Instant>,
}

/// A value that the store does not hold yet.
#[derive(Clone, Debug)]
pub(crate) struct Overlaid {
    /// Tells which commit brings it.
    pub(crate) ticket: u64,
    pub(crate) state: Option<RefState>,
    pub(crate) peeled: Option<ObjectId>,
}

/// What a commit that failed would have told of a repository itself: unlike its refs, no later look finds it again.
#[derive(Clone, Debug)]
pub(crate) struct Unwritten {
    pub(crate) write: RepositoryWrite,
    pub(crate) events: Vec<Event>,
}

/// Why a repository could not be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    attempts: u32,
}

impl Trouble {
    /// Notes one more failure, and says how long to wait before the next try.
    pub(crate) fn again(trouble: &mut Option<Self>) -> Duration {
        let attempts = trouble.as_ref().map_or(0, |trouble| trouble.attempts);
        *trouble = Some(Self { attempts: attempts.saturating_add(1) });
        RETRY_FIRST.saturating_mul(1 << attempts.min(16)).min(RETRY_LAST)
    }
}

impl Repository {
    pub(crate) fn new(key: RepositoryKey, layout: Layout) -> Self {
        let state = State {
            layout,
            create: None,
            baseline: false,
            probed: false,
            looked: false,
            signature: None,
            parts: None,
            stacks: Vec::new(),
            polled: false,
            generation: 0,
            tickets: 0,
            held: VecDeque::new(),
            holding: false,
            waits: None,
            hooks: None,
            trouble: None,
            is_renumbered: false,
        };
        Self {
            key,
            bare: AtomicBool::new(state.layout.bareness == Bareness::Bare),
            mirror: AtomicBool::new(state.layout.mirror),
            state: Mutex::new(state),
            overlay: Mutex::default(),
            failed: AtomicBool::new(false),
            created: AtomicBool::new(false),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bareness(&self) -> Bareness {
        if self.bare.load(Ordering::Relaxed) { Bareness::Bare } else { Bareness::Worktree }
    }

    pub(crate) fn is_mirror(&self) -> bool {
        self.mirror.load(Ordering::Relaxed)
    }

    /// Takes a new layout over.
    pub(crate) fn lay_out(&self, state: &mut State, mut layout: Layout) {
        if layout.git_dir == state.layout.git_dir {
            // The path is kept once, for all who know it.
            layout.git_dir = Arc::clone(&state.layout.git_dir);
        }
        self.bare.store(layout.bareness == Bareness::Bare, Ordering::Relaxed);
        self.mirror.store(layout.mirror, Ordering::Relaxed);
        state.layout = layout;
    }

    /// Lays a job's values over what the store holds, until its commit is done.
    pub(crate) fn overlay(&self, job: &Job) {
        let mut overlay = self.overlays();
        for seen in &job.seen {
            let overlaid =
                Overlaid { ticket: job.ticket, state: seen.look.after.clone(), peeled: seen.after_peeled };
            overlay.insert(seen.look.name.clone(), overlaid);
        }
    }

    /// Takes values out that the store holds now; a few stay, so that a busy ref is not looked up for every change.
    pub(crate) fn written(&self, names: &[RefName], ticket: u64) {
        let kept_max = if names.len() > OVERLAY_KEPT_MAX { 0 } else { OVERLAY_KEPT_MAX };
        self.take_out(names, ticket, kept_max);
    }

    /// Notes that the store knows the repository, and takes out what was found in it: nothing says that it is busy.
    pub(crate) fn created(&self, names: &[RefName], ticket: u64) {
        self.created.store(true, Ordering::Release);
        self.take_out(names, ticket, 0);
    }

    fn take_out(&self, names: &[RefName], ticket: u64, kept_max: usize) {
        let mut overlay = self.overlays();
        for name in names {
            if overlay.len() > kept_max && overlay.get(name).is_some_and(|overlaid| overlaid.ticket == ticket)
            {
                overlay.remove(name);
            }
        }
        if overlay.is_empty() {
            overlay.shrink_to_fit();
        }
    }

    /// The values that are on their way to the store, by name.
    pub(crate) fn overlays(&self) -> MutexGuard<'_, HashMap<RefName, Overlaid>> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(crate) fn git_dir(&self) -> &Path {
        &self.layout.git_dir
    }

    /// Where a ref's own file is, if it has one.
    pub(crate) fn path_of(&self, name: &RefName) -> PathBuf {
        self.layout.git_dir.join(OsStr::from_bytes(name.as_bytes()))
    }

    /// Looks what it is now.
    ///
    /// # Errors
    /// [`ProbeError`], also where another one is at its path, and where it is another kind only because its `config` is
    /// missing: that goes with the rest when a repository is removed file by file.
    pub(crate) fn probe(&self) -> Result<Layout, ProbeError> {
        let layout = layout::probe(self.git_dir())?;
        if layout.identity != self.layout.identity {
            return Err(ProbeError::NotARepository { path: layout.git_dir.to_path_buf() });
        }
        let is_another = (layout.format, layout.storage) != (self.layout.format, self.layout.storage);
        if is_another && !layout.git_dir.join("config").exists() {
            return Err(ProbeError::InFlux { path: layout.git_dir.to_path_buf(), missing: "config" });
        }
        Ok(layout)
    }

    /// True where what was told is of another object format. Ids of one do not become ids of the other: what is there now
    /// is another repository. A configuration that is written after the rest is read as such, too.
    pub(crate) fn is_another(&self, layout: &Layout) -> bool {
        self.create.is_none() && layout.format != self.layout.format
    }

    /// True while the directory at its path is the one it was found as.
    pub(crate) fn is_itself(&self) -> bool {
        layout::identity(self.git_dir()).is_ok_and(|there| there == self.layout.identity)
    }

    /// True while the directory at its path is another one.
    pub(crate) fn is_displaced(&self) -> bool {
        layout::identity(self.git_dir()).is_ok_and(|there| there != self.layout.identity)
    }

    /// True where two transactions that were met at once are worth another look: for a short time, since some writers
    /// never pause.
    pub(crate) fn may_be_mixed(&mut self) -> bool {
        self.waits().mixed.get_or_insert_with(Instant::now).elapsed() < MIXED_MAX
    }

    /// True when what makes the repository one has changed within `lately`: perhaps it is being removed file by file.
    pub(crate) fn is_being_removed(&self, lately: Duration) -> bool {
        let changed = |name: &str| self.git_dir().join(name).metadata().and_then(|meta| meta.modified());
        let young = |at: std::time::SystemTime| at.elapsed().is_ok_and(|age| age < lately);
        // A directory that is gone counts as well, but for the one that a repository need not have.
        ["", "objects", "refs"].into_iter().any(|name| changed(name).map_or(true, young))
            || changed("objects/pack").is_ok_and(young)
    }

    /// Doubts what was seen of a ref. True when it has been doubted long enough to be believed.
    pub(crate) fn has_doubted(&mut self, name: &RefName) -> bool {
        match self.waits().doubted.get(name).map(Instant::elapsed) {
            Some(doubted) if doubted >= DOUBT && (doubted >= DOUBT_MAX || !self.is_being_removed(DOUBT)) => {
                self.doubts_no_longer(name);
                true
            }
            Some(_) => false,
            None => {
                self.waits().doubted.insert(name.clone(), Instant::now());
                false
            }
        }
    }

    /// Forgets a doubt.
    pub(crate) fn doubts_no_longer(&mut self, name: &RefName) {
        self.waits_no_longer(|waits| {
            waits.doubted.remove(name);
        });
    }

    /// Forgets that a look was put off for locks, or for what followed.
    pub(crate) fn has_settled(&mut self) {
        self.waits_no_longer(|waits| {
            waits.settling = None;
            waits.followed = None;
            waits.came.clear();
        });
    }

    /// True while it is not at its path.
    pub(crate) fn is_missed(&self) -> bool {
        self.waits.as_ref().is_some_and(|waits| waits.gone.is_some())
    }

    /// What is waited for.
    pub(crate) fn waits(&mut self) -> &mut Waits {
        self.waits.get_or_insert_default()
    }

    /// Takes out what is not waited for any longer.
    pub(crate) fn waits_no_longer(&mut self, take_out: impl FnOnce(&mut Waits)) {
        if let Some(waits) = &mut self.waits {
            take_out(waits);
            if **waits == Waits::default() {
                self.waits = None;
            }
        }
    }
}
