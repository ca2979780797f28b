//! The checkpoint thread: moves pages from the write-ahead log into the database, off the path of commits.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::options::{Checkpointed, Observer};
use crate::writer::Published;

/// Pages written (about) before a checkpoint runs: 4 MB.
const PAGES_MAX: u64 = 1_000;
/// How long nothing is written before the log is looked at.
const IDLE: Duration = Duration::from_secs(2);
/// Size that the write-ahead log may keep when idle.
const WAL_IDLE_BYTES_MAX: u64 = 8 << 20;
/// Size from which writing waits for the write-ahead log to be cut (unless a reader is in the way).
const WAL_BYTES_MAX: u64 = 64 << 20;

/// How much there is to move.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pages: u64,
    /// Something was written since the log was last looked at when idle.
    dirty: bool,
    closing: bool,
}

impl Pressure {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a transaction wrote: rows lie together, and each commit touches a few pages of its own.
    pub(crate) fn add(&self, rows: u64, commits: u64) {
        let mut state = self.lock();
        let before = state.pages;
        state.pages += rows / 8 + commits * 4;
        if !state.dirty || (before < PAGES_MAX && state.pages >= PAGES_MAX) {
            self.changed.notify_one();
        }
        state.dirty = true;
    }

    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
    }
}

pub(crate) struct Checkpointer {
    pub(crate) connection: Connection,
    pub(crate) wal: PathBuf,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) published: Arc<Published>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

/// What woke the thread.
enum Due {
    Pages,
    Idle,
    Closing,
}

impl Checkpointer {
    pub(crate) fn run(self) {
        loop {
            match self.wait() {
                Due::Closing => return,
                Due::Pages => {
                    self.checkpoint(Mode::Passive);
                    if size(&self.wal) > WAL_BYTES_MAX {
                        let _turn = self.published.turn.lock().unwrap_or_else(PoisonError::into_inner);
                        self.checkpoint(Mode::Truncate);
                    }
                }
                Due::Idle if size(&self.wal) > WAL_IDLE_BYTES_MAX => {
                    self.checkpoint(Mode::Passive);
                    // What is left to do is short; a commit that comes just now goes first.
                    if let Ok(_turn) = self.published.turn.try_lock() {
                        self.checkpoint(Mode::Truncate);
                    }
                }
                Due::Idle => {}
            }
        }
    }

    fn wait(&self) -> Due {
        let mut state = self.pressure.lock();
        loop {
            if state.closing {
                return Due::Closing;
            }
            if state.pages >= PAGES_MAX {
                state.pages = 0;
                return Due::Pages;
            }
            let changed = &self.pressure.changed;
            if !state.dirty {
                state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let before = state.pages;
            let (guard, timeout) = changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && state.pages == before && !state.closing {
                state.dirty = false;
                return Due::Idle;
            }
        }
    }

    fn checkpoint(&self, mode: Mode) {
        match checkpoint(&self.connection, mode) {
            Ok(checkpoint) => {
                self.published.checkpoints.fetch_add(1, Ordering::Relaxed);
                if let Some(observer) = &self.observer {
                    observer.checkpointed(&checkpoint);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a checkpoint failed; the write-ahead log grows until one succeeds")
            }
        }
    }
}

/// How far a checkpoint goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As far as is possible without waiting for anyone.
    Passive,
    /// To the end, and cuts the write-ahead log. The caller keeps writers away; a reader in the way stops it.
    Truncate,
}

pub(crate) fn checkpoint(connection: &Connection, mode: Mode) -> rusqlite::Result<Checkpointed> {
    let begun = Instant::now();
    let sql = match mode {
        Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let (busy, wal, moved) = connection.query_row(sql, (), |row| {
        Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    })?;
    Ok(Checkpointed {
        // Both are -1 where there is no log yet.
        wal_pages: u32::try_from(wal).unwrap_or(0),
        moved_pages: u32::try_from(moved).unwrap_or(0),
        truncated: mode == Mode::Truncate && !busy,
        duration: begun.elapsed(),
    })
}

/// Size of a file in bytes; 0 where there is none.
pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
