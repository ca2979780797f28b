//! The consumers in `proto/examples`, run as their READMEs say.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::document::{Block, Document};
use crate::printing::Printing;
use crate::tools;

/// A language that a consumer is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// grpcio, in the Python that `REFWATCH_PYTHON` names.
    Python,
    /// grpc-go, from Debian's packages.
    Go,
    /// @grpc/grpc-js, from the `node_modules` that `REFWATCH_NODE_MODULES` names.
    Node,
}

/// A consumer, built in a place of its own.
#[derive(Debug)]
pub struct Example {
    home: TempDir,
    name: &'static str,
    run: String,
}

impl Example {
    /// Builds it, if what it needs is there.
    ///
    /// # Panics
    /// When that is not there and `CI=true`, or it does not build.
    pub fn build(language: Language) -> Option<Self> {
        let name = match language {
            Language::Python => tools::has_python("grpc, grpc_tools, grpc_status").then_some("python"),
            Language::Go => tools::has_go().then_some("go"),
            Language::Node => tools::has_node_modules().then_some("node"),
        }?;
        let home = tempfile::Builder::new().prefix("refwatch-example-").tempdir().expect("a directory");
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
        copy(&proto.join("refwatch"), &home.path().join("refwatch"));
        copy(&proto.join("examples").join(name), &home.path().join("examples").join(name));
        let readme = Document::read(&format!("proto/examples/{name}/README.md"));
        let [_install, build, run]: [Block; 3] = readme
            .commands()
            .try_into()
            .unwrap_or_else(|blocks| panic!("{name}/README.md installs, builds and runs, but: {blocks:?}"));
        let (build, run) = (build.text, run.text);
        let example = Self { home, name, run };
        if language == Language::Node {
            let modules = std::env::var_os("REFWATCH_NODE_MODULES").expect("it was there");
            std::os::unix::fs::symlink(modules, example.folder().join("node_modules")).expect("linked");
        }
        let built = example.shell(&build).output().expect("bash runs");
        assert!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stderr));
        Some(example)
    }

    /// Runs it, or runs it again.
    pub fn start(&self, server: SocketAddr) -> Printing {
        let mut command = self.shell(&self.run);
        Printing::start(command.env("REFWATCH_SERVER", server.to_string()).stderr(Stdio::inherit()))
    }

    /// Where it keeps what it knows.
    pub fn state(&self) -> PathBuf {
        self.folder().join("state.json")
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("examples").join(self.name)
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(self.folder()).env("PATH", path());
        // Where Go keeps what it has compiled: there may be no home.
        command.env("GOCACHE", std::env::temp_dir().join("refwatch-gocache"));
        command
    }
}

/// `python` is the one that `REFWATCH_PYTHON` names.
fn path() -> OsString {
    let python = std::env::var_os("REFWATCH_PYTHON").map(PathBuf::from);
    let folder = python.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(folder.into_iter().chain(std::env::split_paths(&path))).expect("no colon in it")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("told").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
