//! Records that tell a whole path are linked, whatever their times say.

use refwatch_core::{Look, Origin};

use crate::given::{Num, changes, direct, good, name, reconciled, record, steps, update};

/// Times for `count` records, as a permutation that no stretch of is in order.
fn scrambled(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |at| (at * 7_919 + 13) % count)
}

#[test]
fn a_thousand_values_link_in_any_order_of_times() {
    let main = name("refs/heads/main");
    // 1 2 .. 250, four times over: every value recurs, so that only a trail through all edges is right.
    let values: Vec<Num> = (0..1_000).map(|at| Num::try_from(at % 250 + 1).expect("below 251")).collect();
    let updates = values.windows(2).map(|pair| update(&main, pair[0], pair[1]));
    let journal: Vec<_> =
        updates.zip(scrambled(999)).zip(1..).map(|((update, at), id)| record(at, id, vec![update])).collect();
    let look = Look::new(main.clone(), good(values[0]), good(values[999]), false);
    let result = reconciled(&[look], &journal, &[]);
    assert_eq!(steps(&result).len(), 999);
    assert!(steps(&result).iter().all(|step| step.origin == Origin::Hook));
    assert_eq!((result.deferred.len(), result.anomalies.len()), (0, 0));
}

#[test]
fn ten_thousand_records_of_one_ref_with_refused_ones_among_them_are_told_apart() {
    let main = name("refs/heads/main");
    let (mut journal, mut taken, mut value): (_, usize, Num) = (Vec::new(), 0, 1);
    for at in 1..=10_000 {
        let next = Num::try_from((at * 7_919) % 250 + 1).expect("below 251");
        if at % 3 == 0 {
            journal.push(record(at, at, vec![update(&main, value, 255)]));
        } else if next != value {
            journal.push(record(at, at, vec![update(&main, value, next)]));
            (taken, value) = (taken + 1, next);
        }
    }
    let looks = [Look::new(main, good(1), good(value), false)];
    assert_eq!(steps(&reconciled(&looks, &journal, &[])).len(), taken);
    // The same with times that say nothing: no more than the state is promised, but in bounded time.
    for (record, at) in journal.iter_mut().zip(scrambled(9_999)) {
        record.at_ns = at;
    }
    reconciled(&looks, &journal, &[]);
}

#[test]
fn round_trips_within_round_trips_are_linked() {
    let main = name("refs/heads/main");
    // 1 -> 2 -> .. -> 9 -> .. -> 2 -> 1: a trip in a trip in a trip, told backwards.
    let values: Vec<Num> = (1..=9).chain((1..9).rev()).collect();
    let edges = values.windows(2).map(|pair| update(&main, pair[0], pair[1]));
    let journal: Vec<_> = edges.zip(1..).map(|(update, id)| record(100 - id, id, vec![update])).collect();
    let look = Look::new(main.clone(), good(1), good(1), false);
    let told: Vec<_> = changes(&reconciled(&[look], &journal, &[]), &main);
    let expected: Vec<_> = values.windows(2).map(|pair| (direct(pair[0]), direct(pair[1]))).collect();
    assert_eq!(told, expected);
}
