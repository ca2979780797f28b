//! Random repositories: what is read is what Git reads.

use refwatch_core::ObjectFormat;

use crate::support::{Repo, command};

/// A small generator, so that a failure can be run again by its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const NAMES: [&str; 14] = [
    "refs/heads/a",
    "refs/heads/a-b",
    "refs/heads/a.b",
    "refs/heads/a/b",
    "refs/heads/a/b/c",
    "refs/heads/ab",
    "refs/heads/é",
    "refs/tags/v1",
    "refs/tags/v1.0",
    "refs/tags/v1/0",
    "refs/notes/commits",
    "refs/x/y/z",
    "refs/x/y-z",
    "refs/stash",
];

/// The seed, which is printed with every failure.
#[expect(clippy::print_stdout, reason = "shown by a test that fails")]
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("REFWATCH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_251_123);
    println!("REFWATCH_SEED={seed}");
    seed
}

#[test]
fn a_random_history_reads_as_git_reads_it_at_every_step() {
    let mut random = Random(seed());
    for (format, storage) in [
        (ObjectFormat::Sha1, "files"),
        (ObjectFormat::Sha256, "files"),
        (ObjectFormat::Sha1, "reftable"),
        (ObjectFormat::Sha256, "reftable"),
    ] {
        let repo = Repo::bare(format, storage);
        let ids: [String; 4] = repo.commits();
        for step in 0..60 {
            let name = *random.pick(&NAMES);
            let other = *random.pick(&NAMES);
            let id = random.pick(&ids).as_str();
            let args: Vec<&str> = match random.below(10) {
                0..=4 => vec!["update-ref", "--no-deref", name, id],
                5 => vec!["update-ref", "--no-deref", "-d", name],
                6 => vec!["symbolic-ref", name, other],
                7 => vec!["tag", "-a", "-f", "-m", "t", name.rsplit('/').next().expect("a last part"), id],
                8 => vec!["symbolic-ref", "HEAD", other],
                _ => vec!["pack-refs", "--all"],
            };
            // Conflicts of names make some of them fail: that is Git's to decide.
            drop(command(&repo.git_dir, &args).output().expect("git runs"));
            let mut refs = repo.refs();
            let by_git = repo.refs_by_git();
            // for-each-ref says nothing of symbolic refs that dangle or go round.
            refs.retain(|name, observed| by_git.contains_key(name) || !is_symbolic(observed));
            assert_eq!(refs, by_git, "{storage}, step {step}: {args:?}");
        }
    }
}

const fn is_symbolic(observed: &refwatch_watcher::scan::Observed) -> bool {
    use refwatch_watcher::scan::Observed;
    matches!(observed, Observed::Good(refwatch_core::Target::Symbolic(_)))
}
