//! Runs `refwatch hook`, and lists trees.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use refwatch_tests::{World, binary};

/// What is in a tree, by path: mode, link target or content, and time of the last change of content.
pub(super) type Listing = BTreeMap<String, (u32, Option<PathBuf>, Vec<u8>, Option<(i64, i64)>)>;

/// Whose times are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// Of files and links. Those of directories change as names come and go in them.
    OfFiles,
    /// Those of directories too: nothing was touched.
    OfAll,
}

/// The command line, with Git's configuration of this machine and user out of reach.
pub(super) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary::refwatch());
    command
        .arg("hook")
        .args(arguments)
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

pub(super) fn hook(arguments: &[&str]) -> Output {
    command(arguments).output().expect("refwatch runs")
}

/// Runs it, and gives what it prints.
pub(super) fn ran(arguments: &[&str]) -> String {
    let output = hook(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    // What newer versions of Git can do besides is no part of what was done.
    text.replace("this Git also takes hooks from a repository's configuration: see --configured\n", "")
}

/// Runs it where it is refused, and gives what it says.
pub(super) fn refused(arguments: &[&str]) -> String {
    let output = hook(arguments);
    assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

pub(super) fn listing(root: &Path, times: Times) -> Listing {
    let mut listing = Listing::new();
    add(root, root, times, &mut listing);
    listing
}

fn add(root: &Path, directory: &Path, times: Times, listing: &mut Listing) {
    for entry in fs::read_dir(directory).expect("listed") {
        let path = entry.expect("listed").path();
        let found = fs::symlink_metadata(&path).expect("there");
        let name = path.strip_prefix(root).expect("below").to_str().expect("text").to_owned();
        let has_time = !found.is_dir() || times == Times::OfAll;
        let content = if found.is_file() { fs::read(&path).expect("read") } else { Vec::new() };
        let time = has_time.then(|| (found.mtime(), found.mtime_nsec()));
        listing.insert(name, (found.mode(), fs::read_link(&path).ok(), content, time));
        if found.is_dir() {
            add(root, &path, times, listing);
        }
    }
}

/// Without what a push changes.
pub(super) fn sink(mut listing: Listing) -> Listing {
    listing.retain(|path, _| {
        !["objects", "refs", "reftable", "logs"]
            .iter()
            .any(|name| path == name || path.contains(&format!("{name}/")))
    });
    listing
}

/// A hook with a script for a body.
pub(super) fn write_hook(git_dir: &Path, name: &str, body: &str) {
    write_hook_in(&git_dir.join("hooks"), name, body);
}

pub(super) fn write_hook_in(directory: &Path, name: &str, body: &str) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o751)).expect("set");
}

/// The program of the hooks, where everybody may run it: the tests may have been built in a private directory, which is
/// refused for the repositories of others.
pub(super) fn reachable(world: &World) -> &'static str {
    let home = world.root.parent().expect("a parent");
    fs::set_permissions(home, Permissions::from_mode(0o755)).expect("opened");
    let program = home.join("refwatch-hook");
    fs::copy(binary::refwatch().with_file_name("refwatch-hook"), &program).expect("copied");
    Box::leak(program.to_str().expect("text").to_owned().into_boxed_str())
}
