//! Short ways to say names, values and records, and the checks that every test shares.

use std::collections::BTreeMap;

use refwatch_core::classify::Bareness;
use refwatch_core::describe::{Rules, describe};
use refwatch_core::journal::{Outcome, Transaction, Update, Value};
use refwatch_core::reconcile::{Mark, Reconciled, Step, reconcile};
use refwatch_core::{Event, Look, ObjectId, Origin, RefName, RefState, Snapshot, Target};

/// 0 is absence, any other number an object.
pub(crate) type Num = u8;

pub(crate) fn name(text: &str) -> RefName {
    RefName::new(text.as_bytes()).expect("a test's ref names are valid")
}

pub(crate) fn direct(num: Num) -> Option<Target> {
    (num != 0).then_some(Target::Direct(ObjectId::Sha1([num; 20])))
}

pub(crate) fn good(num: Num) -> Option<RefState> {
    direct(num).map(RefState::Good)
}

pub(crate) fn value(num: Num) -> Value {
    if num == 0 { Value::Zero } else { Value::Oid(ObjectId::Sha1([num; 20])) }
}

pub(crate) fn update(of: &RefName, old: Num, new: Num) -> Update {
    Update { name: of.clone(), old: value(old), new: value(new) }
}

/// A committed transaction.
pub(crate) fn record(at_ns: u64, id: u64, updates: Vec<Update>) -> Transaction {
    Transaction { at_ns, id, outcome: Outcome::Committed, actor: None, push_options: Vec::new(), updates }
}

/// Rules that derive no summaries.
pub(crate) const PLAIN: Rules<'static> = Rules {
    bareness: Bareness::Bare,
    is_release: &|tag| tag.first() == Some(&b'v'),
    bulk_refs_min: u32::MAX,
    mirror: false,
};

pub(crate) fn events(reconciled: &Reconciled) -> Vec<Event> {
    reconciled.drafts.iter().flat_map(|draft| describe(&PLAIN, draft, &[])).collect()
}

pub(crate) fn steps(reconciled: &Reconciled) -> Vec<&Step> {
    reconciled.drafts.iter().flat_map(|draft| &draft.steps).collect()
}

/// The value changes of one ref.
pub(crate) fn changes(reconciled: &Reconciled, of: &RefName) -> Vec<(Option<Target>, Option<Target>)> {
    steps(reconciled)
        .into_iter()
        .filter(|step| step.name == *of && step.mark == Mark::Change)
        .map(|step| (step.old.clone(), step.new.clone()))
        .collect()
}

pub(crate) fn looks_before(looks: &[Look]) -> Snapshot {
    let entry = |look: &Look| look.before.clone().map(|state| (look.name.clone(), state));
    Snapshot::from_entries(looks.iter().filter_map(entry).collect())
}

pub(crate) fn looks_after(looks: &[Look]) -> Snapshot {
    let entry = |look: &Look| look.after.clone().map(|state| (look.name.clone(), state));
    Snapshot::from_entries(looks.iter().filter_map(entry).collect())
}

/// Reconciles, and checks what must hold whatever the journal says: Truthful, Unbroken, and that every step that
/// claims a record has one.
pub(crate) fn reconciled(
    looks: &[Look],
    journal: &[Transaction],
    emitted: &[refwatch_core::reconcile::Emitted],
) -> Reconciled {
    let reconciled = reconcile(Origin::Sweep, looks, journal, emitted);
    let mut state = looks_before(looks);
    for event in events(&reconciled) {
        if let Err(error) = state.apply(&event) {
            panic!("{error}\n{looks:#?}\n{journal:#?}\n{reconciled:#?}");
        }
    }
    assert_eq!(state, looks_after(looks), "\n{looks:#?}\n{journal:#?}\n{reconciled:#?}");
    let mut recorded: BTreeMap<(&RefName, Option<Target>), usize> = BTreeMap::new();
    for update in journal.iter().filter(|tx| tx.outcome == Outcome::Committed).flat_map(|tx| &tx.updates) {
        let new = match &update.new {
            Value::Zero => None,
            Value::Oid(oid) => Some(Target::Direct(*oid)),
            Value::Symbolic(of) => Some(Target::Symbolic(of.clone())),
        };
        *recorded.entry((&update.name, new)).or_default() += 1;
    }
    for step in steps(&reconciled) {
        assert_ne!(step.mark == Mark::Change, step.old == step.new, "{step:?}");
        if step.origin == Origin::Hook {
            let left = recorded.get_mut(&(&step.name, step.new.clone())).filter(|left| **left > 0);
            *left.unwrap_or_else(|| panic!("no record for {step:?} in {journal:#?}")) -= 1;
        }
    }
    assert!(reconciled.drafts.iter().all(|draft| !draft.steps.is_empty()));
    reconciled
}
