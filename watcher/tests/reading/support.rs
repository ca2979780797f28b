//! Real Git, in repositories of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use refwatch_core::{ObjectFormat, ObjectId, RefName, Target};
use refwatch_watcher::layout::{Layout, probe};
use refwatch_watcher::scan::{self, Observed, Scan};
use tempfile::TempDir;

pub(crate) struct Repo {
    /// Holds the directory for as long as the repository is used.
    _home: TempDir,
    pub(crate) git_dir: PathBuf,
}

pub(crate) type Refs = BTreeMap<Vec<u8>, Observed>;

impl Repo {
    /// A bare repository.
    pub(crate) fn bare(format: ObjectFormat, storage: &str) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let git_dir = home.path().join("r.git");
        let format = format!("--object-format={}", format.as_str());
        let storage = format!("--ref-format={storage}");
        run(home.path(), &["init", "-q", "--bare", "-b", "main", &format, &storage, "r.git"]);
        Self { _home: home, git_dir }
    }

    /// A bare repository of files and SHA-1.
    pub(crate) fn files() -> Self {
        Self::bare(ObjectFormat::Sha1, "files")
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let out = run(&self.git_dir, args);
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    /// Makes a commit that nothing points at.
    pub(crate) fn commit(&self, message: &str) -> String {
        let tree = String::from_utf8_lossy(&feed(&self.git_dir, &["mktree"], b"").stdout).trim().to_owned();
        self.git(&["commit-tree", "-m", message, &tree])
    }

    pub(crate) fn commits<const N: usize>(&self) -> [String; N] {
        std::array::from_fn(|index| self.commit(&format!("commit {index}")))
    }

    /// Runs `git update-ref --stdin`.
    pub(crate) fn update(&self, commands: &str) {
        feed(&self.git_dir, &["update-ref", "--stdin"], commands.as_bytes());
    }

    pub(crate) fn write(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.git_dir.join(relative);
        fs::create_dir_all(path.parent().expect("below the repository")).expect("a directory");
        fs::write(path, content).expect("written");
    }

    pub(crate) fn write_bytes_path(&self, relative: &[u8], content: &[u8]) {
        self.write(OsStr::from_bytes(relative), content);
    }

    pub(crate) fn layout(&self) -> Layout {
        probe(&self.git_dir).expect("a repository")
    }

    pub(crate) fn scan(&self) -> Scan {
        scan::full(&self.layout(), &mut |_| {}).expect("readable")
    }

    /// What a full scan says, after a check that looking at one ref alone says the same.
    pub(crate) fn refs(&self) -> Refs {
        let layout = self.layout();
        let scan = scan::full(&layout, &mut |_| {}).expect("readable");
        assert!(scan.refs.is_sorted_by(|left, right| left.0 < right.0), "sorted, each once");
        // Of many refs some.
        for (name, observed) in scan.refs.iter().step_by(1 + scan.refs.len() / 500) {
            assert_eq!(scan::one(&layout, name).expect("readable").as_ref(), Some(observed), "{name}");
        }
        scan.refs.into_iter().map(|(name, observed)| (name.into_bytes().into_vec(), observed)).collect()
    }

    /// What Git says: `for-each-ref` and `HEAD`.
    pub(crate) fn refs_by_git(&self) -> Refs {
        let format = "%(refname)%00%(objectname)%00%(symref)%00";
        let out = run(&self.git_dir, &["for-each-ref", "--format", format]).stdout;
        let mut refs = Refs::new();
        for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            // What for-each-ref gives for a symbolic ref is the end of the chain.
            let target = if fields[2].is_empty() {
                direct(fields[1])
            } else {
                self.symbolic_by_git(fields[0]).expect("symbolic")
            };
            refs.insert(fields[0].to_vec(), target);
        }
        let head = self.symbolic_by_git(b"HEAD").unwrap_or_else(|| direct(self.git(&["rev-parse", "HEAD"])));
        refs.insert(b"HEAD".to_vec(), head);
        refs
    }

    fn symbolic_by_git(&self, name: &[u8]) -> Option<Observed> {
        let mut command = command(&self.git_dir, &["symbolic-ref", "-q", "--no-recurse"]);
        let out = command.arg(OsStr::from_bytes(name)).output().expect("git runs");
        out.status.success().then(|| symbolic(out.stdout.trim_ascii_end()))
    }
}

pub(crate) fn direct(hex: impl AsRef<[u8]>) -> Observed {
    Observed::Good(Target::Direct(ObjectId::from_hex(hex.as_ref()).expect("an object id")))
}

pub(crate) fn symbolic(name_bytes: impl AsRef<[u8]>) -> Observed {
    Observed::Good(Target::Symbolic(name(name_bytes)))
}

pub(crate) fn name(bytes: impl AsRef<[u8]>) -> RefName {
    RefName::new(bytes.as_ref()).expect("a ref name")
}

pub(crate) fn run(directory: &Path, args: &[&str]) -> Output {
    feed(directory, args, b"")
}

pub(crate) fn feed(directory: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = command(directory, args).spawn().expect("git runs");
    child.stdin.take().expect("piped").write_all(input).expect("git reads");
    let out = child.wait_with_output().expect("git ends");
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

pub(crate) fn command(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    for (key, _) in std::env::vars_os() {
        if key.as_bytes().starts_with(b"GIT_") {
            command.env_remove(key);
        }
    }
    command
        .args(["-c", "safe.directory=*", "-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .args(args)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|key| (key, "A U Thor")))
        .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|key| (key, "a@example.org")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Makes directories in each other until no path reaches the end of them.
pub(crate) fn bottomless(directory: &Path) {
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let mut at = open(directory, OFlags::DIRECTORY, Mode::empty()).expect("a directory");
    let name = "d".repeat(200);
    for _ in 0..30 {
        mkdirat(&at, &name, Mode::RWXU).expect("made");
        at = openat(&at, &name, OFlags::DIRECTORY, Mode::empty()).expect("opened");
    }
}
