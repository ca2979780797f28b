//! What was done, by whom and where: told when something does not hold.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Entries kept to be shown.
const KEPT_MAX: usize = 4_000;

/// Entries shown.
const SHOWN_MAX: usize = 60;

/// Of a refusal, in characters.
const WHY_CHARS_MAX: usize = 200;

/// All acts, in the order they ended.
#[derive(Debug)]
pub(super) struct Diary {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    kept: VecDeque<String>,
    counts: BTreeMap<String, (u64, u64)>,
}

impl Diary {
    pub(super) fn new(path: &Path) -> Self {
        let file = File::create(path).expect("a file for the diary");
        let inner = Inner { file, kept: VecDeque::new(), counts: BTreeMap::new() };
        Self { began: Instant::now(), inner: Mutex::new(inner) }
    }

    /// An act that succeeded, or why it was refused.
    pub(super) fn act(&self, place: &str, act: &str, detail: &str, outcome: Result<(), &str>) {
        let mut inner = self.lock();
        let count = inner.counts.entry(act.to_owned()).or_default();
        match outcome {
            Ok(()) => count.0 += 1,
            Err(_) => count.1 += 1,
        }
        let why = |why: &str| why.trim().replace('\n', "; ").chars().take(WHY_CHARS_MAX).collect::<String>();
        let outcome = outcome.err().map(|text| format!(" refused: {}", why(text)));
        inner.note(&self.stamp(&format!("{place} {act} {detail}{}", outcome.unwrap_or_default())));
    }

    /// What is worth telling besides.
    pub(super) fn note(&self, line: &str) {
        self.lock().note(&self.stamp(line));
    }

    pub(super) fn counts(&self) -> BTreeMap<String, (u64, u64)> {
        self.lock().counts.clone()
    }

    /// The last entries that name one of some places; of all, when none is given.
    pub(super) fn around(&self, names: &[String]) -> Vec<String> {
        let inner = self.lock();
        let about = |line: &&String| names.is_empty() || names.iter().any(|name| line.contains(&**name));
        let mut lines: Vec<_> = inner.kept.iter().rev().filter(about).take(SHOWN_MAX).cloned().collect();
        lines.reverse();
        lines
    }

    fn stamp(&self, line: &str) -> String {
        format!("{:>10.4} {line}", self.began.elapsed().as_secs_f64())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note(&mut self, line: &str) {
        writeln!(self.file, "{line}").expect("the diary is written");
        self.kept.push_back(line.to_owned());
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }
}
