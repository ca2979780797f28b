//! A short soak. The long one: `cargo run -p refwatch-tests --bin soak -- --seed 7 --minutes 60`.

use std::time::Duration;

use refwatch_tests::soak::{Plan, run};

#[test]
fn soak_every_guarantee_holds_whatever_writes_and_whatever_breaks() {
    for seed in [1, 2] {
        let plan = Plan { seed, duration: Duration::from_secs(15), repositories: 12, writers: 4 };
        match run(&plan, |line| println!("seed {seed}, {line}")) {
            Ok(report) => {
                println!("seed {seed}: {report}");
                assert!(report.rounds > 0 && report.values > 0, "it did something: {report}");
            }
            Err(failure) => panic!("{failure}"),
        }
    }
}
