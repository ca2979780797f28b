//! What a repository is.

use std::fs;

use refwatch_core::ObjectFormat;
use refwatch_core::classify::Bareness;
use refwatch_watcher::layout::{ProbeError, RefStorage, identity, probe};
use tempfile::TempDir;

use crate::support::{Repo, run};

#[test]
fn every_kind_of_repository_that_git_makes_is_known() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        for (storage, expected) in [("files", RefStorage::Files), ("reftable", RefStorage::Reftable)] {
            let repo = Repo::bare(format, storage);
            let layout = repo.layout();
            assert_eq!((layout.storage, layout.format, layout.bareness), (expected, format, Bareness::Bare));
            assert!(!layout.mirror && layout.git_dir.is_absolute());
        }
    }
    let home = TempDir::new().expect("a directory");
    run(home.path(), &["init", "-q", "w"]);
    let layout = probe(&home.path().join("w/.git")).expect("a repository");
    assert_eq!(layout.bareness, Bareness::Worktree);
    // A bare repository with worktrees of their own config.
    run(&home.path().join("w"), &["config", "extensions.worktreeConfig", "true"]);
    run(&home.path().join("w"), &["config", "--unset", "core.bare"]);
    run(&home.path().join("w"), &["config", "--worktree", "core.bare", "true"]);
    assert_eq!(probe(&home.path().join("w/.git")).expect("a repository").bareness, Bareness::Bare);
}

#[test]
fn a_mirror_is_told() {
    let repo = Repo::files();
    let mirror = repo.git_dir.with_extension("mirror");
    run(&repo.git_dir, &["clone", "-q", "--mirror", ".", mirror.to_str().expect("UTF-8")]);
    assert!(probe(&mirror).expect("a repository").mirror);
}

#[test]
fn half_a_repository_is_in_flux_and_none_is_none() {
    for part in ["HEAD", "objects", "refs"] {
        let repo = Repo::files();
        fs::rename(repo.git_dir.join(part), repo.git_dir.join("away")).expect("moved");
        let error = probe(&repo.git_dir).expect_err("incomplete");
        assert!(matches!(error, ProbeError::InFlux { missing, .. } if missing == part), "{error}");
    }
    let home = TempDir::new().expect("a directory");
    for path in [home.path().to_owned(), home.path().join("none"), "/etc/passwd".into()] {
        assert!(matches!(probe(&path), Err(ProbeError::NotARepository { .. })), "{path:?}");
    }
}

#[test]
fn a_linked_worktree_is_no_repository_of_its_own() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.update(&format!("create refs/heads/main {a}\n"));
    let tree = repo.git_dir.with_extension("w1");
    repo.git(&["worktree", "add", "-q", "--detach", tree.to_str().expect("UTF-8"), "main"]);
    let error = probe(&repo.git_dir.join("worktrees/r.w1")).expect_err("part of another");
    assert!(matches!(error, ProbeError::NotARepository { .. }), "{error}");
}

#[test]
fn formats_that_are_not_known_are_refused_as_git_refuses_them() {
    let repo = Repo::files();
    let layout = repo.layout();
    for config in [
        "[core]\nrepositoryformatversion = 2\n",
        "[core]\nrepositoryformatversion = 1\n[extensions]\nnovel = true\n",
        "[core]\nrepositoryformatversion = 1\n[extensions]\nrefStorage = sqlite\n",
        "[core]\nrepositoryformatversion = 1\n[extensions]\nobjectFormat = blake3\n",
        "[core]\nrepositoryformatversion = 0\n[extensions]\nobjectFormat = sha256\n",
    ] {
        repo.write("config", config);
        let error = probe(&repo.git_dir).expect_err("unknown");
        assert!(matches!(error, ProbeError::Unsupported { .. }), "{config:?}: {error}");
        let git = crate::support::command(&repo.git_dir, &["for-each-ref"]).output().expect("git runs");
        assert!(!git.status.success(), "{config:?}");
    }
    for config in [
        "[core]\nrepositoryformatversion = 0\n[extensions]\nnovel = true\n",
        "[core]\nrepositoryformatversion = 1\nbare = true\n[extensions]\npreciousObjects = true\n",
        "",
    ] {
        repo.write("config", config);
        assert_eq!(probe(&repo.git_dir).expect("known").storage, layout.storage, "{config:?}");
    }
    repo.write("config", "[core\n");
    assert!(matches!(probe(&repo.git_dir), Err(ProbeError::BadConfig { line: 1, .. })));
    fs::remove_file(repo.git_dir.join("config")).expect("removed");
    assert!(probe(&repo.git_dir).is_ok(), "Git takes it, too");
}

#[test]
fn a_moved_repository_keeps_its_identity_and_a_new_one_has_another() {
    let repo = Repo::files();
    let before = identity(&repo.git_dir).expect("there");
    let moved = repo.git_dir.with_extension("moved");
    fs::rename(&repo.git_dir, &moved).expect("moved");
    assert_eq!(identity(&moved).expect("there"), before);
    fs::create_dir(&repo.git_dir).expect("made");
    assert_ne!(identity(&repo.git_dir).expect("there"), before);
    assert!(identity(&repo.git_dir.join("none")).is_err());
}

/// Whoever may write `config` may make Git run programs and read other files. Here it is one file, with some words in it.
#[test]
fn a_configuration_that_includes_and_runs_things_says_no_more_than_its_own_lines() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.update(&format!("create refs/heads/main {a}\n"));
    let home = TempDir::new().expect("a directory");
    let (other, ran) = (home.path().join("other"), home.path().join("ran"));
    fs::write(
        &other,
        "[core]\n\trepositoryformatversion = 1\n\tworktree = /\n[remote \"o\"]\n\tmirror = true\n",
    )
    .expect("written");
    let own = repo.git_dir.join("config");
    let plain = fs::read_to_string(&own).expect("text");
    let before = probe(&repo.git_dir).expect("a repository");
    let run = format!("touch {}", ran.display());
    let including = ["include", "includeIf \"gitdir:**\"", "includeIf \"onbranch:**\""]
        .map(|section| format!("[{section}]\n\tpath = {}\n", other.display()));
    let running = format!(
        "[core]\n\tfsmonitor = {run}\n\tsshCommand = {run}\n\tgitProxy = {run}\n\thooksPath = {home}\n\
         [filter \"x\"]\n\tprocess = {run}\n[uploadpack]\n\tpackObjectsHook = {run}\n[alias]\n\tstatus = !{run}\n",
        home = home.path().display()
    );
    fs::write(&own, including.concat() + &plain + &running + &including.concat()).expect("written");
    // It is one that Git obeys.
    let told = repo.git(&["config", "--get", "--includes", "remote.o.mirror"]);
    assert_eq!(told.trim(), "true");
    let layout = probe(&repo.git_dir).expect("a repository");
    assert_eq!(format!("{layout:?}"), format!("{before:?}"));
    let scan = refwatch_watcher::scan::full(&layout, &mut |_| {}).expect("read");
    assert_eq!(scan.refs.len(), refwatch_watcher::scan::full(&before, &mut |_| {}).expect("read").refs.len());
    assert!(!ran.exists(), "something was run");
}
