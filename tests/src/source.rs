//! A repository that nobody watches, to push from.

use std::process::Output;

use crate::world::Repo;

/// A repository beside the root: its commits reach the watched ones by `git push`.
#[derive(Debug)]
pub struct Source(pub Repo);

impl Source {
    pub(crate) fn new(repo: Repo) -> Self {
        Self(repo)
    }

    /// Pushes refspecs.
    ///
    /// # Panics
    /// When the push fails.
    pub fn push(&self, to: &Repo, refspecs: &[&str]) {
        let output = self.try_push(to, refspecs);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git push {refspecs:?} failed: {said}");
    }

    /// Pushes refspecs and flags, whatever comes of it.
    pub fn try_push(&self, to: &Repo, refspecs: &[&str]) -> Output {
        let target = to.git_dir.to_str().expect("paths of tests are text");
        let mut arguments = vec!["push", "-q", target];
        arguments.extend(refspecs);
        self.0.try_git(&arguments)
    }
}
