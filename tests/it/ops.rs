//! What operators are given: units, rules, packages, images. Judged by the tools that will read them.

mod containers;
mod health;
mod packaging;
mod prometheus;
mod systemd;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file of `ops/`.
fn file(relative: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops").join(relative);
    path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(relative: &str) -> String {
    std::fs::read_to_string(file(relative)).expect("a text file")
}

/// Runs a tool that must be content, and returns all that it says.
fn content(command: &mut Command) -> String {
    let (said, output) = said(command);
    assert!(output.status.success(), "{command:?} says:\n{said}");
    said
}

/// Runs a tool to its end.
fn said(command: &mut Command) -> (String, Output) {
    let output = command.output().expect("it ran before");
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), output)
}
