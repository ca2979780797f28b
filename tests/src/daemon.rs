//! The daemon as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::Client;
use crate::variant::Variant;
use crate::world::World;
use crate::{DEADLINE, binary, http};

/// Lines of the log that are printed when a test fails.
const LINES_SHOWN_MAX: usize = 200;

/// Between two looks of a daemon that polls, in milliseconds.
const POLL_INTERVAL_MS: &str = "20";

/// Between two looks at what cannot be waited for.
const POLL: Duration = Duration::from_millis(10);

/// How to run the daemon.
#[derive(Clone, Debug)]
pub struct Options {
    roots: Vec<PathBuf>,
    database: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Options {
    /// Serves a world's root from its database.
    pub fn new(world: &World) -> Self {
        Self {
            roots: vec![world.root.clone()],
            database: world.database(),
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Adds a flag.
    #[must_use]
    pub fn flag(mut self, flag: &str, value: &str) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// Adds a setting by its key.
    #[must_use]
    pub fn set(self, key: &str, value: &str) -> Self {
        self.flag("--set", &format!("{key}={value}"))
    }

    /// Adds a variable to the environment, which is empty but for `PATH` and `HOME`.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a root.
    #[must_use]
    pub fn root(mut self, root: PathBuf) -> Self {
        self.roots.push(root);
        self
    }

    /// Keeps the log elsewhere.
    #[must_use]
    pub fn database(mut self, database: PathBuf) -> Self {
        self.database = database;
        self
    }

    /// The command, not run yet.
    pub fn command(&self) -> Command {
        if let Some(directory) = self.database.parent() {
            std::fs::create_dir_all(directory).expect("a directory for the database");
        }
        let mut command = Command::new(binary::refwatch());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        // By the environment: flags of a test are stronger.
        if Variant::now().polls {
            command
                .env("REFWATCH_WATCH__MODE", "poll")
                .env("REFWATCH_WATCH__POLL_INTERVAL_MS", POLL_INTERVAL_MS);
        }
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.args(["--log-format", "json", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.arg("--db").arg(&self.database);
        for root in &self.roots {
            command.arg("--root").arg(root);
        }
        command.args(&self.arguments);
        command
    }

    /// Runs the daemon, and waits until it has looked at everything once.
    ///
    /// # Panics
    /// When it ends before.
    pub fn start(self) -> Daemon {
        let daemon = self.launch();
        daemon.client().sync();
        daemon
    }

    /// Runs the daemon, and waits until it listens.
    ///
    /// # Panics
    /// When it ends before.
    pub fn launch(self) -> Daemon {
        let mut child = self.command().spawn().expect("refwatch runs");
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || log.read(stderr)
        });
        let mut daemon = Daemon { options: self, child, log, reader: Some(reader), addresses: None };
        let listening = daemon.wait_log("listening", |line| line["message"] == "listening");
        let address = |key: &str| listening[key].as_str().and_then(|text| text.parse().ok());
        daemon.addresses = address("grpc").zip(address("http"));
        assert!(daemon.addresses.is_some(), "the line says where it listens: {listening}");
        daemon
    }
}

/// A running daemon. Killed when dropped; its log is printed when the test fails.
#[derive(Debug)]
pub struct Daemon {
    options: Options,
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    addresses: Option<(SocketAddr, SocketAddr)>,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn read(&self, stderr: impl BufRead) {
        for line in stderr.lines().map_while(Result::ok) {
            self.lock().lines.push(line);
            self.more.notify_all();
        }
        self.lock().ended = true;
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Daemon {
    /// Runs the daemon over a world, and waits until it has looked at everything once.
    pub fn start(world: &World) -> Self {
        Options::new(world).start()
    }

    /// Where gRPC is served.
    pub fn grpc(&self) -> SocketAddr {
        self.addresses.expect("it listens").0
    }

    /// Where the sidecar is served.
    pub fn http(&self) -> SocketAddr {
        self.addresses.expect("it listens").1
    }

    /// A client of its own connection.
    pub fn client(&self) -> Client {
        Client::connect(self.grpc())
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stderr so far.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().lines.clone()
    }

    /// Waits for a line of its log.
    ///
    /// # Panics
    /// When it ends, or the deadline passes, before.
    pub fn wait_log(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        let mut lines = self.log.lock();
        let mut next = 0;
        loop {
            for line in &lines.lines[next..] {
                if let Some(value) = serde_json::from_str(line).ok().filter(&wanted) {
                    return value;
                }
            }
            next = lines.lines.len();
            assert!(!lines.ended, "the daemon ended before its log said {what}:\n{}", lines.lines.join("\n"));
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the log never said {what}:\n{}", lines.lines.join("\n"));
            lines = self.log.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Panics
    /// When the deadline passes before.
    pub fn wait_ready(&self) {
        self.wait_readyz(200);
    }

    /// Waits until `/readyz` answers with this code; the body.
    ///
    /// # Panics
    /// When the deadline passes before.
    pub fn wait_readyz(&self, wanted: u16) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (code, body) = http::get(self.http(), "/readyz", "*/*");
            if code == wanted {
                return body;
            }
            assert!(Instant::now() < deadline, "it never answers {wanted}: {code} {body}");
            std::thread::sleep(POLL);
        }
    }

    /// Waits until a metric has at least this value.
    ///
    /// # Panics
    /// When the deadline passes before.
    pub fn wait_metric(&self, series: &str, least: f64) {
        let deadline = Instant::now() + DEADLINE;
        while http::metric(self.http(), series).is_none_or(|value| value < least) {
            assert!(Instant::now() < deadline, "{series} never reaches {least}");
            std::thread::sleep(POLL / 5);
        }
    }

    /// Ends it by SIGKILL: nothing is flushed, nobody is told.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn kill9(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.join();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }

    /// Does something while it stands still, so that it sees all of it at once.
    pub fn while_stopped<T>(&self, act: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        let done = act();
        self.signal(Signal::CONT);
        done
    }

    /// Asks it to end by SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it by SIGTERM, and waits.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When the deadline passes before.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        let mut lines = self.log.lock();
        while !lines.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the daemon does not end:\n{}", lines.lines.join("\n"));
            lines = self.log.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(lines);
        let status = self.child.wait().expect("it ends");
        self.join();
        status
    }

    /// A new process with the same settings and database. The old one must have ended.
    pub fn restart(&mut self) {
        let options = self.options.clone();
        drop(std::mem::replace(self, options.start()));
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading the log does not fail");
        }
    }
}

impl Drop for Daemon {
    #[expect(clippy::print_stderr, reason = "shown with the test that fails")]
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let lines = self.log_lines();
            eprintln!("--- the daemon's log, last {LINES_SHOWN_MAX} lines ---");
            for line in &lines[lines.len().saturating_sub(LINES_SHOWN_MAX)..] {
                eprintln!("{line}");
            }
        }
    }
}
