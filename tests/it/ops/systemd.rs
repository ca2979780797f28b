//! The units, and the daemon under a service manager.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use refwatch_tests::{Client, DEADLINE, Daemon, Options, World, binary, http, tools};
use serde_json::Value;

use super::{content, file, text};

const UNITS: [&str; 3] = ["refwatch.service", "refwatch.socket", "refwatch-http.socket"];
/// Exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE_MAX: &str = "16";
/// Rounds of the watchdog come every second.
const ROUND: Duration = Duration::from_secs(1);
/// Pings that may have been sent before the thread was found to hang.
const PINGS_LATE_MAX: u32 = 10;

#[test]
fn systemd_accepts_the_units_without_a_word() {
    let Some(mut analyze) = tools::debian("systemd-analyze", "systemd") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    for unit in UNITS {
        // Neither the program nor its manual pages need be installed here.
        let unit_text = text(&format!("systemd/{unit}"))
            .replace("/usr/bin/refwatch", binary::refwatch().to_str().expect("text"))
            .replace("Documentation=man:", "# ");
        fs::write(directory.path().join(unit), unit_text).expect("written");
    }
    analyze.arg("verify").args(UNITS.map(|unit| directory.path().join(unit)));
    analyze.env("SYSTEMD_UNIT_PATH", format!("{}:", directory.path().display()));
    assert_eq!(content(&mut analyze), "");
}

#[test]
fn the_service_may_do_little() {
    let Some(mut analyze) = tools::debian("systemd-analyze", "systemd") else { return };
    analyze.args(["security", "--offline=yes", "--no-pager", "--threshold", EXPOSURE_MAX]);
    let said = content(analyze.arg(file("systemd/refwatch.service")));
    println!("{}", said.lines().last().unwrap_or_default());
}

#[test]
fn account_and_directories_are_made() {
    let Some(mut sysusers) = tools::debian("systemd-sysusers", "systemd") else { return };
    let Some(mut tmpfiles) = tools::debian("systemd-tmpfiles", "systemd") else { return };
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir(root.path().join("etc")).expect("made");
    let flag = format!("--root={}", root.path().display());
    content(sysusers.arg(&flag).arg(file("systemd/refwatch.sysusers")));
    let accounts = fs::read_to_string(root.path().join("etc/passwd")).expect("made");
    assert!(accounts.starts_with("refwatch:") && accounts.contains(":/var/lib/refwatch:"), "{accounts}");
    content(tmpfiles.arg("--create").arg(&flag).arg(file("systemd/refwatch.tmpfiles")));
    for directory in ["run/refwatch", "etc/refwatch"] {
        assert!(root.path().join(directory).is_dir(), "{directory}");
    }
}

/// A service manager, as far as a service sees of it.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Listens, and tells the daemon so.
    fn over(world: &World, options: Options) -> (Self, Options) {
        let path = world.beside("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(DEADLINE)).expect("set");
        let options = options
            .variable("NOTIFY_SOCKET", path.to_str().expect("text"))
            .variable("WATCHDOG_USEC", "3000000");
        (Self { socket }, options)
    }

    /// The next thing that it is told, without what is wanted left out.
    fn next(&self) -> Option<String> {
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(length) => Some(String::from_utf8_lossy(&bytes[..length]).into_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Everything until it is told something, with that.
    fn until(&self, wanted: &str) -> Vec<String> {
        let mut told = Vec::new();
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "it never says {wanted}: {told:?}");
            let next = self.next().unwrap_or_else(|| panic!("it never says {wanted}: {told:?}"));
            let over = next.lines().any(|line| line == wanted);
            told.push(next);
            if over {
                return told;
            }
        }
    }
}

#[test]
fn it_is_ready_once_it_serves_and_says_when_it_stops() {
    let world = World::new();
    let repo = world.repo("app.git");
    let (manager, options) = Manager::over(&world, Options::new(&world));
    let mut daemon = options.launch();
    let before = manager.until("READY=1");
    assert!(before.iter().all(|told| !told.contains("STOPPING")), "{before:?}");
    // At once: whoever waited for it may call.
    assert_eq!(daemon.client().repositories().len(), 1);
    assert_eq!(http::get(daemon.http(), "/livez", "*/*").0, 200);
    manager.until("STATUS=ready");
    manager.until("WATCHDOG=1");
    let [one] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    let away = world.beside("away");
    fs::rename(&world.root, &away).expect("renamed");
    let missing = format!("STATUS=watcher: the root {} is not there", world.root.display());
    manager.until(&missing);
    // Unready is not dead.
    manager.until("WATCHDOG=1");
    fs::rename(&away, &world.root).expect("renamed back");
    manager.until("STATUS=ready");
    daemon.terminate();
    manager.until("STOPPING=1");
    assert!(daemon.wait().success());
}

/// A thread of the daemon that hangs in a call of the kernel.
struct Held {
    holder: Child,
    input: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Held {
    /// Will hold a thread at its next call of a kind. `None` where no thread may be held.
    fn arm(daemon: &Daemon, name: &str, call: &str) -> Option<Self> {
        let mut python = tools::plain_python("hold.py")?;
        let thread = thread_of(daemon.pid(), name);
        python.args([&thread.to_string(), call]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = python.spawn().expect("it ran before");
        let said = BufReader::new(holder.stdout.take().expect("piped"));
        let mut held = Self { input: holder.stdin.take(), holder, said };
        if held.said() == "armed" {
            return Some(held);
        }
        println!("skipped: a thread cannot be held here");
        assert!(std::env::var("CI").is_err(), "ptrace(2) is refused: run as root");
        None
    }

    fn said(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        line.trim().to_owned()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may still wait for the call; its end lets the thread go either way.
        drop(self.input.take());
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

fn thread_of(pid: u32, name: &str) -> u32 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    threads
        .map(|thread| thread.expect("read").path())
        .find(|thread| fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name))
        .and_then(|thread| thread.file_name()?.to_str()?.parse().ok())
        .unwrap_or_else(|| panic!("a thread called {name}"))
}

fn wait_livez(daemon: &Daemon, wanted: u16) -> Value {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let (code, body) = http::get(daemon.http(), "/livez", "*/*");
        if code == wanted {
            return serde_json::from_str(&body).expect("JSON");
        }
        assert!(Instant::now() < deadline, "/livez never answers {wanted}: {body}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn a_thread_that_hangs_stops_the_watchdog(name: &str, call: &str) {
    let world = World::new();
    let repo = world.repo("app.git");
    let [one, two] = repo.history();
    let options = Options::new(&world).set("watch.stuck_timeout_s", "1").set("watch.workers", "1");
    let (manager, options) = Manager::over(&world, options);
    let daemon = options.start();
    manager.until("READY=1");
    manager.until("WATCHDOG=1");
    let Some(mut held) = Held::arm(&daemon, name, call) else { return };
    repo.update(&format!("create refs/heads/main {one}\n"));
    assert_eq!(held.said(), "held");
    let report = wait_livez(&daemon, 503);
    assert_eq!(report["loops"][name]["alive"], false, "{report}");
    // What was on its way; then nothing, for longer than it is silent when all is well.
    manager.socket.set_read_timeout(Some(ROUND * 3)).expect("set");
    let mut pings = 0;
    while let Some(told) = manager.next() {
        pings += u32::from(told.contains("WATCHDOG=1"));
        assert!(pings < PINGS_LATE_MAX, "it still says that all is well");
    }
    drop(held);
    manager.socket.set_read_timeout(Some(DEADLINE)).expect("set");
    manager.until("WATCHDOG=1");
    wait_livez(&daemon, 200);
    repo.update(&format!("update refs/heads/main {two} {one}\n"));
    daemon.client().sync();
    assert_eq!(daemon.client().refs(10).0.iter().filter(|known| known.oid == two).count(), 1);
}

#[test]
fn a_worker_that_hangs_stops_the_watchdog() {
    a_thread_that_hangs_stops_the_watchdog("worker-0", "open");
}

#[test]
fn a_store_that_hangs_stops_the_watchdog() {
    a_thread_that_hangs_stops_the_watchdog("store-writer", "sync");
}

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

/// Runs the daemon as systemd does where sockets are enabled: it is started by the first connection.
fn activated(world: &World, sockets: &[&str], names: &str) -> Option<Command> {
    let mut activate = tools::debian("systemd-socket-activate", "systemd")?;
    activate.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for socket in sockets {
        activate.args(["-l", socket]);
    }
    if !names.is_empty() {
        activate.arg(format!("--fdname={names}"));
    }
    activate.arg(binary::refwatch()).args(["serve", "--root"]).arg(&world.root);
    activate.arg("--db").arg(world.database());
    Some(activate)
}

/// Kills a child when dropped.
struct Activated(Child);

impl Drop for Activated {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn wait_for(socket: &Path) {
    let deadline = Instant::now() + DEADLINE;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "{} never appears", socket.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sockets_of_the_manager_are_served_by_name() {
    let world = World::new();
    world.repo("app.git");
    let (grpc, http_address) = (free_port(), free_port());
    let unix = world.beside("grpc.sock");
    let sockets = [&http_address.to_string(), &grpc.to_string(), unix.to_str().expect("text")];
    let Some(mut activate) = activated(&world, &sockets, "http:grpc:grpc") else { return };
    let _daemon = Activated(activate.spawn().expect("it ran before"));
    // The last of the three: all are there.
    wait_for(&unix);
    assert_eq!(http::get(http_address, "/livez", "*/*").0, 200);
    Client::connect(grpc).sync();
    let by_socket = Command::new(binary::refwatch())
        .args(["position", "--sync", "--grpc", &format!("unix:{}", unix.display())])
        .output()
        .expect("refwatch runs");
    assert!(by_socket.status.success(), "{}", String::from_utf8_lossy(&by_socket.stderr));
}

#[test]
fn a_socket_that_nobody_would_serve_ends_the_start() {
    let world = World::new();
    for (names, wanted) in [
        ("refwatch.socket", "FileDescriptorName= of its unit is grpc or http"),
        ("grpc:grpc", "the second for grpc"),
    ] {
        let sockets: Vec<String> = names.split(':').map(|_| free_port().to_string()).collect();
        let listed: Vec<&str> = sockets.iter().map(String::as_str).collect();
        let Some(mut activate) = activated(&world, &listed, names) else { return };
        activate.stderr(Stdio::piped());
        let mut daemon = Activated(activate.spawn().expect("it ran before"));
        let first: SocketAddr = sockets[0].parse().expect("an address");
        let deadline = Instant::now() + DEADLINE;
        while std::net::TcpStream::connect(first).is_err() {
            assert!(Instant::now() < deadline, "nobody listens on {first}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = BufReader::new(daemon.0.stderr.take().expect("piped"));
        let lines: Vec<String> = said.lines().map_while(Result::ok).collect();
        assert!(lines.iter().any(|line| line.contains(wanted)), "{names}: {lines:#?}");
    }
}
