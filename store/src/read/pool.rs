//! The pool of connections that read.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::ReadError;

/// How long a reader is waited for.
const WAIT: Duration = Duration::from_secs(5);
/// Page cache of a connection that reads.
const CACHE_KIB: i64 = 512;

#[derive(Debug)]
pub(crate) struct Pool {
    path: PathBuf,
    readers_max: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Connection>,
    in_use: usize,
}

impl Pool {
    pub(crate) fn new(path: PathBuf, readers_max: usize) -> Self {
        Self { path, readers_max, state: Mutex::default(), returned: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn in_use(&self) -> usize {
        self.lock().in_use
    }

    pub(crate) fn take(&self) -> Result<Connection, ReadError> {
        let until = Instant::now() + WAIT;
        let mut state = self.lock();
        while state.in_use >= self.readers_max {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ReadError::Busy { readers_max: self.readers_max });
            }
            (state, _) = self.returned.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_use += 1;
        // The one used last has the warmest cache.
        if let Some(connection) = state.idle.pop() {
            return Ok(connection);
        }
        drop(state);
        self.connect().inspect_err(|_| self.release(None)).map_err(ReadError::from)
    }

    /// Takes a connection back, and keeps it if it is `sound`.
    pub(crate) fn give_back(&self, connection: Connection, sound: bool) {
        self.release(sound.then_some(connection));
    }

    fn release(&self, connection: Option<Connection>) {
        let mut state = self.lock();
        state.in_use -= 1;
        state.idle.extend(connection);
        drop(state);
        self.returned.notify_one();
    }

    pub(crate) fn close_idle(&self) {
        self.lock().idle.clear();
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(WAIT)?;
        connection.set_prepared_statement_cache_capacity(16);
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "mmap_size", 0)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(connection)
    }
}
