//! Keeps a cursor in a file, so that a tail goes on where it ended.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use refwatch_proto::limits::CURSOR_BYTES_MAX;

use super::exit::{self, Exit};
use super::since::is_cursor;

/// A file with one cursor.
#[derive(Debug)]
pub(super) struct CursorFile {
    path: PathBuf,
    /// What is in it now.
    stored: Option<String>,
}

impl CursorFile {
    /// Reads the file; one that is not there yet holds nothing.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub(super) fn open(path: PathBuf) -> Result<Self, Exit> {
        let mut text = String::new();
        // A cursor more than the longest, so that a longer file is noticed.
        let bytes_max = CURSOR_BYTES_MAX as u64 * 2;
        match File::open(&path).and_then(|file| file.take(bytes_max).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { path, stored: None }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => text = "?".to_owned(),
            Err(error) => return Err(Exit::new(exit::IO, format!("{}: {error}", path.display()))),
        }
        let cursor = text.trim_end();
        if !is_cursor(cursor) {
            let message = format!("{} holds no cursor; delete it to start anew", path.display());
            return Err(Exit::new(exit::GAP, message));
        }
        let stored = Some(cursor.to_owned());
        Ok(Self { path, stored })
    }

    /// The cursor in it.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.stored.as_deref()
    }

    /// Stores a cursor: whatever happens, the file holds the old one or the new one as a whole.
    ///
    /// # Errors
    /// When it cannot be written. Then it holds the old one.
    pub(super) fn store(&mut self, cursor: &str) -> Result<(), Exit> {
        if cursor.is_empty() || self.stored.as_deref() == Some(cursor) {
            return Ok(());
        }
        replace(&self.path, cursor)
            .map_err(|error| Exit::new(exit::IO, format!("{}: {error}", self.path.display())))?;
        self.stored = Some(cursor.to_owned());
        Ok(())
    }
}

fn replace(path: &Path, cursor: &str) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Of this process alone, so that two tails with one file do not mix their bytes.
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
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
    use super::*;

    fn cursor(tail: &str) -> String {
        format!("{}{tail}", "A".repeat(30))
    }

    #[test]
    fn a_cursor_comes_back_and_nothing_else_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cursor");
        let mut file = CursorFile::open(path.clone()).expect("not there yet");
        assert_eq!(file.cursor(), None);
        for tail in ["1", "2", "3"] {
            file.store(&cursor(tail)).expect("stored");
            assert_eq!(CursorFile::open(path.clone()).expect("there").cursor(), Some(&*cursor(tail)));
        }
        let names = fs::read_dir(directory.path()).expect("listed").count();
        assert_eq!(names, 1);
    }

    #[test]
    fn a_reader_never_sees_half_a_cursor() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cursor");
        let mut file = CursorFile::open(path.clone()).expect("not there yet");
        file.store(&cursor("x")).expect("stored");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for _ in 0..2_000 {
                    let read = CursorFile::open(path.clone()).expect("always whole");
                    assert!(read.cursor().is_some_and(|cursor| cursor.len() == 31));
                }
            });
            for round in 0_u8..100 {
                file.store(&cursor(if round % 2 == 0 { "y" } else { "z" })).expect("stored");
            }
            reader.join().expect("the reader found nothing wrong");
        });
    }

    #[test]
    fn a_failed_store_leaves_the_old_cursor() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cursor");
        let mut file = CursorFile::open(path.clone()).expect("not there yet");
        file.store(&cursor("1")).expect("stored");
        // A folder where the temporary file would go: it cannot be made, also not by root.
        fs::create_dir(directory.path().join(format!("cursor.{}.tmp", std::process::id()))).expect("made");
        let failed = file.store(&cursor("2")).expect_err("cannot be written");
        assert_eq!(failed.code, exit::IO);
        assert_eq!(CursorFile::open(path).expect("there").cursor(), Some(&*cursor("1")));
    }

    #[test]
    fn something_else_in_the_file_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cursor");
        for content in [b"".as_slice(), b"short", b"\xff\xfe", &[b'A'; 500], b"AAAAAAAAAAAAAAAAAAAA\nAAAA"] {
            fs::write(&path, content).expect("written");
            assert_eq!(CursorFile::open(path.clone()).expect_err("no cursor").code, exit::GAP);
        }
    }
}
