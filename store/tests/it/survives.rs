//! A process that is killed at any moment loses nothing that it had answered for.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use refwatch_core::Target;
use refwatch_store::{RefWrite, Retention, Store, open};

use crate::support::*;

const CHILD: &str = "REFWATCH_STORE_TEST_CHILD";
const ROUNDS: u64 = 12;

/// Not a test by itself: what the test below starts and kills.
#[test]
fn child() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let mut options = refwatch_store::Options::new(path);
    options.retention = Retention { events_max: Some(3_000), ..Retention::default() };
    let store = open(options, NOW_US).unwrap().store;
    let keys: Vec<_> = (0..3).map(|_| create(&store)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                store.retain(NOW_US).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        for key in keys {
            let store = &store;
            scope.spawn(move || work(store, key));
        }
    });
}

/// Commits one transaction after the other, of sizes from 1 to 400, and tells of each once it is answered.
fn work(store: &Store, key: i64) {
    let mut values: Vec<Option<Target>> = vec![None; 400];
    for round in 1_u64.. {
        let size = [1, 2, 1, 17, 3, 400, 1][usize::try_from(round % 7).unwrap()];
        let changes: Vec<_> = (0..size)
            .map(|number| {
                let new = if round % 11 == 10 { None } else { Some(direct(round * 1_000 + number as u64)) };
                let old = std::mem::replace(&mut values[number], new.clone());
                (branch(number), old, new)
            })
            .filter(|(_, old, new)| old != new)
            .collect();
        let mut commit = update(key, &changes);
        let stamp = name("refs/stamp");
        let before = (round > 1).then(|| direct(round - 1));
        commit.events.push(event(&stamp, before, Some(direct(round))));
        refwatch_core::event::number(&mut commit.events);
        commit.refs.push(RefWrite { name: stamp.clone(), ..write(&stamp, Some(direct(round))) });
        commit.journal_position = Some(round.to_be_bytes().to_vec());
        let told = move |result: Result<Vec<refwatch_store::Logged>, _>| {
            let last = result.unwrap().last().unwrap().sequence;
            let mut out = std::io::stdout().lock();
            writeln!(out, "told {key} {round} {last}").unwrap();
            out.flush().unwrap();
        };
        store.submit(commit, told).unwrap();
    }
}

#[test]
fn a_killed_process_keeps_what_it_answered_and_nothing_by_half() {
    let place = Place::new();
    let mut epoch = None;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "survives::child", "--nocapture", "--test-threads=1"])
            .env(CHILD, place.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        let parse = |line: String| -> Option<[u64; 3]> {
            let mut words = line.split("told ").nth(1)?.split(' ').map(|word| word.parse().ok());
            Some([words.next()??, words.next()??, words.next()??])
        };
        let enough = 5 + round * 37 % 150;
        while told.len() < usize::try_from(enough).unwrap() {
            told.extend(parse(lines.next().expect("the child works on").unwrap()));
        }
        child.kill().unwrap();
        // What it said before it died counts as well; its last line may be cut.
        told.extend(lines.map_while(Result::ok).filter_map(parse));
        child.wait().unwrap();

        let opened = place.open();
        assert_eq!(opened.epoch_reason, None, "round {round}");
        let store = opened.store;
        assert_eq!(*epoch.get_or_insert(store.identity()), store.identity());
        assert!(findings(&store).is_empty(), "round {round}: {:?}", findings(&store));
        let last = told.iter().map(|[.., last]| *last).max().unwrap();
        assert!(store.bounds().last >= last, "round {round}");
        for [key, answered, _] in told {
            let row = store.read().unwrap().repository(key.cast_signed()).unwrap().unwrap();
            let position = u64::from_be_bytes(row.journal_position.unwrap().try_into().unwrap());
            assert!(position >= answered, "round {round}: {position} < {answered}");
            let stamp = current(&store, key.cast_signed(), &name("refs/stamp"));
            assert_eq!(stamp, Some(direct(position)), "refs and journal position move together");
        }
    }
}
