//! Where a subscriber keeps how far it came.

use std::fs::{self, File};
use std::future::Future;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinHandle;

use crate::limits::CURSOR_BYTES_MAX;

/// Shortest text that is taken for a cursor, in bytes: a mistyped word is not sent as one.
const CURSOR_BYTES_MIN: usize = 20;

/// Keeps one cursor over restarts.
///
/// Whoever applies events to a database keeps the cursor in that database, and stores both in one transaction: then
/// nothing is applied twice. With any other place, store it after what it stands for: some events may then come twice
/// after a crash, and none is lost.
pub trait Checkpoint: Send {
    /// Why it cannot be read or written.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Reads the cursor; `None` before the first one was stored.
    fn load(&mut self) -> impl Future<Output = Result<Option<String>, Self::Error>> + Send;

    /// Stores a cursor. When this returns it is durable; if it fails or is dropped before, the old or the new one stands.
    fn store(&mut self, cursor: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A file with one cursor, a line of text.
#[derive(Debug)]
pub struct FileCheckpoint {
    path: PathBuf,
    /// What is in it now.
    stored: Option<String>,
    /// A cursor that is being written. Whoever gave up waiting has not stopped it: it must not overtake the next.
    pending: Option<(String, JoinHandle<Result<(), CheckpointError>>)>,
}

/// Why a checkpoint's file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ends within its line. This crate never leaves one so: something else wrote it, or the filesystem lost its end.
    #[error("{} holds a part of a cursor; delete it to start anew", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("{} holds no cursor; delete it to start anew", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

impl FileCheckpoint {
    /// Reads the file; one that is not there yet holds nothing.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else than a cursor. It is never written over then.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let path = path.into();
        let stored = read(&path)?;
        Ok(Self { path, stored, pending: None })
    }

    /// The cursor in it.
    pub fn cursor(&self) -> Option<&str> {
        self.stored.as_deref()
    }

    /// Stores a cursor: whatever happens, the file holds the old one or the new one as a whole. Waits for the disk,
    /// unless it is the one stored last; an empty one is none, and changes nothing. Not to be mixed with calls of
    /// [`Checkpoint::store`] that were dropped before they were done.
    ///
    /// # Errors
    /// When it cannot be written. Then it holds the old one; or the new one, if only its durability is in doubt.
    pub fn replace(&mut self, cursor: &str) -> Result<(), CheckpointError> {
        if !self.would_change(cursor) {
            return Ok(());
        }
        replace(&self.path, cursor)?;
        self.stored = Some(cursor.to_owned());
        Ok(())
    }

    /// Waits for what is being written.
    async fn settle(&mut self) -> Result<(), CheckpointError> {
        let Some((cursor, writing)) = &mut self.pending else { return Ok(()) };
        let written = writing.await;
        let cursor = std::mem::take(cursor);
        self.pending = None;
        match written {
            Ok(written) => written?,
            Err(source) => {
                return Err(CheckpointError::Io {
                    path: self.path.clone(),
                    source: io::Error::other(source),
                });
            }
        }
        self.stored = Some(cursor);
        Ok(())
    }

    fn would_change(&self, cursor: &str) -> bool {
        !cursor.is_empty() && self.stored.as_deref() != Some(cursor)
    }
}

impl Checkpoint for FileCheckpoint {
    type Error = CheckpointError;

    async fn load(&mut self) -> Result<Option<String>, CheckpointError> {
        Ok(self.stored.clone())
    }

    async fn store(&mut self, cursor: &str) -> Result<(), CheckpointError> {
        // Whether the one before came to its end was for its own caller to know.
        drop(self.settle().await);
        if !self.would_change(cursor) {
            return Ok(());
        }
        let (path, taken) = (self.path.clone(), cursor.to_owned());
        let writing = tokio::task::spawn_blocking(move || replace(&path, &taken));
        self.pending = Some((cursor.to_owned(), writing));
        self.settle().await
    }
}

/// What may be a cursor, as far as anybody but the server can tell.
pub fn is_cursor(text: &str) -> bool {
    (CURSOR_BYTES_MIN..=CURSOR_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
}

fn read(path: &Path) -> Result<Option<String>, CheckpointError> {
    let foreign = || CheckpointError::Foreign { path: path.to_owned() };
    let mut text = String::new();
    // More than the longest, so that a longer file is noticed.
    let bytes_max = CURSOR_BYTES_MAX as u64 * 2;
    match File::open(path).and_then(|file| file.take(bytes_max).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(foreign()),
        Err(source) => return Err(CheckpointError::Io { path: path.to_owned(), source }),
    }
    match text.strip_suffix('\n') {
        Some(cursor) if is_cursor(cursor) => Ok(Some(cursor.to_owned())),
        None if text.is_empty() || is_cursor(&text) => Err(CheckpointError::Torn { path: path.to_owned() }),
        Some(_) | None => Err(foreign()),
    }
}

fn replace(path: &Path, cursor: &str) -> Result<(), CheckpointError> {
    written(path, cursor).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })
}

/// Files written by this process.
static CALLS: AtomicU64 = AtomicU64::new(0);

fn written(path: &Path, cursor: &str) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Of this call alone, so that two with one file do not mix their bytes.
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}-{call}.tmp", std::process::id()));
    let temporary = directory.join(name);
    let written = File::create(&temporary)
        .and_then(|mut file| {
            file.write_all(format!("{cursor}\n").as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What is left of it is in nobody's way.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    // The new name must survive a power cut too.
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    fn cursor(tail: &str) -> String {
        format!("{}{tail}", "A".repeat(30))
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cursor");
        (directory, path)
    }

    #[tokio::test]
    async fn a_cursor_comes_back_and_nothing_else_stays() {
        let (directory, path) = file();
        let mut file = FileCheckpoint::open(&path).expect("not there yet");
        assert_eq!(file.load().await.expect("read"), None);
        for tail in ["1", "2", "3"] {
            file.replace(&cursor(tail)).expect("stored");
            assert_eq!(FileCheckpoint::open(&path).expect("there").cursor(), Some(&*cursor(tail)));
        }
        file.store(&cursor("4")).await.expect("stored");
        file.store("").await.expect("nothing to store");
        let mut again = FileCheckpoint::open(&path).expect("there");
        assert_eq!(again.load().await.expect("read"), Some(cursor("4")));
        let names = fs::read_dir(directory.path()).expect("listed").count();
        assert_eq!(names, 1);
    }

    #[tokio::test]
    async fn a_store_that_was_given_up_does_not_overtake_the_next() {
        let (_directory, path) = file();
        let mut file = FileCheckpoint::open(&path).expect("not there yet");
        for round in 0..50 {
            // Polled once: the writing has begun.
            let given_up = cursor(&format!("old{round}"));
            let mut store = Box::pin(file.store(&given_up));
            poll_fn(|context| Poll::Ready(store.as_mut().poll(context).is_ready())).await;
            drop(store);
            let kept = cursor(&format!("new{round}"));
            file.store(&kept).await.expect("stored");
            assert_eq!(FileCheckpoint::open(&path).expect("there").cursor(), Some(&*kept));
        }
    }

    #[test]
    fn a_reader_never_sees_half_a_cursor() {
        let (_directory, path) = file();
        let mut file = FileCheckpoint::open(&path).expect("not there yet");
        file.replace(&cursor("x")).expect("stored");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for _ in 0..2_000 {
                    let read = FileCheckpoint::open(&path).expect("always whole");
                    assert!(read.cursor().is_some_and(|cursor| cursor.len() == 31));
                }
            });
            for round in 0_u8..100 {
                file.replace(&cursor(if round % 2 == 0 { "y" } else { "z" })).expect("stored");
            }
            reader.join().expect("the reader found nothing wrong");
        });
    }

    #[test]
    fn a_failed_store_leaves_the_old_cursor() {
        let (directory, path) = file();
        let mut file = FileCheckpoint::open(&path).expect("not there yet");
        file.replace(&cursor("1")).expect("stored");
        // Where the folder is not, nothing can be made, also not by root.
        let elsewhere = directory.path().with_extension("elsewhere");
        fs::rename(directory.path(), &elsewhere).expect("moved");
        let failed = file.replace(&cursor("2")).expect_err("cannot be written");
        assert!(matches!(failed, CheckpointError::Io { .. }), "{failed}");
        fs::rename(&elsewhere, directory.path()).expect("moved back");
        assert_eq!(FileCheckpoint::open(&path).expect("there").cursor(), Some(&*cursor("1")));
        assert_eq!(file.cursor(), Some(&*cursor("1")));
    }

    #[test]
    fn something_else_in_the_file_is_refused() {
        let (_directory, path) = file();
        let contents: [&[u8]; 7] = [
            b"short\n",
            b"short",
            b"\xff\xfe",
            &[b'A'; 500],
            b"AAAAAAAAAAAAAAAAAAAA\nAAAA",
            b"AAAAAAAAAAAAAAAAAAAA\n\n",
            b"\n",
        ];
        for content in contents {
            fs::write(&path, content).expect("written");
            let refused = FileCheckpoint::open(&path).expect_err("no cursor");
            assert!(matches!(refused, CheckpointError::Foreign { .. }), "{refused}");
            assert_eq!(fs::read(&path).expect("read"), content, "left as it was");
        }
    }

    #[test]
    fn a_file_that_was_cut_is_told_from_a_foreign_one() {
        let (_directory, path) = file();
        let mut file = FileCheckpoint::open(&path).expect("not there yet");
        file.replace(&cursor("1")).expect("stored");
        let whole = fs::read(&path).expect("read");
        for length in [0, CURSOR_BYTES_MIN, whole.len() - 1] {
            fs::write(&path, &whole[..length]).expect("cut");
            let refused = FileCheckpoint::open(&path).expect_err("cut");
            assert!(matches!(refused, CheckpointError::Torn { .. }), "{length}: {refused}");
        }
        // Shorter than any cursor: nobody knows what it was. Refused all the same.
        fs::write(&path, &whole[..5]).expect("cut");
        assert!(FileCheckpoint::open(&path).is_err());
    }
}
