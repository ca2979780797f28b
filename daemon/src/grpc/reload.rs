//! What was read of files that may change at any time.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::BindError;

/// Largest file with tokens, secrets, keys or certificates, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file, and the setting that names it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) setting: &'static str,
    pub(super) path: PathBuf,
}

/// What tells that a file has changed: time of change, size and inode.
type Signature = (i64, i64, u64, u64);
/// Makes a value of the files' contents, which come in the order of the files.
type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send>;

/// Files, and what was last made of them.
pub(super) struct Reload<T> {
    files: Vec<Named>,
    make: Make<T>,
    sender: watch::Sender<Arc<T>>,
    read: Option<Vec<Signature>>,
    seen: Option<Vec<Signature>>,
}

impl<T: Send + Sync + 'static> Reload<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`BindError::File`] for one that cannot be read; otherwise what `refused` makes of the reason.
    pub(super) fn open(
        files: Vec<Named>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + 'static,
        refused: impl Fn(String) -> BindError,
    ) -> Result<Self, BindError> {
        let mut signatures = Vec::new();
        let mut contents = Vec::new();
        for file in &files {
            let failed = |source| BindError::File { setting: file.setting, path: file.path.clone(), source };
            signatures.push(signature(&file.path).map_err(failed)?);
            contents.push(content(&file.path).map_err(failed)?);
        }
        let sender = watch::Sender::new(Arc::new(make(&contents).map_err(refused)?));
        let seen = Some(signatures);
        Ok(Self { files, make: Box::new(make), sender, read: seen.clone(), seen })
    }

    /// What was made of the files, now and after every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.sender.subscribe()
    }

    /// Takes over what has changed, once it was seen unchanged twice: the files may be being written. What cannot be
    /// read or used changes nothing, and is said once. Blocks.
    pub(super) fn look_again(&mut self) {
        let signatures = self.files.iter().map(|file| signature(&file.path)).collect::<io::Result<Vec<_>>>();
        let signatures = match signatures {
            Ok(signatures) => signatures,
            Err(error) => return self.keep(&error.to_string()),
        };
        let settled = self.seen.as_ref() == Some(&signatures);
        self.seen = Some(signatures.clone());
        if !settled || self.read.as_ref() == Some(&signatures) {
            return;
        }
        self.read = Some(signatures);
        let contents = self.files.iter().map(|file| content(&file.path)).collect::<io::Result<Vec<_>>>();
        match contents.map_err(|error| error.to_string()).and_then(|contents| (self.make)(&contents)) {
            Ok(made) => {
                tracing::info!(files = self.paths(), "files have changed, and what they say is in force");
                self.sender.send_replace(Arc::new(made));
            }
            Err(detail) => self.keep(&detail),
        }
    }

    /// Says once that what is known so far stays in force.
    fn keep(&mut self, detail: &str) {
        if self.seen.take().is_some() {
            let files = self.paths();
            tracing::warn!(files, detail, "files cannot be taken over; what was read before stays in force");
        }
    }

    fn paths(&self) -> String {
        self.files.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

fn signature(path: &Path) -> io::Result<Signature> {
    fs::metadata(path).map(|meta| (meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()))
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// The lines of a text that say something, with their numbers: blank ones do not, nor do those that begin with `#`.
pub(super) fn lines(content: &[u8]) -> Result<Vec<(usize, &str)>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned())?;
    let lines = text.lines().map(str::trim).zip(1..).map(|(line, number)| (number, line));
    Ok(lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect())
}
