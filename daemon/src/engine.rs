//! The engine: who looks at which repository when, and what it holds of each.
//!
//! Threads, all named and joined at the end: a few workers take [`Work`] from the board and run passes; one looks
//! for repositories at start and sweeps; one answers ancestry questions that take long. The notification thread
//! belongs to the watcher. None of them waits for a subscriber.

mod discovery;
mod facts;
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
use refwatch_store::{FsIdentity, RepositoryKey, Store};
use refwatch_watcher::notify::Notifier;
use refwatch_watcher::wake::{Board, Whole, Work};

use crate::barrier::{Barrier, SyncTimeout};
use crate::directory::Directory;
use crate::log::Log;
use crate::problems::Problems;
use crate::settings::Settings;

pub(crate) use facts::{Job, ObjectsCache};
pub(crate) use repository::{Overlaid, Repository, State, Trouble};

/// How long a deletion that no lock announced is doubted: it may be the beginning of the repository's own end.
pub(crate) const DOUBT: Duration = Duration::from_millis(200);
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
    /// True when what is found until the first scan is over is the baseline.
    pub(crate) baseline: bool,
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
    pub(crate) board: Arc<Board>,
    /// `None` in polling mode.
    pub(crate) notifier: Option<Notifier>,
    pub(crate) roots: Vec<Root>,
    pub(crate) followed: RwLock<Followed>,
    /// Repositories that notifications do not reach.
    pub(crate) polled: RwLock<HashSet<RepositoryKey>>,
    pub(crate) objects: ObjectsCache,
    pub(crate) slow: facts::SlowLane,
    /// What is found is taken as known, not as new.
    pub(crate) baseline: AtomicBool,
    /// The first look at everything is over.
    pub(crate) scanned: AtomicBool,
    /// Repositories whose first look is done, for the progress bar.
    pub(crate) looked: AtomicU64,
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
            settings: parts.settings,
            store: parts.store,
            log: parts.log,
            directory: parts.directory,
            metrics: parts.metrics,
            problems: parts.problems,
            releases: parts.releases,
            board,
            notifier,
            followed: RwLock::default(),
            polled: RwLock::default(),
            objects: ObjectsCache::default(),
            slow: facts::SlowLane::default(),
            baseline: AtomicBool::new(parts.baseline),
            scanned: AtomicBool::new(false),
            looked: AtomicU64::new(0),
            store_failing: Mutex::default(),
            stopping: Mutex::default(),
            stop: Condvar::new(),
            threads: Mutex::default(),
        });
        engine.take_up()?;
        for index in 0..engine.settings.watch.workers {
            engine.spawn(&format!("worker-{index}"), Self::work)?;
        }
        for index in 0..facts::SLOW_THREADS {
            engine.spawn(&format!("ancestry-{index}"), Self::answer_slow_questions)?;
        }
        engine.spawn("scan", Self::scan_and_sweep)?;
        engine.spawn("poll", Self::poll)?;
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

    fn spawn(self: &Arc<Self>, name: &str, run: impl Fn(&Arc<Self>) + Send + 'static) -> anyhow::Result<()> {
        let engine = Arc::clone(self);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&engine))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    fn work(self: &Arc<Self>) {
        loop {
            match self.board.take() {
                Work::Repository(key, pending) => {
                    if let Some(repository) = self.repository(key) {
                        crate::pass::run(self, &repository, pending);
                    }
                    self.board.done(key);
                }
                Work::Roots(paths) => {
                    self.look_at_roots(&paths);
                    self.board.roots_done();
                }
                Work::Overflow => {
                    tracing::warn!("notifications were lost: looking at everything again");
                    self.metrics.watch_overflows.inc();
                    self.discover_all();
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
    fn sync(&self, repositories: Option<&[RepositoryKey]>, deadline: Instant) -> Result<(), SyncTimeout> {
        let engine = &self.0;
        while !engine.scanned.load(Ordering::Acquire) {
            if Instant::now() >= deadline || !engine.pause(Duration::from_millis(5)) {
                return Err(SyncTimeout);
            }
        }
        if let Some(notifier) = &engine.notifier
            && !notifier.fence(deadline)
        {
            return Err(SyncTimeout);
        }
        engine.poll_now(repositories);
        let done = engine.board.quiesce(deadline) && engine.slow.quiesce(deadline);
        if done && engine.store.flush().is_ok() { Ok(()) } else { Err(SyncTimeout) }
    }
}
