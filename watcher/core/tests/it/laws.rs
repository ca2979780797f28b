//! The guarantees of DESIGN.md section 3 that the core keeps, as properties.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use refwatch_core::journal::{Outcome, Transaction, Update, Value};
use refwatch_core::reconcile::{AnomalyKind, Emitted};
use refwatch_core::{EventType, Look, ObjectId, Origin, RefName, RefState, Target};

use crate::fake_git::{FakeGit, Old, Op, REFS};
use crate::given::{Num, changes, direct, events, name, reconciled, record, steps};

const NAMES: [&str; 5] = ["HEAD", "refs/heads/a", "refs/heads/b", "refs/tags/v1", "refs/x"];

fn any_name() -> impl Strategy<Value = RefName> {
    prop::sample::select(&NAMES[..]).prop_map(name)
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        4 => (1..5_u8).prop_map(|num| Target::Direct(ObjectId::Sha1([num; 20]))),
        1 => any_name().prop_map(Target::Symbolic),
    ]
}

fn any_state() -> impl Strategy<Value = Option<RefState>> {
    prop_oneof![
        2 => Just(None),
        5 => any_target().prop_map(|target| Some(RefState::Good(target))),
        1 => prop::option::of(any_target()).prop_map(|last_good| Some(RefState::Broken { last_good })),
    ]
}

/// Looks at every name. Broken states do not follow `Look::new`'s rule: any state may come after any.
fn any_looks() -> impl Strategy<Value = Vec<Look>> {
    vec((any_state(), any_state(), any::<bool>()), NAMES.len()).prop_map(|states| {
        let look = |(text, (before, after, coalesced)): (&&str, (_, _, bool))| Look {
            name: name(text),
            before,
            after,
            coalesced,
        };
        NAMES.iter().zip(states).map(look).collect()
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(Value::Zero),
        5 => (1..5_u8).prop_map(|num| Value::Oid(ObjectId::Sha1([num; 20]))),
        1 => any_name().prop_map(Value::Symbolic),
    ]
}

fn any_journal() -> impl Strategy<Value = Vec<Transaction>> {
    let update =
        (any_name(), any_value(), any_value()).prop_map(|(name, old, new)| Update { name, old, new });
    // Times repeat, a name may stand twice in one transaction: nothing may be taken for granted.
    let transaction = (0..6_u64, 0..6_u64, prop::bool::weighted(0.1), vec(update, 0..5)).prop_map(
        |(at_ns, id, aborted, updates)| {
            let outcome = if aborted { Outcome::Aborted } else { Outcome::Committed };
            Transaction { outcome, ..record(at_ns, id, updates) }
        },
    );
    vec(transaction, 0..12)
}

fn any_emitted() -> impl Strategy<Value = Vec<Emitted>> {
    let side = || prop::option::of(any_target());
    vec((any_name(), side(), side()).prop_map(|(name, old, new)| Emitted { name, old, new }), 0..4)
}

fn any_commit() -> impl Strategy<Value = Op> {
    let old = prop_oneof![3 => Just(Old::Stated), 1 => Just(Old::Unstated)];
    (vec((0..REFS, 0..5_u8), 1..4), old).prop_map(|(sets, old)| Op::Commit(sets, old))
}

fn any_values() -> impl Strategy<Value = [Num; REFS]> {
    prop::array::uniform4(0..4_u8)
}

fn run(values: [Num; REFS], ops: &[Op]) -> FakeGit {
    let mut git = FakeGit::new(values);
    ops.iter().for_each(|op| git.run(op));
    git
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_the_events_yields_after(
        looks in any_looks(), journal in any_journal(), emitted in any_emitted(),
    ) {
        // `reconciled` applies them, and verifies each step on the way.
        let result = reconciled(&looks, &journal, &emitted);
        prop_assert!(result.explained.is_sorted());
        prop_assert!(result.explained.iter().all(|index| *index < emitted.len()));
    }

    #[test]
    fn journal_order_does_not_matter(
        looks in any_looks(),
        (journal, shuffled) in
            any_journal().prop_flat_map(|journal| (Just(journal.clone()), Just(journal).prop_shuffle())),
        emitted in any_emitted(),
    ) {
        prop_assert_eq!(reconciled(&looks, &journal, &emitted), reconciled(&looks, &shuffled, &emitted));
    }

    #[test]
    fn without_a_journal_what_changed_is_one_draft_in_order_of_name(looks in any_looks()) {
        let result = reconciled(&looks, &[], &[]);
        prop_assert!(result.drafts.len() <= 1);
        prop_assert!(steps(&result).is_sorted_by_key(|step| &step.name));
        for step in steps(&result) {
            let look = looks.iter().find(|look| look.name == step.name).expect("a step has a look");
            prop_assert_eq!((step.origin, step.coalesced), (Origin::Sweep, look.coalesced));
            prop_assert_ne!(&look.before, &look.after);
        }
    }

    #[test]
    fn packing_is_silent(
        values in any_values(), plain in vec((any_commit(), 0..3_usize), 0..8), first in 0..3_usize,
    ) {
        let packs = |count: usize| std::iter::repeat_n(Op::Pack, count);
        let packed: Vec<Op> = packs(first)
            .chain(plain.iter().flat_map(|(op, count)| [op.clone()].into_iter().chain(packs(*count))))
            .collect();
        let plain: Vec<Op> = plain.into_iter().map(|(op, _)| op).collect();
        let (packed, plain) = (run(values, &packed), run(values, &plain));
        let without = reconciled(&plain.looks(&values), &plain.journal, &[]);
        let with = reconciled(&packed.looks(&values), &packed.journal, &[]);
        prop_assert_eq!(with.drafts, without.drafts);
        prop_assert_eq!(with.deferred, without.deferred);
        let kinds = with.anomalies.iter().map(|anomaly| anomaly.kind);
        prop_assert!(kinds.into_iter().all(|kind| kind == AnomalyKind::Packing), "{:?}", with.anomalies);
    }

    #[test]
    fn a_complete_journal_tells_every_value(values in any_values(), ops in vec(any_commit(), 0..10)) {
        let git = run(values, &ops);
        let result = reconciled(&git.looks(&values), &git.journal, &[]);
        for (of, name) in git.names.iter().enumerate() {
            let expected: Vec<_> = git
                .told(of, 0)
                .windows(2)
                .map(|pair| (direct(pair[0]), direct(pair[1])))
                .collect();
            prop_assert_eq!(changes(&result, name), expected, "{:?}", name);
        }
        prop_assert!(steps(&result).iter().all(|step| step.origin == Origin::Hook));
    }

    #[test]
    fn a_lost_journal_loses_steps_never_state(
        values in any_values(), ops in vec((any_commit(), any::<bool>()), 0..10),
    ) {
        let (ops, kept): (Vec<Op>, Vec<bool>) = ops.into_iter().unzip();
        let git = run(values, &ops);
        let mut kept = kept.into_iter();
        let mut journal = git.journal.clone();
        journal.retain(|_| kept.next().unwrap_or(true));
        let result = reconciled(&git.looks(&values), &journal, &[]);
        for (name, had) in git.names.iter().zip(&git.had) {
            let told = changes(&result, name);
            prop_assert!(told.len() < had.len().max(1), "{:?} of {:?}", told, had);
            for (_, new) in told {
                prop_assert!(had.iter().any(|value| direct(*value) == new), "{:?} of {:?}", new, had);
            }
        }
    }

    #[test]
    fn each_event_starts_where_the_last_ended(
        states in vec(any_looks(), 1..5), journals in vec(any_journal(), 5), emitted in any_emitted(),
    ) {
        let mut known: BTreeMap<RefName, Option<RefState>> = BTreeMap::new();
        let mut last: BTreeMap<RefName, Option<Target>> = BTreeMap::new();
        let mut deferred: Vec<Transaction> = Vec::new();
        for (mut looks, journal) in states.into_iter().zip(journals) {
            for look in &mut looks {
                // A look starts where the one before ended, as a pass makes it.
                let before = known.remove(&look.name).unwrap_or_default();
                *look = Look::new(look.name.clone(), before, look.after.clone(), look.coalesced);
            }
            let again: Vec<u64> = deferred.iter().map(|record| record.id).collect();
            deferred.extend(journal);
            let mut result = reconciled(&looks, &deferred, &emitted);
            result.give_up(&again);
            for event in events(&result) {
                let marks = matches!(event.kind, EventType::RefBroken | EventType::RefRepaired);
                let Some(name) = event.name.filter(|_| event.change.is_some() || marks) else { continue };
                let ended = last.insert(name, event.new).unwrap_or_default();
                prop_assert_eq!(event.old, ended);
            }
            deferred = result.deferred;
            known = looks.into_iter().map(|look| (look.name, look.after)).collect();
        }
    }

    #[test]
    fn a_late_record_is_swallowed(values in any_values(), ops in vec(any_commit(), 1..8)) {
        let mut git = FakeGit::new(values);
        let mut emitted = Vec::new();
        for op in &ops {
            let before = git.values;
            git.run(op);
            let seen = reconciled(&git.looks(&before), &[], &[]);
            emitted.extend(steps(&seen).into_iter().cloned().map(|step| Emitted {
                name: step.name,
                old: step.old,
                new: step.new,
            }));
        }
        let result = reconciled(&git.looks(&git.values), &git.journal, &emitted);
        prop_assert_eq!(&result.drafts, &[]);
        prop_assert_eq!(&result.deferred, &[]);
        prop_assert_eq!(result.explained, (0..emitted.len()).collect::<Vec<_>>());
        prop_assert!(result.anomalies.iter().all(|anomaly| anomaly.kind == AnomalyKind::Late));
    }

    #[test]
    fn deferred_records_wait_for_one_pass(looks in any_looks(), journal in any_journal()) {
        let mut first = reconciled(&looks, &journal, &[]);
        first.give_up(&[]);
        let still: Vec<Look> = looks
            .into_iter()
            .map(|look| Look { before: look.after.clone(), ..look })
            .collect();
        let ids: Vec<u64> = first.deferred.iter().map(|record| record.id).collect();
        let mut second = reconciled(&still, &first.deferred, &[]);
        second.give_up(&ids);
        prop_assert_eq!(second.deferred, &[]);
    }
}
