//! Many events at little cost: a repository whose `packed-refs` is replaced as a whole.

use std::fmt::Write as _;

use crate::world::{Repo, World};

/// A repository of many branches that all move at once.
#[derive(Debug)]
pub struct Bulk {
    /// The repository, of ref files.
    pub repo: Repo,
    commits: [String; 2],
    branches: usize,
    rounds: usize,
}

impl Bulk {
    /// Makes the repository, with this many branches at once in it.
    pub fn new(world: &World, path: &str, branches: usize) -> Self {
        let repo = world.repo_of_files(path);
        let commits = repo.history();
        let mut bulk = Self { repo, commits, branches, rounds: 0 };
        bulk.step();
        bulk
    }

    /// Moves every branch, in one step; how many events that makes, but for a MIRROR_SYNCED that closes it.
    pub fn step(&mut self) -> usize {
        let commit = &self.commits[self.rounds % 2];
        self.rounds += 1;
        let mut packed = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        for branch in 0..self.branches {
            writeln!(packed, "{commit} refs/heads/branch-{branch:06}").expect("into memory");
        }
        self.repo.replace("packed-refs", packed);
        self.branches
    }
}
