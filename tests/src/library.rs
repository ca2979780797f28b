//! Implementations of Git, each of which writes the same edits of refs.

use std::path::Path;
use std::process::{Command, Output};

use crate::git::{self, Flavour};
use crate::world::Repo;
use crate::{binary, tools};

/// An implementation of Git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// The git that is first on PATH.
    Git,
    /// Another version of git, further along PATH.
    OtherGit,
    /// gitoxide.
    Gix,
    /// libgit2, by pygit2.
    Libgit2,
    /// dulwich.
    Dulwich,
    /// JGit.
    Jgit,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Git, Self::OtherGit, Self::Gix, Self::Libgit2, Self::Dulwich, Self::Jgit];

    /// Whether it writes such repositories. What is missing are limits of pygit2 1.21, dulwich 1.2, JGit 4.11, git 2.39
    /// and gix 0.90.
    pub fn writes(self, flavour: Flavour) -> bool {
        match (self, flavour.object_format, flavour.ref_format) {
            (Self::Git, _, _)
            | (Self::OtherGit | Self::Gix | Self::Dulwich, _, "files")
            | (Self::Libgit2 | Self::Jgit, "sha1", "files")
            | (Self::Dulwich, "sha1", "reftable") => true,
            (Self::OtherGit | Self::Gix | Self::Libgit2 | Self::Dulwich | Self::Jgit, _, _) => false,
        }
    }

    /// Takes all locks of several edits before the first ref changes, so that they are seen as one transaction.
    pub fn has_transactions(self) -> bool {
        match self {
            Self::Git | Self::OtherGit | Self::Gix | Self::Libgit2 | Self::Jgit => true,
            Self::Dulwich => false,
        }
    }

    /// The program that writes with it, if it is there.
    ///
    /// # Panics
    /// When it is not there and `CI=true`; a second git need not be there.
    pub fn program(self) -> Option<Command> {
        match self {
            Self::Git => Some(Command::new("git")),
            Self::OtherGit => tools::other_git().map(Command::new),
            Self::Gix => Some(Command::new(binary::gix_writer())),
            Self::Libgit2 => tools::python_with("pygit2"),
            Self::Dulwich => tools::python_with("dulwich"),
            Self::Jgit => tools::jgit_writer(),
        }
    }

    /// Writes refs: each edit is `REF=OID`, `REF=ref:OTHER` or `REF=delete`. Of git, edits to names are transactions
    /// of their own, and come last.
    ///
    /// # Panics
    /// When its program is not there or cannot be run.
    pub fn edit(self, repo: &Repo, edits: &[String]) -> Output {
        match self {
            Self::Git => git_edit(Path::new("git"), repo, edits),
            Self::OtherGit => git_edit(tools::other_git().expect("asked for before"), repo, edits),
            Self::Gix | Self::Libgit2 | Self::Dulwich | Self::Jgit => {
                let mut command = self.program().expect("asked for before");
                command.arg(&repo.git_dir).arg("edit").args(edits);
                command.output().expect("it runs")
            }
        }
    }
}

fn git_edit(program: &Path, repo: &Repo, edits: &[String]) -> Output {
    let mut lines = String::new();
    let mut names = Vec::new();
    for edit in edits {
        let (name, value) = edit.split_once('=').expect("an edit is REF=VALUE");
        match value.strip_prefix("ref:") {
            Some(other) => names.push([name, other]),
            // A symbolic ref is meant, and not what it leads to.
            None if value == "delete" => lines += &format!("option no-deref\ndelete {name}\n"),
            None => lines += &format!("option no-deref\nupdate {name} {value}\n"),
        }
    }
    let mut output = None;
    if !lines.is_empty() {
        let command = git::command_of(program, &repo.git_dir);
        output = Some(git::fed(command, &["update-ref", "--stdin"], lines.as_bytes()));
    }
    for [name, other] in names {
        if output.as_ref().is_some_and(|output| !output.status.success()) {
            break;
        }
        let mut command = git::command_of(program, &repo.git_dir);
        output = Some(command.args(["symbolic-ref", name, other]).output().expect("git runs"));
    }
    output.expect("an edit at least")
}
