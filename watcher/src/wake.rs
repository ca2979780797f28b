//! The closed set of reasons to look, and the board on which they wait.
//!
//! The notification thread posts, workers take. Posting never blocks on I/O and never grows without bound: wakes of
//! one repository are merged, and past a limit "these refs" becomes "everything". A repository whose transaction is
//! still under way (lock files of it have been seen and not yet gone) is not handed out until the locks are gone or
//! the settling time is over, so that refs which change together are looked at together.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Names that one repository may have pending; one more, and the whole repository is looked at.
pub const PENDING_NAMES_MAX: usize = 1 << 17;
/// Lock files that are followed in one repository; those beyond it are not waited for.
pub const LOCKS_MAX: usize = 1 << 18;
/// How long refs are held back for each other while one of them changes again and again and others are locked.
const RAISE_MAX: Duration = Duration::from_millis(50);
/// Repositories that an empty board keeps room for.
const ROOM_KEPT_MAX: usize = 256;

/// Identifies a repository to the board.
pub type RepositoryKey = i64;

/// Why a whole repository is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whole {
    /// A notification said something changed, but not which ref.
    Notified,
    /// The notification queue overflowed.
    Overflow,
    /// An earlier pass could not be finished.
    Retry,
    /// The repository is polled.
    Poll,
    /// The periodic look.
    Sweep,
    /// The first look after the start.
    Startup,
}

impl Whole {
    /// The label of this reason in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Whole::Notified => "notified",
            Whole::Overflow => "overflow",
            Whole::Retry => "retry",
            Whole::Poll => "poll",
            Whole::Sweep => "sweep",
            Whole::Startup => "startup",
        }
    }
}

/// What is to be looked at in one repository.
#[derive(Debug, Default)]
pub struct Pending {
    /// Ref files that changed, by path relative to the git directory.
    pub names: BTreeMap<Box<[u8]>, Named>,
    /// Directories that appeared or went away, relative to the git directory; true for those that appeared, whatever
    /// became of them since.
    pub directories: BTreeMap<Box<[u8]>, bool>,
    /// `packed-refs` was replaced, or went away.
    pub packed: bool,
    /// Its lock had been taken: somebody does so by the rules.
    pub packed_locked: bool,
    /// Tables came into a stack of them, or were compacted.
    pub tables: bool,
    /// `config` was replaced.
    pub config: bool,
    /// The git directory, `HEAD`, `refs` or `objects` appeared or went away.
    pub structure: bool,
    /// Hooks recorded something, or what was to be recorded by now has not been.
    pub journal: bool,
    /// Everything is to be read.
    pub whole: Option<Whole>,
    /// The settling time ran out before the locks were gone.
    pub unsettled: bool,
    /// When the first of these was posted.
    pub since: Option<Instant>,
    /// [`Board::losses`] when it was taken.
    pub losses: u64,
}

/// What is known of the changes of one ref file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Notifications since the last look: more than one, and values may have come and gone unseen.
    pub count: u32,
    /// Its lock was held when it changed last. Whoever deletes a ref by the rules holds it; who removes the whole
    /// repository does not.
    pub locked: bool,
}

impl Pending {
    /// True when there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
            && self.directories.is_empty()
            && !(self.packed || self.tables || self.config || self.structure || self.journal)
            && self.whole.is_none()
    }

    /// True for what lies below a directory that appeared: until that was watched, nobody saw what happened there.
    pub fn came_above(&self, path: &[u8]) -> bool {
        came_above(path, &self.directories, |above| self.names.contains_key(above))
    }
}

/// One reason to look at one repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake<'a> {
    /// A ref file was put in place, by renaming its lock where one is used; the path is relative to the git directory.
    Placed(&'a [u8]),
    /// A ref file was written in place, or removed.
    Touched(&'a [u8]),
    /// The lock file of this path (without `.lock`) appeared.
    Locked(&'a [u8]),
    /// The lock file of this path (without `.lock`) was removed.
    Unlocked(&'a [u8]),
    /// A directory appeared; the path is relative to the git directory.
    DirectoryCame(&'a [u8]),
    /// A directory went away.
    DirectoryWent(&'a [u8]),
    /// `packed-refs` was replaced or removed.
    Packed,
    /// The lock of `packed-refs` appeared.
    PackedLocked,
    /// The lock of `packed-refs` was removed.
    PackedUnlocked,
    /// The list of a stack of tables was replaced.
    Tables,
    /// `config` was replaced.
    Config,
    /// The git directory or what makes it one appeared or went away.
    Structure,
    /// Hooks recorded something: their transactions are over, so that no lock is waited for.
    Journal,
    /// Everything is to be read.
    Whole(Whole),
}

/// What a worker is given.
#[derive(Debug)]
pub enum Work {
    /// Look at one repository. [`Board::done`] must follow.
    Repository(RepositoryKey, Pending),
    /// Look below these directories of the roots for repositories that came or went.
    Roots(HashSet<Box<[u8]>>),
    /// The notification queue overflowed: look at everything.
    Overflow,
    /// The board was closed.
    Closed,
}

/// A ref file that is pending, with the locks it waits for.
#[derive(Clone, Copy, Debug)]
struct PendingName {
    named: Named,
    /// Waits for the locks that were there when it changed: those numbered up to this. Git and gitoxide take all
    /// locks of a transaction before the first ref changes, so its siblings are among them, and a later
    /// transaction's are not.
    barrier: u64,
}

#[derive(Debug, Default)]
struct Slot {
    names: BTreeMap<Box<[u8]>, PendingName>,
    /// No pending name waits for fewer locks than this.
    barrier_min: u64,
    /// Every pending name waits for the locks numbered up to this, besides its own: one of them was put in place again
    /// by a later transaction, and its siblings are told with it or not at all.
    barrier_raised: u64,
    /// Since when names that are put in place again have been held back without a moment in which all were settled.
    raised_since: Option<Instant>,
    /// What is pending besides names; they wait for the locks numbered up to `rest_barrier`.
    rest: Pending,
    rest_barrier: u64,
    /// Hooks recorded something.
    journal: bool,
    /// When the journal is to be looked at though nothing is recorded.
    alarm: Option<Instant>,
    /// Since when something that was seen, or was recorded, waits for records.
    awaited_since: Option<Instant>,
    /// What that will be when the look that is going on is over: until then its outcome is waited for as well.
    awaited_next: Option<Option<Instant>>,
    locks: Locks,
    state: State,
    /// When the oldest of what is pending was posted.
    since: Option<Instant>,
    /// Not to be handed out before this.
    not_before: Option<Instant>,
    /// The settling time is over: hand out everything.
    unsettled: bool,
    /// Ticket of the oldest post that is pending, and of the oldest that a worker has.
    pending_ticket: Option<u64>,
    running_ticket: Option<u64>,
}

/// The lock files of one repository, by hash of their path.
#[derive(Debug, Default)]
struct Locks {
    next: u64,
    numbers: HashMap<u64, u64>,
    live: BTreeSet<u64>,
    /// Those that outlived a settling time: not waited for again.
    stale: HashSet<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Settling,
    Queued,
    Running,
}

#[derive(Debug, Default)]
struct Inner {
    /// Boxed: a look at everything makes room for every repository.
    slots: HashMap<RepositoryKey, Box<Slot>>,
    queue: VecDeque<RepositoryKey>,
    /// Repositories that wait for their locks or their time.
    settling: HashSet<RepositoryKey>,
    roots: HashSet<Box<[u8]>>,
    overflow: bool,
    /// How often notifications were lost.
    losses: u64,
    /// Not every repository has been told of the last loss yet.
    is_lossy: bool,
    /// A worker looks at roots or handles an overflow.
    roots_running: bool,
    roots_ticket: Option<u64>,
    roots_running_ticket: Option<u64>,
    tickets: u64,
    closed: bool,
    roots_generation: u64,
}

/// Where wakes wait for workers.
#[derive(Debug)]
pub struct Board {
    inner: Mutex<Inner>,
    work: Condvar,
    idle: Condvar,
    settle: Duration,
    hasher: RandomState,
}

impl Board {
    /// Makes an empty board. `settle` bounds how long a transaction's locks are waited for.
    pub fn new(settle: Duration) -> Self {
        Self {
            inner: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            settle,
            hasher: RandomState::new(),
        }
    }

    /// Posts one reason to look at one repository.
    pub fn post(&self, key: RepositoryKey, wake: Wake<'_>) {
        let mut inner = self.lock();
        let slot = inner.slots.entry(key).or_default();
        match wake {
            Wake::Placed(path) => {
                // Together, or a look could fall between the two: after the last lock, before the last ref.
                slot.locks.remove(self.hasher.hash_one(path));
                slot.add_name(path, Named { count: 1, locked: false });
            }
            Wake::Touched(path) => {
                let locked = slot.locks.numbers.contains_key(&self.hasher.hash_one(path));
                slot.add_name(path, Named { count: 1, locked });
            }
            Wake::Locked(path) => {
                slot.locks.add(self.hasher.hash_one(path));
                return;
            }
            Wake::Unlocked(path) => slot.locks.remove(self.hasher.hash_one(path)),
            Wake::DirectoryCame(path) => slot.add_directory(path.into(), true),
            Wake::DirectoryWent(path) => slot.add_directory(path.into(), false),
            Wake::Packed => slot.rest.packed = true,
            Wake::PackedLocked => {
                slot.rest.packed_locked = true;
                return;
            }
            Wake::PackedUnlocked => slot.rest.packed_locked &= slot.rest.packed,
            Wake::Tables => slot.rest.tables = true,
            Wake::Config => slot.rest.config = true,
            Wake::Structure => slot.rest.structure = true,
            Wake::Journal => slot.journal = true,
            Wake::Whole(why) => slot.add_whole(why),
        }
        let is_end_of_lock = matches!(wake, Wake::Unlocked(_) | Wake::PackedUnlocked);
        if !is_end_of_lock && !matches!(wake, Wake::Placed(_) | Wake::Touched(_) | Wake::Journal) {
            slot.rest_barrier = slot.locks.next;
        }
        if !is_end_of_lock {
            inner.give_ticket(key);
        }
        self.schedule(&mut inner, key);
    }

    /// Tells of a lock file (its path without `.lock`) that was there when its directory was read, and may have been before
    /// what is pending changed: all of that waits for it, too. Says whether it is waited for: not where it has been for
    /// long enough, or where there are [`LOCKS_MAX`].
    pub fn find_lock(&self, key: RepositoryKey, path: &[u8]) -> bool {
        let mut inner = self.lock();
        inner.slots.entry(key).or_default().find_lock(self.hasher.hash_one(path))
    }

    /// Posts a whole look that is not to begin before `delay` is over: another try at what failed. [`Board::quiesce`]
    /// does not wait for it.
    pub fn post_later(&self, key: RepositoryKey, why: Whole, delay: Duration) {
        let mut inner = self.lock();
        let slot = inner.slots.entry(key).or_default();
        slot.add_whole(why);
        slot.not_before = Some(Instant::now() + delay);
        self.schedule(&mut inner, key);
    }

    /// Posts a whole look that is to begin at once, also where one was put off.
    pub fn post_now(&self, key: RepositoryKey, why: Whole) {
        self.lock().slots.entry(key).or_default().not_before = None;
        self.post(key, Wake::Whole(why));
    }

    /// Puts names back, to be looked at again by whoever holds the repository, not before `delay` is over. To
    /// [`Board::quiesce`] this is part of the same look.
    pub fn put_back(&self, key: RepositoryKey, names: Vec<(Box<[u8]>, Named)>, delay: Duration) {
        self.continue_later(key, delay, |slot| {
            for (name, named) in names {
                slot.add_name(&name, named);
            }
        });
    }

    /// Like [`Board::put_back`] with no delay, for names and directories: they wait for the locks that are known now.
    pub fn put_back_until_settled(
        &self,
        key: RepositoryKey,
        names: BTreeMap<Box<[u8]>, Named>,
        directories: BTreeMap<Box<[u8]>, bool>,
    ) {
        self.continue_later(key, Duration::ZERO, |slot| {
            for (name, mut named) in names {
                if let Some(later) = slot.names.get(&name) {
                    named.locked = later.named.locked;
                }
                slot.add_name(&name, named);
            }
            for (path, came) in directories {
                slot.add_directory(path, came);
            }
            slot.rest_barrier = slot.locks.next;
        });
    }

    /// Like [`Board::put_back`], for the whole repository.
    pub fn put_back_whole(&self, key: RepositoryKey, why: Whole, delay: Duration) {
        self.continue_later(key, delay, |slot| slot.add_whole(why));
    }

    /// Says since when what was seen of a repository, or recorded, waits for records, and asks for a look at the journal
    /// at some time, by whoever holds the repository. Anything else that is posted does not wait for it. The earliest
    /// time asked for counts. `None` says that nothing waits.
    pub fn await_records(&self, key: RepositoryKey, awaited: Option<(Instant, Instant)>) {
        let mut inner = self.lock();
        let slot = match awaited {
            Some(_) => inner.slots.entry(key).or_default(),
            None => match inner.slots.get_mut(&key) {
                Some(slot) => slot,
                None => return,
            },
        };
        slot.awaited_next = Some(awaited.map(|(since, _)| since));
        slot.alarm = awaited.map(|(_, at)| slot.alarm.map_or(at, |alarm| alarm.min(at)));
        self.schedule(&mut inner, key);
    }

    /// Asks for another look at the journal at once, by whoever holds the repository. To [`Board::quiesce`] this is part
    /// of the same look.
    pub fn put_back_journal(&self, key: RepositoryKey) {
        self.continue_later(key, Duration::ZERO, |slot| slot.journal = true);
    }

    fn continue_later(&self, key: RepositoryKey, delay: Duration, add: impl FnOnce(&mut Slot)) {
        let mut inner = self.lock();
        let slot = inner.slots.entry(key).or_default();
        add(slot);
        slot.not_before = Some(Instant::now() + delay);
        slot.pending_ticket = slot.running_ticket.into_iter().chain(slot.pending_ticket).min();
        self.schedule(&mut inner, key);
    }

    /// Posts a path of a root at which something came or went.
    pub fn post_root(&self, path: &[u8]) {
        let mut inner = self.lock();
        if inner.roots.len() < PENDING_NAMES_MAX {
            inner.roots.insert(path.into());
        } else {
            inner.overflow = true;
        }
        inner.note_roots();
        self.work.notify_one();
    }

    /// Says that notifications were lost: which locks are there is no longer known, and everything is to be read.
    pub fn post_overflow(&self) {
        let mut inner = self.lock();
        inner.overflow = true;
        inner.losses += 1;
        inner.is_lossy = true;
        inner.note_roots();
        for slot in inner.slots.values_mut() {
            slot.locks = Locks { next: slot.locks.next, ..Locks::default() };
            slot.rest.packed_locked = false;
        }
        self.work.notify_one();
    }

    /// How often notifications were lost so far. What was lost since a look began may have been of what it looks at.
    pub fn losses(&self) -> u64 {
        self.lock().losses
    }

    /// Takes back the wakes of one ref that came after its worker had read it. Also says whether locks are left that were
    /// there when the last of them came: its siblings may not have changed yet.
    pub fn recall(&self, key: RepositoryKey, path: &[u8]) -> Option<(Named, bool)> {
        let mut inner = self.lock();
        let slot = inner.slots.get_mut(&key)?;
        let name = slot.names.remove(path)?;
        if !slot.waits_for_locks() && !slot.journal {
            // The look that took it back is waited for; nothing else is left to be, and nothing has waited for locks.
            slot.pending_ticket = None;
            slot.since = None;
        }
        let barrier = name.barrier.max(slot.barrier_raised);
        Some((name.named, slot.locks.oldest().is_some_and(|oldest| oldest < barrier)))
    }

    /// As [`Pending::came_above`], of what is pending now.
    pub fn came_above(&self, key: RepositoryKey, path: &[u8]) -> bool {
        let inner = self.lock();
        let is_named = |slot: &Slot, above: &[u8]| slot.names.contains_key(above);
        inner
            .slots
            .get(&key)
            .is_some_and(|slot| came_above(path, &slot.rest.directories, |above| is_named(slot, above)))
    }

    /// True when nothing of a repository is pending but its journal, and no lock of it is waited for.
    pub fn is_quiet(&self, key: RepositoryKey) -> bool {
        let inner = self.lock();
        inner.slots.get(&key).is_none_or(|slot| !slot.waits_for_locks() && slot.locks.live.is_empty())
    }

    /// Waits for work.
    pub fn take(&self) -> Work {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return Work::Closed;
            }
            if !inner.roots_running && (inner.overflow || !inner.roots.is_empty()) {
                inner.roots_running = true;
                inner.roots_running_ticket = inner.roots_ticket.take();
                let roots = std::mem::take(&mut inner.roots);
                return if std::mem::take(&mut inner.overflow) { Work::Overflow } else { Work::Roots(roots) };
            }
            let next = inner.release_settled(self.settle);
            if let Some(key) = inner.queue.pop_front() {
                if !inner.queue.is_empty() {
                    self.work.notify_one();
                }
                // Also a look that nobody waited for is waited for once it runs: what it takes over must not be missed.
                inner.give_ticket(key);
                let (losses, is_lossy) = (inner.losses, inner.is_lossy);
                let slot = inner.slots.get_mut(&key).expect("BUG: a queued repository has a slot");
                let mut pending = slot.take();
                pending.losses = losses;
                if is_lossy {
                    // What is named may be less than what happened.
                    pending.whole = pending.whole.max(Some(Whole::Overflow));
                }
                return Work::Repository(key, pending);
            }
            inner = match next {
                Some(at) => {
                    let wait = at.saturating_duration_since(Instant::now());
                    self.work.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Ends the work on a repository that [`Board::take`] handed out.
    pub fn done(&self, key: RepositoryKey) {
        let mut inner = self.lock();
        if let Some(slot) = inner.slots.get_mut(&key) {
            slot.state = State::Idle;
            slot.running_ticket = None;
            if let Some(next) = slot.awaited_next.take() {
                slot.awaited_since = next;
            }
            self.schedule(&mut inner, key);
        }
        drop(inner);
        self.idle.notify_all();
    }

    /// Ends the look that [`Work::Roots`] or [`Work::Overflow`] asked for.
    pub fn roots_done(&self) {
        let mut inner = self.lock();
        inner.roots_running = false;
        inner.roots_running_ticket = None;
        inner.roots_generation += 1;
        inner.is_lossy &= inner.overflow;
        self.work.notify_one();
        drop(inner);
        self.idle.notify_all();
    }

    /// Forgets a repository: what is pending for it is dropped.
    pub fn forget(&self, key: RepositoryKey) {
        let mut inner = self.lock();
        inner.settling.remove(&key);
        if let Some(slot) = inner.slots.get_mut(&key) {
            let (state, running_ticket) = (slot.state, slot.running_ticket);
            **slot = Slot { state, running_ticket, ..Slot::default() };
            if state == State::Settling {
                slot.state = State::Idle;
            }
        }
        drop(inner);
        self.idle.notify_all();
    }

    /// Waits until nothing that was posted before the call is pending or being looked at, or until `deadline`.
    /// Returns whether that was so. Later posts do not prolong the wait.
    pub fn quiesce(&self, deadline: Instant) -> bool {
        let mut inner = self.lock();
        let before = inner.tickets;
        // What was seen by the looks asked for before the call, and waits for its record.
        let mut seen_until = None;
        loop {
            let older = |ticket: Option<u64>| ticket.is_some_and(|ticket| ticket <= before);
            let busy = older(inner.roots_ticket)
                || older(inner.roots_running_ticket)
                || inner.slots.values().any(|slot| older(slot.pending_ticket) || older(slot.running_ticket));
            if !busy {
                let until = *seen_until.get_or_insert_with(Instant::now);
                let waits = |slot: &Slot| slot.awaited_since.is_some_and(|since| since <= until);
                if !inner.slots.values().any(|slot| waits(slot)) {
                    return true;
                }
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() || inner.closed {
                return false;
            }
            inner = self.idle.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Grows with each look at roots that was asked for or ended. What such a look finds is posted anew: a barrier that
    /// saw this grow waits once more.
    pub fn roots_generation(&self) -> u64 {
        self.lock().roots_generation
    }

    /// True while a look at roots is pending or going on.
    pub fn looks_at_roots(&self) -> bool {
        let inner = self.lock();
        inner.roots_running || inner.overflow || !inner.roots.is_empty()
    }

    /// Waits until fewer than `queued_max` repositories wait for a worker, or until the board is closed: for who posts
    /// faster than workers look.
    pub fn wait_for_room(&self, queued_max: usize) {
        let mut inner = self.lock();
        while inner.queue.len() >= queued_max && !inner.closed {
            inner = self.idle.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Number of repositories with something pending.
    pub fn depth(&self) -> usize {
        let inner = self.lock();
        inner.queue.len() + inner.settling.len()
    }

    /// Ends every [`Board::take`] from now on.
    pub fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
        self.idle.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a repository, or lets it settle.
    fn schedule(&self, inner: &mut Inner, key: RepositoryKey) {
        let now = Instant::now();
        let Some(slot) = inner.slots.get_mut(&key) else { return };
        if slot.is_empty() {
            if slot.state == State::Idle && slot.locks.is_empty() && !slot.rest.packed_locked {
                inner.slots.remove(&key);
                inner.give_back_room();
            }
            return;
        }
        if slot.waits_for_locks() || slot.journal {
            slot.since.get_or_insert(now);
        }
        if matches!(slot.state, State::Queued | State::Running) {
            return;
        }
        if slot.is_ready(now, self.settle) {
            slot.state = State::Queued;
            inner.settling.remove(&key);
            inner.queue.push_back(key);
            self.work.notify_one();
        } else if slot.state == State::Idle {
            slot.state = State::Settling;
            inner.settling.insert(key);
            // A worker must wake by itself when the wait is over.
            self.work.notify_one();
        }
    }
}

impl Inner {
    /// Lets [`Board::quiesce`] wait for what is pending of a repository.
    fn give_ticket(&mut self, key: RepositoryKey) {
        if let Some(slot) = self.slots.get_mut(&key)
            && slot.pending_ticket.is_none()
        {
            self.tickets += 1;
            slot.pending_ticket = Some(self.tickets);
        }
    }

    /// A look at everything makes room for every repository; little of it is needed afterwards.
    fn give_back_room(&mut self) {
        if self.slots.is_empty() && self.slots.capacity() > ROOM_KEPT_MAX {
            self.slots = HashMap::new();
            self.queue = VecDeque::new();
        }
    }

    fn note_roots(&mut self) {
        self.roots_generation += 1;
        if self.roots_ticket.is_none() {
            self.tickets += 1;
            self.roots_ticket = Some(self.tickets);
        }
    }

    /// Queues what has settled; returns when the next will have.
    fn release_settled(&mut self, settle: Duration) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let Self { slots, settling, queue, .. } = self;
        settling.retain(|key| {
            let Some(slot) = slots.get_mut(key) else { return false };
            if slot.is_ready(now, settle) {
                slot.state = State::Queued;
                queue.push_back(*key);
                return false;
            }
            let at = slot.ready_at(settle);
            next = Some(next.map_or(at, |next| next.min(at)));
            true
        });
        next
    }
}

/// True where one of the directories above a path appeared. One that was renamed is told like a file.
fn came_above(
    path: &[u8],
    directories: &BTreeMap<Box<[u8]>, bool>,
    is_named: impl Fn(&[u8]) -> bool,
) -> bool {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at]).any(|above| directories.get(above) == Some(&true) || is_named(above))
}

impl Slot {
    fn is_empty(&self) -> bool {
        !self.waits_for_locks() && !self.journal && self.alarm.is_none()
    }

    /// True while something is pending that waits for locks, if there are any.
    fn waits_for_locks(&self) -> bool {
        !self.names.is_empty() || !self.rest.is_empty()
    }

    fn add_name(&mut self, path: &[u8], named: Named) {
        let barrier = self.locks.next;
        let is_settled = self.has_settled();
        if let Some(name) = self.names.get_mut(path) {
            name.named.count += named.count;
            name.named.locked = named.locked;
            if is_settled {
                self.raised_since = None;
            }
            // Where writers never pause, there always is a later transaction: its first ref is told before its last.
            if self.raised_since.get_or_insert_with(Instant::now).elapsed() < RAISE_MAX {
                self.barrier_raised = barrier;
                self.barrier_min = barrier;
            }
        } else if self.names.len() < PENDING_NAMES_MAX {
            if self.names.is_empty() {
                self.barrier_min = barrier;
                self.barrier_raised = 0;
                self.raised_since = None;
            }
            self.names.insert(path.into(), PendingName { named, barrier });
        } else {
            self.add_whole(Whole::Notified);
            self.rest_barrier = barrier;
        }
    }

    fn add_directory(&mut self, path: Box<[u8]>, came: bool) {
        if self.rest.directories.len() < PENDING_NAMES_MAX {
            *self.rest.directories.entry(path).or_default() |= came;
        } else {
            self.add_whole(Whole::Notified);
        }
    }

    fn find_lock(&mut self, hash: u64) -> bool {
        if !self.locks.stale.contains(&hash) && !self.locks.numbers.contains_key(&hash) {
            self.locks.add(hash);
        }
        let is_awaited = self.locks.numbers.contains_key(&hash);
        if is_awaited {
            let barrier = self.locks.next;
            if !self.names.is_empty() {
                self.barrier_raised = barrier;
                self.barrier_min = barrier;
            }
            if !self.rest.is_empty() {
                self.rest_barrier = barrier;
            }
        }
        is_awaited
    }

    fn add_whole(&mut self, why: Whole) {
        self.rest.whole = self.rest.whole.max(Some(why));
    }

    fn has_settled(&self) -> bool {
        let passed = |barrier: u64| self.locks.oldest().is_none_or(|oldest| oldest >= barrier);
        (!self.names.is_empty() && passed(self.barrier_min))
            || (!self.rest.is_empty() && passed(self.rest_barrier))
    }

    /// The latest moment until which this is held back.
    fn ready_at(&self, settle: Duration) -> Instant {
        let since = self.since.unwrap_or_else(Instant::now);
        let settled = match () {
            () if self.journal || self.has_settled() => Some(since),
            () if self.waits_for_locks() => Some(since + settle),
            () => None,
        };
        let ready = settled.into_iter().chain(self.alarm).min().unwrap_or(since);
        self.not_before.map_or(ready, |not_before| ready.max(not_before))
    }

    fn is_ready(&mut self, now: Instant, settle: Duration) -> bool {
        if self.ready_at(settle) > now {
            return false;
        }
        if self.waits_for_locks()
            && !self.has_settled()
            && self.since.is_none_or(|since| since + settle <= now)
        {
            // The locks cost one settling time, not one for every change to come.
            self.unsettled = true;
            self.locks.give_up();
        }
        true
    }

    /// Takes what does not wait for locks, and leaves the rest.
    fn take(&mut self) -> Pending {
        self.state = State::Running;
        self.running_ticket = self.pending_ticket.take();
        self.not_before = None;
        let since = self.since.take();
        let is_due = self.alarm.is_some_and(|alarm| alarm <= Instant::now());
        let oldest = self.locks.oldest().unwrap_or(u64::MAX);
        let mut taken = Pending::default();
        if self.rest_barrier <= oldest {
            taken = std::mem::take(&mut self.rest);
            // Kept for what its holder does yet.
            self.rest.packed_locked = taken.packed_locked && !taken.packed;
        }
        taken.journal = std::mem::take(&mut self.journal) || is_due;
        if is_due {
            self.alarm = None;
        }
        let names = std::mem::take(&mut self.names);
        self.barrier_min = u64::MAX;
        for (path, name) in names {
            if name.barrier.max(self.barrier_raised) <= oldest {
                taken.names.insert(path, name.named);
            } else {
                self.barrier_min = self.barrier_min.min(name.barrier.max(self.barrier_raised));
                self.names.insert(path, name);
            }
        }
        // An alarm that is left is nothing that was posted.
        if self.waits_for_locks() {
            self.pending_ticket = self.running_ticket;
            self.since = since;
        }
        taken.since = since;
        taken.unsettled = std::mem::take(&mut self.unsettled);
        taken
    }
}

impl Locks {
    fn is_empty(&self) -> bool {
        self.live.is_empty() && self.stale.is_empty()
    }

    /// Number of the oldest lock that is waited for. A barrier is passed when no lock numbered below it is left.
    fn oldest(&self) -> Option<u64> {
        self.live.first().copied()
    }

    fn add(&mut self, hash: u64) {
        if self.live.len() < LOCKS_MAX {
            self.remove(hash);
            self.numbers.insert(hash, self.next);
            self.live.insert(self.next);
            self.next += 1;
        }
    }

    fn remove(&mut self, hash: u64) {
        if let Some(number) = self.numbers.remove(&hash) {
            self.live.remove(&number);
        }
        self.stale.remove(&hash);
    }

    fn give_up(&mut self) {
        self.live.clear();
        self.stale.extend(self.numbers.drain().map(|(hash, _)| hash));
    }
}

#[cfg(test)]
mod tests;
