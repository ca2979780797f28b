//! Hooks that were there before are run as Git would run them.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Output;

use refwatch_core::push::Said;
use refwatch_hook::record::INPUT_BYTES_MAX;

use crate::support::{HOOK, Repo, ended, git, pushes, succeeded, text, transaction};

/// The hooks that read standard input, as Git calls them, and `update`, which does not.
const CALLS: [(&str, &[&str]); 7] = [
    ("pre-receive", &[]),
    ("post-receive", &[]),
    ("update", &["refs/heads/x", "0", "1"]),
    ("reference-transaction", &["preparing"]),
    ("reference-transaction", &["prepared"]),
    ("reference-transaction", &["committed"]),
    ("reference-transaction", &["aborted"]),
];

fn run(repo: &Repo, (hook, args): (&str, &[&str]), input: &[u8]) -> Output {
    ended(&mut repo.call(hook, args), input)
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn each_is_given_what_the_hook_is_given() {
    for (hook, args) in CALLS {
        let repo = Repo::pushed_to("files");
        let body = "name=${0##*/}
            { echo \"$*\"; pwd -P; echo \"$GIT_DIR $GIT_QUARANTINE_PATH $GIT_PUSH_OPTION_0\"; cat; } >\"told-$name\"
            echo \"out of $name\"; echo \"err of $name\" >&2";
        let names = [format!("{hook}.refwatch-former"), "10 a".to_owned(), "20".to_owned()];
        repo.script(&names[0], body);
        repo.script(&format!("{hook}.d/10 a"), body);
        repo.script(&format!("{hook}.d/20"), body);
        repo.program(&format!("{hook}.d/not"), 0o644, "#!/bin/sh\nexit 1\n");
        let mut command = repo.call(hook, args);
        command.env("GIT_QUARANTINE_PATH", "quarantine").env("GIT_PUSH_OPTION_0", "an option");
        let out = succeeded(command, b"first\nsecond, without an end");
        let directory = repo.git_dir.canonicalize().expect("there");
        let told = format!(
            "{}\n{}\n. quarantine an option\n{}",
            args.join(" "),
            directory.display(),
            // `update` has none: whatever this program has is theirs too, and the first takes it.
            if hook == "update" { "" } else { "first\nsecond, without an end" },
        );
        for name in &names {
            let found = fs::read_to_string(repo.git_dir.join(format!("told-{name}"))).expect("run");
            if hook == "update" {
                assert!(found.starts_with(&told), "{hook} {args:?}: {found}");
            } else {
                assert_eq!(found, told, "{hook} {args:?}, {name}");
            }
        }
        for (stream, bytes) in [("out", &out.stdout), ("err", &out.stderr)] {
            let mut lines: Vec<_> = std::str::from_utf8(bytes).expect("text").lines().collect();
            lines.sort_unstable();
            let mut expected: Vec<_> = names.iter().map(|name| format!("{stream} of {name}")).collect();
            expected.sort_unstable();
            assert_eq!(lines, expected, "{hook} {args:?}");
        }
    }
}

#[test]
fn the_first_failure_is_the_status_the_former_hooks_before_all_others() {
    for call in CALLS {
        for (former, a, b, expected) in [
            ("exit 0", "exit 0", "exit 0", 0),
            ("exit 3", "exit 4", "exit 5", 3),
            ("exit 0", "exit 4", "exit 5", 4),
            ("exit 0", "exit 0", "exit 255", 255),
            ("kill -9 $$", "exit 4", "exit 5", 137),
            ("exit 0", "kill -TERM $$", "exit 0", 143),
        ] {
            let repo = Repo::pushed_to("files");
            repo.script(&format!("{}.refwatch-former", call.0), former);
            repo.script(&format!("{}.d/a", call.0), a);
            repo.script(&format!("{}.d/b", call.0), b);
            let out = run(&repo, call, b"line\n");
            assert_eq!(
                (out.status.code(), stderr(&out).as_str()),
                (Some(expected), ""),
                "{call:?}, {former}"
            );
        }
    }
}

#[test]
fn what_cannot_be_run_fails_as_in_a_shell_and_says_so() {
    for call in CALLS {
        let repo = Repo::pushed_to("files");
        for (first_line, expected, why) in
            [("#!/nowhere/sh", 127, "No such file"), ("#!/", 126, "Permission denied")]
        {
            let name = format!("{}.d/it", call.0);
            repo.program(&name, 0o755, first_line);
            let out = run(&repo, call, b"line\n");
            assert_eq!(out.status.code(), Some(expected), "{call:?}");
            let said = stderr(&out);
            assert!(said.starts_with(&format!("refwatch-hook: ./hooks/{name}: {why}")), "{said}");
            assert_eq!(said.lines().count(), 1);
        }
    }
}

#[test]
fn a_script_without_an_interpreter_is_run_by_the_shell_as_git_does() {
    let repo = Repo::pushed_to("files");
    repo.program("pre-receive.refwatch-former", 0o755, "read line\necho \"$line\"\nexit 7\n");
    let out = run(&repo, ("pre-receive", &[]), b"a line\n");
    assert_eq!((out.status.code(), out.stdout.as_slice()), (Some(7), b"a line\n".as_slice()));
}

/// Each waits for the other: run one after the other they would not end, and `timeout` fails them.
#[test]
fn all_run_at_once() {
    for call in CALLS {
        let repo = Repo::pushed_to("files");
        let mut mkfifo = std::process::Command::new("mkfifo");
        mkfifo.arg(repo.git_dir.join("one")).arg(repo.git_dir.join("two"));
        succeeded(mkfifo, b"");
        let former = "timeout 60 sh -c 'echo >one; read line <two'";
        repo.script(&format!("{}.refwatch-former", call.0), former);
        repo.script(&format!("{}.d/other", call.0), "timeout 60 sh -c 'read line <one; echo >two'");
        assert!(run(&repo, call, b"line\n").status.success(), "{call:?}");
    }
}

#[test]
fn a_hundred_thousand_lines_reach_whoever_reads_them_whatever_the_others_do() {
    let (zero, a) = ("0".repeat(40), "a".repeat(40));
    let input: String = (0..100_000).map(|at| format!("{zero} {a} refs/heads/{at:06}\n")).collect();
    for call in CALLS.into_iter().filter(|call| call.0 != "update") {
        let repo = Repo::pushed_to("files");
        repo.script(&format!("{}.refwatch-former", call.0), "cat >all");
        repo.script(&format!("{}.d/closes", call.0), "exec <&-; read line <two && exit 9; exit 0");
        repo.script(&format!("{}.d/leaves", call.0), "exit 0");
        repo.script(&format!("{}.d/begins", call.0), "read line");
        repo.script(&format!("{}.d/waits", call.0), "test \"$(timeout 60 wc -l)\" -eq 100000");
        let out = run(&repo, call, input.as_bytes());
        assert!(out.status.success(), "{call:?}: {out:?}");
        assert!(fs::read(repo.git_dir.join("all")).expect("run") == input.as_bytes(), "{call:?}");
    }
}

/// The rest behind what is kept is handed on piece by piece.
#[test]
fn an_input_longer_than_a_record_takes_reaches_all_in_bounded_memory() {
    let repo = Repo::pushed_to("files");
    let line = format!("{} {} refs/heads/x\n", "0".repeat(40), "a".repeat(40));
    let input = line.repeat(3 * INPUT_BYTES_MAX / line.len());
    let sum = |name: &str| {
        let body = format!("cksum >sum-{name}; grep VmHWM /proc/$PPID/status >peak-{name}; exit 5");
        repo.script(&format!("pre-receive.d/{name}"), &body);
    };
    sum("a");
    sum("b");
    repo.script("pre-receive.refwatch-former", "read line");
    let out = run(&repo, ("pre-receive", &[]), input.as_bytes());
    assert_eq!(out.status.code(), Some(5));
    let expected = text(succeeded(std::process::Command::new("cksum"), input.as_bytes()));
    for name in ["a", "b"] {
        let found = fs::read_to_string(repo.git_dir.join(format!("sum-{name}"))).expect("run");
        assert_eq!(found.trim_end(), expected);
        let peak = fs::read_to_string(repo.git_dir.join(format!("peak-{name}"))).expect("run");
        let kib: usize = peak.split_whitespace().nth(1).expect("a number").parse().expect("KiB");
        assert!(kib << 10 < 2 * INPUT_BYTES_MAX, "{peak}");
    }
    let batch = repo.read(&refwatch_watcher::journal::Position::oldest());
    assert_eq!(batch.passed_over.inputs_left_out, 1);
    let Said::Attempted { updates, refused } = &pushes(&batch.records)[0].said else { panic!("pre-receive") };
    assert_eq!((updates.len(), refused.as_ref().map(|refused| refused.status)), (0, Some(5)));
}

#[test]
fn a_directory_that_cannot_be_told_refuses_and_says_so() {
    let repo = Repo::pushed_to("files");
    fs::create_dir(repo.hook_path("pre-receive.d")).expect("made");
    for number in 0..=refwatch_hook::PROGRAMS_MAX {
        symlink("/bin/true", repo.hook_path(&format!("pre-receive.d/{number}"))).expect("linked");
    }
    let (zero, a) = ("0".repeat(40), "a".repeat(40));
    let out = run(&repo, ("pre-receive", &[]), format!("{zero} {a} refs/heads/x\n").as_bytes());
    assert_eq!(out.status.code(), Some(126));
    assert_eq!(stderr(&out), "refwatch-hook: ./hooks/pre-receive.d: more than 64 programs\n");
    let records = repo.records();
    let Said::Attempted { updates, refused: Some(refused) } = &pushes(&records)[0].said else {
        panic!("refused: {records:?}")
    };
    assert_eq!((updates.len(), refused.status, refused.by.as_str()), (1, 126, "refwatch-hook"));
}

#[test]
fn a_program_that_is_several_hooks_is_told_its_former_name_and_this_one_runs_itself_once() {
    let repo = Repo::pushed_to("files");
    // A shell is a binary that runs what it reads.
    symlink("/bin/sh", repo.hook_path("pre-receive.refwatch-former")).expect("linked");
    let out = run(&repo, ("pre-receive", &[]), b"cat /proc/$$/cmdline\n");
    assert_eq!(out.stdout, b"./hooks/pre-receive\0");
    for call in CALLS {
        let repo = Repo::pushed_to("files");
        symlink(HOOK, repo.hook_path(&format!("{}.refwatch-former", call.0))).expect("linked");
        assert!(run(&repo, call, b"").status.success());
        let is_recorded = call.0 != "update" && !call.1.iter().any(|arg| arg.starts_with("prepar"));
        assert_eq!(repo.records().len(), usize::from(is_recorded), "{call:?}");
    }
}

#[test]
fn without_a_name_of_its_own_it_stands_in_nobodys_place() {
    let repo = Repo::files();
    repo.install("refwatch-hook");
    for hook in ["pre-receive", "post-receive", "update", "reference-transaction", "refwatch-hook"] {
        repo.script(&format!("{hook}.refwatch-former"), "exit 1");
        repo.script(&format!("{hook}.d/it"), "exit 1");
        assert!(run(&repo, ("refwatch-hook", &[hook, "prepared"]), b"").status.success());
    }
}

#[test]
fn a_former_hook_that_refuses_a_prepared_transaction_still_refuses() {
    for ref_format in ["files", "reftable"] {
        let repo = Repo::new("sha1", ref_format);
        let [a] = &repo.commits();
        repo.script(
            "reference-transaction.refwatch-former",
            "echo \"$1\" >>states; test \"$1\" != prepared || ! grep -q refused",
        );
        repo.git(&["update-ref", "refs/heads/x", a]);
        let out = ended(&mut git(&repo.git_dir, &["update-ref", "refs/heads/refused", a]), b"");
        assert!(!out.status.success() && stderr(&out).contains("aborted by"), "{}", stderr(&out));
        assert_eq!(repo.git(&["for-each-ref", "--format=%(refname)"]), "refs/heads/x");
        let states = fs::read_to_string(repo.git_dir.join("states")).expect("run");
        let after: Vec<_> = states.lines().filter(|state| *state != "preparing").collect();
        assert_eq!(after, ["prepared", "committed", "prepared", "aborted"], "{ref_format}");
        let outcomes: Vec<_> = repo.records().iter().map(|record| transaction(record).outcome).collect();
        assert_eq!(format!("{outcomes:?}"), "[Committed, Aborted]");
    }
}

/// `proc-receive` speaks a protocol with Git over its standard streams (githooks(5)): this program gets out of the way.
#[test]
fn a_proc_receive_hook_has_gits_pipes_to_itself() {
    let repo = Repo::pushed_to("files");
    repo.install("proc-receive");
    repo.git(&["config", "receive.procReceiveRefs", "refs/for"]);
    let work = repo.work();
    let push = || {
        let args = ["push", "-q", repo.git_dir.to_str().expect("text"), "main:refs/for/main", "main"];
        ended(&mut git(&work, &args), b"")
    };
    let out = push();
    assert!(!out.status.success(), "without a former hook there is nobody to ask");
    assert!(
        stderr(&out).contains("refwatch-hook: proc-receive: there is no former hook"),
        "{}",
        stderr(&out)
    );
    repo.script(
        "proc-receive.refwatch-former",
        r#"packet() { length=$(head -c 4); test "$length" = 0000 || head -c $((0x$length - 4)); }
        flush() { while packet >packet; test -s packet; do cat packet >>told; done; }
        echo "$0" >name
        flush; printf '000eversion=1\n0000'
        flush; printf '0015ok refs/for/main\n0000'"#,
    );
    let out = push();
    assert!(out.status.success(), "{}", stderr(&out));
    let told = String::from_utf8_lossy(&fs::read(repo.git_dir.join("told")).expect("run")).into_owned();
    assert!(told.contains("refs/for/main"), "{told}");
    assert!(repo.records().iter().all(|record| record.parent_pid > 1));
}

#[test]
fn none_runs_twice_where_the_former_hook_runs_them_by_itself() {
    for (hook, args) in CALLS {
        for (by, body) in [
            ("its name", format!("for it in hooks/{hook}.d/*; do \"$it\" \"$@\" || exit; done")),
            // Its own name is another one now: it finds nothing, and they are run for it.
            ("$0", "for it in \"$0\".d/*; do test ! -x \"$it\" || \"$it\" \"$@\" || exit; done".to_owned()),
        ] {
            let repo = Repo::pushed_to("files");
            repo.script(&format!("{hook}.refwatch-former"), &body);
            repo.script(&format!("{hook}.d/it"), "echo ran >>ran");
            succeeded(repo.call(hook, args), b"");
            let ran = fs::read_to_string(repo.git_dir.join("ran")).expect("it runs");
            assert_eq!(ran, "ran\n", "{hook} {args:?}, by {by}");
        }
    }
}
