//! What hooks cost git, and what they tell.
//!
//! With `TMPDIR` on a tmpfs the disk has no part in it: where creating a file is slow, 100,000 of them hide the hooks.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use refwatch_proto::v1::{GitEvent, Origin};
use refwatch_tests::{Client, Random};

use super::{World, git, repository};

const SEED: u64 = 1;
const REFERENCE_TRANSACTION: &[&str] = &["reference-transaction"];
const PUSH: &[&str] = &["pre-receive", "update", "post-receive"];
const MAIN: &str = "refs/heads/main";

pub(super) fn run(_: &tokio::runtime::Runtime) {
    load();
    let programs = Programs::build();
    one_ref(&programs);
    many_refs(&programs);
    push(&programs);
    load();
    sequential(&programs);
    at_once(&programs);
    killed(&programs);
    load();
}

/// Others on the machine make all of it slower.
fn load() {
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let processors = std::thread::available_parallelism().unwrap();
    println!("load {} on {processors} processors", load.split_whitespace().next().unwrap());
}

/// What is installed as hooks.
struct Programs {
    dir: tempfile::TempDir,
    /// Does nothing.
    empty: PathBuf,
    /// Reads its standard input to the end.
    drain: PathBuf,
    /// Asks a server that is not there, in committed state.
    curl: PathBuf,
    refwatch: PathBuf,
}

impl Programs {
    fn build() -> Self {
        let dir = tempfile::Builder::new().prefix("refwatch-bench-").tempdir().unwrap();
        let empty = compile(dir.path(), "empty", "int main(void) { return 0; }\n");
        let drain = compile(
            dir.path(),
            "drain",
            "#include <unistd.h>\n\
             static char buffer[65536];\n\
             int main(void) { while (read(0, buffer, sizeof buffer) > 0) {} return 0; }\n",
        );
        let curl = dir.path().join("curl");
        let script =
            "#!/bin/sh\nif [ \"$1\" = committed ]; then curl -s -m1 http://127.0.0.1:9/; fi\nexit 0\n";
        fs::write(&curl, script).unwrap();
        fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir, empty, drain, curl, refwatch: refwatch_hook() }
    }

    /// A bare repository of its own, with a program as hooks.
    fn repository(&self, name: &str, commits: usize, program: Option<&Path>, hooks: &[&str]) -> Repository {
        let path = self.dir.path().join(name);
        let oids = repository(&path, commits);
        if let Some(program) = program {
            install(&path, program, hooks);
        }
        Repository { path, oids }
    }
}

struct Repository {
    path: PathBuf,
    oids: Vec<String>,
}

fn compile(dir: &Path, name: &str, source: &str) -> PathBuf {
    let (from, to) = (dir.join(name).with_extension("c"), dir.join(name));
    fs::write(&from, source).unwrap();
    let status = Command::new("cc").args(["-O2", "-static", "-o"]).args([&to, &from]).status().unwrap();
    assert!(status.success(), "{name} must compile");
    to
}

/// The program of the hooks, linked statically as it is meant to be installed: with musl where Rust has that target
/// (`rustup target add`), which starts in half the time. In a target directory of its own: the flag would have everything
/// else built anew.
fn refwatch_hook() -> PathBuf {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("static-hook");
    let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--release", "-p", "refwatch-hook", "--target-dir"]).arg(&target);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let release = if has_target(&musl) {
        command.args(["--target", &musl]);
        target.join(&musl).join("release")
    } else {
        command.env("RUSTFLAGS", "-C target-feature=+crt-static");
        target.join("release")
    };
    assert!(command.status().unwrap().success(), "the program of the hooks must build");
    println!("refwatch-hook is {}", release.display());
    release.join("refwatch-hook")
}

/// Whether Rust can build for it.
fn has_target(name: &str) -> bool {
    let asked = Command::new("rustc").args(["--print", "target-libdir", "--target", name]).output().unwrap();
    Path::new(String::from_utf8(asked.stdout).unwrap().trim()).is_dir()
}

fn install(git_dir: &Path, program: &Path, hooks: &[&str]) {
    fs::create_dir_all(git_dir.join("hooks")).unwrap();
    fs::create_dir_all(git_dir.join("refwatch")).unwrap();
    for hook in hooks {
        symlink(program, git_dir.join("hooks").join(hook)).unwrap();
    }
}

/// Times of one variant in milliseconds, in order.
struct Times(Vec<f64>);

impl Times {
    fn quartile(&self, which: usize) -> f64 {
        self.0[(self.0.len() * which / 4).min(self.0.len() - 1)]
    }

    fn median(&self) -> f64 {
        self.quartile(2)
    }

    fn print(&self, what: &str) {
        println!(
            "{what:<52} median {:.2} ms, half of them {:.2} to {:.2}",
            self.median(),
            self.quartile(1),
            self.quartile(3)
        );
    }
}

/// Runs each variant once a round, in an order that is random, so that what else the machine does meets all of them.
/// The first rounds only warm up.
fn interleaved(
    variants: usize,
    (warm, rounds): (usize, usize),
    mut run: impl FnMut(usize, usize) -> Duration,
) -> Vec<Times> {
    let mut random = Random::new(SEED);
    let mut times = vec![Vec::new(); variants];
    for round in 0..warm + rounds {
        let mut order: Vec<usize> = (0..variants).collect();
        for at in (1..variants).rev() {
            order.swap(at, random.below(at + 1));
        }
        for variant in order {
            let took = run(variant, round);
            if round >= warm {
                times[variant].push(took.as_secs_f64() * 1e3);
            }
        }
    }
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    times.into_iter().map(Times).collect()
}

fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

fn one_ref(programs: &Programs) {
    let variants = [
        ("no hook", None),
        ("an empty static program", Some(&programs.empty)),
        ("refwatch-hook", Some(&programs.refwatch)),
        ("a shell script with curl", Some(&programs.curl)),
    ];
    let repositories = variants.map(|(name, program)| {
        programs.repository(&format!("one {name}"), 2, program.map(PathBuf::as_path), REFERENCE_TRANSACTION)
    });
    let times = interleaved(variants.len(), (10, 100), |variant, round| {
        let Repository { path, oids } = &repositories[variant];
        timed(|| git(path, &["update-ref", MAIN, &oids[round % 2]], None))
    });
    assert!(journal_bytes(&repositories[2].path) > 0, "the hook records");
    println!("-- git update-ref of one ref, reference-transaction hook");
    for ((name, _), times) in variants.iter().zip(&times) {
        times.print(name);
    }
    let [none, empty, refwatch, curl] = [0, 1, 2, 3].map(|variant| times[variant].median());
    println!(
        "refwatch-hook / empty program: {:.2} of the whole command, {:.2} of the time it adds ({:.2} ms / {:.2} ms)",
        refwatch / empty,
        (refwatch - none) / (empty - none),
        refwatch - none,
        empty - none
    );
    println!(
        "curl / refwatch-hook: {:.1} of the time it adds ({:.2} ms / {:.2} ms)",
        (curl - none) / (refwatch - none),
        curl - none,
        refwatch - none
    );
}

fn journal_bytes(git_dir: &Path) -> u64 {
    fs::metadata(git_dir.join("refwatch/journal")).map_or(0, |journal| journal.len())
}

fn many_refs(programs: &Programs) {
    const REFS: usize = 100_000;
    // Few enough in each directory that the filesystem does not take most of the time.
    let name_of = |at: usize| format!("refs/heads/{:03}/n{at:06}", at / 500);
    let variants =
        [("a static program that reads its input", &programs.drain), ("refwatch-hook", &programs.refwatch)];
    let times = interleaved(variants.len(), (0, 5), |variant, _| {
        let (name, program) = variants[variant];
        let Repository { path, oids } =
            programs.repository(&format!("many {name}"), 10, Some(program), REFERENCE_TRANSACTION);
        let mut input = String::from("start\n");
        for at in 0..REFS {
            input += &format!("create {} {}\n", name_of(at), oids[at % oids.len()]);
        }
        input += "commit\n";
        let took = timed(|| git(&path, &["update-ref", "--stdin"], Some(&input)));
        assert_eq!(journal_bytes(&path) > 0, variant == 1, "the hook records");
        fs::remove_dir_all(path).unwrap();
        took
    });
    println!("-- git update-ref --stdin of {REFS} refs, reference-transaction hook, medians of 5");
    for ((name, _), times) in variants.iter().zip(&times) {
        times.print(name);
    }
    println!("refwatch-hook / program that reads: {:.2}", times[1].median() / times[0].median());

    // Git's own time hides what the programs take.
    let Repository { path, oids } =
        programs.repository("alone", 1, Some(&programs.refwatch), REFERENCE_TRANSACTION);
    let lines = programs.dir.path().join("lines");
    let zero = "0".repeat(oids[0].len());
    let told: String = (0..REFS).map(|at| format!("{zero} {} {}\n", oids[0], name_of(at))).collect();
    fs::write(&lines, told).unwrap();
    let hook = path.join("hooks/reference-transaction");
    let times = interleaved(variants.len(), (2, 20), |variant, _| {
        fs::remove_file(path.join("refwatch/journal")).ok();
        let mut command = Command::new([&programs.drain, &hook][variant]);
        command.arg("committed").current_dir(&path).env("GIT_DIR", ".");
        command.stdin(fs::File::open(&lines).unwrap());
        let took = timed(|| assert!(command.status().unwrap().success()));
        assert_eq!(journal_bytes(&path) > 0, variant == 1, "the hook records");
        took
    });
    println!("-- the programs alone, committed state, the same {REFS} lines from a file, medians of 20");
    for ((name, _), times) in variants.iter().zip(&times) {
        times.print(name);
    }
}

fn push(programs: &Programs) {
    const ROUNDS: (usize, usize) = (5, 100);
    let variants = [
        ("no hook", None),
        ("three empty static programs", Some(&programs.empty)),
        ("three refwatch-hook", Some(&programs.refwatch)),
    ];
    let source = programs.repository("source", ROUNDS.0 + ROUNDS.1, None, &[]);
    let targets = variants.map(|(name, program)| {
        let path = programs.dir.path().join(format!("push {name}"));
        fs::create_dir(&path).unwrap();
        git(&path, &["init", "-q", "--bare", "-b", "main", "."], None);
        // What the other side of a push does not take from the command line.
        for (key, value) in [("core.fsync", "none"), ("receive.autogc", "false")] {
            git(&path, &["config", key, value], None);
        }
        if let Some(program) = program {
            install(&path, program, PUSH);
        }
        path
    });
    let times = interleaved(variants.len(), ROUNDS, |variant, round| {
        let refspec = format!("{}:{MAIN}", source.oids[round]);
        let target = targets[variant].to_str().unwrap();
        timed(|| git(&source.path, &["push", "-q", target, &refspec], None))
    });
    assert!(journal_bytes(&targets[2]) > 0, "the hooks record");
    println!("-- git push of one ref, pre-receive, update and post-receive");
    for ((name, _), times) in variants.iter().zip(&times) {
        times.print(name);
    }
    let [none, empty, refwatch] = [0, 1, 2].map(|variant| times[variant].median());
    println!(
        "three refwatch-hook / three empty programs: {:.2} of the whole command, {:.2} of the time they add ({:.2} ms / {:.2} ms)",
        refwatch / empty,
        (refwatch - none) / (empty - none),
        refwatch - none,
        empty - none
    );
}

/// A world with one repository that has refwatch's hook.
fn hooked(programs: &Programs, commits: usize) -> (World, Repository) {
    let world = World::new();
    let path = world.root().join("a.git");
    let oids = repository(&path, commits);
    git(&path, &["update-ref", "-d", MAIN], None);
    install(&path, &programs.refwatch, REFERENCE_TRANSACTION);
    (world, Repository { path, oids })
}

fn client(world: &World) -> Client {
    Client::connect(world.grpc.strip_prefix("http://").unwrap().parse().unwrap())
}

/// The changes after a sequence, once what is on disk is told.
fn changes(world: &World, base: u64) -> Vec<GitEvent> {
    let client = client(world);
    client.sync();
    let events = client.events().into_iter();
    events.filter(|event| event.sequence > base && event.change != 0).collect()
}

fn of_ref<'a>(events: &'a [GitEvent], name: &str) -> Vec<&'a GitEvent> {
    events.iter().filter(|event| event.ref_name == name).collect()
}

fn from_hooks(events: &[&GitEvent]) -> usize {
    events.iter().filter(|event| event.origin() == Origin::Hook && !event.coalesced).count()
}

/// Each begins with what the one before it left.
fn chained(events: &[&GitEvent]) -> bool {
    events.windows(2).all(|pair| pair[0].new_oid == pair[1].old_oid)
}

fn are(events: &[&GitEvent], values: &[String]) -> bool {
    events.iter().map(|event| &event.new_oid).eq(values)
}

fn write_in_turn(repository: &Repository) {
    for oid in &repository.oids {
        git(&repository.path, &["update-ref", MAIN, oid], None);
    }
}

fn print_told(events: &[&GitEvent], values: &[String]) {
    println!(
        "{} events of {} values, {} with origin HOOK, {}, {}",
        events.len(),
        values.len(),
        from_hooks(events),
        if chained(events) { "chained in order" } else { "NOT CHAINED" },
        if are(events, values) { "every value once" } else { "NOT EVERY VALUE ONCE" },
    );
}

fn print_seconds(times: &[Times]) {
    let seconds = |times: &Times| {
        format!(
            "{:.2} s ({:.2} to {:.2})",
            times.median() / 1e3,
            times.quartile(0) / 1e3,
            times.quartile(4) / 1e3
        )
    };
    println!(
        "with the daemon {}, without {}, ratio {:.2}; medians of {}",
        seconds(&times[0]),
        seconds(&times[1]),
        times[0].median() / times[1].median(),
        times[0].0.len()
    );
}

fn sequential(programs: &Programs) {
    println!("-- 1,000 git update-ref of one ref in turn, refwatch-hook");
    let times = interleaved(2, (0, 3), |variant, _| {
        let (mut world, repository) = hooked(programs, 1000);
        if variant == 1 {
            return timed(|| write_in_turn(&repository));
        }
        world.serve();
        let base = client(&world).sync().last_sequence;
        let took = timed(|| write_in_turn(&repository));
        print_told(&of_ref(&changes(&world, base), MAIN), &repository.oids);
        took
    });
    print_seconds(&times);
}

/// Runs git, whatever comes of it.
fn try_git(dir: &Path, args: &[&str]) -> Output {
    Command::new("git")
        .args(["-c", "gc.auto=0", "-c", "core.fsync=none"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

const WRITERS: usize = 8;
const SHARED: &str = "refs/heads/shared";

fn own(writer: usize) -> String {
    format!("refs/heads/own{writer}")
}

/// Each writer updates a ref of its own, and one that all share, with its old value stated. Gives how often the shared
/// one was taken.
fn write_at_once(repository: &Repository) -> usize {
    let Repository { path, oids } = repository;
    let taken = AtomicUsize::new(0);
    let taken_ref = &taken;
    std::thread::scope(|scope| {
        for (writer, oids) in oids.chunks(oids.len() / WRITERS).enumerate() {
            scope.spawn(move || {
                for oid in oids {
                    git(path, &["update-ref", &own(writer), oid], None);
                    let now = try_git(path, &["rev-parse", "-q", "--verify", SHARED]).stdout;
                    let now = String::from_utf8(now).unwrap();
                    let now = if now.is_empty() { "0".repeat(40) } else { now.trim().to_owned() };
                    let took = try_git(path, &["update-ref", SHARED, oid, &now]).status.success();
                    taken_ref.fetch_add(usize::from(took), Ordering::Relaxed);
                }
            });
        }
    });
    taken.into_inner()
}

fn at_once(programs: &Programs) {
    println!("-- the same by 8 processes at once: 1,000 of a ref of each, 1,000 tries of one they share");
    let times = interleaved(2, (0, 3), |variant, _| {
        let (mut world, repository) = hooked(programs, 1000);
        if variant == 1 {
            return timed(|| {
                write_at_once(&repository);
            });
        }
        world.serve();
        let base = client(&world).sync().last_sequence;
        let began = Instant::now();
        let taken = write_at_once(&repository);
        let took = began.elapsed();
        print_told_at_once(&changes(&world, base), &repository, taken);
        took
    });
    print_seconds(&times);
}

fn print_told_at_once(events: &[GitEvent], repository: &Repository, taken: usize) {
    let (mut told, mut hooks, mut in_order) = (0, 0, 0);
    for (writer, oids) in repository.oids.chunks(repository.oids.len() / WRITERS).enumerate() {
        let events = of_ref(events, &own(writer));
        told += events.len();
        hooks += from_hooks(&events);
        in_order += usize::from(chained(&events) && are(&events, oids));
    }
    println!(
        "own refs: {told} events of {} values, {hooks} with origin HOOK, every value once and in order in {in_order} of {WRITERS} refs",
        repository.oids.len()
    );
    let shared = of_ref(events, SHARED);
    println!(
        "shared ref: {} events of {taken} values, {} with origin HOOK, {}",
        shared.len(),
        from_hooks(&shared),
        if chained(&shared) { "chained in order" } else { "NOT CHAINED" },
    );
}

fn killed(programs: &Programs) {
    const KILLS: usize = 10;
    println!("-- 1,000 git update-ref of one ref in turn, the daemon killed {KILLS} times meanwhile");
    let (mut world, repository) = hooked(programs, 1000);
    world.serve();
    let base = client(&world).sync().last_sequence;
    let mut random = Random::new(SEED);
    let written = AtomicUsize::new(0);
    let meanwhile = std::thread::scope(|scope| {
        scope.spawn(|| {
            for oid in &repository.oids {
                git(&repository.path, &["update-ref", MAIN, oid], None);
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        let between = repository.oids.len() / KILLS;
        let mut meanwhile = 0;
        for kill in 0..KILLS {
            let at = kill * between + random.below(between);
            while written.load(Ordering::Relaxed) < at {
                std::thread::sleep(Duration::from_micros(100));
            }
            meanwhile += usize::from(written.load(Ordering::Relaxed) < repository.oids.len());
            let mut daemon = world.daemon.take().unwrap();
            daemon.kill().unwrap();
            daemon.wait().unwrap();
            world.serve();
        }
        meanwhile
    });
    println!("killed {meanwhile} times while git wrote");
    print_told(&of_ref(&changes(&world, base), MAIN), &repository.oids);
}
