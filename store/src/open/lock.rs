//! One process a database: a lock on `<path>.lock`, with the process id in it for people.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What trying to lock gave.
pub(crate) enum Locking {
    /// The lock is held until the file is closed, also by a crash.
    Held(File),
    /// Another process holds it.
    Taken { pid: Option<u32> },
}

pub(crate) fn lock(path: &Path) -> io::Result<Locking> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Locking::Held(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Without the id the message is only less helpful.
            let pid = file.take(32).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Ok(Locking::Taken { pid })
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}
