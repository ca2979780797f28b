//! What holds of every push, whatever its hooks recorded.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use refwatch_core::event::{Event, EventType, Stage};
use refwatch_core::journal::{Outcome, Transaction, Update};
use refwatch_core::push::{
    Closed, Disk, Ledger, Life, OPTIONS_COPIED_BYTES_MAX, PUSH_ABORTED, PushRules, Record, Refused, Rejected,
    Said, Unread, Unreadable, describe,
};
use refwatch_core::{Origin, RefName, RefState, Snapshot, Target};

use crate::given::{Num, direct, name, update};
use crate::push_given::{attempted, close, process, said, transaction, unlocked};

const NAMES: [&str; 5] = ["refs/heads/a", "refs/heads/b", "refs/heads/c", "refs/for/main", "refs/tags/v1"];

/// What is recorded of one update of a push, besides that it is attempted.
#[derive(Clone, Debug)]
struct Fate {
    old: Num,
    new: Num,
    update_refuses: bool,
    accepted: bool,
    transaction: Option<Outcome>,
    now: Num,
}

/// One push, and the values on disk when it is closed.
#[derive(Clone, Debug)]
struct Scene {
    records: Vec<Record>,
    transactions: Vec<Transaction>,
    now: BTreeMap<RefName, Target>,
}

fn any_fate() -> impl Strategy<Value = Fate> {
    let outcome = prop_oneof![
        2 => Just(None),
        2 => Just(Some(Outcome::Committed)),
        1 => Just(Some(Outcome::Aborted)),
    ];
    let values = (0..4_u8, 0..4_u8).prop_filter("asks for something", |(old, new)| old != new);
    (values, prop::bool::weighted(0.2), any::<bool>(), outcome, 0..4_u8).prop_map(
        |((old, new), update_refuses, accepted, transaction, now)| Fate {
            old,
            new,
            update_refuses,
            accepted,
            transaction,
            now,
        },
    )
}

prop_compose! {
    /// Records of one process in any order. The hooks may contradict each other.
    fn any_scene(pid: u32)(
        fates in vec(any_fate(), 1..=NAMES.len()),
        pre_receive in prop_oneof![6 => Just(Some(None)), 1 => Just(Some(Some(3))), 1 => Just(None)],
        post_receive in any::<bool>(),
    )(
        records in Just(recorded(pid, &fates, pre_receive, post_receive)).prop_shuffle(),
        transactions in Just(ended(&fates)),
        now in Just(on_disk(&fates)),
    ) -> Scene {
        Scene { records, transactions, now }
    }
}

fn asked(fates: &[Fate]) -> impl Iterator<Item = (&Fate, Update)> {
    NAMES.iter().zip(fates).map(|(of, fate)| (fate, update(&name(of), fate.old, fate.new)))
}

fn recorded(pid: u32, fates: &[Fate], pre: Option<Option<i32>>, post: bool) -> Vec<Record> {
    let refused = |status: i32| Refused { status, by: "policy".to_owned() };
    let mut what = Vec::new();
    if let Some(status) = pre {
        let updates = asked(fates).map(|(_, update)| update).collect();
        what.push(Said::Attempted { updates, refused: status.map(refused) });
    }
    let by_update = asked(fates).filter(|(fate, _)| fate.update_refuses);
    what.extend(by_update.map(|(_, update)| Said::UpdateRefused { update, refused: refused(1) }));
    let accepted: Vec<Update> =
        asked(fates).filter(|(fate, _)| fate.accepted).map(|(_, update)| update).collect();
    if post && !accepted.is_empty() {
        what.push(Said::Accepted { updates: accepted });
    }
    (u64::from(pid) * 100..).zip(what).map(|(id, what)| said(pid, id, what)).collect()
}

fn ended(fates: &[Fate]) -> Vec<Transaction> {
    let one = |(at, (fate, update)): (u64, (&Fate, Update))| {
        fate.transaction.map(|outcome| transaction(at, outcome, vec![update]))
    };
    (1000..).zip(asked(fates)).filter_map(one).collect()
}

fn on_disk(fates: &[Fate]) -> BTreeMap<RefName, Target> {
    let value = |(of, fate): (&&str, &Fate)| direct(fate.now).map(|target| (name(of), target));
    NAMES.iter().zip(fates).filter_map(value).collect()
}

fn closed(ledger: &mut Ledger, now: &BTreeMap<RefName, Target>) -> Vec<Closed> {
    close(ledger, &|_| true, &|of| now.get(of).cloned())
}

fn close_one(pid: u32, records: Vec<Record>, scene: &Scene) -> Vec<Closed> {
    closed(&mut ledger_of(pid, records, scene), &scene.now)
}

fn ledger_of(pid: u32, records: Vec<Record>, scene: &Scene) -> Ledger {
    let mut ledger = Ledger::default();
    for record in records {
        ledger.record(record);
    }
    for transaction in &scene.transactions {
        ledger.explain(process(pid), &mut transaction.clone());
    }
    ledger
}

fn attempts(records: &[Record]) -> Vec<Update> {
    let updates = |record: &Record| match &record.said {
        Said::Attempted { updates, .. } => updates.clone(),
        Said::UpdateRefused { .. } | Said::Accepted { .. } => Vec::new(),
    };
    records.iter().flat_map(updates).collect()
}

fn said_accepted(records: &[Record]) -> Option<Vec<Update>> {
    records.iter().find_map(|record| match &record.said {
        Said::Accepted { updates } => Some(updates.clone()),
        Said::UpdateRefused { .. } | Said::Attempted { .. } => None,
    })
}

fn described(closed: &Closed) -> Vec<Event> {
    describe(closed, &PushRules { is_protected: &|of| of.starts_with(b"refs/heads/a") })
}

proptest! {
    #[test]
    fn what_is_attempted_is_accepted_rejected_or_doubted_and_never_two_of_these(scene in any_scene(1)) {
        let all = close_one(1, scene.records.clone(), &scene);
        prop_assert!(all.len() <= 1);
        for closed in &all {
            let mut found: Vec<Update> = closed.accepted.clone();
            found.extend(closed.rejected.iter().map(|rejected| rejected.update.clone()));
            found.extend(closed.doubted.iter().cloned());
            found.sort();
            let mut expected = attempts(&scene.records);
            if expected.is_empty() {
                // Without pre-receive: what the others said by themselves.
                expected = said_accepted(&scene.records).unwrap_or_default();
                for record in &scene.records {
                    if let Said::UpdateRefused { update, .. } = &record.said
                        && !expected.contains(update)
                    {
                        expected.push(update.clone());
                    }
                }
            }
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn post_receive_is_believed_before_everything_else(scene in any_scene(1)) {
        if let Some(accepted) = said_accepted(&scene.records) {
            let all = close_one(1, scene.records.clone(), &scene);
            prop_assert_eq!(&all[0].accepted, &accepted);
            prop_assert_eq!(&all[0].doubted, &vec![]);
        }
    }

    #[test]
    fn without_post_receive_nothing_is_accepted_and_nothing_refused_that_was_recorded_as_committed(
        scene in any_scene(1),
    ) {
        if said_accepted(&scene.records).is_none() {
            let committed: Vec<&RefName> = scene
                .transactions
                .iter()
                .filter(|of| of.outcome == Outcome::Committed)
                .flat_map(|of| of.updates.iter().map(|update| &update.name))
                .collect();
            for closed in close_one(1, scene.records.clone(), &scene) {
                prop_assert_eq!(&closed.accepted, &vec![]);
                let announced = attempts(&scene.records);
                for rejected in closed.rejected.iter().filter(|of| announced.contains(&of.update)) {
                    prop_assert!(!committed.contains(&&rejected.update.name), "{:?}", rejected);
                }
            }
        }
    }

    /// A lock says why an update was refused, and not whether.
    #[test]
    fn a_lock_is_a_reason_only_where_nothing_else_is_known(scene in any_scene(1), since_us in 0..60_u64) {
        let mut ledger = ledger_of(1, scene.records.clone(), &scene);
        let state = |of: &RefName| Ok(scene.now.get(of).cloned().map(RefState::Good));
        let disk = Disk { state: &state, locked_since_us: &|_| Some(since_us * 100) };
        let locked = ledger.close(&|_| Life::Ended, &disk, Unreadable::PutOff);
        let known = close_one(1, scene.records.clone(), &scene);
        for (locked, known) in locked.iter().zip(&known) {
            prop_assert_eq!(&locked.accepted, &known.accepted);
            prop_assert_eq!(&locked.doubted, &known.doubted);
            prop_assert_eq!(locked.rejected.len(), known.rejected.len());
            for (locked, known) in locked.rejected.iter().zip(&known.rejected) {
                prop_assert_eq!(&locked.update, &known.update);
                if locked.stage == Stage::Lock {
                    let asked = scene.records.iter().find(|of| matches!(of.said, Said::Attempted { .. }));
                    prop_assert!(since_us * 100 <= asked.expect("what was asked for").at_us);
                    prop_assert!(matches!(known.stage, Stage::StaleOldValue | Stage::ReceivePack));
                }
            }
        }
    }

    #[test]
    fn of_a_push_of_unknown_end_only_what_hooks_said_is_told(scene in any_scene(1)) {
        let mut ledger = ledger_of(1, scene.records.clone(), &scene);
        let is_over = ledger.open().count() == 0;
        let state = |of: &RefName| Ok(scene.now.get(of).cloned().map(RefState::Good));
        let unknown = ledger.close(&|_| Life::Unknown, &unlocked(&state), Unreadable::PutOff);
        let known = close_one(1, scene.records.clone(), &scene);
        if is_over {
            prop_assert_eq!(unknown, known);
        } else {
            for (unknown, known) in unknown.iter().zip(&known) {
                let hook = |of: &&Rejected| {
                    matches!(of.stage, Stage::PreReceive | Stage::Update | Stage::ReferenceTransaction)
                };
                let by_hooks: Vec<&Rejected> = known.rejected.iter().filter(hook).collect();
                prop_assert_eq!(unknown.rejected.iter().collect::<Vec<_>>(), by_hooks);
            }
        }
    }

    /// Unread refs make nothing be told that is not told by a disk that reads, and are waited for where that is asked.
    #[test]
    fn what_cannot_be_read_is_put_off_or_doubted(scene in any_scene(1), unread in vec(any::<bool>(), NAMES.len())) {
        let is_unread = |of: &RefName| {
            NAMES.iter().zip(&unread).any(|(known, unread)| *unread && of.as_bytes() == known.as_bytes())
        };
        let state = |of: &RefName| {
            if is_unread(of) { Err(Unread) } else { Ok(scene.now.get(of).cloned().map(RefState::Good)) }
        };
        let ended = |_| Life::Ended;
        let mut ledger = ledger_of(1, scene.records.clone(), &scene);
        let first = ledger.close(&ended, &unlocked(&state), Unreadable::PutOff);
        prop_assert_eq!(ledger.is_put_off(), first.is_empty() && !scene.records.is_empty());
        prop_assert_eq!(ledger.is_empty(), !ledger.is_put_off());
        let known = close_one(1, scene.records.clone(), &scene);
        if ledger.is_put_off() {
            let doubted = ledger.clone().close(&ended, &unlocked(&state), Unreadable::Doubt);
            for (doubted, known) in doubted.iter().zip(&known) {
                prop_assert_eq!(&doubted.accepted, &known.accepted);
                for rejected in &doubted.rejected {
                    let same = |of: &&Rejected| of.update == rejected.update;
                    prop_assert!(known.rejected.iter().any(|of| same(&of)), "{:?}", rejected);
                    let by_disk = matches!(rejected.stage, Stage::StaleOldValue | Stage::ReceivePack);
                    let is_said = said_accepted(&scene.records).is_some() && rejected.reason == PUSH_ABORTED;
                    prop_assert!(!by_disk || is_said || !is_unread(&rejected.update.name), "{:?}", rejected);
                }
            }
            // Once it reads, it is as if it had read before.
            prop_assert_eq!(closed(&mut ledger, &scene.now), known);
        } else {
            prop_assert_eq!(first.len(), known.len());
        }
    }

    #[test]
    fn the_order_of_records_does_not_matter(
        (scene, other) in any_scene(1).prop_flat_map(|scene| {
            let other = Just(scene.records.clone()).prop_shuffle();
            (Just(scene), other)
        }),
    ) {
        prop_assert_eq!(close_one(1, scene.records.clone(), &scene), close_one(1, other, &scene));
    }

    #[test]
    fn a_record_that_comes_again_changes_nothing(scene in any_scene(1), again in vec(any::<prop::sample::Index>(), 1..6)) {
        prop_assume!(!scene.records.is_empty());
        let mut twice = scene.records.clone();
        for index in again {
            twice.push(scene.records[index.index(scene.records.len())].clone());
        }
        prop_assert_eq!(close_one(1, scene.records.clone(), &scene), close_one(1, twice, &scene));
    }

    #[test]
    fn a_closed_push_leaves_nothing_behind(scene in any_scene(1)) {
        let mut ledger = Ledger::default();
        for record in scene.records.clone() {
            ledger.record(record);
        }
        let first = closed(&mut ledger, &scene.now);
        prop_assert_eq!(first.is_empty(), scene.records.is_empty());
        prop_assert_eq!(ledger.open().count(), 0);
        prop_assert!(NAMES.iter().all(|of| !ledger.attempted(&name(of))));
        prop_assert_eq!(closed(&mut ledger, &scene.now), vec![]);
    }

    #[test]
    fn events_of_a_push_tell_all_of_it_and_move_no_ref(scene in any_scene(1)) {
        for closed in close_one(1, scene.records.clone(), &scene) {
            let events = described(&closed);
            let mut state = Snapshot::default();
            for event in &events {
                state.apply(event).expect("an event without a change moves nothing");
                prop_assert_eq!((event.change, event.origin), (None, Origin::Hook));
            }
            prop_assert_eq!(state, Snapshot::default());
            let refusals: Vec<&Event> = events.iter().filter(|event| event.name.is_some()).collect();
            prop_assert_eq!(refusals.len(), closed.rejected.len());
            for (event, rejected) in refusals.into_iter().zip(&closed.rejected) {
                let extra = event.extra.as_deref().expect("a refusal has a stage");
                prop_assert_eq!(event.name.as_ref(), Some(&rejected.update.name));
                prop_assert_eq!(extra.stage.and_then(Stage::from_code), Some(rejected.stage));
                let protected = event.kind == EventType::ProtectedBranchRejected;
                prop_assert_eq!(protected, rejected.update.name == name("refs/heads/a"));
            }
            let last = events.last().filter(|event| event.kind == EventType::PushReceived);
            prop_assert_eq!(last.is_some(), !closed.accepted.is_empty());
            if let Some(summary) = last.and_then(|event| event.extra.as_deref()).and_then(|extra| extra.summary) {
                let done = summary.created + summary.updated + summary.deleted;
                prop_assert_eq!(usize::try_from(done).expect("few"), closed.accepted.len());
                prop_assert_eq!(usize::try_from(summary.rejected).expect("few"), closed.rejected.len());
            }
            for (index, event) in (0..).zip(&events) {
                prop_assert_eq!((event.index, usize::try_from(event.size).expect("few")), (index, events.len()));
            }
        }
    }

    #[test]
    fn what_a_transaction_told_is_not_explained_again(scene in any_scene(1)) {
        for closed in close_one(1, scene.records.clone(), &scene) {
            let committed = scene.transactions.iter().filter(|of| of.outcome == Outcome::Committed);
            let told: Vec<&Update> = committed.flat_map(|of| &of.updates).collect();
            let found = closed.transaction.clone().map(|of| of.updates).unwrap_or_default();
            if closed.accepted.is_empty() {
                // What the disk shows.
                prop_assert!(found.iter().all(|of| closed.doubted.contains(of) && !told.contains(&of)));
            } else {
                let expected: Vec<Update> =
                    closed.accepted.iter().filter(|update| !told.contains(update)).cloned().collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn an_open_ref_is_attempted_until_it_is_refused(scene in any_scene(1)) {
        let mut ledger = Ledger::default();
        for record in scene.records.clone() {
            ledger.record(record);
        }
        let refused = |of: &Update| scene.records.iter().any(|record| {
            matches!(&record.said, Said::UpdateRefused { update, .. } if update == of)
        });
        let open = ledger.open().count() == 1;
        for update in attempts(&scene.records) {
            prop_assert_eq!(ledger.attempted(&update.name), open && !refused(&update));
        }
    }

    /// Processes, ids and values as they come: nothing may be taken for granted, and nothing panics.
    #[test]
    fn any_records_at_all_are_taken(
        scenes in vec((any_scene(1), any_scene(1), any_scene(2)), 1..4),
        gone in any::<bool>(),
    ) {
        let mut ledger = Ledger::default();
        for (first, second, third) in scenes {
            let all = [&first, &second, &third].map(|scene| scene.records.clone()).concat();
            for mut record in all {
                record.id %= 5;
                ledger.record(record);
            }
            for transaction in second.transactions {
                ledger.explain(process(1), &mut transaction.clone());
            }
            for closed in close(&mut ledger, &|_| gone, &|of| first.now.get(of).cloned()) {
                described(&closed);
            }
        }
        prop_assert_eq!(ledger.forgotten(), 0);
    }
}

#[test]
fn a_ref_named_twice_by_one_push_is_counted_twice() {
    let of = name("refs/heads/a");
    let (first, second) = (update(&of, 1, 2), update(&of, 2, 3));
    let mut ledger = Ledger::default();
    ledger.record(said(1, 1, attempted(vec![first.clone(), second.clone(), first.clone()])));
    ledger.record(said(1, 2, Said::Accepted { updates: vec![first.clone()] }));
    let all = close(&mut ledger, &|_| false, &|_| direct(2));
    assert_eq!(all[0].accepted, std::slice::from_ref(&first));
    let rejected: Vec<&Update> = all[0].rejected.iter().map(|rejected| &rejected.update).collect();
    assert_eq!(rejected, [&second, &first]);
}

#[test]
fn stages_are_those_of_the_contract() {
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/refwatch/v1/event.proto");
    let text = std::fs::read_to_string(proto).expect("the contract is there");
    let stages: Vec<(String, u8)> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("REJECTION_STAGE_")?.strip_suffix(';')?.split_once(" = "))
        .map(|(stage, code)| (stage.to_owned(), code.parse().expect("a number")))
        .filter(|(_, code)| *code != 0)
        .collect();
    let ours: Vec<(String, u8)> =
        Stage::ALL.iter().map(|stage| (stage.as_str().to_owned(), stage.code())).collect();
    assert_eq!(ours, stages);
}

#[test]
fn only_the_end_of_a_push_carries_all_of_its_options() {
    let of = name("refs/heads/a");
    let (first, second) = (update(&of, 0, 1), update(&name("refs/heads/b"), 0, 1));
    let options = |sizes: &[usize]| -> Vec<String> { sizes.iter().map(|size| "o".repeat(*size)).collect() };
    for (given, kept) in [
        (options(&[]), 0),
        (options(&[3, 0, 5]), 3),
        (options(&[OPTIONS_COPIED_BYTES_MAX - 1, 1, 0, 1]), 3),
        // None is cut, and none that fits comes after one that does not.
        (options(&[OPTIONS_COPIED_BYTES_MAX + 1, 1]), 0),
        (options(&[1, OPTIONS_COPIED_BYTES_MAX, 1]), 1),
    ] {
        let mut ledger = Ledger::default();
        let mut record = said(1, 1, attempted(vec![first.clone(), second.clone()]));
        record.push_options.clone_from(&given);
        ledger.record(record);
        let mut committed = transaction(2, Outcome::Committed, vec![]);
        ledger.explain(process(1), &mut committed);
        ledger.record(said(1, 3, Said::Accepted { updates: vec![first.clone()] }));
        let closed = close(&mut ledger, &|_| false, &|_| None);
        let events = described(&closed[0]);
        let [refused, received] = &events[..] else { panic!("{events:#?}") };
        let of_event = |event: &Event| event.extra.as_ref().expect("told").push_options.clone();
        let few = &given[..kept];
        assert_eq!(of_event(refused), few);
        assert_eq!(of_event(received), given);
        assert_eq!(committed.push_options, few);
        assert_eq!(closed[0].transaction.as_ref().expect("nothing else explains it").push_options, few);
    }
}
