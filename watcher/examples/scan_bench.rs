//! Prints how long reading takes, beside `git for-each-ref`: `cargo run --release --example scan_bench [refs]`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use refwatch_core::RefName;
use refwatch_watcher::discover::{Limits, Visit, walk};
use refwatch_watcher::layout::{Layout, probe};
use refwatch_watcher::{scan, signature};
use tempfile::TempDir;

fn main() {
    let packed: usize = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let home = TempDir::new().expect("a temporary directory");
    let small = repository(home.path(), "small.git", "files", 0, 3);
    report("3 loose", &small);
    lookups("3 loose", &small, "refs/heads/loose/00/0000001");
    let large = repository(home.path(), "packed.git", "files", packed, 1_000);
    report(&format!("{packed} packed, 1000 loose"), &large);
    lookups("in it", &large, "refs/heads/loose/00/0000001");
    lookups("in it", &large, &format!("refs/heads/packed/{:07}", packed / 3));
    lookups("in it", &large, "refs/heads/none");
    let loose = repository(home.path(), "loose.git", "files", 0, packed / 10);
    report(&format!("{} loose", packed / 10), &loose);
    let tables = repository(home.path(), "tables.git", "reftable", packed, 0);
    report(&format!("{packed} in a table"), &tables);
    lookups("in it", &tables, &format!("refs/heads/packed/{:07}", packed / 3));
    many(home.path(), 10_000);
}

fn many(home: &Path, count: usize) {
    let root = home.join("many");
    for index in 0..count {
        let to = root.join(format!("{:02}/{index}.git", index % 100));
        for directory in ["objects", "refs/heads", "refs/tags"] {
            fs::create_dir_all(to.join(directory)).expect("made");
        }
        for file in ["HEAD", "config"] {
            fs::copy(home.join("small.git").join(file), to.join(file)).expect("copied");
        }
        fs::copy(home.join("small.git/refs/heads/loose/00/0000001"), to.join("refs/heads/main"))
            .expect("copied");
    }
    let limits = Limits { depth_max: 8, directories_max: 1_000_000 };
    let mut found = Vec::new();
    time(&format!("walk over {count} repositories"), 3, || {
        found.clear();
        walk(&root, &limits, &mut |visit| {
            if let Visit::Repository(repository) = visit {
                found.push(repository.git_dir);
            }
        });
        found.len()
    });
    let mut layouts = Vec::new();
    time("  probe of each", 3, || {
        layouts = found.iter().filter_map(|path| probe(path).ok()).collect();
        layouts.len()
    });
    time("  signature of each", 3, || {
        layouts.iter().filter(|layout| signature::signature(layout).is_ok()).count()
    });
    time("  full scan of each", 3, || {
        layouts.iter().filter_map(|layout| scan::full(layout, &mut |_| {}).ok()).count()
    });
}

fn report(what: &str, layout: &Layout) {
    println!("{what}");
    time("  full scan", 5, || scan::full(layout, &mut |_| {}).expect("readable").refs.len());
    time("  signature", 5, || usize::from(signature::signature(layout).expect("readable").is_some()));
    time("  probe", 5, || usize::from(probe(&layout.git_dir).is_ok()));
    time("  git for-each-ref", 3, || {
        let status = Command::new("git")
            .args(["for-each-ref", "--format=%(refname) %(objectname)"])
            .current_dir(&layout.git_dir)
            .stdout(Stdio::null())
            .status();
        usize::from(status.expect("git runs").success())
    });
}

fn lookups(what: &str, layout: &Layout, name: &str) {
    let name = RefName::new(name.as_bytes()).expect("a ref name");
    time(&format!("  one, {what}: {name}"), 200, || {
        usize::from(scan::one(layout, &name).expect("readable").is_some())
    });
}

/// Prints the best of some runs, as the clock on the wall and as this thread's time on a processor.
fn time(what: &str, runs: usize, mut work: impl FnMut() -> usize) {
    let mut wall = Duration::MAX;
    let mut cpu = Duration::MAX;
    let mut result = 0;
    for _ in 0..runs {
        let (start, busy) = (Instant::now(), on_cpu());
        result = work();
        wall = wall.min(start.elapsed());
        cpu = cpu.min(on_cpu().saturating_sub(busy));
    }
    println!("{what:60} {wall:>10.1?} wall {cpu:>10.1?} cpu  ({result})");
}

/// This thread's time on a processor so far, where Linux tells (`Documentation/scheduler/sched-stats.rst`).
fn on_cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

fn repository(home: &Path, name: &str, storage: &str, packed: usize, loose: usize) -> Layout {
    let path: PathBuf = home.join(name);
    git(home, &["init", "-q", "--bare", &format!("--ref-format={storage}"), name], "");
    let tree = git(&path, &["mktree"], "");
    let config = ["-c", "user.name=n", "-c", "user.email=e"];
    let commit = git(&path, &[&config[..], &["commit-tree", "-m", "m", &tree]].concat(), "");
    let mut text = String::new();
    if storage == "files" {
        text.push_str("# pack-refs with: peeled fully-peeled sorted \n");
        (0..packed)
            .for_each(|index| writeln!(text, "{commit} refs/heads/packed/{index:07}").expect("written"));
        if packed > 0 {
            fs::write(path.join("packed-refs"), text).expect("written");
        }
    } else {
        (0..packed)
            .for_each(|i| writeln!(text, "create refs/heads/packed/{i:07} {commit}").expect("written"));
        git(&path, &["update-ref", "--stdin"], &text);
    }
    for index in 0..loose {
        let directory = path.join(format!("refs/heads/loose/{:02}", index / 1_000));
        fs::create_dir_all(&directory).expect("made");
        fs::write(directory.join(format!("{index:07}")), format!("{commit}\n")).expect("written");
    }
    probe(&path).expect("a repository")
}

fn git(directory: &Path, args: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new("git")
        .args(args)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("git reads");
    let out = child.wait_with_output().expect("git ends");
    assert!(out.status.success(), "git {args:?}");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}
