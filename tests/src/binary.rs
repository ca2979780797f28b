//! Finds the programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The daemon and command line: what `REFWATCH_BIN` names, or else built now, once, with the profile of the tests. The
/// program of the hooks is beside it.
///
/// # Panics
/// When it cannot be built.
pub fn refwatch() -> &'static Path {
    static BINARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let binary = BINARY.get_or_init(|| match std::env::var_os("REFWATCH_BIN") {
        Some(given) => Some(given.into()),
        None => build(),
    });
    binary.as_deref().expect("cargo build -p refwatch-daemon -p refwatch-hook succeeds")
}

/// The program that Git runs as its hooks: beside the daemon, and built with it.
///
/// # Panics
/// When it is not there.
pub fn refwatch_hook() -> PathBuf {
    let hook = refwatch().with_file_name("refwatch-hook");
    assert!(hook.is_file(), "{} is built with the daemon", hook.display());
    hook
}

/// The writer that uses gitoxide.
///
/// # Panics
/// When it is not where Cargo puts it.
pub fn gix_writer() -> PathBuf {
    beside_the_tests("gix-writer")
}

/// The sync controller of the guide.
///
/// # Panics
/// When it is not where Cargo puts it.
pub fn guide_sync() -> PathBuf {
    beside_the_tests("guide-sync")
}

/// The release controller of the guide.
///
/// # Panics
/// When it is not where Cargo puts it.
pub fn guide_release() -> PathBuf {
    beside_the_tests("guide-release")
}

/// A program that Cargo builds with the tests.
fn beside_the_tests(name: &str) -> PathBuf {
    let program = profile_directory().join(name);
    assert!(program.is_file(), "{} is built with the tests", program.display());
    program
}

/// `None` when it fails: it is not tried again for each test.
fn build() -> Option<PathBuf> {
    let directory = profile_directory();
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let target = directory.parent().expect("a profile's directory is in the target directory");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "refwatch-daemon", "-p", "refwatch-hook", "--bins"])
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    built.is_ok_and(|status| status.success()).then(|| directory.join("refwatch"))
}

/// `target/<profile>`: a test runs from `target/<profile>/deps`, a benchmark or example from nearby.
fn profile_directory() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its program");
    let directory = own.parent().expect("a program is in a directory");
    let inner = matches!(directory.file_name().and_then(|name| name.to_str()), Some("deps" | "examples"));
    if inner { directory.parent().expect("target/<profile>").to_owned() } else { directory.to_owned() }
}
