//! Random stacks of tables made by Git: what is read of them is what Git reads, all at once and ref by ref.
//!
//! `REFWATCH_STACKS` is how many stacks are made, `REFWATCH_SEED` the seed they follow from.

use std::collections::{BTreeMap, BTreeSet};

use refwatch_core::{ObjectFormat, ObjectId, RefName, Target};
use refwatch_watcher::scan::{self, From, News, Observed, Scan, Stack};

use crate::random::{Random, seed};
use crate::support::{Refs, Repo, command, direct, feed, name, run, symbolic};

/// Stacks that are made where nothing else is asked for.
const STACKS: usize = 120;
/// Stacks of one repository, each made from the one before.
const STACKS_OF_REPOSITORY: usize = 40;

/// A repository with what it was told to hold.
pub(crate) struct Corpus {
    pub(crate) repo: Repo,
    commits: Vec<String>,
    tags: Vec<String>,
    /// Names that may exist.
    used: BTreeSet<String>,
    /// Names that were made symbolic once.
    symbolic: BTreeSet<String>,
    autocompaction: &'static str,
}

impl Corpus {
    pub(crate) fn new(random: &mut Random) -> Self {
        let format = *random.pick(&[ObjectFormat::Sha1, ObjectFormat::Sha256]);
        let repo = Repo::bare(format, "reftable");
        let settings: [(&str, &[&str]); 6] = [
            ("reftable.blockSize", &["256", "500", "1024", "4096", "65536"]),
            ("reftable.restartInterval", &["1", "2", "16", "1000"]),
            ("reftable.indexObjects", &["true", "false"]),
            ("reftable.geometricFactor", &["2", "3", "10"]),
            ("core.logAllRefUpdates", &["false", "true", "always"]),
            ("core.fsync", &["none"]),
        ];
        for (key, values) in settings {
            repo.git(&["config", key, *random.pick(values)]);
        }
        let commits: [String; 4] = repo.commits();
        let tag = |commit: &String| {
            let text = format!(
                "object {commit}\ntype commit\ntag t\ntagger A <a@example.org> 1700000000 +0000\n\nt\n"
            );
            let out = feed(&repo.git_dir, &["mktag"], text.as_bytes());
            String::from_utf8_lossy(&out.stdout).trim().to_owned()
        };
        let tags = commits.iter().map(tag).collect();
        let autocompaction = random.pick(&["true", "true", "false"]);
        let (used, symbolic) = (BTreeSet::new(), BTreeSet::from(["HEAD".to_owned()]));
        Self { repo, commits: commits.into(), tags, used, symbolic, autocompaction }
    }

    /// Does something to the refs that Git allows.
    pub(crate) fn step(&mut self, random: &mut Random) {
        match random.below(20) {
            0 => self.git(&["pack-refs", "--all"]),
            1 => self.git(&["pack-refs", "--auto"]),
            2 => self.git(&["reflog", "expire", "--expire=now", "--all"]),
            3..=5 => {
                let from = match random.below(3) {
                    0 => "HEAD".to_owned(),
                    _ => format!("refs/remotes/r{}/HEAD", random.below(3)),
                };
                let to = format!("refs/heads/{}", random.below(60));
                self.git(&["symbolic-ref", &from, &to]);
                self.symbolic.insert(from);
            }
            6 => {
                let changes = 200 + random.below(400);
                self.transaction(random, changes, 3_000);
            }
            7..=9 => self.transaction(random, 20, 3_000),
            _ => {
                let changes = 1 + random.below(4);
                self.transaction(random, changes, 60);
            }
        }
    }

    fn git(&self, args: &[&str]) {
        let out = self.command(args).output().expect("git runs");
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = command(&self.repo.git_dir, args);
        command.env("GIT_TEST_REFTABLE_AUTOCOMPACTION", self.autocompaction);
        command
    }

    fn transaction(&mut self, random: &mut Random, changes: usize, names: usize) {
        let mut lines = BTreeMap::new();
        for _ in 0..changes {
            let number = random.below(names);
            let name = match random.below(6) {
                0 => format!("refs/tags/v{number}"),
                1 => format!("refs/heads/é/{number:05}/{}", "long-".repeat(1 + number % 9)),
                _ => format!("refs/heads/{number}"),
            };
            let line = if self.used.contains(&name) && random.below(3) == 0 {
                format!("delete {name}\n")
            } else {
                let ids = if name.starts_with("refs/tags/") { &self.tags } else { &self.commits };
                format!("update {name} {}\n", random.pick(ids))
            };
            lines.entry(name).or_insert(line);
        }
        for (name, line) in &lines {
            if line.starts_with("delete") {
                self.used.remove(name);
            } else {
                self.used.insert(name.clone());
            }
        }
        let lines: String = lines.into_values().collect();
        let mut child = self.command(&["update-ref", "--no-deref", "--stdin"]).spawn().expect("git runs");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), lines.as_bytes()).expect("read");
        let out = child.wait_with_output().expect("git ends");
        assert!(out.status.success(), "{}\n{lines}", String::from_utf8_lossy(&out.stderr));
    }

    /// What Git reads: every ref, and what tags peel to.
    fn by_git(&self, ours: &Refs) -> (Refs, BTreeMap<Vec<u8>, ObjectId>) {
        let format = "%(refname)%00%(objectname)%00%(*objectname)%00%(symref)%00";
        let out = run(&self.repo.git_dir, &["for-each-ref", "--format", format]).stdout;
        let (mut refs, mut peeled) = (Refs::new(), BTreeMap::new());
        for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            // That of a symbolic ref is the end of the chain; ours are one long.
            let is_symbolic = !fields[3].is_empty();
            refs.insert(
                fields[0].to_vec(),
                if is_symbolic { symbolic(fields[3]) } else { direct(fields[1]) },
            );
            if !is_symbolic && !fields[2].is_empty() {
                peeled.insert(fields[0].to_vec(), ObjectId::from_hex(fields[2]).expect("an object id"));
            }
        }
        // HEAD, and those that dangle.
        let asked = self.symbolic.iter().map(String::as_bytes).chain(ours.keys().map(Vec::as_slice));
        let asked: BTreeSet<&[u8]> = asked.filter(|name| !refs.contains_key(*name)).collect();
        for name in asked {
            let text = std::str::from_utf8(name).expect("UTF-8");
            let out = self.command(&["symbolic-ref", "-q", text]).output().expect("git runs");
            if out.status.success() {
                refs.insert(name.to_vec(), symbolic(out.stdout.trim_ascii_end()));
            }
        }
        (refs, peeled)
    }

    /// Checks what is read against what Git reads.
    fn check(&self, random: &mut Random) -> Scan {
        let layout = self.repo.layout();
        let scan = scan::full(&layout, &mut |_| {}).expect("readable");
        let ours: Refs =
            scan.refs.iter().map(|(name, observed)| (name.as_bytes().to_vec(), observed.clone())).collect();
        let (by_git, peeled_by_git) = self.by_git(&ours);
        assert_eq!(ours.len(), scan.refs.len(), "each once");
        assert!(ours == by_git, "{:?}", difference(&ours, &by_git));
        let peeled: BTreeMap<Vec<u8>, ObjectId> =
            scan.peeled.iter().map(|(at, id)| (scan.refs[*at].0.as_bytes().to_vec(), *id)).collect();
        assert_eq!(peeled, peeled_by_git);
        for _ in 0..40 {
            let (found, observed) = random.pick(&scan.refs);
            assert_eq!(scan::one(&layout, found).expect("readable").as_ref(), Some(observed), "{found}");
            let any = format!("refs/heads/{}", random.below(3_000));
            assert_eq!(scan::one(&layout, &name(&any)).expect("readable").as_ref(), ours.get(any.as_bytes()));
        }
        assert_eq!(scan.stacks.len(), 1);
        let tables = &scan.stacks[0].tables;
        assert!(tables.is_sorted_by(|older, newer| older.updates.1 < newer.updates.0), "{tables:?}");
        scan
    }
}

/// What is known of the refs of a repository, and changed by news.
struct Followed {
    refs: Refs,
    stacks: Vec<Stack>,
}

impl Followed {
    fn take_over(&mut self, scan: &Scan) {
        self.refs =
            scan.refs.iter().map(|(name, observed)| (name.as_bytes().to_vec(), observed.clone())).collect();
        self.stacks.clone_from(&scan.stacks);
    }

    /// Applies what is new; false where everything is to be read. `transactions` is how many there were at most.
    fn follow(&mut self, scan: &Scan, news: Option<News>, transactions: usize) -> bool {
        let Some(news) = news else { return false };
        assert!(news.steps.len() <= transactions, "{} steps of {transactions}", news.steps.len());
        for step in news.steps {
            assert!(step.changes.is_sorted_by(|left, right| left.name < right.name), "{step:?}");
            for change in step.changes {
                // However many values there were, what is told starts at the one before, unless that was deleted
                // meanwhile, its log with it.
                if let From::Value(from) = change.from {
                    let from = from.map(|id| Observed::Good(Target::Direct(id)));
                    let known = self.refs.get(change.name.as_bytes());
                    let was_deleted = from.is_none() && transactions > 1;
                    assert!(known == from.as_ref() || was_deleted, "{known:?}: {change:?}");
                }
                match change.observed {
                    Some(observed) => self.refs.insert(change.name.as_bytes().to_vec(), observed),
                    None => self.refs.remove(change.name.as_bytes()),
                };
            }
            if let Some(left) = step.left {
                self.refs.retain(|known, _| left.names.binary_search(&name(known)).is_ok());
            }
        }
        assert_eq!(news.stacks, scan.stacks);
        let refs: Refs =
            scan.refs.iter().map(|(name, observed)| (name.as_bytes().to_vec(), observed.clone())).collect();
        assert!(self.refs == refs, "{:?}", difference(&self.refs, &refs));
        self.stacks = news.stacks;
        true
    }
}

fn difference(ours: &Refs, by_git: &Refs) -> Vec<(String, Option<Observed>, Option<Observed>)> {
    let names: BTreeSet<&Vec<u8>> = ours.keys().chain(by_git.keys()).collect();
    let differs = names.into_iter().filter(|name| ours.get(*name) != by_git.get(*name));
    let show = |name: &Vec<u8>| {
        (String::from_utf8_lossy(name).into_owned(), ours.get(name).cloned(), by_git.get(name).cloned())
    };
    differs.take(20).map(show).collect()
}

#[test]
fn thousands_of_stacks_read_as_git_reads_them() {
    let stacks =
        std::env::var("REFWATCH_STACKS").ok().and_then(|stacks| stacks.parse().ok()).unwrap_or(STACKS);
    let mut random = Random(seed() ^ 0x5ab1e);
    let (mut made, mut tables, mut refs, mut symbolic) = (0, 0, 0, 0);
    let (mut told, mut whole) = (0, 0);
    while made < stacks {
        let mut corpus = Corpus::new(&mut random);
        let first = corpus.repo.scan();
        let mut followed = Followed { refs: Refs::new(), stacks: Vec::new() };
        followed.take_over(&first);
        let mut transactions = 0;
        for _ in 0..STACKS_OF_REPOSITORY.min(stacks - made) {
            corpus.step(&mut random);
            transactions += 1;
            let scan = corpus.check(&mut random);
            // Sometimes what is new is several transactions.
            if random.below(3) > 0 {
                let also: Vec<RefName> = (0..5).map(|_| random.pick(&scan.refs).0.clone()).collect();
                let news = scan::news(&corpus.repo.layout(), &followed.stacks, &also).expect("readable");
                if let Some(news) = &news {
                    for (name, observed) in also.iter().zip(&news.also) {
                        let at = scan.refs.binary_search_by(|(found, _)| found.cmp(name)).expect("there");
                        assert_eq!(observed.as_ref(), Some(&scan.refs[at].1), "{name}");
                    }
                }
                if followed.follow(&scan, news, transactions) {
                    told += 1;
                } else {
                    followed.take_over(&scan);
                    whole += 1;
                }
                transactions = 0;
            }
            made += 1;
            tables += scan.stacks[0].tables.len();
            refs += scan.refs.len();
            let is_symbolic = |observed: &Observed| matches!(observed, Observed::Good(Target::Symbolic(_)));
            symbolic += scan.refs.iter().filter(|(_, observed)| is_symbolic(observed)).count();
        }
    }
    println!("{made} stacks of {tables} tables, {refs} refs and {symbolic} symbolic ones among them");
    println!("what was new was told {told} times, and {whole} times everything was to be read");
    assert!(told > 10 * whole, "told {told} times, and not {whole} times");
    assert!(tables > 2 * made && symbolic > made, "stacks, not single tables");
}

/// Rounds of the test of logs, each of some transactions that are told together.
const LOGGED_ROUNDS: usize = 40;

/// What `git reflog` lists of a ref, oldest first.
fn reflog(repo: &Repo, name: &str) -> Vec<ObjectId> {
    let out = run(&repo.git_dir, &["reflog", "show", "--format=%H", name]).stdout;
    let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut ids: Vec<_> = lines.map(|line| ObjectId::from_hex(line).expect("an object id")).collect();
    ids.reverse();
    ids
}

#[test]
fn values_between_are_told_as_git_reflog_lists_them() {
    const NAMES: [&str; 5] =
        ["refs/heads/a", "refs/heads/b", "refs/heads/deep/er/c", "refs/tags/d", "refs/notes/e"];
    let mut random = Random(seed() ^ 0x10c5);
    let (mut values, mut compacted) = (0, 0);
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let repo = Repo::bare(format, "reftable");
        for (key, value) in [("core.logAllRefUpdates", "always"), ("core.fsync", "none")] {
            repo.git(&["config", key, value]);
        }
        let commits: [String; 4] = repo.commits();
        // Past one block of logs.
        repo.git(&["config", "reftable.blockSize", *random.pick(&["256", "4096"])]);
        let mut now = [3; NAMES.len()];
        for name in NAMES {
            repo.git(&["update-ref", name, &commits[3]]);
        }
        let mut known = repo.scan();
        for round in 0..LOGGED_ROUNDS {
            let mut changed = [0; NAMES.len()];
            for _ in 0..1 + random.below(12) {
                let which = random.below(NAMES.len());
                now[which] = (now[which] + 1 + random.below(3)) % 4;
                changed[which] += 1;
                repo.git(&["update-ref", NAMES[which], &commits[now[which]]]);
            }
            if random.below(2) == 0 {
                repo.git(&["pack-refs", "--all"]);
                compacted += 1;
            }
            let news = scan::news(&repo.layout(), &known.stacks, &[]).expect("readable").expect("told");
            for (which, ref_name) in NAMES.into_iter().enumerate() {
                let told = news.steps.iter().flat_map(|step| &step.changes);
                let told: Vec<_> = told.filter(|change| change.name == name(ref_name)).collect();
                let ids: Vec<_> = told.iter().map(|change| change.observed.clone().expect("there")).collect();
                let logged = reflog(&repo, ref_name);
                let latest = &logged[logged.len() - changed[which]..];
                let by_git: Vec<_> = latest.iter().map(|id| direct(id.to_string().as_bytes())).collect();
                // One that did not change may be in a table that is new all the same.
                let unchanged =
                    changed[which] == 0 && ids.iter().all(|id| Some(id) == known_value(&known, ref_name));
                assert!(ids == by_git || unchanged, "round {round}, {ref_name}: {told:?}, git: {by_git:?}");
                assert!(told.iter().all(|change| change.from != From::Unknown || unchanged), "{told:?}");
                values += changed[which];
            }
            known = repo.scan();
        }
    }
    println!("{values} values, in {compacted} rounds compacted before they were read");
    assert!(compacted > LOGGED_ROUNDS / 2);
}

fn known_value<'a>(scan: &'a Scan, wanted: &str) -> Option<&'a Observed> {
    let at = scan.refs.binary_search_by(|(found, _)| found.cmp(&name(wanted))).ok()?;
    Some(&scan.refs[at].1)
}
