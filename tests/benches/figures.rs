//! Figures of the whole daemon, each beside a peer in the same run where there is one.
//!
//! `cargo bench -p refwatch-tests --bench figures [-- SECTION...]` with sections latency, sequential, packed, bulk,
//! idle, fanout, replay, hooks, reftable, packed_refs. Prints; asserts nothing about time.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench stops at what is wrong"
)]
#![allow(clippy::disallowed_methods, clippy::cast_precision_loss, reason = "figures for people")]

#[path = "figures/hooks.rs"]
mod hooks;
#[path = "figures/reading.rs"]
mod reading;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use refwatch_proto::v1;
use refwatch_proto::v1::git_event_service_client::GitEventServiceClient;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::watch_events_response::Kind;
use tonic::transport::{Channel, Endpoint};

type Client = GitEventServiceClient<Channel>;
type Section = fn(&tokio::runtime::Runtime);

/// Wait for what must come; a bench that hangs says nothing.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let sections: [(&str, Section); 10] = [
        ("latency", latency),
        ("sequential", sequential),
        ("packed", packed),
        ("bulk", bulk),
        ("idle", idle),
        ("fanout", fanout),
        ("replay", replay),
        ("hooks", hooks::run),
        ("reftable", reading::reftable),
        ("packed_refs", reading::packed_refs),
    ];
    for (name, run) in sections {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("== {name}");
            run(&runtime);
        }
    }
}

/// A folder with repositories, and a daemon over it.
struct World {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
    grpc: String,
    scan_ms: u64,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("refwatch-bench-").tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        Self { dir, daemon: None, grpc: String::new(), scan_ms: 0 }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Starts the daemon and waits for its first scan.
    fn serve(&mut self) {
        let mut child = Command::new(binary())
            .env_remove("REFWATCH_BIN")
            .args(["serve", "--grpc", "127.0.0.1:0", "--http", "off", "--log-format", "json"])
            .arg("--root")
            .arg(self.root())
            .arg("--db")
            .arg(self.dir.path().join("x.db"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for line in &mut lines {
            let line = line.unwrap();
            let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { panic!("{line}") };
            if line["message"] == "listening" {
                self.grpc = format!("http://{}", line["grpc"].as_str().unwrap());
            }
            if line["message"] == "the first scan is over" {
                self.scan_ms = line["took_ms"].as_u64().unwrap();
                break;
            }
        }
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("WARN") || line.contains("ERROR") {
                    eprintln!("{line}");
                }
            }
        });
        self.daemon = Some(child);
    }

    fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status().unwrap();
            daemon.wait().unwrap();
        }
    }

    async fn client(&self) -> Client {
        let endpoint = Endpoint::from_shared(self.grpc.clone())
            .unwrap()
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20);
        GitEventServiceClient::new(endpoint.connect().await.unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().ok();
            daemon.wait().ok();
        }
    }
}

/// The release binary, built beside this bench.
fn binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("REFWATCH_BIN") {
        return binary.into();
    }
    let profile = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "-p", "refwatch-daemon", "--target-dir"])
        .arg(profile.parent().unwrap())
        .status()
        .unwrap();
    assert!(status.success(), "the daemon must build");
    profile.join("refwatch")
}

fn git(dir: &Path, args: &[&str], input: Option<&str>) {
    let mut child = Command::new("git")
        .args(["-c", "gc.auto=0", "-c", "core.fsync=none"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    if let Some(input) = input {
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    }
    assert!(child.wait().unwrap().success(), "git {args:?}");
}

/// A bare repository with `count` commits in a line; returns their ids, the oldest first.
fn repository(path: &Path, count: usize) -> Vec<String> {
    fs::create_dir_all(path).unwrap();
    git(path, &["init", "-q", "--bare", "-b", "main", "."], None);
    commits(path, count)
}

/// Makes commits in a line, of which `main` is the last; returns their ids, the oldest first.
fn commits(path: &Path, count: usize) -> Vec<String> {
    let mut stream = String::new();
    for at in 0..count {
        let time = 1_700_000_000 + at;
        stream += &format!("commit refs/heads/main\ncommitter a <a@b> {time} +0000\ndata 1\nx\n");
    }
    git(path, &["fast-import", "--quiet"], Some(&stream));
    let list =
        Command::new("git").args(["rev-list", "--reverse", "main"]).current_dir(path).output().unwrap();
    String::from_utf8(list.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Puts a ref in place as git does: a lock, renamed.
fn put(path: &Path, oid: &str) -> Instant {
    let lock = path.with_extension("lock");
    fs::write(&lock, format!("{oid}\n")).unwrap();
    let visible = Instant::now();
    fs::rename(&lock, path).unwrap();
    visible
}

async fn watch(client: &mut Client, start: Start) -> tonic::Streaming<v1::WatchEventsResponse> {
    let request = v1::WatchEventsRequest { start: Some(start), ..v1::WatchEventsRequest::default() };
    let mut stream = client.watch_events(request).await.unwrap().into_inner();
    // Started.
    stream.message().await.unwrap().unwrap();
    stream
}

async fn next(stream: &mut tonic::Streaming<v1::WatchEventsResponse>) -> Vec<v1::GitEvent> {
    loop {
        let message = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
        if let Some(Kind::Events(batch)) = message.kind {
            return batch.events;
        }
    }
}

fn summary(mut micros: Vec<u128>) -> (u128, u128) {
    micros.sort_unstable();
    (micros[micros.len() / 2], micros[micros.len() * 99 / 100])
}

/// Latencies in microseconds of `rounds` updates of one loose ref, one at a time.
fn rounds(runtime: &tokio::runtime::Runtime, world: &World, path: &Path, oids: &[String]) -> Vec<u128> {
    runtime.block_on(async {
        let mut client = world.client().await;
        let mut stream = watch(&mut client, Start::Now(v1::Now {})).await;
        let mut micros = Vec::new();
        for oid in oids {
            let visible = put(path, oid);
            loop {
                let events = next(&mut stream).await;
                if events.iter().any(|event| event.new_oid == *oid) {
                    break;
                }
            }
            micros.push(visible.elapsed().as_micros());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        micros
    })
}

fn latency(runtime: &tokio::runtime::Runtime) {
    let mut world = World::new();
    let oids = repository(&world.root().join("a.git"), 1200);
    let path = world.root().join("a.git/refs/heads/main");
    world.serve();
    rounds(runtime, &world, &path, &oids[..200]);
    let (median, p99) = summary(rounds(runtime, &world, &path, &oids[200..]));
    let (raw_median, raw_p99) = summary(raw(&path, &oids[200..]));
    println!("visible on disk to held by a subscriber: median {median} us, p99 {p99} us");
    println!("peer, raw notification:                  median {raw_median} us, p99 {raw_p99} us");
    println!("ratio of medians {:.1}", median as f64 / raw_median.max(1) as f64);
}

/// The same with a bare notification and nothing behind it.
fn raw(path: &Path, oids: &[String]) -> Vec<u128> {
    use notify::Watcher as _;
    let (sender, receiver) = std::sync::mpsc::sync_channel(64);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let renamed =
            notify::EventKind::Modify(notify::event::ModifyKind::Name(notify::event::RenameMode::To));
        if event.is_ok_and(|event| event.kind == renamed) {
            sender.send(Instant::now()).ok();
        }
    })
    .unwrap();
    watcher.watch(path.parent().unwrap(), notify::RecursiveMode::NonRecursive).unwrap();
    let mut micros = Vec::new();
    for oid in oids {
        let visible = put(path, oid);
        let seen = receiver.recv_timeout(PATIENCE).unwrap();
        micros.push(seen.duration_since(visible).as_micros());
        std::thread::sleep(Duration::from_millis(2));
    }
    micros
}

fn sequential(runtime: &tokio::runtime::Runtime) {
    let mut world = World::new();
    let repository_path = world.root().join("a.git");
    let oids = repository(&repository_path, 401);
    world.serve();
    let seen = runtime.block_on(async {
        let mut client = world.client().await;
        let mut stream = watch(&mut client, Start::Now(v1::Now {})).await;
        let path = repository_path.clone();
        let list = oids.clone();
        let began = Instant::now();
        let writer = std::thread::spawn(move || {
            for oid in &list[..400] {
                git(&path, &["update-ref", "refs/heads/main", oid], None);
            }
        });
        let mut seen = 0;
        'all: loop {
            for event in next(&mut stream).await {
                seen += 1;
                if event.new_oid == oids[399] {
                    break 'all;
                }
            }
        }
        writer.join().unwrap();
        println!("400 git update-ref took {} ms", began.elapsed().as_millis());
        seen
    });
    println!("values seen one by one: {seen} of 400 ({:.1} %)", f64::from(seen) / 4.0);
}

fn packed(runtime: &tokio::runtime::Runtime) {
    let mut medians = Vec::new();
    for refs in [10, 1_000_000] {
        let mut world = World::new();
        let path = world.root().join("a.git");
        let oids = repository(&path, 500);
        let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        for at in 0..refs {
            packed += &format!("{} refs/heads/b{at:07}\n", oids[at % oids.len()]);
        }
        fs::write(path.join("packed-refs"), packed).unwrap();
        world.serve();
        let loose = path.join("refs/heads/main");
        rounds(runtime, &world, &loose, &oids[..100]);
        let (median, p99) = summary(rounds(runtime, &world, &loose, &oids[100..]));
        println!(
            "one loose ref beside {refs} packed ones: median {median} us, p99 {p99} us (first scan {} ms, resident {} MB)",
            world.scan_ms,
            resident_mb(world.pid())
        );
        medians.push(median as f64);
    }
    println!("ratio {:.2}", medians[1] / medians[0]);
}

fn bulk(runtime: &tokio::runtime::Runtime) {
    bulk_of(runtime, "in one directory", |at| format!("refs/heads/n{at:06}"));
    bulk_of(runtime, "in 200 directories that come with them", |at| {
        format!("refs/heads/{:03}/n{at:06}", at / 500)
    });
}

fn bulk_of(runtime: &tokio::runtime::Runtime, which: &str, name_of: impl Fn(usize) -> String) {
    let mut world = World::new();
    let path = world.root().join("a.git");
    let oids = repository(&path, 10);
    world.serve();
    let mut input = String::from("start\n");
    for at in 0..100_000 {
        input += &format!("create {} {}\n", name_of(at), oids[at % oids.len()]);
    }
    input += "commit\n";
    runtime.block_on(async {
        let mut client = world.client().await;
        let mut stream = watch(&mut client, Start::Now(v1::Now {})).await;
        let writer = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            git(&path, &["update-ref", "--stdin"], Some(&input));
            (began.elapsed(), Instant::now())
        });
        let mut events = 0;
        let mut sizes: HashMap<String, u32> = HashMap::new();
        while events < 100_000 {
            for event in next(&mut stream).await {
                events += u32::from(event.change != 0);
                *sizes.entry(event.transaction.unwrap().id).or_default() += 1;
            }
        }
        let held = Instant::now();
        let (git_took, returned) = writer.await.unwrap();
        println!("git update-ref --stdin of 100,000 refs {which}: {} ms", git_took.as_millis());
        println!(
            "all events held {} ms after git returned, in {} transactions",
            held.saturating_duration_since(returned).as_millis(),
            sizes.len()
        );
    });
}

fn resident_mb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn cpu_ms(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in ticks of 10 ms (proc_pid_stat(5)).
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}

fn watches(pid: u32) -> usize {
    let mut watches = 0;
    for info in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten() {
        let text = fs::read_to_string(info.path()).unwrap_or_default();
        watches += text.lines().filter(|line| line.starts_with("inotify ")).count();
    }
    watches
}

fn idle(_: &tokio::runtime::Runtime) {
    const REPOSITORIES: usize = 10_000;
    let mut world = World::new();
    let template = world.dir.path().join("template.git");
    let oid = repository(&template, 1).remove(0);
    for at in 0..REPOSITORIES {
        let path = world.root().join(format!("{:02x}/{at:032x}.git", at % 256));
        for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info"] {
            fs::create_dir_all(path.join(directory)).unwrap();
        }
        fs::copy(template.join("HEAD"), path.join("HEAD")).unwrap();
        fs::copy(template.join("config"), path.join("config")).unwrap();
        fs::write(path.join("refs/heads/main"), format!("{oid}\n")).unwrap();
    }
    // A signature that is younger than this is not trusted: the clock of a filesystem is coarse.
    std::thread::sleep(Duration::from_millis(2500));
    let began = Instant::now();
    let mut files = 0;
    count(&world.root(), &mut files);
    println!("peer, a loop that reads all directories: {} ms ({files} files)", began.elapsed().as_millis());
    world.serve();
    println!(
        "first start, 10,000 repositories: scan {} ms, resident {} MB",
        world.scan_ms,
        resident_mb(world.pid())
    );
    world.stop();
    world.serve();
    println!("start with a known database:      scan {} ms", world.scan_ms);
    std::thread::sleep(Duration::from_secs(3));
    let pid = world.pid();
    let directories = fs::read_dir(world.root()).unwrap().count() + 1;
    let before = cpu_ms(pid);
    std::thread::sleep(Duration::from_secs(20));
    println!(
        "idle: resident {} MB, {} watches ({} of them of fan-out folders), {} ms CPU in 20 s",
        resident_mb(pid),
        watches(pid),
        directories,
        cpu_ms(pid) - before
    );
}

fn count(directory: &Path, files: &mut u64) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            count(&entry.path(), files);
        } else {
            *files += 1;
        }
    }
}

fn fanout(runtime: &tokio::runtime::Runtime) {
    const SUBSCRIBERS: usize = 100;
    const REFS: usize = 10_000;
    const ROUNDS: usize = 5;
    let mut world = World::new();
    let path = world.root().join("a.git");
    let oids = repository(&path, ROUNDS + 2);
    world.serve();
    let update = move |round: usize| {
        let mut input = String::from("start\n");
        for at in 0..REFS {
            input += &format!("update refs/heads/n{at:06} {}\n", oids[round]);
        }
        git(&path, &["update-ref", "--stdin"], Some(&(input + "commit\n")));
    };
    update(0);
    runtime.block_on(async {
        world
            .client()
            .await
            .get_position(v1::GetPositionRequest { sync: true, timeout_ms: 60_000, ..Default::default() })
            .await
            .unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..SUBSCRIBERS {
            let mut client = world.client().await;
            let mut stream = watch(&mut client, Start::Now(v1::Now {})).await;
            let received = Arc::clone(&received);
            tasks.spawn(async move {
                loop {
                    received.fetch_add(next(&mut stream).await.len() as u64, Ordering::Relaxed);
                }
            });
        }
        let mut rates = Vec::new();
        let mut expected = 0;
        for round in 1..=ROUNDS {
            let update = update.clone();
            let writer = tokio::task::spawn_blocking(move || update(round));
            let (mut began, before) = (None, expected);
            expected += (SUBSCRIBERS * (REFS + 1)) as u64;
            loop {
                let now = received.load(Ordering::Relaxed);
                if now > before && began.is_none() {
                    began = Some(Instant::now());
                }
                if now >= expected {
                    break;
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            let took = began.unwrap().elapsed().as_secs_f64();
            writer.await.unwrap();
            rates.push((expected - before) as f64 / took);
        }
        rates.sort_by(f64::total_cmp);
        println!(
            "{SUBSCRIBERS} subscribers, {} events each round: median {:.0} events/s in sum, best {:.0}",
            REFS + 1,
            rates[ROUNDS / 2],
            rates[ROUNDS - 1]
        );
    });
}

fn replay(runtime: &tokio::runtime::Runtime) {
    const REFS: usize = 100_000;
    const ROUNDS: usize = 1;
    let mut world = World::new();
    let path = world.root().join("a.git");
    let oids = repository(&path, ROUNDS);
    world.serve();
    runtime.block_on(async {
        let mut client = world.client().await;
        for oid in &oids {
            let mut input = String::from("start\n");
            for at in 0..REFS {
                input += &format!("update refs/heads/n{at:06} {oid}\n");
            }
            git(&path, &["update-ref", "--stdin"], Some(&(input + "commit\n")));
            client
                .get_position(v1::GetPositionRequest { sync: true, timeout_ms: 60_000, ..Default::default() })
                .await
                .unwrap();
        }
        let position = client.get_position(v1::GetPositionRequest::default()).await.unwrap().into_inner();
        for _ in 0..3 {
            let began = Instant::now();
            let mut stream = watch(&mut client, Start::Earliest(v1::Earliest {})).await;
            let mut events = 0_u64;
            while events < position.last_sequence {
                events += next(&mut stream).await.len() as u64;
            }
            println!(
                "replay of {events} events to one subscriber: {:.0} events/s",
                events as f64 / began.elapsed().as_secs_f64()
            );
        }
    });
}
