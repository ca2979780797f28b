//! How the journal stands.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use refwatch_hook::JOURNAL;
use refwatch_hook::record::{self, VERSION};

use super::super::found::{Files, Place, Repository};
use super::super::look;
use super::report::JournalReport;
use super::{is_full, owner, text};
use crate::cli::escape::Escaped;

/// Longest journal whose last record is looked for, in bytes: records are found from the front only. A longer one tells
/// no more than when it was written to.
const PARSED_BYTES_MAX: u64 = 8 << 20;

pub(super) fn look(repository: &Repository) -> JournalReport {
    let path = repository.journal_path();
    let mut report = JournalReport { directory: text(&path), ..JournalReport::default() };
    let files: &Files = match &repository.journal {
        Place::Directory(files) => files,
        Place::Link { target, files } => {
            report.spool = Some(text(target));
            match files {
                Some(files) => files,
                None => return report,
            }
        }
        Place::Missing | Place::Other(_) => return report,
    };
    report.is_there = true;
    report.is_writable = look::is_writable(&path);
    report.journals = files.journals;
    report.bytes = files.bytes;
    let current = path.join(JOURNAL);
    report.current_bytes = fs::symlink_metadata(&current).map_or(0, |found| found.len());
    let last = last(&current);
    report.last_actor = last.as_ref().and_then(|(_, actor)| actor.clone());
    let at = last.map(|(at, _)| at).or_else(|| newest(&path).and_then(|at| Timestamp::try_from(at).ok()));
    report.last_record_at = at.map(|at| at.to_string());
    report
}

/// When a journal of a directory was last written to.
fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let journals = entries.filter(|entry| look::is_journal(entry.file_name().as_encoded_bytes()));
    journals.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
}

/// Time and actor of the last whole record.
fn last(journal: &Path) -> Option<(Timestamp, Option<String>)> {
    let found = fs::symlink_metadata(journal).ok()?;
    if !found.is_file() || found.len() > PARSED_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(journal).ok()?.take(PARSED_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let mut rest = bytes.as_slice();
    let mut last = None;
    while let Ok(frame) = record::check(rest) {
        last = Some(frame);
        rest = &rest[frame.bytes()..];
    }
    // Behind damage there may be later ones: the file's time is as good.
    let frame = last.filter(|frame| rest.is_empty() && frame.version == VERSION)?;
    let record = record::decode(frame.payload).ok()?;
    let at = Timestamp::from_microsecond(i64::try_from(record.facts.wall_us).ok()?).ok()?;
    let actor = record.facts.actor;
    Some((at, (!actor.is_empty()).then(|| String::from_utf8_lossy(actor).into_owned())))
}

/// What keeps hooks that run from recording.
pub(super) fn hindrances(repository: &Repository, journal: &JournalReport) -> Option<String> {
    let path = repository.journal_path();
    let shown = Escaped::path(&path).to_string();
    if !journal.is_there {
        return Some(match &repository.journal {
            Place::Link { target, .. } => {
                format!("{shown} leads to {}, which is no directory", Escaped::path(target))
            }
            Place::Other(what) => format!("{shown} is {what}"),
            Place::Missing | Place::Directory(_) => {
                format!("{shown} is missing: install again to make it")
            }
        });
    }
    if is_full(journal.current_bytes) {
        return Some(format!("{shown}/{JOURNAL} is full: nobody reads it, and hooks append no more"));
    }
    if !journal.is_writable {
        return Some(format!("{shown} is not writable for who asks"));
    }
    keeps_owner_out(&repository.git_dir, &path)
        .map(|at| format!("{} is not writable for the repository's owner", Escaped::path(&at)))
}

/// The journal, or its directory, if its mode keeps the repository's owner from writing. Access lists are not asked.
fn keeps_owner_out(git_dir: &Path, directory: &Path) -> Option<PathBuf> {
    let (user, group) = owner(git_dir)?;
    let current = directory.join(JOURNAL);
    [directory.to_owned(), current].into_iter().find(|path| {
        fs::metadata(path).is_ok_and(|found| {
            let bit = if found.uid() == user {
                0o200
            } else if found.gid() == group {
                0o020
            } else {
                0o002
            };
            user != 0 && found.mode() & bit == 0
        })
    })
}
