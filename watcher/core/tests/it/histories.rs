//! Every history of two refs, three objects and up to three transactions.

use refwatch_core::journal::Transaction;
use refwatch_core::{Look, Origin, RefName};

use crate::fake_git::Old;
use crate::given::{self, Num, changes, good, name, reconciled, record, update};

type State = [Num; 2];

/// All states of two refs over absence and three objects.
fn states() -> impl Iterator<Item = State> {
    (0..4).flat_map(|left| (0..4).map(move |right| [left, right]))
}

/// Calls `check` with every history of up to `more` further transactions.
fn extend(history: &mut Vec<State>, more: usize, check: &mut impl FnMut(&[State])) {
    check(history);
    if more == 0 {
        return;
    }
    let last = history[history.len() - 1];
    for next in states().filter(|next| *next != last) {
        history.push(next);
        extend(history, more - 1, check);
        history.pop();
    }
}

/// Starts that no renaming of objects turns into each other.
const STARTS: [State; 5] = [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2]];

fn names() -> [RefName; 2] {
    [name("refs/heads/a"), name("refs/heads/b")]
}

fn journal(history: &[State], names: &[RefName; 2]) -> Vec<Transaction> {
    let moves = (1..).zip(history.windows(2));
    let record_of = |(at, pair): (u64, &[State])| {
        let changed = (0..2).filter(|of| pair[0][*of] != pair[1][*of]);
        record(at, at, changed.map(|of| update(&names[of], pair[0][of], pair[1][of])).collect())
    };
    moves.map(record_of).collect()
}

fn looks(history: &[State], names: &[RefName; 2]) -> Vec<Look> {
    let (first, last) = (history[0], history[history.len() - 1]);
    let look = |of: usize| Look::new(names[of].clone(), good(first[of]), good(last[of]), false);
    vec![look(0), look(1)]
}

/// The values one ref had, without repetition, and without `v, absent, v` where it began and ended with `v`: but where
/// the record of the deletion states no old value, as that of packing does.
pub(crate) fn told(values: impl Iterator<Item = (Num, Old)>) -> Vec<Num> {
    let mut values: Vec<(Num, Old)> = values.collect();
    values.dedup_by_key(|(value, _)| *value);
    let ends = (values[0].0, values[values.len() - 1].0);
    let mut kept: Vec<(Num, Old)> = Vec::new();
    for value in values {
        kept.push(value);
        if let [.., (first, _), (0, Old::Stated), (last, _)] = kept[..]
            && first == last
            && ends == (first, first)
        {
            kept.truncate(kept.len() - 2);
        }
    }
    kept.into_iter().map(|(value, _)| value).collect()
}

#[test]
fn a_complete_journal_tells_every_history() {
    let names = names();
    let mut told_whole = 0;
    for start in STARTS {
        extend(&mut vec![start], 3, &mut |history| {
            let journal = journal(history, &names);
            let result = reconciled(&looks(history, &names), &journal, &[]);
            let mut whole = true;
            for of in 0..2 {
                let values = told(history.iter().map(|state| (state[of], Old::Stated)));
                let expected: Vec<_> =
                    values.windows(2).map(|pair| (given::direct(pair[0]), given::direct(pair[1]))).collect();
                assert_eq!(changes(&result, &names[of]), expected, "{history:?}");
                let mut had: Vec<Num> = history.iter().map(|state| state[of]).collect();
                had.dedup();
                whole &= had == values;
            }
            assert!(given::steps(&result).iter().all(|step| step.origin == Origin::Hook && !step.coalesced));
            assert!(result.deferred.is_empty(), "{history:?} {result:?}");
            if whole {
                // One draft a transaction, in order, nothing left over.
                let sizes: Vec<usize> = result.drafts.iter().map(|draft| draft.steps.len()).collect();
                let expected: Vec<usize> = journal.iter().map(|record| record.updates.len()).collect();
                assert_eq!(sizes, expected, "{history:?}");
                assert_eq!(result.anomalies, [], "{history:?}");
                told_whole += 1;
            }
        });
    }
    assert!(told_whole > 10_000, "only {told_whole} histories were told whole");
}

#[test]
fn every_lost_record_loses_steps_never_state() {
    let names = names();
    for start in STARTS {
        extend(&mut vec![start], 3, &mut |history| {
            let journal = journal(history, &names);
            let looks = looks(history, &names);
            for lost in 0..journal.len() {
                let mut kept = journal.clone();
                kept.remove(lost);
                let result = reconciled(&looks, &kept, &[]);
                for step in given::steps(&result) {
                    let of = names.iter().position(|name| *name == step.name).expect("one of the two");
                    let had = history.iter().any(|state| given::direct(state[of]) == step.new);
                    assert!(had, "{step:?} was never so in {history:?} without {lost}");
                }
            }
        });
    }
}

#[test]
fn records_in_reverse_change_nothing_and_reversed_times_keep_the_state() {
    let names = names();
    for start in STARTS {
        extend(&mut vec![start], 3, &mut |history| {
            let looks = looks(history, &names);
            let mut journal = journal(history, &names);
            let forth = reconciled(&looks, &journal, &[]);
            journal.reverse();
            assert_eq!(reconciled(&looks, &journal, &[]), forth, "{history:?}");
            for (at, record) in (0..).zip(&mut journal) {
                record.at_ns = at;
            }
            reconciled(&looks, &journal, &[]);
        });
    }
}
