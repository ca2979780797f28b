//! The store's handle: hands work to the threads, and readers to whoever asks.

use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::checkpoint::{self, Checkpointer, Mode, Pressure};
use crate::open::witness::Witness;
use crate::read::pool::Pool;
use crate::row::Meta;
use crate::writer::{Broken, Done, Message, Published, Submitted, Writer};
use crate::{
    Bounds, Commit, CommitError, Identity, Logged, Options, ReadError, Reader, RepositoryKey, RetainError,
    Retained, Stats,
};

/// The store is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed")]
pub struct Closed;

/// An open database. Shared between threads by reference or `Arc`; dropping it closes it.
pub struct Store {
    identity: Identity,
    sender: SyncSender<Message>,
    published: Arc<Published>,
    pressure: Arc<Pressure>,
    pub(crate) pool: Pool,
    path: PathBuf,
    next_key: AtomicI64,
    random: RandomState,
    uids: AtomicU64,
    threads: Mutex<Option<Threads>>,
    /// Locked for as long as the store lives.
    _lock: File,
}

struct Threads {
    writer: JoinHandle<(Connection, Witness)>,
    checkpointer: JoinHandle<()>,
}

/// What opening hands over.
pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) connection: Connection,
    pub(crate) checkpoint_connection: Connection,
    pub(crate) meta: Meta,
    pub(crate) witness: Witness,
    pub(crate) lock: File,
}

impl Store {
    /// Starts the threads.
    pub(crate) fn start(parts: Parts) -> std::io::Result<Self> {
        let Parts { options, connection, checkpoint_connection, meta, witness, lock } = parts;
        let (sender, receiver) = mpsc::sync_channel(options.queue_commits_max.max(1));
        let published = Arc::new(Published::default());
        published.set(&meta.position);
        let pressure = Arc::new(Pressure::default());
        let checkpointer = Checkpointer {
            connection: checkpoint_connection,
            wal: beside(&options.path, "-wal"),
            pressure: Arc::clone(&pressure),
            published: Arc::clone(&published),
            observer: options.observer.clone(),
        };
        let writer = Writer {
            connection,
            receiver,
            position: meta.position,
            witness,
            published: Arc::clone(&published),
            pressure: Arc::clone(&pressure),
            retention: options.retention,
            observer: options.observer,
            scratch: Vec::with_capacity(256),
            broken: Broken::default(),
        };
        let writer = thread::Builder::new().name("store-writer".into()).spawn(move || writer.run())?;
        let checkpointer =
            thread::Builder::new().name("store-checkpoint".into()).spawn(move || checkpointer.run())?;
        Ok(Self {
            identity: Identity { server: meta.server, epoch: meta.epoch },
            sender,
            published,
            pressure,
            pool: Pool::new(options.path.clone(), options.readers_max.max(1)),
            path: options.path,
            next_key: AtomicI64::new(meta.position.next_key),
            random: RandomState::new(),
            uids: AtomicU64::new(0),
            threads: Mutex::new(Some(Threads { writer, checkpointer })),
            _lock: lock,
        })
    }

    /// Which log this is. Does not change while the store is open.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// A key for a repository to be created: never given before, in this run or an earlier one, to a repository that
    /// was committed. Costs nothing if it is not used.
    pub fn allocate_key(&self) -> RepositoryKey {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    /// A random public id for a repository to be created; never 0.
    pub fn random_uid(&self) -> u64 {
        // A keyed hash (SipHash with 128 bits from the system) of a counter.
        loop {
            let uid = self.random.hash_one((self.identity.epoch, self.uids.fetch_add(1, Ordering::Relaxed)));
            if uid != 0 {
                return uid;
            }
        }
    }

    /// Queues a commit; blocks while the queue is full.
    ///
    /// `done` is called exactly once, on the writer thread, in order of sequence: with the events as they are in the
    /// log after they are durable (see [`crate::Durability`]) and [`Store::bounds`] tells of them, or with the error
    /// after which nothing of the commit is there. It must be short, and must not submit, flush or retain: that
    /// would wait for itself; nor panic, which ends the store. Commits are made in the order they are queued. On a crash before `done` the commit is
    /// there whole or not at all.
    ///
    /// # Errors
    /// [`Closed`]; then `done` is not called.
    pub fn submit(
        &self,
        commit: Commit,
        done: impl FnOnce(Result<Vec<Logged>, CommitError>) + Send + 'static,
    ) -> Result<(), Closed> {
        let message = Message::Commit(Box::new(Submitted { commit, done: Done::new(done) }));
        self.published.queued.fetch_add(1, Ordering::Relaxed);
        self.sender.send(message).map_err(|unsent| {
            self.published.queued.fetch_sub(1, Ordering::Relaxed);
            if let Message::Commit(submitted) = unsent.0 {
                submitted.done.disarm();
            }
            Closed
        })
    }

    /// Commits and waits until it is durable.
    ///
    /// # Errors
    /// [`CommitError`]; then nothing of the commit is there.
    pub fn commit(&self, commit: Commit) -> Result<Vec<Logged>, CommitError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.submit(commit, move |result| drop(sender.send(result))).map_err(|Closed| CommitError::Closed)?;
        receiver.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Waits until every commit that was queued before is answered.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn flush(&self) -> Result<(), Closed> {
        self.ask(Message::Flush)
    }

    /// Notes that all roots were looked at to the end: from now on what is found is new ([`crate::Opened::baseline`]).
    /// Durable when it returns.
    ///
    /// # Errors
    /// [`CommitError`]; then it is not noted.
    pub fn finish_baseline(&self) -> Result<(), CommitError> {
        self.ask(Message::FinishBaseline).unwrap_or(Err(CommitError::Closed))
    }

    /// The part of the log that is there. Takes no lock; tells of a commit before its `done` is called.
    pub fn bounds(&self) -> Bounds {
        let floor = self.published.floor.load(Ordering::Acquire);
        Bounds { floor, last: self.published.last.load(Ordering::Acquire) }
    }

    /// How long the writer has been at what it does now; `None` while it waits for work. A group of commits, or one
    /// step of retention, takes milliseconds on a disk that works.
    pub fn busy_for(&self) -> Option<Duration> {
        let taken_up = *self.published.taken_up.lock().unwrap_or_else(PoisonError::into_inner);
        taken_up.map(|at| at.elapsed())
    }

    /// A consistent snapshot to read from. Waits, up to 5 seconds, while every reader is in use.
    ///
    /// # Errors
    /// [`ReadError::Busy`] after that; [`ReadError::Io`] or [`ReadError::Corrupt`] if the database cannot be opened.
    pub fn read(&self) -> Result<Reader<'_>, ReadError> {
        Reader::new(&self.pool)
    }

    /// Deletes what [`Options::retention`] does not keep, and the refs of deleted repositories that the floor has
    /// passed. Works in small steps that take turns with commits; each is atomic and raises the floor as it deletes.
    /// Blocks until nothing is left to delete: not for the threads that commit. The floor never stands inside a
    /// transaction. On a crash the steps done are done.
    ///
    /// # Errors
    /// [`RetainError`] when a step fails.
    pub fn retain(&self, now_us: i64) -> Result<Retained, RetainError> {
        let mut total = Retained { floor: self.bounds().floor, ..Retained::default() };
        loop {
            let step =
                self.ask(|reply| Message::Retain { now_us, reply }).unwrap_or(Err(CommitError::Closed))?;
            total.floor = step.retained.floor;
            total.events += step.retained.events;
            total.refs += step.retained.refs;
            total.repositories += step.retained.repositories;
            if !step.more {
                return Ok(total);
            }
        }
    }

    /// Sizes and counts. Looks at two files; takes no lock that a commit holds.
    pub fn stats(&self) -> Stats {
        let Bounds { floor, last } = self.bounds();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            database_bytes: checkpoint::size(&self.path),
            wal_bytes: checkpoint::size(&beside(&self.path, "-wal")),
            events: (last + 1).saturating_sub(floor),
            log_bytes: load(&self.published.log_bytes),
            queued_commits: load(&self.published.queued),
            commits: load(&self.published.commits),
            groups: load(&self.published.groups),
            failed_commits: load(&self.published.failed),
            checkpoints: load(&self.published.checkpoints),
            readers: self.pool.in_use() as u64,
        }
    }

    /// Commits what is queued, moves the write-ahead log into the database and marks the shutdown clean. Later
    /// calls do nothing; later commits are [`Closed`]. The lock is held until the store is dropped.
    pub fn close(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { writer, checkpointer }) = threads else { return };
        self.pressure.close();
        // An error says that the writer is gone already.
        drop(self.sender.send(Message::Close));
        if writer.thread().id() == thread::current().id() {
            // The last handle was dropped by a `done`: the writer ends by itself, unclean but with nothing lost.
            return;
        }
        if checkpointer.join().is_err() {
            tracing::error!("BUG: the checkpoint thread panicked");
        }
        let Ok((connection, mut witness)) = writer.join() else {
            tracing::error!("BUG: the writer thread panicked");
            return;
        };
        self.pool.close_idle();
        // Nor wait for a reader that is still out: the next start finds the log.
        drop(connection.busy_timeout(Duration::ZERO));
        if let Err(error) = checkpoint::checkpoint(&connection, Mode::Truncate) {
            tracing::warn!(%error, "the last checkpoint failed; the write-ahead log is read at the next start");
        }
        // The last connection takes the log's files away.
        drop(connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false));
        match connection.close() {
            Ok(()) => witness.mark_clean(),
            Err((_, error)) => tracing::warn!(%error, "the database did not close cleanly"),
        }
    }

    /// For tests of a full disk: the database file takes no more than `pages` of 4 KiB (or what it has already).
    #[doc(hidden)]
    pub fn limit_pages(&self, pages: u32) -> Result<(), Closed> {
        self.ask(|reply| Message::LimitPages { pages, reply })
    }

    /// Sends a question to the writer and waits for the answer.
    fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> Message) -> Result<T, Closed> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.sender.send(question(sender)).map_err(|_| Closed)?;
        receiver.recv().map_err(|_| Closed)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .field("identity", &self.identity)
            .field("bounds", &self.bounds())
            .finish_non_exhaustive()
    }
}

/// A file named after another.
pub(crate) fn beside(path: &std::path::Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
