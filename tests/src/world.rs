//! A temporary place with roots, repositories and a database.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::binary;
use crate::git::{self, Flavour};
use crate::source::Source;
use crate::state::Refs;
use crate::variant::Variant;

/// A temporary place with a root, the repositories below it, and the daemon's database. Gone when dropped.
#[derive(Debug)]
pub struct World {
    home: TempDir,
    /// The folder that the daemon serves.
    pub root: PathBuf,
}

/// A repository of real Git.
#[derive(Clone, Debug)]
pub struct Repo {
    /// Where HEAD, refs and objects are.
    pub git_dir: PathBuf,
    /// Path below the root, as events have it.
    pub path: String,
    /// How it was made.
    pub flavour: Flavour,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// An empty root.
    ///
    /// # Panics
    /// When there is no place for temporary files.
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("refwatch-it-").tempdir().expect("a temporary directory");
        let root = home.path().join("root");
        fs::create_dir(&root).expect("a directory");
        Self { home, root }
    }

    /// Leaves everything where it is; the place.
    pub fn keep(self) -> PathBuf {
        self.home.keep()
    }

    /// A path beside the root.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The daemon's database.
    pub fn database(&self) -> PathBuf {
        self.beside("state/refwatch.db")
    }

    /// Makes what is a repository to Git, without Git: for tests that need thousands.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn skeleton(&self, path: &str) {
        let git_dir = self.root.join(path);
        for directory in ["objects", "refs/heads"] {
            fs::create_dir_all(git_dir.join(directory)).expect("a directory");
        }
        fs::write(git_dir.join("HEAD"), "ref: refs/heads/main\n").expect("written");
    }

    /// Makes a bare repository with SHA-1 and ref files below the root.
    pub fn repo(&self, path: &str) -> Repo {
        self.repo_as(path, Flavour::PLAIN)
    }

    /// Makes a repository below the root, as the variant has it where the flavour is plain.
    pub fn repo_as(&self, path: &str, flavour: Flavour) -> Repo {
        let repo = self.repo_exactly(path, Variant::now().instead_of(flavour));
        if Variant::now().has_hooks {
            repo.install_hooks();
        }
        repo
    }

    /// Makes a bare repository of ref files below the root, for tests that write such files themselves. All else is as
    /// the variant has it.
    pub fn repo_of_files(&self, path: &str) -> Repo {
        let repo = self.repo_exactly(path, Flavour { ref_format: "files", ..Variant::now().flavour });
        if Variant::now().has_hooks {
            repo.install_hooks();
        }
        repo
    }

    /// Makes a repository below the root, whatever the variant.
    pub fn repo_exactly(&self, path: &str, flavour: Flavour) -> Repo {
        Repo::init(&self.root, path, flavour)
    }

    /// Makes a repository beside the root, for commits to be pushed from.
    pub fn source(&self, flavour: Flavour) -> Source {
        let flavour = Variant::now().instead_of(flavour);
        Source::new(Repo::init(self.home.path(), &format!("source-{}.git", flavour.object_format), flavour))
    }
}

impl Repo {
    fn init(root: &Path, path: &str, flavour: Flavour) -> Self {
        let directory = root.join(path);
        fs::create_dir_all(directory.parent().expect("below the root")).expect("a directory");
        let target = directory.to_str().expect("paths of tests are text");
        let object_format = format!("--object-format={}", flavour.object_format);
        let ref_format = format!("--ref-format={}", flavour.ref_format);
        let mut arguments =
            vec!["init", "-q", "-b", "main", "--template=", &object_format, &ref_format, target];
        if flavour.bare {
            arguments.push("--bare");
        }
        git::git_in(root, &arguments);
        if flavour.bare {
            Self { git_dir: directory, path: path.to_owned(), flavour }
        } else {
            Self { git_dir: directory.join(".git"), path: format!("{path}/.git"), flavour }
        }
    }

    /// A repository that something else made.
    pub fn at(git_dir: PathBuf, path: &str, flavour: Flavour) -> Self {
        Self { git_dir, path: path.to_owned(), flavour }
    }

    /// Runs git in it, and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn git(&self, arguments: &[&str]) -> String {
        git::git_in(&self.git_dir, arguments)
    }

    /// Runs git in it, whatever comes of it.
    ///
    /// # Panics
    /// When git cannot be run.
    pub fn try_git(&self, arguments: &[&str]) -> Output {
        git::command(&self.git_dir).args(arguments).output().expect("git runs")
    }

    /// Runs git in it with something on standard input, and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn feed(&self, arguments: &[&str], input: &[u8]) -> String {
        git::feed(&self.git_dir, arguments, input)
    }

    /// Runs `git update-ref --stdin`: with many lines, one transaction.
    ///
    /// # Panics
    /// When it fails.
    pub fn update(&self, commands: &str) {
        self.feed(&["update-ref", "--stdin"], commands.as_bytes());
    }

    /// Runs `git update-ref --stdin` with bytes, whatever comes of it.
    pub fn try_update(&self, commands: &[u8]) -> Output {
        git::try_feed(&self.git_dir, &["update-ref", "--stdin"], commands)
    }

    /// Writes a commit with these parents, which nothing points at; its id.
    pub fn commit(&self, message: &str, parents: &[&str]) -> String {
        let tree = self.feed(&["hash-object", "-t", "tree", "-w", "--stdin"], b"");
        let mut arguments = vec!["commit-tree", "-m", message];
        for parent in parents {
            arguments.extend(["-p", parent]);
        }
        arguments.push(&tree);
        self.git(&arguments)
    }

    /// Writes commits of which each is the parent of the next; their ids.
    pub fn history<const N: usize>(&self) -> [String; N] {
        let mut last: Option<String> = None;
        std::array::from_fn(|index| {
            let parents: Vec<&str> = last.iter().map(String::as_str).collect();
            let commit = self.commit(&format!("commit {index}"), &parents);
            last = Some(commit.clone());
            commit
        })
    }

    /// Runs the writer that uses gitoxide, and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn gix(&self, arguments: &[&str]) -> String {
        let output = self.try_gix(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gix-writer {arguments:?} failed: {said}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// As [`Repo::gix`], whatever comes of it.
    ///
    /// # Panics
    /// When gix-writer cannot be run.
    pub fn try_gix(&self, arguments: &[&str]) -> Output {
        let mut writer = Command::new(binary::gix_writer());
        writer.arg(&self.git_dir).args(arguments).output().expect("gix-writer runs")
    }

    /// Writes a file below the git directory in place, as a text editor of the simple kind does.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        self.try_write(relative, content).expect("written");
    }

    /// As [`Repo::write`].
    ///
    /// # Errors
    /// When others remove the directory meanwhile, as git does with those that are empty.
    pub fn try_write(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<()> {
        let path = self.git_dir.join(relative);
        fs::create_dir_all(path.parent().expect("below the repository"))?;
        fs::write(path, content)
    }

    /// Writes a file below the git directory under another name and renames it into place, as rsync does.
    ///
    /// # Panics
    /// When it cannot.
    pub fn replace(&self, relative: &str, content: impl AsRef<[u8]>) {
        self.try_replace(relative, content).expect("written and renamed");
    }

    /// As [`Repo::replace`].
    ///
    /// # Errors
    /// When others remove the directory meanwhile, as git does with those that are empty.
    pub fn try_replace(&self, relative: &str, content: impl AsRef<[u8]>) -> io::Result<()> {
        let path = self.git_dir.join(relative);
        let directory = path.parent().expect("below the repository");
        fs::create_dir_all(directory)?;
        let name = path.file_name().expect("a file").as_bytes();
        let temporary = directory.join(OsStr::from_bytes(&[b".", name, b".Xq3f9z"].concat()));
        fs::write(&temporary, content)?;
        fs::rename(&temporary, path)
    }

    /// Installs all hooks that record, by `refwatch hook install`.
    ///
    /// # Panics
    /// When it cannot.
    pub fn install_hooks(&self) {
        self.hook(&["install", "--phases", "pre-receive,update,post-receive,reference-transaction"]);
    }

    /// Removes them, by `refwatch hook remove`.
    ///
    /// # Panics
    /// When it cannot.
    pub fn remove_hooks(&self) {
        self.hook(&["remove"]);
    }

    fn hook(&self, arguments: &[&str]) {
        let mut command = Command::new(binary::refwatch());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.arg("hook").args(arguments).arg(&self.git_dir).output().expect("refwatch runs");
        assert!(output.status.success(), "hook {arguments:?} {}: {output:?}", self.path);
    }

    /// The refs on disk, as Git tells them.
    pub fn refs(&self) -> Refs {
        Refs::of_git(self)
    }

    /// The all-zero id.
    pub fn zero(&self) -> String {
        "0".repeat(if self.flavour.object_format == "sha256" { 64 } else { 40 })
    }
}
