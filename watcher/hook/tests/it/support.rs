//! Repositories made by real git, with the hook in them.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use refwatch_core::journal::{Outcome, Transaction, Update, Value};
use refwatch_core::{ObjectId, RefName, push};
use refwatch_watcher::journal::{Batch, Entry, Found, Journal, Position, Recorded, Rest};
use refwatch_watcher::layout::probe;
use tempfile::TempDir;

pub(crate) const HOOK: &str = env!("CARGO_BIN_EXE_refwatch-hook");

/// A bare repository whose hook is installed.
pub(crate) struct Repo {
    pub(crate) home: TempDir,
    pub(crate) git_dir: PathBuf,
}

impl Repo {
    pub(crate) fn new(object_format: &str, ref_format: &str) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let formats = [format!("--object-format={object_format}"), format!("--ref-format={ref_format}")];
        let args = ["init", "-q", "--bare", "-b", "main", &formats[0], &formats[1], "r.git"];
        succeeded(git(home.path(), &args), b"");
        let git_dir = home.path().join("r.git");
        fs::create_dir(git_dir.join("refwatch")).expect("made");
        fs::create_dir_all(git_dir.join("hooks")).expect("made");
        symlink(HOOK, git_dir.join("hooks/reference-transaction")).expect("linked");
        Self { home, git_dir }
    }

    pub(crate) fn files() -> Self {
        Self::new("sha1", "files")
    }

    /// A repository with the hooks of a push as well, that takes options.
    pub(crate) fn pushed_to(ref_format: &str) -> Self {
        let repo = Self::new("sha1", ref_format);
        ["pre-receive", "update", "post-receive"].into_iter().for_each(|hook| repo.install(hook));
        repo.git(&["config", "receive.advertisePushOptions", "true"]);
        repo
    }

    pub(crate) fn install(&self, hook: &str) {
        symlink(HOOK, self.hook_path(hook)).expect("linked");
    }

    /// Makes a script of a path below `hooks`: the former hook, or one in the directory.
    pub(crate) fn script(&self, path: &str, body: &str) {
        self.program(path, 0o755, &format!("#!/bin/sh\n{body}\n"));
    }

    /// Makes a file of a path below `hooks`.
    pub(crate) fn program(&self, path: &str, mode: u32, content: &str) {
        let path = self.hook_path(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        // A file that this process has written may be open in one that it has just forked, and then cannot be run.
        let mut install = Command::new("install");
        install.args(["-m", &format!("{mode:o}"), "/dev/stdin"]).arg(path);
        succeeded(install, content.as_bytes());
    }

    pub(crate) fn hook_path(&self, path: &str) -> PathBuf {
        self.git_dir.join("hooks").join(path)
    }

    /// Calls a hook as Git does: by its path, in the git directory.
    pub(crate) fn call(&self, hook: &str, args: &[&str]) -> Command {
        let mut command = Command::new(Path::new("./hooks").join(hook));
        isolated(&mut command, &self.git_dir);
        command.args(args).env("GIT_DIR", ".");
        command
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        text(succeeded(git(&self.git_dir, args), b""))
    }

    /// Runs `git update-ref --stdin`.
    pub(crate) fn update(&self, commands: &str) {
        drop(succeeded(git(&self.git_dir, &["update-ref", "--stdin"]), commands.as_bytes()));
    }

    /// Commits that nothing points at. Making them calls no hook.
    pub(crate) fn commits<const N: usize>(&self) -> [String; N] {
        let tree = text(succeeded(git(&self.git_dir, &["mktree"]), b""));
        std::array::from_fn(|index| self.git(&["commit-tree", "-m", &format!("commit {index}"), &tree]))
    }

    /// Another repository with one commit on `main`, to push from.
    pub(crate) fn work(&self) -> PathBuf {
        let work = self.home.path().join("work");
        let format = format!("--object-format={}", self.git(&["rev-parse", "--show-object-format"]));
        succeeded(git(self.home.path(), &["init", "-q", "-b", "main", &format, "work"]), b"");
        succeeded(git(&work, &["commit", "-q", "--allow-empty", "-m", "one"]), b"");
        work
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        self.git_dir.join("refwatch/journal")
    }

    /// Reads once.
    pub(crate) fn read(&self, from: &Position) -> Batch {
        let found = Journal::find(&probe(&self.git_dir).expect("a repository"));
        let Found::Journal(journal) = found.expect("it can be told") else { panic!("hooks are installed") };
        journal.read(from).expect("readable")
    }

    /// All records there are; every one must be whole.
    pub(crate) fn records(&self) -> Vec<Recorded> {
        let mut records = Vec::new();
        let mut position = Position::oldest();
        loop {
            let batch = self.read(&position);
            records.extend(batch.records);
            let passed_over = batch.passed_over;
            assert_eq!(
                (passed_over.torn, passed_over.corrupt, passed_over.unparsable, passed_over.lines_bad),
                (0, 0, 0, 0)
            );
            position = batch.next;
            match batch.rest {
                Rest::More => {}
                Rest::Nothing => return records,
                Rest::Unfinished => panic!("no hook is running"),
            }
        }
    }

    /// The updates of all committed transactions that have any.
    pub(crate) fn committed(&self) -> Vec<Vec<Update>> {
        committed(&self.records())
    }
}

pub(crate) fn transaction(record: &Recorded) -> &Transaction {
    match &record.entry {
        Entry::Transaction(transaction) => transaction,
        Entry::Push(record) => panic!("a transaction: {record:?}"),
    }
}

/// What the hooks of pushes said.
pub(crate) fn pushes(records: &[Recorded]) -> Vec<&push::Record> {
    records
        .iter()
        .filter_map(|record| match &record.entry {
            Entry::Push(record) => Some(record),
            Entry::Transaction(_) => None,
        })
        .collect()
}

pub(crate) fn committed(records: &[Recorded]) -> Vec<Vec<Update>> {
    records
        .iter()
        .filter_map(|record| match &record.entry {
            Entry::Transaction(transaction) => Some(transaction),
            Entry::Push(_) => None,
        })
        .filter(|transaction| transaction.outcome == Outcome::Committed)
        .map(|transaction| transaction.updates.clone())
        .filter(|updates| !updates.is_empty())
        .collect()
}

pub(crate) fn update(name: &str, old: Value, new: Value) -> Update {
    Update { name: self::name(name), old, new }
}

pub(crate) fn name(name: &str) -> RefName {
    RefName::new(name.as_bytes()).expect("a name")
}

pub(crate) fn oid(hex: &str) -> Value {
    Value::Oid(ObjectId::from_hex(hex.as_bytes()).expect("an id"))
}

pub(crate) fn git(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(args);
    isolated(&mut command, directory);
    command
}

/// Takes everything away that a developer's own Git is told.
pub(crate) fn isolated(command: &mut Command, directory: &Path) {
    for (key, _) in std::env::vars_os() {
        let says_who = ["REFWATCH_ACTOR", "GL_ID", "REMOTE_USER"].iter().any(|name| key == **name);
        if key.as_encoded_bytes().starts_with(b"GIT_") || says_who {
            command.env_remove(key);
        }
    }
    let settings = [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_COUNT", "2"),
        ("GIT_CONFIG_KEY_0", "safe.directory"),
        ("GIT_CONFIG_VALUE_0", "*"),
        ("GIT_CONFIG_KEY_1", "gc.auto"),
        ("GIT_CONFIG_VALUE_1", "0"),
        ("GIT_AUTHOR_NAME", "A U Thor"),
        ("GIT_AUTHOR_EMAIL", "a@example.org"),
        ("GIT_COMMITTER_NAME", "A U Thor"),
        ("GIT_COMMITTER_EMAIL", "a@example.org"),
    ];
    command.current_dir(directory).envs(settings);
}

/// Runs a command that must succeed.
pub(crate) fn succeeded(mut command: Command, input: &[u8]) -> Output {
    let out = ended(&mut command, input);
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

pub(crate) fn ended(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    // Whoever does not read its input has closed it.
    drop(stdin.write_all(input));
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

pub(crate) fn text(out: Output) -> String {
    String::from_utf8(out.stdout).expect("text").trim_end().to_owned()
}

/// Runs the hook itself.
pub(crate) fn hook(git_dir: impl AsRef<OsStr>, args: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(HOOK);
    isolated(&mut command, Path::new("/"));
    ended(command.args(args).env("GIT_DIR", git_dir), input)
}
