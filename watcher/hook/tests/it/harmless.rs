//! Whatever is wrong with the journal, git does its work and hears nothing of it.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use refwatch_hook::JOURNAL_BYTES_MAX;
use refwatch_hook::record::HEADER_BYTES;
use refwatch_watcher::journal::{Position, Rest};

use crate::support::{HOOK, Repo, git, hook, isolated, succeeded, text, transaction};

/// A repository with every hook of a push, and others that were there before.
fn with_others() -> Repo {
    let repo = Repo::pushed_to("files");
    repo.script("pre-receive.refwatch-former", "cat >/dev/null");
    repo.script("update.refwatch-former", "exit 0");
    repo.script("post-receive.d/ignores", "exit 0");
    repo
}

/// Pushes a new commit and checks that git succeeded and said nothing.
fn push(repo: &Repo, work: &Path) {
    succeeded(git(work, &["commit", "-q", "--allow-empty", "-m", "more"]), b"");
    let out = succeeded(git(work, &["push", "-q", repo.git_dir.to_str().expect("text"), "main"]), b"");
    assert_eq!((out.stdout, String::from_utf8_lossy(&out.stderr).as_ref()), (Vec::new(), ""));
}

#[test]
fn without_its_directory_the_hook_does_nothing() {
    let repo = with_others();
    let work = repo.work();
    fs::remove_dir(repo.git_dir.join("refwatch")).expect("removed");
    push(&repo, &work);
    assert!(!repo.git_dir.join("refwatch").exists());
    // A link that leads nowhere: the spool is not mounted.
    symlink("/nowhere/at/all", repo.git_dir.join("refwatch")).expect("linked");
    push(&repo, &work);
}

#[test]
fn what_is_no_file_is_left_alone() {
    let repo = with_others();
    let work = repo.work();
    let journal = repo.journal_path();
    fs::create_dir(&journal).expect("made");
    push(&repo, &work);
    fs::remove_dir(&journal).expect("removed");
    let elsewhere = repo.home.path().join("elsewhere");
    fs::write(&elsewhere, "kept").expect("written");
    symlink(&elsewhere, &journal).expect("linked");
    push(&repo, &work);
    assert_eq!(fs::read(&elsewhere).expect("there"), b"kept");
    fs::remove_file(&journal).expect("removed");
    // Nobody reads from it: opening it would wait for ever.
    let mut mkfifo = Command::new("mkfifo");
    mkfifo.arg(&journal);
    succeeded(mkfifo, b"");
    push(&repo, &work);
    fs::remove_dir_all(repo.git_dir.join("refwatch")).expect("removed");
    fs::write(repo.git_dir.join("refwatch"), "a file").expect("written");
    push(&repo, &work);
}

#[test]
fn a_journal_that_may_not_be_written_to_costs_the_record_alone() {
    let repo = with_others();
    let work = repo.work();
    let Some(mounted) = Mounted::new(&repo, "size=1m") else {
        // Without the right to mount, permissions hold.
        let directory = repo.git_dir.join("refwatch");
        fs::set_permissions(&directory, Permissions::from_mode(0o555)).expect("set");
        push(&repo, &work);
        return;
    };
    push(&repo, &work);
    let before = repo.records().len();
    assert!(before > 0);
    mounted.remount("ro");
    push(&repo, &work);
    assert_eq!(repo.records().len(), before);
    mounted.remount("rw");
    push(&repo, &work);
    assert!(repo.records().len() > before);
}

#[test]
fn a_full_disk_costs_the_record_alone() {
    let repo = with_others();
    let work = repo.work();
    let Some(mounted) = Mounted::new(&repo, "size=64k") else {
        println!("skipped: mounting is not allowed");
        return;
    };
    push(&repo, &work);
    let before = repo.records().len();
    // To the last byte of a page or of the disk: the next record is cut short, or does not begin.
    let mut filler = fs::File::create(repo.git_dir.join("refwatch/filler")).expect("made");
    while filler.write_all(&[0; 512]).is_ok() {}
    drop(filler);
    for _ in 0..40 {
        push(&repo, &work);
    }
    fs::remove_file(repo.git_dir.join("refwatch/filler")).expect("removed");
    push(&repo, &work);
    let batch = repo.read(&Position::oldest());
    assert!(batch.records.len() > before, "the last push is recorded");
    assert_eq!(batch.rest, Rest::Nothing);
    assert_eq!(batch.passed_over.corrupt, 0);
    println!("{} records, {} torn", batch.records.len(), batch.passed_over.torn);
    drop(mounted);
}

/// A write that crosses `RLIMIT_FSIZE` is short; one that starts at it is answered by SIGXFSZ, which ends the process.
/// The standard library cannot ignore that signal, so the hook reads its limit and does not start such a write.
#[test]
fn a_limit_of_file_sizes_costs_the_record_alone() {
    let repo = Repo::files();
    let [a, b] = &repo.commits();
    repo.git(&["update-ref", "refs/heads/x", a]);
    let record_bytes = fs::metadata(repo.journal_path()).expect("there").len();
    // The unit of `ulimit -f` is 512 bytes or 1,024: a hole leaves little room below either limit.
    let hole = |limit: u64| {
        let file = OpenOptions::new().write(true).open(repo.journal_path()).expect("opened");
        file.set_len(limit - HEADER_BYTES as u64 - 5).expect("grown");
    };
    assert!(record_bytes < 1024);
    let run = |old: &str, new: &str| {
        let mut command = Command::new("sh");
        isolated(&mut command, &repo.git_dir);
        command.args(["-c", "ulimit -f 16; exec git update-ref refs/heads/x \"$0\" \"$1\"", new, old]);
        let out = succeeded(command, b"");
        assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    };
    let mut limits = Command::new("sh");
    limits.args(["-c", "ulimit -f 16; grep 'Max file size' /proc/self/limits"]);
    let line = text(succeeded(limits, b""));
    let limit: u64 = line.split_whitespace().nth(3).expect("a limit").parse().expect("bytes");
    hole(limit);
    run(a, b);
    assert_eq!(fs::metadata(repo.journal_path()).expect("there").len(), limit, "cut short");
    run(b, a);
    assert_eq!(fs::metadata(repo.journal_path()).expect("there").len(), limit, "not begun");
    repo.git(&["update-ref", "refs/heads/x", b, a]);
    let batch = repo.read(&Position::oldest());
    assert_eq!((batch.records.len(), batch.rest), (2, Rest::Nothing));
    assert_eq!(batch.passed_over.corrupt + batch.passed_over.torn, 1);
}

#[test]
fn a_journal_at_its_limit_takes_no_more() {
    let repo = with_others();
    let work = repo.work();
    let file = fs::File::create(repo.journal_path()).expect("made");
    for (bytes, grows) in [(JOURNAL_BYTES_MAX, false), (JOURNAL_BYTES_MAX - 1, true)] {
        file.set_len(bytes).expect("grown");
        push(&repo, &work);
        assert_eq!(file.metadata().expect("there").len() > bytes, grows);
    }
}

#[test]
fn nothing_it_is_called_with_makes_it_fail_or_talk() {
    let repo = Repo::files();
    let long = "x".repeat(100_000);
    for args in [
        &[][..],
        &["reference-transaction"],
        &["reference-transaction", "prepared"],
        &["reference-transaction", "preparing"],
        &["reference-transaction", "something new"],
        &["pre-receive.d"],
        &["update", "refs/heads/x", "0", "1"],
        &["update"],
        &["--help"],
        &["", "", ""],
        &[&long, &long],
    ] {
        for git_dir in [repo.git_dir.as_os_str(), OsStr::new(""), OsStr::new("/nowhere"), OsStr::new(&long)] {
            let out = hook(git_dir, args, b"0 0 x\n");
            assert_eq!((out.status.code(), out.stdout, out.stderr), (Some(0), vec![], vec![]), "{args:?}");
        }
    }
    assert!(repo.records().is_empty());
}

#[test]
fn states_that_leave_no_record_are_over_before_the_input_is() {
    let repo = Repo::files();
    for state in ["preparing", "prepared", "later"] {
        let mut command = Command::new(HOOK);
        isolated(&mut command, &repo.git_dir);
        command.args(["reference-transaction", state]).stdin(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        // `wait` would close its input first.
        let stdin = child.stdin.take();
        assert!(child.wait().expect("it ends").success());
        drop(stdin);
    }
}

#[test]
fn closed_streams_and_a_bad_environment_are_borne() {
    let repo = Repo::files();
    for script in ["exec \"$0\" \"$@\" <&- >&- 2>&-", "exec \"$0\" \"$@\" </"] {
        let mut command = Command::new("sh");
        isolated(&mut command, &repo.git_dir);
        command.args(["-c", script, HOOK, "reference-transaction", "committed"]);
        command.env("GIT_PUSH_OPTION_COUNT", "18446744073709551616").env("GL_ID", "x".repeat(100_000));
        succeeded(command, b"");
    }
    for count in ["-1", "x", "99999999999", ""] {
        let mut command = Command::new(HOOK);
        isolated(&mut command, &repo.git_dir);
        command.args(["reference-transaction", "committed"]).env("GIT_PUSH_OPTION_COUNT", count);
        succeeded(command, b"");
    }
    assert!(repo.records().iter().all(|record| transaction(record).push_options.is_empty()));
}

/// A filesystem of its own for the journal.
struct Mounted<'a>(&'a Repo);

impl<'a> Mounted<'a> {
    /// `None` where mounting is not allowed.
    fn new(repo: &'a Repo, options: &str) -> Option<Self> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(repo.git_dir.join("refwatch"))
            .stderr(Stdio::null())
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(repo));
        }
        None
    }

    fn remount(&self, mode: &str) {
        let options = format!("remount,{mode}");
        let mut command = Command::new("mount");
        command.args(["-o", &options]).arg(self.0.git_dir.join("refwatch"));
        succeeded(command, b"");
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.git_dir.join("refwatch")).status());
    }
}
