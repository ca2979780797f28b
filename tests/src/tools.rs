//! Programs of others that judge refwatch: Python's clients, promtool, buf, systemd's tools and more.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use tempfile::TempDir;

/// JGit and what it needs, where Debian's `libjgit-java` puts them.
const DEBIAN_JGIT: &str =
    "/usr/share/java/org.eclipse.jgit.jar:/usr/share/java/slf4j-api.jar:/usr/share/java/slf4j-nop.jar";

/// A command, where the program can be had. Where it cannot, that is said, and `CI=true` makes it a failure.
#[expect(clippy::print_stderr, reason = "says why a test passes without having looked")]
fn found(program: &Path, argument: &str, remedy: &str) -> bool {
    let ran = Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success());
    let needed = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(ran || !needed, "{} {argument} does not run: {remedy}", program.display());
    if !ran {
        eprintln!("skipped: {} {argument} does not run: {remedy}", program.display());
    }
    ran
}

/// As [`found`], of a file.
#[expect(clippy::print_stderr, reason = "says why a test passes without having looked")]
fn found_file(path: &Path, remedy: &str) -> bool {
    let there = path.is_file();
    let needed = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(there || !needed, "{} is not there: {remedy}", path.display());
    if !there {
        eprintln!("skipped: {} is not there: {remedy}", path.display());
    }
    there
}

/// `promtool`, if it is there.
///
/// # Panics
/// When it is not there and `CI=true`.
pub fn promtool() -> Option<Command> {
    found(Path::new("promtool"), "--version", "apt-get install prometheus").then(|| Command::new("promtool"))
}

/// A program of Debian's packages, if it is there.
///
/// # Panics
/// When it is not there and `CI=true`.
pub fn debian(program: &str, package: &str) -> Option<Command> {
    found(Path::new(program), "--version", &format!("apt-get install {package}"))
        .then(|| Command::new(program))
}

/// A program that pip installs beside the Python that `REFWATCH_PYTHON` names, or on PATH, if it is there.
///
/// # Panics
/// When it is not there and `CI=true`.
pub fn pip(program: &str, argument: &str, package: &str) -> Option<Command> {
    let python = PathBuf::from(std::env::var_os("REFWATCH_PYTHON").unwrap_or_default());
    let beside = python.with_file_name(program);
    let program = if beside.is_file() { beside } else { PathBuf::from(program) };
    found(&program, argument, &format!("pip install {package}")).then(|| Command::new(program))
}

/// A script of `tests/python` that needs nothing but Python itself.
///
/// # Panics
/// When there is no Python and `CI=true`.
pub fn plain_python(script: &str) -> Option<Command> {
    found(Path::new("python3"), "--version", "apt-get install python3").then(|| {
        let mut command = Command::new("python3");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script));
        command
    })
}

/// `buf`, if it is there.
///
/// # Panics
/// When it is not there and `CI=true`.
pub fn buf() -> Option<Command> {
    found(Path::new("buf"), "--version", "npm install @bufbuild/buf").then(|| Command::new("buf"))
}

fn python_program() -> PathBuf {
    PathBuf::from(std::env::var_os("REFWATCH_PYTHON").unwrap_or_else(|| "python3".into()))
}

/// Whether the Python that `REFWATCH_PYTHON` names is there, and has these modules.
///
/// # Panics
/// When not and `CI=true`.
pub fn has_python(modules: &str) -> bool {
    let remedy = "REFWATCH_PYTHON names one that has what .ci/run installs";
    found(&python_program(), &format!("-cimport {modules}"), remedy)
}

/// Whether Go, grpc-go and their generators are there.
///
/// # Panics
/// When not and `CI=true`.
pub fn has_go() -> bool {
    let remedy = "see proto/examples/go/README.md";
    found(Path::new("go"), "version", remedy)
        && found(Path::new("protoc"), "--version", remedy)
        && found(Path::new("protoc-gen-go-grpc"), "--version", remedy)
}

/// Whether the folder that `REFWATCH_NODE_MODULES` names has what the consumer in Node needs.
///
/// # Panics
/// When not and `CI=true`.
pub fn has_node_modules() -> bool {
    let modules = std::env::var_os("REFWATCH_NODE_MODULES").unwrap_or_default();
    let script = format!("--eval=require({:?})", Path::new(&modules).join("@grpc/grpc-js"));
    found(Path::new("node"), &script, "REFWATCH_NODE_MODULES names what .ci/run installs")
}

/// A script of `tests/python`, run by the Python that `REFWATCH_PYTHON` names, with code generated from `proto/` to be
/// imported, if that Python and its packages are there.
///
/// # Panics
/// When they are not there and `CI=true`.
pub fn python(script: &str) -> Option<Command> {
    static GENERATED: OnceLock<Option<TempDir>> = OnceLock::new();
    let program = python_program();
    let generated = GENERATED
        .get_or_init(|| has_python("grpc, grpc_tools, prometheus_client").then(|| generate(&program)));
    let mut command = Command::new(&program);
    command.env("PYTHONPATH", generated.as_ref()?.path());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script));
    Some(command)
}

/// The Python that `REFWATCH_PYTHON` names, to run `tests/python/writer.py`, if it is there with this package.
///
/// # Panics
/// When it is not there and `CI=true`.
pub fn python_with(package: &str) -> Option<Command> {
    static FOUND: Mutex<BTreeMap<String, bool>> = Mutex::new(BTreeMap::new());
    let program = PathBuf::from(std::env::var_os("REFWATCH_PYTHON").unwrap_or_else(|| "python3".into()));
    let mut known = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let there = *known.entry(package.to_owned()).or_insert_with(|| {
        found(&program, &format!("-cimport {package}"), &format!("REFWATCH_PYTHON names one with {package}"))
    });
    drop(known);
    let mut command = Command::new(&program);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python/writer.py")).arg(package);
    there.then_some(command)
}

/// `tests/java/Writer.java`, which writes with JGit, if a compiler for Java and JGit are there. `REFWATCH_JGIT` is the
/// class path of JGit; without it, it is looked for where Debian has it.
///
/// # Panics
/// When they are not there and `CI=true`.
pub fn jgit_writer() -> Option<Command> {
    static COMPILED: OnceLock<Option<TempDir>> = OnceLock::new();
    let jars = std::env::var("REFWATCH_JGIT").unwrap_or_else(|_| DEBIAN_JGIT.to_owned());
    let compiled = COMPILED.get_or_init(|| {
        let remedy = "apt-get install default-jdk-headless libjgit-java";
        let is_there = found(Path::new("javac"), "-version", remedy)
            && jars.split(':').all(|jar| found_file(Path::new(jar), remedy));
        is_there.then(|| {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let mut javac = Command::new("javac");
            javac.args(["-cp", &jars, "-d"]).arg(directory.path());
            javac.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("java/Writer.java"));
            let output = javac.output().expect("it ran before");
            assert!(output.status.success(), "javac failed: {}", String::from_utf8_lossy(&output.stderr));
            directory
        })
    });
    let directory = compiled.as_ref()?.path();
    let mut command = Command::new("java");
    // It lives for one edit: compiling well takes longer than running badly.
    command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(format!("{}:{jars}", directory.display())).arg("Writer");
    Some(command)
}

/// A git of another version than the first on PATH, further along it.
pub fn other_git() -> Option<&'static Path> {
    static OTHER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let version = |program: &Path| {
        let output = Command::new(program).arg("--version").output().ok()?;
        output.status.success().then_some(output.stdout)
    };
    let other = OTHER.get_or_init(|| {
        let first = version(Path::new("git"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let others = std::env::split_paths(&path).map(|directory| directory.join("git"));
        others.filter(|program| program.is_file()).find(|program| version(program) != first)
    });
    other.as_deref()
}

fn generate(program: &Path) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let mut command = Command::new(program);
    command.args(["-m", "grpc_tools.protoc"]).arg("-I").arg(&proto);
    for output in ["--python_out", "--grpc_python_out"] {
        command.arg(output).arg(directory.path());
    }
    command.args(["event", "service", "ingest"].map(|name| format!("refwatch/v1/{name}.proto")));
    let output = command.output().expect("it ran before");
    assert!(output.status.success(), "protoc failed: {}", String::from_utf8_lossy(&output.stderr));
    directory
}

/// Runs a command to its end with something on standard input.
///
/// # Panics
/// When it cannot be run.
pub fn feed(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // It may end before it has read everything: its status tells.
            drop(stdin.write_all(input.as_bytes()));
        });
        child.wait_with_output().expect("it ends")
    })
}
