//! Compares the refs of one repository in the database with those on disk.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use refwatch_core::classify::Bareness;
use refwatch_core::snapshot::diff;
use refwatch_core::{Look, RefName, RefState, Target};
use refwatch_store::{ReadError, Reader, RepositoryRow};
use refwatch_watcher::scan::{Observed, Scan};
use refwatch_watcher::{layout, scan};

use crate::cli::escape::Escaped;

/// The root that a repository was found below.
pub(super) fn root(row: &RepositoryRow) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&row.root))
}

/// A line for each ref that differs, or one that says why there is nothing to compare with.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn differences(reader: &Reader<'_>, row: &RepositoryRow) -> Result<Vec<String>, ReadError> {
    let path = Escaped::name("", &row.path).to_string();
    let found = match on_disk(row) {
        Ok(scan) => scan,
        Err(reason) => {
            return Ok(vec![format!("disk: {path}: cannot be compared: {}", Escaped::text(&reason))]);
        }
    };
    let mut known = Vec::new();
    reader.for_each_ref(row.key, |name, state, _| {
        known.push((name, state));
        ControlFlow::Continue(())
    })?;
    Ok(diff(known, states(found), false).iter().map(|look| text(&path, look)).collect())
}

fn on_disk(row: &RepositoryRow) -> Result<Scan, String> {
    let mut git_dir = root(row).join(OsStr::from_bytes(&row.path));
    if row.bareness == Bareness::Worktree && git_dir.join(".git").is_dir() {
        git_dir.push(".git");
    }
    let layout = layout::probe(&git_dir).map_err(|error| error.to_string())?;
    scan::full(&layout, &mut |_: &Path| {}).map_err(|error| error.to_string())
}

fn states(scan: Scan) -> Vec<(RefName, RefState)> {
    let state = |observed| match observed {
        Observed::Good(target) => RefState::Good(target),
        // The comparison fills in what it was before.
        Observed::Broken(_) => RefState::Broken { last_good: None },
    };
    scan.refs.into_iter().map(|(name, observed)| (name, state(observed))).collect()
}

fn text(path: &str, look: &Look) -> String {
    let name = Escaped::name("", look.name.as_bytes());
    format!("disk: {path} {name}: the log has {}, the disk {}", shown(&look.before), shown(&look.after))
}

fn shown(state: &Option<RefState>) -> String {
    match state {
        None => "nothing".to_owned(),
        Some(RefState::Good(Target::Direct(oid))) => oid.to_string(),
        Some(RefState::Good(Target::Symbolic(name))) => format!("ref:{}", Escaped::name("", name.as_bytes())),
        Some(RefState::Broken { .. }) => "a broken ref".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use refwatch_core::ObjectId;

    use super::*;

    #[test]
    fn differences_name_both_sides() {
        let name = |text: &str| RefName::new(text.as_bytes()).expect("a name");
        let oid =
            |digit: &str| Target::Direct(ObjectId::from_hex(digit.repeat(40).as_bytes()).expect("an oid"));
        let known = vec![
            (name("HEAD"), RefState::Good(Target::Symbolic(name("refs/heads/main")))),
            (name("refs/heads/gone"), RefState::Good(oid("1"))),
            (name("refs/heads/main"), RefState::Good(oid("1"))),
            (name("refs/heads/torn"), RefState::Broken { last_good: Some(oid("1")) }),
        ];
        let scan = Scan {
            refs: vec![
                (name("HEAD"), Observed::Good(Target::Symbolic(name("refs/heads/main")))),
                (name("refs/heads/main"), Observed::Good(oid("2"))),
                (name("refs/heads/torn"), Observed::Broken(scan::BrokenReason::Empty)),
            ],
            ..Scan::default()
        };
        let lines: Vec<String> =
            diff(known, states(scan), false).iter().map(|look| text("a.git", look)).collect();
        assert_eq!(
            lines,
            [
                format!("disk: a.git refs/heads/gone: the log has {}, the disk nothing", "1".repeat(40)),
                format!(
                    "disk: a.git refs/heads/main: the log has {}, the disk {}",
                    "1".repeat(40),
                    "2".repeat(40)
                ),
            ]
        );
    }
}
