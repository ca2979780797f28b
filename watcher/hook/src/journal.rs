//! Appends to the journal.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use refwatch_hook::JOURNAL_BYTES_MAX;

use crate::machine;

/// How often the journal is opened again after it was rotated between opening and looking.
const OPENINGS_MAX: usize = 8;

/// Mode of a new journal, less what the umask takes.
const MODE: u32 = 0o666;

const GROUP_WRITE: u32 = 0o020;
const GROUP_READ_WRITE: u32 = 0o060;

/// True where a record would be appended, as far as can be told before there is one.
pub(crate) fn takes_records(journal: &Path) -> bool {
    match fs::symlink_metadata(journal) {
        Ok(found) => has_room(&found),
        Err(error) if error.kind() == ErrorKind::NotFound => journal.parent().is_some_and(Path::is_dir),
        Err(_) => false,
    }
}

/// A pipe would wait for a reader, a link would lead anywhere: only files are written to.
fn has_room(journal: &Metadata) -> bool {
    journal.is_file() && journal.len() < JOURNAL_BYTES_MAX
}

/// Appends a record by one write.
///
/// The kernel keeps such writes apart, whichever processes write. A write that is cut short is left as it is: another
/// record may follow already, and readers pass over it.
///
/// While it writes, the file is locked (shared, and without waiting). A reader of a rotated journal takes the lock for a
/// moment: if it can, no hook is still to write to that file. One that had opened it before sees, once it has the lock
/// or has not got it, that the path names another file.
pub(crate) fn append(journal: &Path, record: &[u8]) -> io::Result<()> {
    for _ in 0..OPENINGS_MAX {
        let mut file = match open(journal) {
            Ok(file) => file,
            // Rotated between two looks at it.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        drop(file.try_lock_shared());
        let opened = file.metadata()?;
        match fs::symlink_metadata(journal) {
            Ok(named) if (named.dev(), named.ino()) == (opened.dev(), opened.ino()) => {}
            Ok(_) => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        // A write that starts at the limit of file sizes is answered by a signal that ends the process; Git would
        // complain about it on the pusher's terminal.
        let is_beyond_limit = || machine::file_bytes_max().is_some_and(|bytes_max| opened.len() >= bytes_max);
        if !has_room(&opened) || is_beyond_limit() {
            return Ok(());
        }
        match file.write(record) {
            Ok(written) if written < record.len() => return Err(ErrorKind::WriteZero.into()),
            // Nothing was written.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            written => return written.map(drop),
        }
    }
    Ok(())
}

fn open(journal: &Path) -> io::Result<File> {
    match fs::symlink_metadata(journal) {
        Ok(found) if !found.is_file() => return Err(ErrorKind::InvalidInput.into()),
        Ok(_) => match OpenOptions::new().append(true).open(journal) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match OpenOptions::new().append(true).create_new(true).mode(MODE).open(journal) {
        Ok(file) => {
            share(journal, &file);
            Ok(file)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(journal)
        }
        Err(error) => Err(error),
    }
}

/// Opens a new journal to the group of a directory that the group may write to: the next to push may be another user.
fn share(journal: &Path, file: &File) {
    let mode = |found: Metadata| found.permissions().mode();
    let directory = journal.parent().and_then(|directory| fs::metadata(directory).ok()).map_or(0, mode);
    if directory & GROUP_WRITE != 0
        && let Ok(found) = file.metadata().map(mode)
        && found & GROUP_READ_WRITE != GROUP_READ_WRITE
    {
        // Whoever cannot write to it records nothing, and pushes all the same.
        drop(file.set_permissions(Permissions::from_mode(found | GROUP_READ_WRITE)));
    }
}
