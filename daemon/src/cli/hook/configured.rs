//! Hooks in a repository's configuration (`hook.<name>.command`, git-hook(1)), for a Git that knows them.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, io};

use super::phase::Phase;
use super::step;

/// The first version of Git that runs them.
pub(super) const SINCE: (u32, u32) = (2, 54);

/// The command for a hook. Git appends the hook's arguments.
///
/// Guarded: every push would be refused by a command that cannot be started. The shell becomes the program, whose parent is
/// then Git itself: by that process the hooks of a push belong together.
pub(super) fn command(program: &Path, phase: Phase) -> String {
    let program = quoted(program);
    format!("test ! -x {program} || exec {program} {}", phase.name())
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// The version of the `git` in PATH, and its words.
///
/// # Errors
/// When there is none, or it does not say.
pub(super) fn version() -> io::Result<((u32, u32), String)> {
    let output = Command::new("git").arg("version").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let version = parsed(&said)
        .ok_or_else(|| io::Error::other(format!("`git version` says {said:?}, which is no version")))?;
    Ok((version, said))
}

fn parsed(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Writes a hook into a repository's own file.
pub(super) fn set(config: &Path, phase: Phase, command: &str) -> io::Result<()> {
    let section = step::section(phase);
    git_config(config, &[&format!("{section}.command"), command])?;
    git_config(config, &[&format!("{section}.event"), phase.name()])
}

/// Takes a hook out of a repository's own file.
pub(super) fn unset(config: &Path, phase: Phase) -> io::Result<()> {
    git_config(config, &["--remove-section", &step::section(phase)])
}

/// Runs `git config` on a file: not in a repository, so that whose repository it is does not matter to Git.
fn git_config(config: &Path, arguments: &[&str]) -> io::Result<()> {
    let before = fs::metadata(config)?;
    let output = Command::new("git")
        .args([OsStr::new("config"), OsStr::new("--file"), config.as_os_str()])
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("git config: {}", said.trim())));
    }
    // Git replaces the file by one of its own.
    let after = fs::metadata(config)?;
    if (before.uid(), before.gid()) != (after.uid(), after.gid()) {
        chown(config, Some(before.uid()), Some(before.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (said, version) in [
            ("git version 2.47.3", Some((2, 47))),
            ("git version 2.54.0.rc1", Some((2, 54))),
            ("git version 2.50.1 (Apple Git-155)", Some((2, 50))),
            ("git version 3.0", Some((3, 0))),
            ("hub version 2.14", None),
        ] {
            assert_eq!(parsed(said), version, "{said}");
        }
    }

    #[test]
    fn a_command_that_is_gone_refuses_nothing_and_arguments_reach_one_that_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("it's a hook");
        let run = || {
            // As Git does: run-command.c, prepare_shell_cmd().
            let script = format!("{} \"$@\"", command(&program, Phase::ReferenceTransaction));
            Command::new("sh").args(["-c", &script, "hook", "committed"]).output().expect("sh runs")
        };
        assert!(run().status.success());
        fs::write(&program, "#!/bin/sh\necho \"$PPID $@\"\nexit 3\n").expect("written");
        assert!(run().status.success(), "not executable");
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
        let output = run();
        let said = String::from_utf8(output.stdout).expect("text");
        let expected = format!("{} reference-transaction committed\n", std::process::id());
        assert_eq!((output.status.code(), said), (Some(3), expected));
    }
}
