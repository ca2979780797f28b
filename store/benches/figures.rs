//! Prints what the store costs on this machine: `cargo bench -p refwatch-store`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use refwatch_core::classify::Bareness;
use refwatch_core::{
    Event, EventType, Forward, ObjectFormat, ObjectId, Origin, RefChange, RefName, RefState, Target,
};
use refwatch_store::{
    Commit, FsIdentity, GroupCommitted, NewRepository, Observer, Options, RefStorage, RefWrite,
    RepositoryKey, RepositoryWrite, Store, open,
};

const NOW_US: i64 = 1_700_000_000_000_000;
const REFS: usize = 100_000;
const SMALL_COMMITS: u64 = 3_000;

fn oid(number: u64) -> ObjectId {
    let mut raw = [0xab; 20];
    raw[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    ObjectId::Sha1(raw)
}

/// 30 bytes, like `refs/heads/feature/some-change`.
fn branch(number: usize) -> RefName {
    RefName::new(format!("refs/heads/feature/chg-{number:07}").as_bytes()).unwrap()
}

fn create(store: &Store) -> RepositoryKey {
    let key = submit_creation(store);
    store.flush().unwrap();
    key
}

fn submit_creation(store: &Store) -> RepositoryKey {
    let key = store.allocate_key();
    let new = NewRepository {
        uid: store.random_uid(),
        root: b"/srv/git".to_vec(),
        path: format!("team/project-{key}.git").into_bytes(),
        object_format: ObjectFormat::Sha1,
        ref_storage: RefStorage::Files,
        bareness: Bareness::Bare,
        identity: FsIdentity { dev: 1, ino: 2, birth_ns: Some(3) },
    };
    let events = vec![Event::of_repository(EventType::RepositoryDiscovered, Origin::Startup)];
    let write = Some(RepositoryWrite::Create(new));
    let commit = Commit { repository_write: write, events, ..Commit::new(key, NOW_US) };
    store.submit(commit, |result| drop(result.unwrap())).unwrap();
    key
}

/// One transaction that moves branches from one generation of values to the next; 0 is none.
fn update(key: RepositoryKey, numbers: std::ops::Range<usize>, generation: u64) -> Commit {
    let target = |number: usize, generation: u64| {
        (generation > 0).then(|| Target::Direct(oid(number as u64 * 1_000 + generation)))
    };
    let mut commit = Commit::new(key, NOW_US);
    for number in numbers {
        let (old, new) = (target(number, generation - 1), target(number, generation));
        let (kind, change) = match old {
            None => (EventType::BranchCreated, RefChange::Created),
            Some(_) => (EventType::BranchUpdated, RefChange::Updated),
        };
        commit.refs.push(RefWrite {
            name: branch(number),
            state: new.clone().map(RefState::Good),
            peeled: None,
        });
        commit.events.push(Event {
            name: Some(branch(number)),
            change: Some(change),
            old,
            new,
            forward: Forward::FastForward,
            ..Event::of_repository(kind, Origin::Notify)
        });
    }
    refwatch_core::event::number(&mut commit.events);
    commit
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What the same bytes cost the disk without a database.
fn plain_sync(directory: &std::path::Path) -> Vec<Duration> {
    let path = directory.join("plain");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&vec![0; 64 << 20]).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let file = fs::File::options().write(true).open(&path).unwrap();
    let mut times = Vec::new();
    for number in 0..1_000 {
        use std::os::unix::fs::FileExt;
        let begun = Instant::now();
        for page in 0..4 {
            file.write_all_at(&[7; 4_120], (number * 4 + page) * 4_120).unwrap();
        }
        file.sync_all().unwrap();
        times.push(begun.elapsed());
    }
    times
}

/// Time that this process spent on a processor, which other processes do not disturb as they do the clock.
fn cpu() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ns = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(ns.sum())
}

/// Sync durations, in order.
#[derive(Default)]
struct Syncs(Mutex<Vec<Duration>>);

impl Observer for Syncs {
    fn committed(&self, group: &GroupCommitted) {
        self.0.lock().unwrap().push(group.sync_duration);
    }
}

impl Syncs {
    fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Memory of a daemon's everyday: 10,000 repositories, small commits, every reader used.
fn everyday(directory: &std::path::Path) {
    let before = resident_kib();
    let store = open(Options::new(directory.join("everyday.db")), NOW_US).unwrap().store;
    let keys: Vec<_> = (0..10_000).map(|_| submit_creation(&store)).collect();
    for generation in 1..=5 {
        for key in &keys {
            store.submit(update(*key, 0..1, generation), |result| drop(result.unwrap())).unwrap();
        }
    }
    store.flush().unwrap();
    let readers: Vec<_> = (0..4).map(|_| store.read().unwrap()).collect();
    for reader in &readers {
        reader.events_after(0, usize::MAX, |_| ControlFlow::Continue(())).unwrap();
        for key in &keys {
            reader.get_ref(*key, &branch(0)).unwrap();
        }
    }
    println!("resident for 10,000 repositories and 4 readers: {} KiB over {before}", resident_kib() - before);
}

fn main() {
    // `cargo test --all-targets` runs this as well, without the argument: nothing to measure then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let directory = tempfile::tempdir_in(std::env::var_os("FIGURES_DIR").unwrap_or("/tmp".into())).unwrap();
    everyday(directory.path());
    let path = directory.path().join("refwatch.db");
    let syncs = Arc::new(Syncs::default());
    let mut options = Options::new(&path);
    options.observer = Some(syncs.clone());
    let store = open(options.clone(), NOW_US).unwrap().store;
    let key = create(&store);

    for (what, generation) in [("created", 1), ("updated", 2), ("updated", 3)] {
        let commit = update(key, 0..REFS, generation);
        let (begun, cpu_before) = (Instant::now(), cpu());
        store.commit(commit).unwrap();
        let used = (cpu() - cpu_before).as_secs_f64();
        let took = begun.elapsed().as_secs_f64();
        let sync = syncs.take().pop().unwrap_or_default().as_secs_f64();
        println!(
            "{REFS} refs {what} in one commit: {took:.3} s ({used:.3} s of processor), of that the sync {sync:.3} s"
        );
    }
    let stats = store.stats();
    println!("log bytes an event: {:.1}", stats.log_bytes as f64 / stats.events as f64);

    store.close();
    let clean = fs::metadata(&path).unwrap().len();
    drop(store);
    let begun = Instant::now();
    let store = open(options, NOW_US).unwrap().store;
    println!("open of {} MiB after a clean shutdown: {:?}", clean >> 20, begun.elapsed());
    println!("file bytes an event, refs included: {:.1}", clean as f64 / stats.events as f64);

    for _ in 0..3 {
        let (begun, cpu_before) = (Instant::now(), cpu());
        let count = store.read().unwrap().events_after(0, usize::MAX, |_| ControlFlow::Continue(())).unwrap();
        let used = (cpu() - cpu_before).as_secs_f64();
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        println!("events_after: {rate:.0} events/s ({:.0} a second of processor)", count as f64 / used);
    }
    let names: Vec<_> = (0..20_000).map(|number| branch(number * 7919 % REFS)).collect();
    let begun = Instant::now();
    let reader = store.read().unwrap();
    for name in &names {
        assert!(reader.get_ref(key, name).unwrap().is_some());
    }
    drop(reader);
    println!("get_ref: {:?}", begun.elapsed() / 20_000);
    let begun = Instant::now();
    for name in &names {
        assert!(store.read().unwrap().get_ref(key, name).unwrap().is_some());
    }
    println!("read + get_ref: {:?}", begun.elapsed() / 20_000);
    let begun = Instant::now();
    let mut count = 0;
    store
        .read()
        .unwrap()
        .for_each_ref(key, |_, _, _| {
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    println!("for_each_ref: {:.0} refs/s", f64::from(count) / begun.elapsed().as_secs_f64());
    let last = store.bounds().last;
    let begun = Instant::now();
    let page = store.read().unwrap().refs_page_at(last - 50_000, key, None, 1_000).unwrap();
    println!("refs_page_at 50,000 events back, 1,000 refs: {:?}", begun.elapsed());
    assert_eq!(page.refs.len(), 1_000);

    let mut plain = plain_sync(directory.path());
    println!(
        "plain write of 4 pages + sync: median {:?}, p99 {:?}",
        percentile(&mut plain, 50),
        percentile(&mut plain, 99)
    );
    let mut times = Vec::new();
    syncs.take();
    for generation in 4..4 + SMALL_COMMITS {
        let commit = update(key, 500..501, generation);
        let begun = Instant::now();
        store.commit(commit).unwrap();
        times.push(begun.elapsed());
    }
    let mut beyond: Vec<_> =
        times.iter().zip(syncs.take()).map(|(all, sync)| all.saturating_sub(sync)).collect();
    println!(
        "1-event commits beyond write and sync: median {:?}, p99 {:?}",
        percentile(&mut beyond, 50),
        percentile(&mut beyond, 99)
    );
    println!(
        "1-event commits: median {:?}, p99 {:?}",
        percentile(&mut times, 50),
        percentile(&mut times, 99)
    );

    let keys: Vec<_> = (0..1_000).map(|_| create(&store)).collect();
    let groups = store.stats().groups;
    let begun = Instant::now();
    for generation in 1..=20 {
        for key in &keys {
            store.submit(update(*key, 0..1, generation), |result| drop(result.unwrap())).unwrap();
        }
    }
    store.flush().unwrap();
    let took = begun.elapsed().as_secs_f64();
    println!(
        "20,000 1-event commits, queued: {:.0}/s in {} groups",
        20_000.0 / took,
        store.stats().groups - groups
    );
    let begun = Instant::now();
    let verified = store.read().unwrap().verify(|finding| panic!("{finding:?}")).unwrap();
    println!("verify of {} events: {:?}", verified.events, begun.elapsed());
    println!("{:?}", store.stats());
    println!("resident: {} KiB", resident_kib());
}
