//! One order for all: by sequences without gaps, also where a filter hides some.

use refwatch_tests::{Mode, validate};

use super::scene::Scene;

#[test]
fn all_subscribers_see_one_order_without_gaps() {
    let mut scene = Scene::new();
    let watched = scene.watch();
    // Both repositories at once: an order that nobody could foresee.
    for _ in 0..3 {
        scene.act();
    }
    let log = scene.log();
    validate::ordered(&log);
    assert_eq!(log[0].sequence, 1);
    for seen in &watched {
        println!("{}", seen.name());
        let recording = scene.settle(seen);
        validate::unique(&recording.events);
        validate::ascending(&recording.events);
        // The only gaps are those of the filter: what lies between two events does not pass it.
        for pair in recording.events.windows(2) {
            let hidden =
                log.iter().filter(|event| (pair[0].sequence + 1..pair[1].sequence).contains(&event.sequence));
            assert!(hidden.clone().all(|event| !(seen.lens.passes)(event)), "a gap between {pair:#?}");
            assert_eq!(hidden.count() as u64, pair[1].sequence - pair[0].sequence - 1);
        }
        if seen.lens.name == "everything" {
            validate::ordered(&recording.events);
        }
        if seen.lens.name == "everything" && seen.mode == Mode::Snapshot {
            scene.hold_truth(&recording);
        }
    }
}
