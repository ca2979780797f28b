//! Git, run where no configuration of the machine or the user reaches it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// How a repository is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flavour {
    /// `sha1` or `sha256`.
    pub object_format: &'static str,
    /// `files` or `reftable`.
    pub ref_format: &'static str,
    /// Without a working tree.
    pub bare: bool,
}

impl Flavour {
    /// What most tests use.
    pub const PLAIN: Self = Self { object_format: "sha1", ref_format: "files", bare: true };
    /// Object ids of 64 digits.
    pub const SHA256: Self = Self { object_format: "sha256", ..Self::PLAIN };
    /// Refs in tables.
    pub const REFTABLE: Self = Self { ref_format: "reftable", ..Self::PLAIN };
    /// With a working tree.
    pub const WORKTREE: Self = Self { bare: false, ..Self::PLAIN };
}

/// A command that runs git in a directory, with a fixed identity and time, and no configuration but the repository's.
pub(crate) fn command(directory: &Path) -> Command {
    command_of(Path::new("git"), directory)
}

/// As [`command`], with a certain git.
pub(crate) fn command_of(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null());
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "Ada")
            .env(format!("GIT_{who}_EMAIL"), "ada@example.com")
            .env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    // A test that makes unowned or read-only repositories must not be stopped by Git's own caution.
    command.args(["-c", "safe.directory=*", "-c", "gc.auto=0", "-c", "advice.detachedHead=false"]);
    command
}

/// Runs git in a directory and returns what it prints, without the line end.
///
/// # Panics
/// When it fails.
pub fn git_in<A: AsRef<OsStr>>(directory: &Path, arguments: &[A]) -> String {
    let output = command(directory).args(arguments).output().expect("git runs");
    printed(arguments, output)
}

/// As [`git_in`], with something on standard input.
///
/// # Panics
/// When it fails.
pub(crate) fn feed<A: AsRef<OsStr>>(directory: &Path, arguments: &[A], input: &[u8]) -> String {
    printed(arguments, try_feed(directory, arguments, input))
}

/// As [`feed`], whatever comes of it.
///
/// # Panics
/// When git cannot be run.
pub(crate) fn try_feed<A: AsRef<OsStr>>(directory: &Path, arguments: &[A], input: &[u8]) -> Output {
    fed(command(directory), arguments, input)
}

/// Runs a command of git with something on standard input, whatever comes of it.
///
/// # Panics
/// When git cannot be run.
pub(crate) fn fed<A: AsRef<OsStr>>(mut command: Command, arguments: &[A], input: &[u8]) -> Output {
    let mut git = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git runs");
    let mut stdin = git.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Git may end before it has read everything: its status tells.
            drop(stdin.write_all(input));
        });
        git.wait_with_output().expect("git ends")
    })
}

fn printed<A: AsRef<OsStr>>(arguments: &[A], output: Output) -> String {
    let shown: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {} failed: {said}", shown.join(" "));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
