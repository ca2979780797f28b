//! Seeded histories: the same writes for the same seed, by every kind of writer.

use std::fs;

use crate::world::Repo;

/// A small generator of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("less than a usize")
    }

    /// One of some.
    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// `git update-ref`, `git symbolic-ref`, `git pack-refs`.
    Git,
    /// gitoxide, in-process.
    Gix,
    /// A text editor that writes in place.
    Editor,
    /// rsync: a temporary file, renamed into place; deletions.
    Rsync,
}

impl Writer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Git, Self::Gix, Self::Editor, Self::Rsync];

    /// Those that write to such a repository: into tables git alone.
    pub fn of(repo: &Repo) -> &'static [Self] {
        if repo.flavour.ref_format == "files" { &Self::ALL } else { &[Self::Git] }
    }

    /// Makes one step of a history in a repository that it writes to.
    pub fn step(self, repo: &Repo, commits: &[String], random: &mut Random) {
        let names = ["refs/heads/main", "refs/heads/a/b", "refs/tags/t", "refs/notes/n", "refs/x/y"];
        let name = *random.of(&names);
        let branch = *random.of(&names[..2]);
        let oid = random.of(commits).clone();
        let there = repo.refs();
        let exists = there.0.contains_key(name.as_bytes());
        let loose = repo.git_dir.join(name);
        match (self, random.below(8)) {
            (Writer::Git, 0) => drop(repo.git(&["pack-refs", "--all"])),
            (Writer::Git, 1) => drop(repo.git(&["symbolic-ref", "HEAD", branch])),
            (Writer::Git, 2 | 3) if exists => repo.update(&format!("delete {name}\n")),
            (Writer::Git, 4) => {
                let other = random.of(commits);
                let lines = names.iter().take(3).map(|name| format!("update {name} {other}\n"));
                repo.update(&lines.collect::<String>());
            }
            (Writer::Git, _) => repo.update(&format!("update {name} {oid}\n")),
            (Writer::Gix, 0) => drop(repo.gix(&["edit", &format!("HEAD=ref:{branch}")])),
            (Writer::Gix, 1 | 2) if exists => drop(repo.gix(&["edit", &format!("{name}=delete")])),
            (Writer::Gix, 3) => {
                let other = random.of(commits);
                let edits: Vec<_> = names.iter().take(3).map(|name| format!("{name}={other}")).collect();
                let mut arguments = vec!["edit"];
                arguments.extend(edits.iter().map(String::as_str));
                repo.gix(&arguments);
            }
            (Writer::Gix, _) => drop(repo.gix(&["edit", &format!("{name}={oid}")])),
            (Writer::Editor, _) => repo.write(name, format!("{oid}\n")),
            // What is also packed shows its older value then: to a look at the refs that is an update.
            (Writer::Rsync, 0 | 1) if loose.is_file() => fs::remove_file(loose).expect("removed"),
            (Writer::Rsync, _) => repo.replace(name, format!("{oid}\n")),
        }
    }
}
