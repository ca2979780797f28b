//! Files among the refs that say nothing Git would accept: broken, never deleted, never followed.

use std::os::unix::fs::symlink;
use std::process::Command;

use refwatch_core::ObjectFormat;
use refwatch_watcher::scan::{self, BrokenReason, LOOSE_BYTES_MAX, Observed, ScanError};

use crate::support::{Repo, bottomless, direct, name, symbolic};

#[test]
fn each_kind_of_damage_has_its_reason() {
    for (format, other) in
        [(ObjectFormat::Sha1, ObjectFormat::Sha256), (ObjectFormat::Sha256, ObjectFormat::Sha1)]
    {
        let repo = Repo::bare(format, "files");
        let a = repo.commit("a");
        let cases: [(String, BrokenReason); 10] = [
            (String::new(), BrokenReason::Empty),
            ("\n".to_owned(), BrokenReason::Empty),
            ("garbage\n".to_owned(), BrokenReason::NotAnId),
            (format!(" {a}\n"), BrokenReason::NotAnId),
            ("a".repeat(other.hex_len()), BrokenReason::WrongLength),
            (a[1..].to_owned(), BrokenReason::WrongLength),
            (format.zero_hex().to_owned(), BrokenReason::ZeroId),
            ("ref: not a name\n".to_owned(), BrokenReason::BadSymref),
            (format!("{a}\n").repeat(LOOSE_BYTES_MAX / a.len() + 1), BrokenReason::TooLong),
            ("x".repeat(100_000), BrokenReason::TooLong),
        ];
        for (content, reason) in cases {
            repo.write("refs/heads/x", &content);
            // A packed value does not shine through, as with Git.
            repo.write("packed-refs", format!("{a} refs/heads/x\n"));
            let refs = repo.refs();
            assert_eq!(refs[b"refs/heads/x".as_slice()], Observed::Broken(reason), "{content:.60?}");
            assert!(!reason.to_string().is_empty());
        }
    }
}

#[test]
fn a_symbolic_link_to_a_ref_is_a_symbolic_ref_and_any_other_is_broken() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.update(&format!("create refs/heads/main {a}\ncreate refs/tags/t {a}\n"));
    let heads = repo.git_dir.join("refs/heads");
    for (link, target) in [
        ("good", "refs/heads/main"),
        ("dangling", "refs/heads/none"),
        ("beside", "main"),
        ("passwd", "/etc/passwd"),
        ("outside", "../../../other"),
        ("badname", "refs/heads/../../../x"),
        ("directory", "../tags"),
    ] {
        symlink(target, heads.join(link)).expect("linked");
    }
    let refs = repo.refs();
    assert_eq!(refs[b"refs/heads/good".as_slice()], symbolic("refs/heads/main"));
    assert_eq!(refs[b"refs/heads/dangling".as_slice()], symbolic("refs/heads/none"));
    for link in ["beside", "passwd", "outside", "badname", "directory"] {
        let broken = Observed::Broken(BrokenReason::ForeignLink);
        assert_eq!(refs[format!("refs/heads/{link}").as_bytes()], broken, "{link}");
    }
    assert!(!refs.contains_key(b"refs/heads/directory/t".as_slice()), "not followed");
    assert_eq!(scan::one(&repo.layout(), &name("refs/heads/directory/t")).expect("readable"), None);
    // HEAD the way Git wrote it before 2006.
    std::fs::remove_file(repo.git_dir.join("HEAD")).expect("removed");
    symlink("refs/heads/main", repo.git_dir.join("HEAD")).expect("linked");
    assert_eq!(repo.refs()[b"HEAD".as_slice()], symbolic("refs/heads/main"));
}

#[test]
fn a_pipe_is_no_ref_and_nobody_waits_for_it() {
    let repo = Repo::files();
    let pipe = repo.git_dir.join("refs/heads/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let scan = repo.scan();
    assert_eq!(scan.refs.len(), 1);
    assert_eq!(scan.skipped.len(), 1);
    assert_eq!(scan::one(&repo.layout(), &name("refs/heads/pipe")).expect("readable"), None);
}

#[test]
fn a_broken_head_is_broken_and_the_rest_is_read() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.update(&format!("create refs/heads/main {a}\n"));
    repo.write("HEAD", "nonsense\n");
    let refs = repo.refs();
    assert_eq!(refs[b"HEAD".as_slice()], Observed::Broken(BrokenReason::NotAnId));
    assert_eq!(refs[b"refs/heads/main".as_slice()], direct(&a));
}

#[test]
fn what_the_system_refuses_to_read_fails_the_scan() {
    let repo = Repo::files();
    let layout = repo.layout();
    // Running as root, permissions refuse nothing; a packed-refs that is a directory does.
    std::fs::create_dir(repo.git_dir.join("packed-refs")).expect("made");
    let unreadable =
        |error| matches!(error, ScanError::Unreadable { path, .. } if path.ends_with("packed-refs"));
    assert!(scan::full(&layout, &mut |_| {}).is_err_and(unreadable));
    assert!(scan::one(&layout, &name("refs/heads/none")).is_err_and(unreadable));
}

#[test]
fn directories_deeper_than_any_path_do_not_end_the_scan() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.update(&format!("create refs/heads/main {a}\n"));
    bottomless(&repo.git_dir.join("refs/heads"));
    assert_eq!(repo.refs().len(), 2);
}
