//! Files made by hand, whole and damaged. What real git writes is read in `watcher/hook/tests`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use refwatch_core::classify::Bareness;
use refwatch_core::journal::{Outcome, Update, Value};
use refwatch_core::push::{Process, Refused, Said};
use refwatch_hook::crc::crc32;
use refwatch_hook::record::{self as format, Encoder, Facts, INPUT_BYTES_MAX, MAGIC, Phase, VERSION};
use tempfile::TempDir;

use super::*;
use crate::layout::{self, RefStorage};

/// A directory with a journal in it.
struct Place {
    home: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { home: TempDir::new().expect("a temporary directory") }
    }

    fn with(journal: &[u8]) -> Self {
        let place = Self::new();
        place.append("journal", journal);
        place
    }

    fn append(&self, name: &str, bytes: &[u8]) {
        let path = self.home.path().join(name);
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("opened");
        file.write_all(bytes).expect("written");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.home.path().join(from), self.home.path().join(to)).expect("renamed");
    }

    fn read(&self, from: &Position) -> Batch {
        // Whatever is given back must survive a restart.
        let from = Position::from_bytes(&from.to_bytes()).expect("a position");
        self.journal().read(&from).expect("readable")
    }

    fn journal(&self) -> Journal {
        let path = self.home.path().to_owned();
        Journal { directory: dir::open(&path).expect("there"), path, format: ObjectFormat::Sha1 }
    }

    /// Reads until a reading gives nothing more: the ids of all records, what was passed over, and the last batch.
    fn drain(&self, mut from: Position) -> (Vec<u64>, PassedOver, Batch) {
        let mut ids = Vec::new();
        let mut sum = PassedOver::default();
        for _ in 0..10_000 {
            let batch = self.read(&from);
            ids.extend(batch.records.iter().map(|record| record.entry.id()));
            sum.torn += batch.passed_over.torn;
            sum.corrupt += batch.passed_over.corrupt;
            sum.newer += batch.passed_over.newer;
            sum.unparsable += batch.passed_over.unparsable;
            if batch.rest != Rest::More {
                return (ids, sum, batch);
            }
            assert_ne!(batch.next, from, "gets on");
            from = batch.next;
        }
        panic!("no end");
    }
}

fn facts(id: u64) -> Facts<'static> {
    Facts {
        phase: Phase::Committed,
        id,
        wall_us: 1_764_000_000_000_000_u64.wrapping_add(id),
        monotonic_ns: id,
        pid: 2,
        parent_pid: 3,
        parent_start_ticks: 4,
        process_space: 0,
        actor: b"",
        push_options: Vec::new(),
        worktree: b"",
        cut: false,
    }
}

fn record_with(facts: &Facts<'_>, input: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(facts);
    encoder.input().extend_from_slice(input);
    encoder.finish()
}

fn record(id: u64) -> Vec<u8> {
    let line = format!("{} {} refs/heads/x\n", "0".repeat(40), "a".repeat(40));
    record_with(&facts(id), line.as_bytes())
}

fn records(ids: Range<u64>) -> Vec<u8> {
    ids.flat_map(record).collect()
}

fn framed(version: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    [&MAGIC[..], &[version], &length.to_le_bytes(), &crc32(payload).to_le_bytes(), payload].concat()
}

#[test]
fn a_journal_that_is_not_there_gives_nothing() {
    let place = Place::new();
    let batch = place.read(&Position::oldest());
    assert_eq!((batch.records.len(), batch.next), (0, Position::oldest()));
    assert_eq!((batch.beginning, batch.rest), (Beginning::Oldest, Rest::Nothing));
}

#[test]
fn what_a_hook_copied_becomes_a_transaction() {
    let facts =
        Facts { phase: Phase::Aborted, actor: b"Zo\xff", push_options: vec![b"ci.skip", b""], ..facts(7) };
    let lines = [
        format!("{} {} refs/heads/x\n", "0".repeat(40), "a".repeat(40)),
        "not a line\n".to_owned(),
        format!("{0} {0} ORIG_HEAD\n", "0".repeat(40)),
        format!("ref:refs/heads/x {} HEAD\n", "b".repeat(40)),
    ];
    let place = Place::with(&record_with(&facts, lines.concat().as_bytes()));
    let batch = place.read(&Position::oldest());
    let [record] = batch.records.as_slice() else { panic!("one record: {batch:?}") };
    let Entry::Transaction(transaction) = &record.entry else { panic!("a transaction: {record:?}") };
    assert_eq!((transaction.id, transaction.outcome), (7, Outcome::Aborted));
    assert_eq!(transaction.at_ns, 1_764_000_000_000_007_000);
    assert_eq!(transaction.actor.as_deref(), Some("Zo\u{fffd}"));
    assert_eq!(transaction.push_options, ["ci.skip", ""]);
    let names: Vec<_> = transaction.updates.iter().map(|update| update.name.to_text()).collect();
    assert_eq!(names, ["refs/heads/x", "HEAD"]);
    assert_eq!(transaction.updates[0].old, Value::Zero);
    assert_eq!((record.monotonic_ns, record.pid, record.parent_pid, record.parent_start_ticks), (7, 2, 3, 4));
    let expected = PassedOver { lines_bad: 1, lines_not_followed: 1, ..PassedOver::default() };
    assert_eq!(batch.passed_over, expected);
    assert_eq!((record.next, batch.rest), (batch.next, Rest::Nothing));
}

#[test]
fn reading_goes_on_behind_any_record() {
    let place = Place::with(&records(0..5));
    let all = place.read(&Position::oldest());
    for (at, record) in all.records.iter().enumerate() {
        let batch = place.read(&record.next);
        assert_eq!(batch.records, all.records[at + 1..]);
        assert_eq!((batch.beginning, batch.rest), (Beginning::Resumed, Rest::Nothing));
    }
    place.append("journal", &record(5));
    assert_eq!(place.drain(all.next).0, [5]);
}

#[test]
fn an_unfinished_record_is_waited_for_at_every_byte() {
    let whole = record(1);
    for end in 1..whole.len() {
        let place = Place::with(&record(0));
        let before = place.read(&Position::oldest()).next;
        place.append("journal", &whole[..end]);
        let batch = place.read(&before);
        assert_eq!((batch.records.len(), batch.next, batch.rest), (0, before, Rest::Unfinished), "{end}");
        place.append("journal", &whole[end..]);
        let (ids, passed_over, last) = place.drain(batch.next);
        assert_eq!((ids, passed_over, last.rest), (vec![1], PassedOver::default(), Rest::Nothing));
    }
}

#[test]
fn a_torn_record_is_passed_over_once_a_whole_one_follows() {
    let whole = record(1);
    for end in 1..whole.len() {
        let torn = [&record(0), &whole[..end], &records(2..4)].concat();
        let (ids, passed_over, last) = Place::with(&torn).drain(Position::oldest());
        assert_eq!((ids, last.rest), (vec![0, 2, 3], Rest::Nothing), "{end}");
        assert_eq!(passed_over.torn + passed_over.corrupt, 1, "{end}: {passed_over:?}");
        // With less of its header it says no length, or another.
        assert!(end < 8 || passed_over.torn == 1, "{end}: {passed_over:?}");
    }
}

#[test]
fn a_flipped_bit_costs_one_record() {
    let length = record(1).len();
    for at in 0..length {
        for bit in 0..8 {
            let mut bytes = records(0..4);
            bytes[length + at] ^= 1 << bit;
            let (ids, passed_over, last) = Place::with(&bytes).drain(Position::oldest());
            assert_eq!((ids, last.rest), (vec![0, 2, 3], Rest::Nothing), "{at}.{bit}");
            let PassedOver { torn, corrupt, newer, .. } = passed_over;
            assert_eq!(torn + corrupt + newer, 1, "{at}.{bit}: {passed_over:?}");
        }
    }
}

#[test]
fn newer_and_unparsable_records_are_counted_and_passed_over() {
    let bytes = [
        record(0),
        framed(VERSION + 1, b"who knows"),
        framed(VERSION, b"what is this"),
        record(1),
        framed(255, &[0; 5000]),
    ];
    let (ids, passed_over, last) = Place::with(&bytes.concat()).drain(Position::oldest());
    assert_eq!((ids, last.rest), (vec![0, 1], Rest::Nothing));
    assert_eq!(passed_over, PassedOver { newer: 2, unparsable: 1, ..PassedOver::default() });
}

#[test]
fn what_the_hooks_of_a_push_copied_becomes_records_of_it() {
    let line = format!("{} {} refs/heads/x\n", "0".repeat(40), "a".repeat(40));
    let name = |name: &str| refwatch_core::RefName::new(name.as_bytes()).expect("a name");
    let oid = refwatch_core::ObjectId::from_hex("a".repeat(40).as_bytes()).expect("an id");
    let update = Update { name: name("refs/heads/x"), old: Value::Zero, new: Value::Oid(oid) };
    let refused = |by: &str| Refused { status: 3, by: by.to_owned() };
    let record = |phase, outcome| {
        let mut encoder =
            Encoder::new(&Facts { phase, actor: b"Zo\xff", push_options: vec![b"o"], ..facts(7) });
        encoder.input().extend_from_slice(line.as_bytes());
        encoder.finish_with(outcome)
    };
    let accepting = Some(&format::Outcome { status: 0, refused_by: b"" });
    let refusing = Some(&format::Outcome { status: 3, refused_by: b"10-\xff" });
    let attempted = |refused| Said::Attempted { updates: vec![update.clone()], refused };
    let by = refused("10-\u{fffd}");
    for (phase, outcome, said) in [
        (Phase::PreReceive, None, attempted(None)),
        (Phase::PreReceive, accepting, attempted(None)),
        (Phase::PreReceive, refusing, attempted(Some(by.clone()))),
        (Phase::Update, refusing, Said::UpdateRefused { update: update.clone(), refused: by }),
        (Phase::PostReceive, None, Said::Accepted { updates: vec![update.clone()] }),
        (Phase::PostReceive, refusing, Said::Accepted { updates: vec![update.clone()] }),
    ] {
        let batch = Place::with(&record(phase, outcome)).read(&Position::oldest());
        let expected = push::Record {
            at_us: 1_764_000_000_000_007,
            id: 7,
            process: Process { pid: 3, start_ticks: 4 },
            said,
            actor: Some("Zo\u{fffd}".to_owned()),
            push_options: vec!["o".to_owned()],
        };
        assert_eq!(batch.records[0].entry, Entry::Push(expected), "{phase:?}, {outcome:?}");
        assert_eq!(batch.passed_over, PassedOver::default());
    }
}

#[test]
fn a_refusal_of_no_ref_or_of_several_or_by_nobody_is_no_record() {
    let line = format!("{} {} refs/heads/x\n", "0".repeat(40), "a".repeat(40));
    for (input, status) in [("", 1), ("no line\n", 1), (&line.repeat(2), 1), (&line, 0)] {
        let mut encoder = Encoder::new(&Facts { phase: Phase::Update, ..facts(1) });
        encoder.input().extend_from_slice(input.as_bytes());
        let place =
            Place::with(&encoder.finish_with(Some(&format::Outcome { status, refused_by: b"former" })));
        place.append("journal", &record(2));
        let (ids, passed_over, _) = place.drain(Position::oldest());
        assert_eq!((ids, passed_over.unparsable), (vec![2], 1), "{input}");
    }
    let without = Place::with(&record_with(&Facts { phase: Phase::Update, ..facts(1) }, line.as_bytes()));
    assert_eq!(without.read(&Position::oldest()).passed_over.unparsable, 1);
}

#[test]
fn an_input_that_was_left_out_gives_a_transaction_without_updates() {
    let place = Place::with(&record_with(&facts(1), &vec![b'x'; INPUT_BYTES_MAX + 1]));
    let batch = place.read(&Position::oldest());
    let Entry::Transaction(transaction) = &batch.records[0].entry else { panic!("a transaction") };
    assert!(transaction.updates.is_empty());
    assert_eq!(batch.passed_over, PassedOver { inputs_left_out: 1, ..PassedOver::default() });
}

#[test]
fn rotated_files_are_read_to_their_end_first_by_number() {
    let place = Place::new();
    place.append("journal.2", &records(0..2));
    place.append("journal.10", &records(2..4));
    place.append("journal", &records(4..6));
    for other in ["journal.", "journal.x", "journal.+3", "journal.11.gz", "journals"] {
        place.append(other, &record(99));
    }
    fs::create_dir(place.home.path().join("journal.12")).expect("made");
    let all = place.read(&Position::oldest());
    let ids: Vec<u64> = all.records.iter().map(|record| record.entry.id()).collect();
    assert_eq!((ids, all.rest), ((0..6).collect(), Rest::Nothing));
    for (at, record) in all.records.iter().enumerate() {
        let batch = place.read(&record.next);
        assert_eq!((batch.records.as_slice(), batch.beginning), (&all.records[at + 1..], Beginning::Resumed));
    }
}

#[test]
fn rotation_between_readings_loses_and_repeats_nothing() {
    let place = Place::with(&records(0..2));
    let batch = place.read(&Position::oldest());
    place.append("journal", &record(2));
    place.rename("journal", "journal.1");
    let (ids, _, last) = place.drain(batch.next);
    assert_eq!((ids, last.rest), (vec![2], Rest::Nothing));
    // A hook that had it open.
    place.append("journal.1", &record(3));
    place.append("journal", &record(4));
    place.rename("journal", "journal.2");
    place.append("journal", &record(5));
    let (ids, passed_over, last) = place.drain(last.next);
    assert_eq!(
        (ids, passed_over, last.beginning),
        (vec![3, 4, 5], PassedOver::default(), Beginning::Resumed)
    );
    // What is read may go.
    for name in ["journal.1", "journal.2"] {
        fs::remove_file(place.home.path().join(name)).expect("removed");
    }
    place.append("journal", &record(6));
    let (ids, _, last) = place.drain(last.next);
    assert_eq!((ids, last.beginning), (vec![6], Beginning::Resumed));
}

#[test]
fn a_rotated_file_ends_for_good_once_no_hook_holds_it() {
    let place = Place::with(&[record(0), record(1)[..30].to_vec()].concat());
    place.rename("journal", "journal.1");
    place.append("journal", &record(3));
    let path = place.home.path().join("journal.1");
    let hook = OpenOptions::new().append(true).open(path).expect("opened");
    hook.try_lock_shared().expect("locked");
    let batch = place.read(&Position::oldest());
    assert_eq!((batch.records.len(), batch.rest), (1, Rest::Unfinished), "a hook may yet append");
    (&hook).write_all(&record(2)).expect("written");
    let again = place.read(&batch.next);
    assert_eq!((again.records.len(), again.rest), (1, Rest::Unfinished));
    assert_eq!(again.passed_over, PassedOver { torn: 1, ..PassedOver::default() });
    drop(hook);
    assert_eq!(place.drain(again.next).0, [3]);
}

#[test]
fn damage_at_the_end_of_a_rotated_file_is_not_waited_for() {
    let whole = record(1);
    for end in 1..whole.len() {
        let place = Place::with(&[&record(0), &whole[..end]].concat());
        let before = place.read(&Position::oldest());
        assert_eq!(before.rest, Rest::Unfinished);
        place.rename("journal", "journal.1");
        place.append("journal", &record(2));
        let (ids, passed_over, last) = place.drain(before.next);
        assert_eq!((ids, last.rest), (vec![2], Rest::Nothing), "{end}");
        assert_eq!(passed_over, PassedOver { torn: 1, ..PassedOver::default() }, "{end}");
    }
}

#[test]
fn a_file_that_is_gone_or_cut_means_reading_from_the_oldest_and_saying_so() {
    let place = Place::with(&records(0..3));
    let end = place.read(&Position::oldest()).next;
    // Another file of that name, perhaps with the same inode.
    fs::remove_file(place.home.path().join("journal")).expect("removed");
    let nothing = place.read(&end);
    assert_eq!((nothing.beginning, nothing.next), (Beginning::Lost, Position::oldest()));
    place.append("journal", &records(3..8));
    let batch = place.read(&end);
    assert_eq!((batch.records.len(), batch.beginning), (5, Beginning::Lost));
    let file = OpenOptions::new().write(true).open(place.home.path().join("journal")).expect("opened");
    file.set_len(record(3).len() as u64).expect("cut");
    let cut = place.read(&batch.next);
    assert_eq!((cut.records.len(), cut.beginning), (1, Beginning::Lost));
}

#[test]
fn a_journal_is_that_of_its_repository_wherever_it_goes() {
    let home = TempDir::new().expect("a temporary directory");
    let [git_dir, moved] = ["app.git", "moved.git"].map(|name| home.path().join(name));
    let records_into = |git_dir: &Path, bytes: &[u8]| {
        fs::create_dir_all(git_dir.join("refwatch")).expect("made");
        fs::write(git_dir.join("refwatch/journal"), bytes).expect("written");
    };
    fs::create_dir(&git_dir).expect("made");
    let find = || {
        let layout = Layout {
            git_dir: git_dir.clone().into(),
            identity: layout::identity(&git_dir).expect("there"),
            storage: RefStorage::Files,
            format: ObjectFormat::Sha1,
            bareness: Bareness::Bare,
            mirror: false,
        };
        move || Journal::find(&layout).expect("it can be told")
    };
    let find = find();
    assert!(matches!(find(), Found::Nothing));
    records_into(&git_dir, &records(0..2));
    let Found::Journal(journal) = find() else { panic!("it is there") };
    // It goes on to be read where it is, and not where another came.
    fs::rename(&git_dir, &moved).expect("moved");
    assert!(matches!(find(), Found::Elsewhere));
    records_into(&git_dir, &records(7..9));
    assert!(matches!(find(), Found::Elsewhere));
    let batch = journal.read(&Position::oldest()).expect("readable");
    assert_eq!(batch.records.iter().map(|record| record.entry.id()).collect::<Vec<_>>(), [0, 1]);
    // Hooks are removed while it is read.
    fs::remove_dir_all(moved.join("refwatch")).expect("removed");
    let batch = journal.read(&batch.next).expect("readable");
    assert_eq!((batch.records.len(), batch.beginning), (0, Beginning::Lost));
}

#[test]
fn a_reading_is_bounded_and_the_next_goes_on() {
    let count = READ_RECORDS_MAX as u64 + 10;
    let place = Place::with(&records(0..count));
    let batch = place.read(&Position::oldest());
    assert_eq!((batch.records.len(), batch.rest), (READ_RECORDS_MAX, Rest::More));
    assert_eq!(place.drain(Position::oldest()).0, (0..count).collect::<Vec<_>>());
}

#[test]
fn records_longer_than_a_reading_are_read() {
    let long = vec![b'x'; READ_BYTES_MAX + 1];
    let place = Place::new();
    for id in 0..3 {
        place.append("journal", &record(10 + id));
        place.append("journal", &record_with(&facts(id), &long));
    }
    let (ids, passed_over, last) = place.drain(Position::oldest());
    assert_eq!((ids, last.rest), (vec![10, 0, 11, 1, 12, 2], Rest::Nothing));
    assert_eq!(passed_over, PassedOver::default());
}

#[test]
fn garbage_longer_than_a_reading_is_counted_once() {
    // Headers that promise much, so that the search has to verify what is there, in one reading after another.
    let mut promise = framed(VERSION, b"x");
    promise[4..8].copy_from_slice(&(4_u32 << 20).to_le_bytes());
    let garbage: Vec<u8> = promise.iter().copied().cycle().take(20 * promise.len()).collect();
    let mut bytes = [record(0), garbage].concat();
    bytes.resize(bytes.len() + 2 * READ_BYTES_MAX + 5, 0);
    let place = Place::with(&bytes);
    let (ids, ..) = place.drain(Position::oldest());
    assert_eq!(ids, [0]);
    place.append("journal", &records(1..3));
    let (ids, passed_over, last) = place.drain(Position::oldest());
    assert_eq!((ids, last.rest), (vec![0, 1, 2], Rest::Nothing));
    assert_eq!(passed_over, PassedOver { corrupt: 1, ..PassedOver::default() });
}

#[test]
fn every_short_file_over_few_bytes_is_read_to_its_end() {
    // The bytes that headers are made of, and one that they are not.
    let alphabet = [MAGIC[0], MAGIC[1], VERSION, 0, b'x'];
    let place = Place::new();
    let path = place.home.path().join("journal");
    for length in 0..=5_u32 {
        for mut number in 0..alphabet.len().pow(length) {
            let mut garbage = Vec::new();
            for _ in 0..length {
                garbage.push(alphabet[number % alphabet.len()]);
                number /= alphabet.len();
            }
            fs::write(&path, [garbage.as_slice(), &record(1)].concat()).expect("written");
            let batch = place.read(&Position::oldest());
            assert_eq!((batch.records.len(), batch.rest), (1, Rest::Nothing), "{garbage:?}");
        }
    }
}

/// A piece of a journal, and the id of the record in it, if it is whole.
fn piece() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let id = any::<u64>();
    prop_oneof![
        3 => id.prop_map(|id| (record(id), true)),
        1 => (id, 0_usize..100).prop_map(|(id, end)| (record(id)[..end].to_vec(), false)),
        1 => (id, 0_usize..100, 1_u8..=255).prop_map(|(id, at, flip)| {
            let mut bytes = record(id);
            bytes[at] ^= flip;
            // Another version may be whole and is no record to give.
            (bytes, false)
        }),
        1 => vec(any::<u8>(), 0..60).prop_map(|bytes| (bytes, false)),
        1 => vec(prop_oneof![Just(MAGIC[0]), Just(MAGIC[1]), Just(MAGIC[2]), Just(VERSION), Just(0_u8)], 0..60)
            .prop_map(|bytes| (bytes, false)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands between them, every whole record is found, and wherever a reading stops, the next one goes on.
    #[test]
    fn every_whole_record_is_found_whatever_is_between(pieces in vec(piece(), 0..12), at in 0_usize..12) {
        let expected: Vec<u64> = pieces
            .iter()
            .filter(|(_, is_whole)| *is_whole)
            .map(|(bytes, _)| format::decode(format::check(bytes).expect("whole").payload).expect("a record").facts.id)
            .collect();
        let place = Place::new();
        let (first, second) = pieces.split_at(at.min(pieces.len()));
        let mut ids = Vec::new();
        let mut position = Position::oldest();
        for half in [first, second] {
            for (bytes, _) in half {
                place.append("journal", bytes);
            }
            let (found, _, last) = place.drain(position);
            ids.extend(found);
            position = last.next;
        }
        // What is waited for at the end is over once the file was rotated.
        place.append("journal", b"");
        place.rename("journal", "journal.1");
        let (found, _, last) = place.drain(position);
        ids.extend(found);
        prop_assert_eq!(ids, expected);
        prop_assert_eq!(last.rest, Rest::Nothing);
    }
}

#[test]
fn a_file_that_was_rotated_as_it_was_found_is_read_in_its_turn_alone() {
    let place = Place::new();
    place.append("journal.1", &records(0..2));
    place.append("journal.2", &records(2..4));
    // Under both names, as a reader sees it that opens one and lists the other a moment later.
    fs::hard_link(place.home.path().join("journal.1"), place.home.path().join("journal")).expect("linked");
    assert_eq!(place.drain(Position::oldest()).0, [0, 1, 2, 3]);
}

#[test]
fn a_journal_that_was_read_is_rotated_and_removed_and_no_record_goes_with_it() {
    const EACH: u64 = 25_000;
    let place = Place::new();
    let journal = place.journal();
    let files = || fs::read_dir(place.home.path()).expect("readable").count();
    let mut position = Position::oldest();
    let mut first = 1;
    for round in 0..3 {
        place.append("journal", &records(first..first + EACH));
        assert!(journal.has_news(&position));
        // A reader that is behind: nothing of it may go.
        assert!(!journal.rotate(&position).expect("a writable directory"));
        assert_eq!(journal.remove_before(&position, None).expect("a writable directory"), 0);
        let (ids, _, last) = place.drain(position);
        assert_eq!(ids, (first..first + EACH).collect::<Vec<_>>());
        position = last.next;
        assert!(!journal.has_news(&position));
        assert!(position.offset >= ROTATE_BYTES_MIN);
        // What was rotated in the last round is done with only now that the position is behind it.
        assert_eq!(
            journal.remove_before(&position, None).expect("a writable directory"),
            u64::from(round > 0)
        );
        assert!(journal.rotate(&position).expect("a writable directory"));
        assert!(!journal.rotate(&position).expect("a writable directory"), "hooks have not begun a new one");
        assert_eq!(files(), 1);
        first += EACH;
    }
    assert_eq!(journal.remove_before(&position, None).expect("a writable directory"), 0);
    assert_eq!(journal.remove_before(&Position::oldest(), None).expect("a writable directory"), 0);
}

#[test]
fn what_is_to_be_read_again_stays_and_is_read_as_far_as_it_was() {
    const EACH: u64 = 25_000;
    let place = Place::new();
    let journal = place.journal();
    let mut position = Position::oldest();
    let mut read = Vec::new();
    for first in [0, EACH, 2 * EACH] {
        place.append("journal", &records(first..first + EACH));
        let mut from = position;
        loop {
            let batch = place.read(&from);
            from = batch.next;
            read.extend(batch.records);
            if batch.rest != Rest::More {
                break;
            }
        }
        position = from;
        if first < 2 * EACH {
            assert!(journal.rotate(&position).expect("a writable directory"));
        }
    }
    place.append("journal", &records(3 * EACH..3 * EACH + 10));
    let again = |from: Position, until: Position| -> Vec<u64> {
        let (mut at, mut ids) = (from, Vec::new());
        loop {
            let batch = journal.read_again(&at, &until).expect("readable");
            ids.extend(batch.records.iter().map(|record| record.entry.id()));
            if batch.rest != Rest::More {
                return ids;
            }
            at = batch.next;
        }
    };
    let at = |id: u64| &read[usize::try_from(id).expect("few")];
    for (first, end) in
        [(0, 3 * EACH), (EACH - 1, EACH + 1), (EACH, 2 * EACH), (5, 9), (EACH + 7, 2 * EACH + 3)]
    {
        let until = at(end - 1).next;
        assert!(again(at(first).at, until).into_iter().eq(first..end), "{first}..{end}");
        assert_eq!(again(until, until).len(), 0, "{first}..{end}");
    }
    // Before its own file nothing is to be read again.
    let keep = at(EACH + 7).at;
    assert_eq!(journal.remove_before(&position, Some(&keep)).expect("a writable directory"), 1);
    assert!(again(keep, position).into_iter().eq(EACH + 7..3 * EACH));
    assert_eq!(journal.remove_before(&position, Some(&position)).expect("a writable directory"), 1);
    // Its file is gone: what is left of it.
    assert!(again(keep, position).into_iter().eq(2 * EACH..3 * EACH));
}

#[test]
fn no_more_stays_to_be_read_again_than_its_limit() {
    let place = Place::new();
    let journal = place.journal();
    for (number, bytes) in [(1, 5), (2, KEPT_BYTES_MAX - 20), (3, 20)] {
        // Sparse: nothing is written.
        let file = fs::File::create(place.home.path().join(format!("journal.{number}"))).expect("made");
        file.set_len(bytes).expect("set");
    }
    place.append("journal", &records(0..1));
    let journal_at = |name: &str| {
        let file = files::identity(&dir::open(place.home.path()).expect("there"), name.as_bytes());
        Position { file, offset: 0, is_amid: false }
    };
    let (first, position) = (journal_at("journal.1"), journal_at("journal"));
    assert_eq!(journal.remove_before(&position, Some(&first)).expect("a writable directory"), 1);
    assert_eq!(
        journal.remove_before(&position, Some(&journal_at("journal.2"))).expect("a writable directory"),
        0
    );
    assert_eq!(journal.remove_before(&position, None).expect("a writable directory"), 2);
}
