//! Loose and packed refs as Git writes them.

use std::path::{Path, PathBuf};

use refwatch_core::ObjectFormat;
use refwatch_watcher::scan::{self, Observed, ScanError};

use crate::support::{Repo, direct, feed, name, symbolic};

const FORMATS: [ObjectFormat; 2] = [ObjectFormat::Sha1, ObjectFormat::Sha256];

/// Branches at several depths, a lightweight and an annotated tag, a symbolic ref, a name that is not UTF-8.
fn furnished(repo: &Repo) {
    let [a, b] = repo.commits();
    repo.update(&format!(
        "create refs/heads/main {a}\ncreate refs/heads/feature/deep/y {b}\ncreate refs/notes/n {b}\n\
         create refs/tags/light {a}\ncreate refs/stash {b}\n"
    ));
    repo.git(&["tag", "-a", "-m", "annotated", "v1", &a]);
    repo.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/heads/main"]);
    feed(&repo.git_dir, &["update-ref", "--stdin"], format!("create refs/heads/\u{ff} {a}\n").as_bytes());
    feed(
        &repo.git_dir,
        &["update-ref", "--stdin"],
        &[b"create refs/heads/\xff\xfe ", a.as_bytes(), b"\n"].concat(),
    );
}

#[test]
fn every_ref_reads_as_git_reads_it_loose_packed_and_mixed() {
    for format in FORMATS {
        let repo = Repo::bare(format, "files");
        furnished(&repo);
        let loose = repo.refs();
        assert_eq!(loose, repo.refs_by_git());
        assert_eq!(loose.len(), 10);

        repo.git(&["pack-refs", "--all"]);
        assert_eq!(repo.refs(), loose, "packing changes nothing");

        let other = repo.commit("other");
        repo.update(&format!("update refs/heads/main {other}\ndelete refs/tags/light\n"));
        let mixed = repo.refs();
        assert_eq!(mixed, repo.refs_by_git());
        assert_eq!(mixed[b"refs/heads/main".as_slice()], direct(&other), "loose wins over packed");
        assert_eq!(scan::one(&repo.layout(), &name("refs/tags/light")).expect("readable"), None);
    }
}

#[test]
fn packed_refs_reads_the_same_with_every_header_and_in_any_order() {
    let repo = Repo::files();
    furnished(&repo);
    repo.git(&["pack-refs", "--all"]);
    let expected = repo.refs_by_git();
    let packed = std::fs::read_to_string(repo.git_dir.join("packed-refs").as_path());
    // The name that is not UTF-8 is of no use in text.
    assert!(packed.is_err());
    let packed = std::fs::read(repo.git_dir.join("packed-refs")).expect("packed");
    let body_start = packed.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
    let body = &packed[body_start..];
    for header in [
        "",
        "# pack-refs with: \n",
        "# pack-refs with: peeled \n",
        "# pack-refs with: fully-peeled sorted \n",
    ] {
        repo.write("packed-refs", [header.as_bytes(), body].concat());
        assert_eq!(repo.refs(), expected, "{header:?}");
    }
    // The last entry first: still with what it peels to.
    let last = body.windows(11).rposition(|bytes| bytes == b" refs/tags/").expect("a tag") - 40;
    for header in ["", "# pack-refs with: peeled \n"] {
        repo.write("packed-refs", [header.as_bytes(), &body[last..], &body[..last]].concat());
        assert_eq!(repo.refs(), expected, "unsorted, {header:?}");
    }
}

#[test]
fn annotated_tags_come_with_what_they_peel_to_once_packed() {
    for storage in ["files", "reftable"] {
        let repo = Repo::bare(ObjectFormat::Sha256, storage);
        furnished(&repo);
        repo.git(&["pack-refs", "--all"]);
        let scan = repo.scan();
        let peeled: Vec<_> =
            scan.peeled.iter().map(|(index, id)| (scan.refs[*index].0.to_text(), id.to_hex())).collect();
        assert_eq!(peeled, [("refs/tags/v1".into(), repo.git(&["rev-parse", "v1^{}"]))], "{storage}");
    }
}

#[test]
fn a_directory_beside_a_packed_ref_of_the_same_name_hides_nothing() {
    let repo = Repo::files();
    let [a, b] = repo.commits();
    repo.update(&format!("create refs/heads/x {a}\n"));
    repo.git(&["pack-refs", "--all"]);
    std::fs::create_dir_all(repo.git_dir.join("refs/heads/x/empty")).expect("made");
    assert_eq!(repo.refs(), repo.refs_by_git());
    assert_eq!(scan::one(&repo.layout(), &name("refs/heads/x/y")).expect("readable"), None);
    // Both at once, as a careless writer leaves it.
    repo.write("refs/heads/x/y", format!("{b}\n"));
    let refs = repo.refs();
    assert_eq!(refs[b"refs/heads/x".as_slice()], direct(&a));
    assert_eq!(refs[b"refs/heads/x/y".as_slice()], direct(&b));
    // A file where a directory would have to be.
    repo.write("refs/heads/z", format!("{b}\n"));
    assert_eq!(scan::one(&repo.layout(), &name("refs/heads/z/below")).expect("readable"), None);
}

#[test]
fn an_unborn_and_a_detached_head_are_refs_like_others() {
    let repo = Repo::files();
    assert_eq!(repo.refs(), [(b"HEAD".to_vec(), symbolic("refs/heads/main"))].into());
    let a = repo.commit("a");
    repo.git(&["update-ref", "--no-deref", "HEAD", &a]);
    assert_eq!(repo.refs(), [(b"HEAD".to_vec(), direct(&a))].into());
}

#[test]
fn locks_and_temporary_files_are_no_refs() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.update(&format!("create refs/heads/main {a}\n"));
    let expected = repo.refs();
    for lock in ["refs/heads/main.lock", "refs/heads/new.lock", "HEAD.lock", "packed-refs.lock"] {
        repo.write(lock, &a);
    }
    repo.write("refs/heads/.hidden", &a);
    repo.write("refs/heads/dir.lock/x", &a);
    let scan = repo.scan();
    assert_eq!(repo.refs(), expected);
    let mut locks: Vec<_> = scan.locks.iter().map(|lock| lock.path.clone()).collect();
    locks.sort();
    let expected = ["HEAD.lock", "packed-refs.lock", "refs/heads/main.lock", "refs/heads/new.lock"];
    assert_eq!(locks, expected.map(PathBuf::from));
    assert!(scan.locks.iter().all(|lock| lock.ino > 0 && lock.mtime_ns > 0));
    assert!(!scan.directories.contains(&PathBuf::from("refs/heads/dir.lock")));
}

#[test]
fn every_directory_is_announced_before_it_is_read_and_listed_after() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.update(&format!("create refs/heads/one/two/three {a}\n"));
    let layout = repo.layout();
    let mut announced = Vec::new();
    let mut late = None;
    // A ref that is made when its directory is announced is in the scan: watch first, then read.
    let scan = scan::full(&layout, &mut |directory| {
        announced.push(directory.to_owned());
        if directory == Path::new("refs/heads/one/two") {
            repo.write("refs/heads/one/two/late/ref", format!("{a}\n"));
            late = Some(name("refs/heads/one/two/late/ref"));
        }
    })
    .expect("readable");
    assert!(scan.refs.iter().any(|(name, _)| Some(name) == late.as_ref()));
    let mut directories = scan.directories.clone();
    directories.sort();
    let expected = [
        "",
        "refs",
        "refs/heads",
        "refs/heads/one",
        "refs/heads/one/two",
        "refs/heads/one/two/late",
        "refs/tags",
    ];
    assert_eq!(directories, expected.map(PathBuf::from));
    assert!(directories.iter().all(|directory| announced.contains(directory)));
    let mut listed = scan::directories(&layout, &mut |_| {}).expect("readable");
    listed.sort();
    assert_eq!(listed, directories);
}

#[test]
fn a_subtree_is_the_loose_refs_below_one_directory() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.update(&format!(
        "create refs/heads/x/a {a}\ncreate refs/heads/x/y/b {a}\ncreate refs/heads/z {a}\n"
    ));
    let below = |directory: &str| {
        let scan = scan::subtree(&repo.layout(), Path::new(directory), &mut |_| {}).expect("readable");
        let names: Vec<_> = scan.refs.iter().map(|(name, _)| name.to_text().into_owned()).collect();
        (names.join(" "), scan.directories.len())
    };
    assert_eq!(below("refs/heads/x"), ("refs/heads/x/a refs/heads/x/y/b".to_owned(), 2));
    assert_eq!(below("refs/heads/x/y"), ("refs/heads/x/y/b".to_owned(), 1));
    assert_eq!(below("refs/heads/gone"), (String::new(), 0));
    assert_eq!(below("refs/heads/z"), (String::new(), 0));
    assert_eq!(below(""), ("HEAD refs/heads/x/a refs/heads/x/y/b refs/heads/z".to_owned(), 6));
}

#[test]
fn a_repository_that_loses_a_part_is_in_flux_and_has_no_refs_deleted() {
    for part in ["HEAD", "objects", "refs"] {
        let repo = Repo::files();
        let a = repo.commit("a");
        repo.update(&format!("create refs/heads/main {a}\n"));
        let layout = repo.layout();
        std::fs::rename(repo.git_dir.join(part), repo.git_dir.join("away")).expect("moved");
        let missing = |error| matches!(error, ScanError::InFlux { missing, .. } if missing == part);
        assert!(scan::full(&layout, &mut |_| {}).is_err_and(missing), "{part}");
        assert!(scan::one(&layout, &name("refs/heads/none")).is_err_and(missing), "{part}");
        std::fs::rename(&repo.git_dir, repo.git_dir.with_extension("away")).expect("moved");
        let gone = |error| matches!(error, ScanError::InFlux { .. });
        assert!(scan::full(&layout, &mut |_| {}).is_err_and(gone));
        assert!(scan::one(&layout, &name("HEAD")).is_err_and(gone));
    }
}

#[test]
fn a_long_packed_refs_is_searched_and_agrees_with_reading_all_of_it() {
    let repo = Repo::files();
    let a = repo.commit("a");
    let [even, odd] = repo.commits();
    let mut text = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
    for index in 0..20_000 {
        let id = if index % 2 == 0 { &even } else { &odd };
        // Some names are long, some entries carry what they peel to.
        let tail = if index % 97 == 0 { "x".repeat(index % 4000) } else { String::new() };
        text.push_str(&format!("{id} refs/heads/{index:06}{tail}\n"));
        if index % 3 == 0 {
            text.push_str(&format!("^{a}\n"));
        }
    }
    repo.write("packed-refs", &text);
    let scan = repo.scan();
    assert_eq!(scan.refs.len(), 20_001);
    let layout = repo.layout();
    for (name, observed) in scan.refs.iter().step_by(7).chain(scan.refs.last()) {
        assert_eq!(scan::one(&layout, name).expect("readable").as_ref(), Some(observed));
    }
    for absent in ["refs/a", "refs/heads/000000x", "refs/heads/0100005", "refs/heads/zzz", "refs/zzz"] {
        assert_eq!(scan::one(&layout, &name(absent)).expect("readable"), None, "{absent}");
    }
}

#[test]
fn a_bad_line_in_packed_refs_is_an_error_with_its_line_number() {
    let repo = Repo::files();
    let a = repo.commit("a");
    let header = "# pack-refs with: peeled fully-peeled sorted \n";
    for (tail, line) in [
        (format!("{a} refs/heads/c"), 3),
        (format!("{a} refs/heads/c\r\n"), 3),
        ("\n".to_owned(), 3),
        (format!("{a} refs/heads/c\n^nonsense\n"), 4),
        (format!("{a} refs/heads/../../etc\n"), 3),
        ("garbage\n".to_owned(), 3),
    ] {
        repo.write("packed-refs", format!("{header}{a} refs/heads/b\n{tail}"));
        let at =
            |error: ScanError| matches!(error, ScanError::PackedRefs { line: found, .. } if found == line);
        assert!(scan::full(&repo.layout(), &mut |_| {}).is_err_and(at), "{tail:?}");
    }
    repo.write("packed-refs", format!("{header}{a} refs/heads/b\ngarbage\n"));
    assert!(scan::one(&repo.layout(), &name("refs/heads/c")).is_err());
    // A loose ref does not need packed-refs.
    repo.write("refs/heads/loose", &a);
    assert_eq!(scan::one(&repo.layout(), &name("refs/heads/loose")).expect("readable"), Some(direct(&a)));
}

#[test]
fn names_that_git_would_not_take_are_left_out_and_said() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.write("refs/heads/a..b", &a);
    repo.write("refs/heads/backup~", &a);
    repo.write_bytes_path(b"refs/heads/\xfffine", a.as_bytes());
    repo.write("packed-refs", format!("{a} FOO\n{a} refs/heads/a b\n"));
    let scan = repo.scan();
    let mut skipped: Vec<_> = scan.skipped.iter().map(|skipped| skipped.path.display().to_string()).collect();
    skipped.sort();
    assert_eq!(skipped, ["FOO", "refs/heads/a b", "refs/heads/a..b", "refs/heads/backup~"]);
    assert!(scan.refs.iter().all(|(_, observed)| matches!(observed, Observed::Good(_))));
    // Git lists a packed name of capitals beside refs/, where it writes none.
    let mut by_git = repo.refs_by_git();
    by_git.remove(b"FOO".as_slice());
    assert_eq!(repo.refs(), by_git);
}
