//! A million refs in tables and in `packed-refs`: reading all of them, and one change.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use refwatch_proto::v1;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_watcher::layout::probe;
use refwatch_watcher::scan;

use crate::{PATIENCE, World, commits, git, next, resident_mb, summary, watch};

const REFS: usize = 1_000_000;
/// Runs of which the fastest counts, since others share the machine.
const RUNS: usize = 7;

/// The shortest time that something took, in milliseconds.
fn fastest(mut work: impl FnMut() -> usize) -> (f64, usize) {
    let mut took = Duration::MAX;
    let mut result = 0;
    for _ in 0..RUNS {
        let began = Instant::now();
        result = work();
        took = took.min(began.elapsed());
    }
    (took.as_secs_f64() * 1000.0, result)
}

fn read_all(path: &Path) {
    let layout = probe(path).unwrap();
    let (took, refs) = fastest(|| scan::full(&layout, &mut |_| {}).unwrap().refs.len());
    println!("reading {refs} refs:         {took:.0} ms, resident {} MB", resident_mb(std::process::id()));
    let (took, _) = fastest(|| {
        let status = Command::new("git")
            .args(["for-each-ref", "--format=%(refname) %(objectname)"])
            .current_dir(path)
            .stdout(Stdio::null())
            .status();
        usize::from(status.unwrap().success())
    });
    println!("peer, git for-each-ref:          {took:.0} ms");
}

/// Latencies in microseconds from the end of each change to its event.
fn changes(
    runtime: &tokio::runtime::Runtime,
    world: &World,
    oids: &[String],
    mut change: impl FnMut(&str) -> Instant,
) -> Vec<u128> {
    runtime.block_on(async {
        let mut client = world.client().await;
        let mut stream = watch(&mut client, Start::Now(v1::Now {})).await;
        let mut micros = Vec::new();
        for oid in oids {
            let visible = change(oid);
            let limit = Instant::now() + PATIENCE;
            while !next(&mut stream).await.iter().any(|event| event.new_oid == *oid) {
                assert!(Instant::now() < limit);
            }
            micros.push(visible.elapsed().as_micros());
        }
        micros
    })
}

pub(super) fn reftable(runtime: &tokio::runtime::Runtime) {
    let mut medians = Vec::new();
    for refs in [10, REFS] {
        let mut world = World::new();
        let path = world.root().join("a.git");
        fs::create_dir_all(&path).unwrap();
        git(&path, &["init", "-q", "--bare", "-b", "main", "--ref-format=reftable", "."], None);
        let oids = commits(&path, 240);
        let mut input = String::from("start\n");
        for at in 0..refs {
            input += &format!("create refs/heads/b{at:07} {}\n", oids[at % oids.len()]);
        }
        git(&path, &["update-ref", "--stdin"], Some(&(input + "commit\n")));
        git(&path, &["pack-refs", "--all"], None);
        if refs == REFS {
            read_all(&path);
            let layout = probe(&path).unwrap();
            let name = refwatch_core::RefName::new(b"refs/heads/b0700000").unwrap();
            let (took, _) = fastest(|| (0..100).filter_map(|_| scan::one(&layout, &name).unwrap()).count());
            println!("reading one of them:             {:.0} us", took * 10.0);
        }
        world.serve();
        // The writer is a process that ends after its change is visible: its own time is in it.
        let update = |oid: &str| {
            let began = Instant::now();
            git(&path, &["update-ref", "refs/heads/b0000005", oid], None);
            began
        };
        changes(runtime, &world, &oids[..40], update);
        let (median, p99) = summary(changes(runtime, &world, &oids[40..], update));
        println!(
            "git update-ref to event beside {refs} refs: median {median} us, p99 {p99} us (first scan {} ms, resident {} MB)",
            world.scan_ms,
            resident_mb(world.pid())
        );
        medians.push(median);
    }
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let ratio = medians[1] as f64 / medians[0] as f64;
    println!("ratio {ratio:.2}");
}

pub(super) fn packed_refs(runtime: &tokio::runtime::Runtime) {
    let mut world = World::new();
    let path = world.root().join("a.git");
    fs::create_dir_all(&path).unwrap();
    git(&path, &["init", "-q", "--bare", "-b", "main", "."], None);
    let oids = commits(&path, 30);
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for at in 0..REFS {
        packed += &format!("{} refs/heads/b{at:07}\n", oids[at % oids.len()]);
    }
    fs::write(path.join("packed-refs"), &packed).unwrap();
    read_all(&path);
    let repo = gix::open(&path).unwrap();
    let (took, _) = fastest(|| repo.references().unwrap().all().unwrap().filter_map(Result::ok).count());
    println!("peer, gix:                       {took:.0} ms");
    world.serve();
    let line = packed.find(" refs/heads/b0500000\n").unwrap();
    let mut replace = |oid: &str| {
        packed.replace_range(line - 40..line, oid);
        let lock = path.join("packed-refs.lock");
        fs::write(&lock, &packed).unwrap();
        let visible = Instant::now();
        fs::rename(&lock, path.join("packed-refs")).unwrap();
        visible
    };
    let micros = changes(runtime, &world, &oids[..20], &mut replace);
    let (median, p99) = summary(micros);
    println!(
        "one change of packed-refs to event: median {median} us, p99 {p99} us (first scan {} ms, resident {} MB)",
        world.scan_ms,
        resident_mb(world.pid())
    );
}
