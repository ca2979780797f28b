//! Real repositories made by real git, and git itself as the oracle.

mod graphs;
mod history;
mod peeling;
mod storage;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::*;

pub(super) const ROOMY: Budget = Budget { commits_max: 1 << 20, deadline: None };

/// A bare repository in a directory of its own.
pub(super) struct Repo {
    pub(super) path: PathBuf,
    format: ObjectFormat,
    /// Held for its end.
    _dir: tempfile::TempDir,
}

/// A commit to make: its parents by number, and its date.
pub(super) type Made = (Vec<usize>, i64);

impl Repo {
    pub(super) fn new() -> Self {
        Self::with(ObjectFormat::Sha1)
    }

    pub(super) fn with(format: ObjectFormat) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("r.git");
        let repo = Self { path, format, _dir: dir };
        let format = format!("--object-format={}", repo.format.as_str());
        run(Command::new("git").args(["init", "-q", "--bare", &format]).arg(&repo.path), b"");
        repo
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&self.path);
        command
    }

    pub(super) fn git(&self, args: &[&str]) -> String {
        self.git_fed(args, b"")
    }

    pub(super) fn git_fed(&self, args: &[&str], input: &[u8]) -> String {
        let output = run(self.command().args(args), input);
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// Makes commits by fast-import, each kept by a ref, and gives their ids.
    pub(super) fn import(&self, commits: &[Made]) -> Vec<ObjectId> {
        self.import_named(commits, "c")
    }

    pub(super) fn import_named(&self, commits: &[Made], prefix: &str) -> Vec<ObjectId> {
        let mut stream = String::new();
        for (number, (parents, date)) in commits.iter().enumerate() {
            let mark = number + 1;
            if parents.is_empty() {
                stream.push_str("reset refs/heads/import\n\n");
            }
            let message = format!("{prefix}{number}");
            writeln!(stream, "commit refs/heads/import\nmark :{mark}").unwrap();
            writeln!(stream, "committer C <c@x> {date} +0000\ndata {}\n{message}", message.len()).unwrap();
            for (place, parent) in parents.iter().enumerate() {
                let word = if place == 0 { "from" } else { "merge" };
                writeln!(stream, "{word} :{}", parent + 1).unwrap();
            }
            stream.push('\n');
        }
        let marks = self.path.join("marks");
        let export = format!("--export-marks={}", marks.display());
        self.git_fed(
            &["fast-import", "--quiet", "--force", "--date-format=raw-permissive", &export],
            stream.as_bytes(),
        );
        let mut ids = vec![None; commits.len()];
        for line in std::fs::read_to_string(&marks).expect("marks").lines() {
            let (mark, hex) = line[1..].split_once(' ').expect("a mark and an id");
            ids[mark.parse::<usize>().expect("a number") - 1] = Some(oid(hex));
        }
        let ids: Vec<_> = ids.into_iter().map(|id| id.expect("every commit has a mark")).collect();
        let refs: String = ids
            .iter()
            .enumerate()
            .map(|(number, id)| format!("update refs/keep/{prefix}/{number} {id}\n"))
            .collect();
        self.git_fed(&["update-ref", "--stdin"], refs.as_bytes());
        ids
    }

    /// Makes one commit as a loose object.
    pub(super) fn commit(&self, parents: &[ObjectId], date: &str, message: &str) -> ObjectId {
        let tree = self.git_fed(&["mktree"], b"");
        let mut command = self.command();
        command.args(["commit-tree", "-m", message]);
        command.env("GIT_COMMITTER_DATE", date).env("GIT_AUTHOR_DATE", date);
        for parent in parents {
            command.args(["-p", &parent.to_hex()]);
        }
        let output = run(command.arg(tree), b"");
        oid(String::from_utf8_lossy(&output.stdout).trim())
    }

    pub(super) fn open(&self) -> Objects {
        Objects::open(&self.path, self.format).expect("a repository")
    }

    /// What git says.
    pub(super) fn truth(&self, old: ObjectId, new: ObjectId) -> Relation {
        if self.succeeds(&["merge-base", "--is-ancestor", &old.to_hex(), &new.to_hex()]) {
            Relation::FastForward
        } else if self.succeeds(&["merge-base", &old.to_hex(), &new.to_hex()]) {
            Relation::Forced
        } else {
            Relation::Unrelated
        }
    }

    fn succeeds(&self, args: &[&str]) -> bool {
        let output = quiet(self.command().args(args)).output().expect("git runs");
        let code = output.status.code().expect("an exit code");
        assert!(code <= 1, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        code == 0
    }

    /// Removes a loose object.
    pub(super) fn lose(&self, id: ObjectId) {
        std::fs::remove_file(self.loose_path(id)).expect("a loose object");
    }

    pub(super) fn loose_path(&self, id: ObjectId) -> PathBuf {
        let hex = id.to_hex();
        self.path.join("objects").join(&hex[..2]).join(&hex[2..])
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@x")])
        .envs([("GIT_COMMITTER_NAME", "C"), ("GIT_COMMITTER_EMAIL", "c@x")])
}

pub(super) fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = quiet(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git starts");
    child.stdin.take().expect("piped").write_all(input).expect("git reads its input");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub(super) fn oid(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.as_bytes()).expect("git prints ids")
}

/// A chain of commits, one a minute.
pub(super) fn chain(length: usize) -> Vec<Made> {
    (0..length).map(|at| (at.checked_sub(1).into_iter().collect(), minute(at))).collect()
}

pub(super) fn minute(at: usize) -> i64 {
    1_600_000_000 + 60 * i64::try_from(at).expect("small")
}

pub(super) fn packs_of(repo: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repo.join("objects/pack")).expect("a pack directory");
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == "pack"))
        .collect()
}

/// xorshift64*: histories that are the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides as u64).expect("small")
    }

    /// A history with merges, octopuses, several roots and clocks that are off.
    pub(super) fn history(&mut self, size: usize) -> Vec<Made> {
        (0..size)
            .map(|at| {
                let mut parents = Vec::new();
                if at > 0 && self.roll(25) != 0 {
                    for _ in 0..=[0, 0, 0, 0, 1, 1, 2, 3][self.roll(8)] {
                        let parent = at - 1 - self.roll(at.min(12));
                        if !parents.contains(&parent) {
                            parents.push(parent);
                        }
                    }
                }
                let date = [minute(at), minute(at), minute(at), 86_400 + minute(at) % 1_000, 2_000_000_000]
                    [self.roll(5)];
                (parents, date)
            })
            .collect()
    }
}
