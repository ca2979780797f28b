//! The engine: who looks at which repository when, and what it holds of each.
//!
//! Threads, all named and joined at the end: a few workers take [`Work`] from the board and run passes; one looks
//! for repositories at start and sweeps; one answers ancestry questions that take long. The notification thread
//! belongs to the watcher. None of them waits for a subscriber.

mod discovery;
mod facts;
mod report;
mod repository;
mod submit;
mod sweep;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use globset::GlobSet;
use refwatch_ops::metrics::Metrics;
use refwatch_ops::{Heartbeat, Liveness};
use refwatch_store::{FsIdentity, RepositoryKey, Store};
use refwatch_watcher::notify::Notifier;
use refwatch_watcher::wake::{Board, Whole, Work};

use crate::barrier::{Barrier, SyncError};
use crate::directory::Directory;
use crate::log::Log;
use crate::problems::Problems;
use crate::settings::Settings;

pub(crate) use facts::{Job, ObjectsCache};
pub(crate) use report::EngineIntake;
pub(crate) use repository::{Overlaid, Repository, State, Trouble, Unwritten};

/// How long a deletion that no lock announced is doubted: it may be the beginning of the repository's own end.
pub(crate) const DOUBT: Duration = Duration::from_millis(200);
/// Looks that may follow from one another: everything after an overflow, a repository that is not at its path, what is
/// there in its place, and that one itself.
const DERIVED_MAX: usize = 5;
/// Between two tries of a barrier to have written what could not be written.
const SYNC_RETRY: Duration = Duration::from_millis(100);
/// The same, while something says that it goes on: a removal that is under way, a walk that may find it elsewhere.
pub(crate) const DOUBT_MAX: Duration = Duration::from_secs(10);
/// First and longest pause before a repository in flux, or a commit that failed, is looked at again.
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(50);
pub(crate) const RETRY_LAST: Duration = Duration::from_secs(5);

/// A folder below which repositories are served.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) path: Arc<PathBuf>,
    /// What the folder was at start: another one at its place means that a mount came or went.
    pub(crate) identity: Option<(u64, u64)>,
}

impl Root {
    /// True while the folder is there and is the one it was at start.
    pub(crate) fn is_there(&self) -> bool {
        identity_of(&self.path).is_some_and(|now| self.identity.is_none_or(|then| then == now))
    }
}

/// Microseconds since 1970, by the system's clock.
pub(crate) fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir).map(|meta| (meta.dev(), meta.ino()))
}

/// Which repositories the engine follows.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) by_key: HashMap<RepositoryKey, Arc<Repository>>,
    pub(crate) by_path: BTreeMap<Arc<Path>, RepositoryKey>,
    pub(crate) by_identity: HashMap<FsIdentity, RepositoryKey>,
}

/// What a new engine works with.
pub(crate) struct Parts {
    pub(crate) settings: Arc<Settings>,
    pub(crate) store: Arc<Store>,
    pub(crate) log: Arc<Log>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) metrics: Metrics,
    pub(crate) problems: Arc<Problems>,
    /// Tag names that are releases.
    pub(crate) releases: GlobSet,
    /// Full ref names that are protected.
    pub(crate) protected: GlobSet,
    /// True when what is found until the first scan is over is the baseline.
    pub(crate) baseline: bool,
    /// Told which threads turn.
    pub(crate) liveness: Liveness,
}

/// Looks at repositories, and writes what it finds to the log.
pub(crate) struct Engine {
    pub(crate) settings: Arc<Settings>,
    pub(crate) store: Arc<Store>,
    pub(crate) log: Arc<Log>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) metrics: Metrics,
    pub(crate) problems: Arc<Problems>,
    pub(crate) releases: GlobSet,
    pub(crate) protected: GlobSet,
    pub(crate) board: Arc<Board>,
    /// `None` in polling mode.
    pub(crate) notifier: Option<Notifier>,
    pub(crate) roots: Vec<Root>,
    /// Not every folder of the roots can be watched: they are walked as often as repositories are polled.
    pub(crate) roots_polled: AtomicBool,
    /// When the last walk over all roots that has ended began.
    walk_began: Mutex<Option<Instant>>,
    /// A repository is not at its path, and only a walk over the roots shows whether it has moved.
    walk_wanted: AtomicBool,
    pub(crate) followed: RwLock<Followed>,
    /// Repositories that notifications do not reach.
    pub(crate) polled: RwLock<HashSet<RepositoryKey>>,
    pub(crate) objects: ObjectsCache,
    pub(crate) slow: facts::SlowLane,
    /// What is found is taken as known, not as new. Held for reading until what was taken so is on its way to the log.
    pub(crate) baseline: RwLock<bool>,
    /// All roots have been walked once, and what was found has been met.
    walked: AtomicBool,
    /// The first look at everything is over.
    pub(crate) scanned: AtomicBool,
    /// Repositories whose first look is done, for the progress bar.
    pub(crate) looked: AtomicU64,
    /// Repositories whose last commit failed, and what of it does not follow from their files, in order.
    pub(crate) failing: Mutex<HashMap<RepositoryKey, Vec<Unwritten>>>,
    /// Repositories that the log knows below roots that are none any more: they may be met below another one.
    /// By identity without the number of the device.
    pub(crate) unserved: Mutex<HashMap<FsIdentity, RepositoryKey>>,
    /// Repositories with pushes that may end without a record.
    pub(crate) pushing: Mutex<HashSet<RepositoryKey>>,
    /// Repositories that could not be looked at the last time.
    pub(crate) troubled: Mutex<HashSet<RepositoryKey>>,
    /// Repositories that are gone, and whose end could not be written yet.
    pub(crate) unburied: Mutex<Vec<Arc<Repository>>>,
    /// Held while their ends are handed to the store again.
    pub(crate) burying: Mutex<()>,
    /// The store refused or failed the last commit.
    pub(crate) store_failing: Mutex<Option<String>>,
    stopping: Mutex<bool>,
    stop: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Takes up what the store knows, and starts the threads. The first scan goes on in the background.
    pub(crate) fn start(parts: Parts) -> anyhow::Result<Arc<Self>> {
        let board = Arc::new(Board::new(parts.settings.watch.settle_max));
        let notifier = discovery::start_notifier(&parts, &board);
        let roots = parts.settings.roots.iter().map(|path| Root {
            identity: identity_of(path),
            path: Arc::new(path.canonicalize().unwrap_or_else(|_| path.clone())),
        });
        let engine = Arc::new(Self {
            roots: roots.collect(),
            roots_polled: AtomicBool::new(notifier.is_none()),
            walk_began: Mutex::default(),
            walk_wanted: AtomicBool::new(false),
            settings: parts.settings,
            store: parts.store,
            log: parts.log,
            directory: parts.directory,
            metrics: parts.metrics,
            problems: parts.problems,
            releases: parts.releases,
            protected: parts.protected,
            board,
            notifier,
            followed: RwLock::default(),
            polled: RwLock::default(),
            objects: ObjectsCache::default(),
            slow: facts::SlowLane::default(),
            baseline: RwLock::new(parts.baseline),
            walked: AtomicBool::new(false),
            scanned: AtomicBool::new(false),
            looked: AtomicU64::new(0),
            failing: Mutex::default(),
            unserved: Mutex::default(),
            pushing: Mutex::default(),
            troubled: Mutex::default(),
            unburied: Mutex::default(),
            burying: Mutex::default(),
            store_failing: Mutex::default(),
            stopping: Mutex::default(),
            stop: Condvar::new(),
            threads: Mutex::default(),
        });
        engine.log.set_baseline(parts.baseline);
        if engine.roots.iter().any(|root| refwatch_watcher::filesystem::is_remote(&root.path)) {
            engine.roots_polled.store(true, Ordering::Relaxed);
        }
        engine.take_up()?;
        for index in 0..engine.settings.watch.workers {
            engine.spawn(&parts.liveness, format!("worker-{index}"), Self::work)?;
        }
        for index in 0..facts::SLOW_THREADS {
            engine.spawn(&parts.liveness, format!("ancestry-{index}"), Self::answer_slow_questions)?;
        }
        engine.spawn(&parts.liveness, "scan".to_owned(), Self::scan_and_sweep)?;
        engine.spawn(&parts.liveness, "poll".to_owned(), Self::poll)?;
        Ok(engine)
    }

    /// Ends the threads, and waits for what they are doing. Nothing more is committed afterwards.
    pub(crate) fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.notify_all();
        self.board.close();
        self.slow.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine panicked");
            }
        }
    }

    /// True when every thread of the engine is still running.
    pub(crate) fn is_alive(&self) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().all(|thread| !thread.is_finished())
    }

    /// The repository with a key, unless it is gone.
    pub(crate) fn repository(&self, key: RepositoryKey) -> Option<Arc<Repository>> {
        self.followed.read().unwrap_or_else(PoisonError::into_inner).by_key.get(&key).cloned()
    }

    /// All repositories that are followed.
    pub(crate) fn repositories(&self) -> Vec<Arc<Repository>> {
        self.followed.read().unwrap_or_else(PoisonError::into_inner).by_key.values().cloned().collect()
    }

    /// Waits, at most that long; false when the engine is to stop.
    pub(crate) fn pause(&self, delay: Duration) -> bool {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let (stopping, _) = self
            .stop
            .wait_timeout_while(stopping, delay, |stopping| !*stopping)
            .unwrap_or_else(PoisonError::into_inner);
        !*stopping
    }

    /// Runs a thread that beats while it works and rests while it waits: a long piece of work beats now and then.
    fn spawn(
        self: &Arc<Self>,
        liveness: &Liveness,
        name: String,
        run: impl Fn(&Arc<Self>, &Heartbeat) + Send + 'static,
    ) -> anyhow::Result<()> {
        let engine = Arc::clone(self);
        let heart = liveness.register(name.clone(), self.settings.watch.stuck_timeout);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            run(&engine, &heart);
            heart.finish();
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    fn work(self: &Arc<Self>, heart: &Heartbeat) {
        loop {
            heart.rest();
            let work = self.board.take();
            heart.beat();
            match work {
                Work::Repository(key, pending) => {
                    if let Some(repository) = self.repository(key) {
                        crate::pass::run(self, &repository, pending);
                    }
                    self.board.done(key);
                }
                Work::Roots(paths) => {
                    self.look_at_roots(&paths, &|| heart.beat());
                    self.board.roots_done();
                }
                Work::Overflow => {
                    tracing::warn!("notifications were lost: looking at everything again");
                    self.metrics.watch_overflows.inc();
                    self.discover_all(&|| heart.beat());
                    for repository in self.repositories() {
                        self.board.post(repository.key, refwatch_watcher::wake::Wake::Whole(Whole::Overflow));
                    }
                    self.board.roots_done();
                }
                Work::Closed => return,
            }
        }
    }
}

/// The engine as a barrier.
pub(crate) struct EngineBarrier(pub(crate) Arc<Engine>);

impl Barrier for EngineBarrier {
    fn sync(&self, repositories: Option<&[RepositoryKey]>, deadline: Instant) -> Result<(), SyncError> {
        let engine = &self.0;
        let timed_out = || {
            let failing = engine.store_failing.lock().unwrap_or_else(PoisonError::into_inner).clone();
            failing.map_or(SyncError::TimedOut { pending: self.pending() }, SyncError::Store)
        };
        while !engine.scanned.load(Ordering::Acquire) {
            if Instant::now() >= deadline || !engine.pause(Duration::from_millis(5)) {
                return Err(timed_out());
            }
        }
        if let Some(notifier) = &engine.notifier
            && !notifier.fence(deadline)
        {
            return Err(timed_out());
        }
        engine.poll_now(repositories);
        let wanted = |key: &RepositoryKey| repositories.is_none_or(|only| only.contains(key));
        let of = |keys: &mut dyn Iterator<Item = RepositoryKey>| keys.filter(wanted).collect::<Vec<_>>();
        loop {
            let troubled = of(&mut lock(&engine.troubled).iter().copied());
            let failing = of(&mut lock(&engine.failing).keys().copied());
            for key in troubled.iter().chain(&failing) {
                engine.board.post_now(*key, Whole::Retry);
            }
            engine.bury();
            for _ in 0..DERIVED_MAX {
                let before = engine.board.roots_generation();
                if !engine.board.quiesce(deadline) || !engine.slow.quiesce(deadline) {
                    return Err(timed_out());
                }
                if engine.board.roots_generation() == before {
                    break;
                }
            }
            if engine.store.flush().is_err() {
                return Err(timed_out());
            }
            // A look that came before the flush and started over has its commit answered now.
            let failing = of(&mut lock(&engine.failing).keys().copied());
            let blind = repositories.is_some() && !of(&mut lock(&engine.troubled).iter().copied()).is_empty();
            if failing.is_empty() && !blind {
                return Ok(());
            }
            if Instant::now() >= deadline || !engine.pause(SYNC_RETRY) {
                return Err(timed_out());
            }
        }
    }

    fn pending(&self) -> u64 {
        let engine = &self.0;
        let (failing, troubled) = (lock(&engine.failing), lock(&engine.troubled));
        let unwell = failing.keys().filter(|key| !troubled.contains(key)).count() + troubled.len();
        (engine.board.depth() + unwell) as u64
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
