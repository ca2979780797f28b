//! Trees of repositories.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use refwatch_watcher::discover::{Limits, Visit, WalkError, walk};
use tempfile::TempDir;

use crate::support::{bottomless, run};

const WIDE: Limits = Limits { depth_max: 32, directories_max: 100_000 };

struct Root(TempDir);

/// What one walk reported.
#[derive(Default)]
struct Report {
    found: Vec<String>,
    directories: Vec<PathBuf>,
    in_flux: Vec<PathBuf>,
    links: Vec<PathBuf>,
    problems: Vec<(PathBuf, WalkError)>,
}

impl Root {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn bare(&self, relative: &str) {
        run(self.path(), &["init", "-q", "--bare", relative]);
    }

    fn folder(&self, relative: &str) -> PathBuf {
        let path = self.path().join(relative);
        fs::create_dir_all(&path).expect("made");
        path
    }
}

fn report(root: &Path, limits: Limits) -> Report {
    let mut report = Report::default();
    walk(root, &limits, &mut |visit| match visit {
        Visit::Directory(path) => report.directories.push(path.to_owned()),
        Visit::Repository(found) => {
            assert!(found.git_dir.starts_with(root));
            report.found.push(found.relative.display().to_string());
        }
        Visit::InFlux { path, .. } => report.in_flux.push(path),
        Visit::LinkOut { path, .. } => report.links.push(path),
        Visit::Problem { path, error } => report.problems.push((path, error)),
    });
    report
}

#[test]
fn repositories_are_found_at_any_depth_in_order_of_name() {
    let root = Root::new();
    for relative in [
        "z.git",
        "ab/cd/1f0e.git",
        "ab/ce/2f0e.git",
        "group/sub/project.git",
        ".hidden/x.git",
        "refs/odd.git",
    ] {
        root.bare(relative);
    }
    run(root.path(), &["init", "-q", "work/tree"]);
    root.folder("work/tree/vendor");
    root.bare("work/tree/vendor/inner.git");
    root.folder("empty/deep");
    let report = report(root.path(), WIDE);
    let expected = [
        ".hidden/x.git",
        "ab/cd/1f0e.git",
        "ab/ce/2f0e.git",
        "group/sub/project.git",
        "refs/odd.git",
        "work/tree",
        "z.git",
    ];
    assert_eq!(report.found, expected);
    assert!(report.problems.is_empty() && report.links.is_empty());
    // Each directory is announced before it is read, repositories and their insides never.
    assert!(report.directories.contains(&root.path().join("empty/deep")));
    assert!(!report.directories.iter().any(|path| path.ends_with("z.git") || path.ends_with("z.git/refs")));
    assert!(report.directories.contains(&root.path().join("work/tree")));
    assert!(!report.directories.iter().any(|path| path.ends_with(".git")));
    assert!(!report.directories.iter().any(|path| path.ends_with("vendor")));
}

#[test]
fn the_root_itself_may_be_a_repository() {
    let root = Root::new();
    root.bare("r.git");
    let found = report(&root.path().join("r.git"), WIDE);
    assert_eq!(found.found, ["."]);
    run(root.path(), &["init", "-q", "w"]);
    let mut git_dir = None;
    walk(&root.path().join("w"), &WIDE, &mut |visit| {
        if let Visit::Repository(found) = visit {
            git_dir = Some(found.git_dir);
        }
    });
    assert_eq!(git_dir, Some(root.path().join("w/.git")));
    // A root that is a link is meant.
    symlink(root.path().join("r.git"), root.path().join("link")).expect("linked");
    assert_eq!(report(&root.path().join("link"), WIDE).found, ["."]);
}

#[test]
fn git_files_are_no_repositories_and_links_are_not_followed() {
    let root = Root::new();
    let outside = Root::new();
    outside.bare("o.git");
    root.bare("r.git");
    fs::write(root.folder("module").join(".git"), "gitdir: ../r.git\n").expect("written");
    symlink(outside.path(), root.path().join("out")).expect("linked");
    symlink(root.path().join("r.git"), root.path().join("inside")).expect("linked");
    symlink(root.path(), root.folder("loop").join("back")).expect("linked");
    symlink("/nonexistent", root.path().join("dangling")).expect("linked");
    let report = report(root.path(), WIDE);
    assert_eq!(report.found, ["r.git"]);
    assert_eq!(report.links, [root.path().join("out")]);
    assert!(report.problems.is_empty());
}

#[test]
fn half_made_repositories_are_reported_to_be_looked_at_again() {
    let root = Root::new();
    root.folder("new.git/objects");
    root.folder("more.git/objects/ab");
    root.folder("more.git/refs");
    root.folder("work/.git/refs");
    root.folder("ignored/.git");
    root.bare("ignored/below.git");
    let report = report(root.path(), WIDE);
    let expected =
        ["ignored/.git", "more.git", "new.git", "work/.git"].map(|relative| root.path().join(relative));
    assert_eq!(report.in_flux, expected);
    assert_eq!(report.found, ["ignored/below.git"]);
    assert!(!report.directories.contains(&root.path().join("more.git/objects")));
}

#[test]
fn limits_are_kept_and_said_once() {
    let root = Root::new();
    root.bare("a/b/c.git");
    root.bare("a/x/y/z.git");
    root.bare("b/x/y/z.git");
    let shallow = report(root.path(), Limits { depth_max: 3, ..WIDE });
    assert_eq!(shallow.found, ["a/b/c.git"]);
    assert!(matches!(shallow.problems.as_slice(), [(_, WalkError::TooDeep { depth_max: 3 })]));
    let few = report(root.path(), Limits { directories_max: 3, ..WIDE });
    assert_eq!(few.directories.len(), 3);
    assert!(matches!(few.problems.as_slice(), [(_, WalkError::TooMany { directories_max: 3 })]));
}

#[test]
fn what_cannot_be_read_is_a_problem_and_the_rest_goes_on() {
    let root = Root::new();
    root.bare("r.git");
    fs::write(root.path().join("file"), "").expect("written");
    for missing in ["none", "file"] {
        let report = report(&root.path().join(missing), WIDE);
        assert!(matches!(report.problems.as_slice(), [(_, WalkError::Unreadable(_))]), "{missing}");
    }
    bottomless(root.path());
    let report = report(root.path(), WIDE);
    assert_eq!(report.found, ["r.git"]);
    assert!(matches!(report.problems.as_slice(), [(_, WalkError::Unreadable(_))]));
}
