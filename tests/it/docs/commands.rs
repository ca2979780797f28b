//! The blocks of commands in documents: run where they can be, and understood by `refwatch` everywhere.

use std::fs;
use std::process::{Command, Stdio};

use refwatch_tests::{Document, binary};

use super::stage::{Stage, executable, has_tools};

/// Whose blocks are run, each as it stands. The guide is run as a whole, and the consumers by `examples.rs`.
const RUN: [&str; 6] =
    ["README.md", "ops/HOOKS.md", "ops/RUNBOOK.md", "ops/GITSTORE.md", "proto/CLOUDEVENTS.md", "SECURITY.md"];

/// What begins as a command line and is something that `refwatch hook status` says.
const SAID: [&str; 1] = ["refwatch is missing"];

/// What is a placeholder where a value is looked at.
const PLACEHOLDERS: [(&str, &str); 2] = [("completions SHELL", "completions bash"), ("...", "x")];

#[test]
fn docs_commands_run_as_they_are_written() {
    let stage = Stage::new();
    let mut ran = 0;
    for document in RUN.map(Document::read) {
        for block in document.commands() {
            if block.needs().is_some() || !has_tools(&block) {
                continue;
            }
            let output = stage.run(&block);
            assert!(
                output.status.success(),
                "{}:{}: {}\n{}\n{}{}",
                document.path,
                block.line,
                output.status,
                block.text,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            ran += 1;
        }
    }
    assert!(ran > 12, "blocks are found: {ran}");
    assert!(stage.repo.try_git(&["rev-parse", "--git-dir"]).status.success());
}

#[test]
fn docs_blocks_are_shell_that_bash_understands() {
    for document in Document::all() {
        for block in document.commands() {
            let mut bash = Command::new("bash");
            let output = bash.args(["-n", "-c", &block.text]).output().expect("bash runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}:{}: {said}", document.path, block.line);
            let writes_away =
                block.text.lines().any(|line| line.contains("> /") && !line.contains("> /dev/"));
            assert!(block.needs().is_some() || !writes_away, "{}:{}", document.path, block.line);
        }
        for block in document.blocks() {
            assert_ne!(block.language, "bash", "{}:{}: they are sh", document.path, block.line);
            assert_ne!(block.language, "shell", "{}:{}: they are sh", document.path, block.line);
        }
    }
}

/// Bash without a program on PATH but one: whatever a block calls goes to it, and it hands what is for `refwatch` to
/// `refwatch`, with `--help` behind it. So flags and values are read, and nothing is done.
const WITHOUT_PROGRAMS: &str = r#"
PATH=/nonexistent
refwatch() {
    "$DOCS_PROGRAM" "$@" --help </dev/null >/dev/null 2>>"$DOCS_FOUND" || echo "refwatch $*" >>"$DOCS_FOUND"
    echo >>"$DOCS_COUNT"
}
cargo() {
    if [ "$1 $2" = "run --release" ]; then
        while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
        [ $# -eq 0 ] || { shift; refwatch "$@"; }
    fi
}
# As sudo, env, docker exec and the like do: what stands behind the last refwatch is for it.
command_not_found_handle() {
    local last=0 index=0 word
    for word; do
        index=$((index + 1))
        [ "$word" != refwatch ] || last=$index
    done
    [ $last -eq 0 ] || refwatch "${@:last+1}"
}
kill() { :; }
test() { :; }
# A loop that waits for a program is not to wait for ever.
slept=0
sleep() { [ $((slept += 1)) -lt 50 ] || exit; }
wait() { :; }
exec() { "$@"; }
"#;

/// Lines of `refwatch` that it does not understand, and how many there were.
fn misunderstood(script: &str) -> (String, usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let (found, count) = (directory.path().join("found"), directory.path().join("count"));
    for file in [&found, &count] {
        fs::write(file, "").expect("written");
    }
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("{WITHOUT_PROGRAMS}\n{script}")]).env_clear();
    bash.env("DOCS_PROGRAM", binary::refwatch()).env("DOCS_FOUND", &found).env("DOCS_COUNT", &count);
    bash.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Without programs most lines fail; what counts is what refwatch was called with.
    let ended = bash.status();
    assert!(ended.is_ok(), "bash runs");
    let lines = fs::read_to_string(&count).expect("read").lines().count();
    (fs::read_to_string(&found).expect("read"), lines)
}

/// A command line in a document, for `refwatch` to read.
fn readable(text: &str) -> String {
    PLACEHOLDERS.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[test]
fn docs_command_lines_of_refwatch_are_understood() {
    let mut count = 0;
    for document in Document::all() {
        for block in document.commands() {
            let (found, lines) = misunderstood(&readable(&block.text));
            assert_eq!(found, "", "{}:{}\n{}", document.path, block.line, block.text);
            count += lines;
        }
        let in_prose = document.code().into_iter().filter(|(_, code)| code.starts_with("refwatch "));
        let is_said = |code: &str| SAID.contains(&code) || code.contains('|');
        for (line, code) in in_prose.filter(|(_, code)| !is_said(code)) {
            let (found, lines) = misunderstood(&readable(code));
            assert_eq!(found, "", "{}:{line}: {code}", document.path);
            count += lines;
        }
    }
    assert!(count > 40, "command lines are found: {count}");
}

#[test]
fn docs_a_command_line_that_is_wrong_is_found() {
    for wrong in [
        "refwatch tail --no-such-flag",
        "refwatch no-such-command",
        "refwatch tail --color sometimes",
        "sudo -u git refwatch hook install --no-such-flag /srv/git",
        "cargo run --release -- serve --no-such-flag",
    ] {
        assert!(misunderstood(wrong).0.contains("refwatch "), "{wrong}");
    }
    assert_eq!(
        misunderstood("refwatch tail --json | jq .; if refwatch repos; then :; fi"),
        (String::new(), 2)
    );
}

#[test]
fn docs_a_block_that_fails_is_found() {
    let stage = Stage::new();
    let block = |text: &str| refwatch_tests::Block { language: "sh".into(), text: text.into(), line: 1 };
    assert!(!stage.run(&block("refwatch refs --repo '['\n")).status.success());
    assert!(!stage.run(&block("cargo build -p no-such-package\n")).status.success());
    assert!(!stage.run(&block("refwatch serve --root /nonexistent --set no.such=1\n")).status.success());
    assert!(stage.run(&block("refwatch serve --root /srv/git\n")).status.success());
    executable(&stage.world.beside("here/ok"), "#!/bin/sh\n");
    assert!(stage.run(&block("./ok\n")).status.success());
}
