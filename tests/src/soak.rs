//! The soak: random writers over many repositories, a daemon that is disturbed meanwhile, and a judge of every guarantee.
//!
//! It goes by rounds. In a round, writers write until each has made its steps, while the daemon is killed, stopped,
//! hung until notifications overflow, or started anew in another mode. Then they rest, and all that was told is held
//! against what is on disk, what was written, and what other subscribers were told. All choices follow from the seed;
//! how processes interleave does not.

mod diary;
mod disturb;
mod judge;
mod life;
mod resources;
mod write;
mod yard;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::random::Random;
use disturb::Watch;
use judge::Judge;
use yard::{Alarm, Yard};

/// Fewest steps of a writer in a round.
const STEPS_MIN: usize = 8;

/// Steps of a writer in a round, beyond the fewest, are less than this.
const STEPS_MORE: usize = 40;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// All choices follow from it.
    pub seed: u64,
    /// No round begins after.
    pub duration: Duration,
    /// How many there are at most at a time.
    pub repositories: usize,
    /// How many write at once.
    pub writers: usize,
}

/// What was done when everything held.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rounds.
    pub rounds: usize,
    /// Events, each told to two subscribers.
    pub events: usize,
    /// Acts of writers and upon the daemon, by what they are: how many succeeded, how many were refused.
    pub acts: BTreeMap<String, (u64, u64)>,
    /// Values of refs with hooks that only git wrote to, of which each had to be told.
    pub values: usize,
    /// Notifications that overflowed.
    pub overflows: u64,
    /// Largest resident set of the daemon, in KiB.
    pub memory_kib: u64,
    /// Most open files of the daemon.
    pub files: usize,
    /// Most threads of the daemon.
    pub threads: usize,
}

/// What did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of the plan.
    pub seed: u64,
    /// In which round.
    pub round: usize,
    /// What is wrong.
    pub what: String,
    /// Acts and events about it, oldest first.
    pub around: Vec<String>,
    /// Where everything was left: the repositories, the database, `diary.log`, `events.log` and `daemon.log`.
    pub folder: PathBuf,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} rounds, {} events, {} values recorded by hooks, {} overflows; at most {} KiB, {} files, {} threads",
            self.rounds, self.events, self.values, self.overflows, self.memory_kib, self.files, self.threads
        )?;
        let acts = self.acts.iter().map(|(act, (done, refused))| format!("{act} {done}/{refused}"));
        write!(f, "acts, done/refused: {}", acts.collect::<Vec<_>>().join(", "))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}, round {}: {}", self.seed, self.round, self.what)?;
        for line in &self.around {
            writeln!(f, "  {line}")?;
        }
        write!(f, "left in {}", self.folder.display())
    }
}

/// Soaks.
///
/// # Errors
/// When a guarantee did not hold, or the test itself failed.
pub fn run(plan: &Plan, mut told: impl FnMut(&str)) -> Result<Report, Box<Failure>> {
    let began = Instant::now();
    let mut random = Random::new(plan.seed);
    let yard = Yard::new(plan, &mut random);
    let mut watch = Watch::start(&yard);
    let mut judge = Judge::new(&watch);
    let mut round = 0;
    let outcome = loop {
        round += 1;
        let last = began.elapsed() >= plan.duration;
        let held = catch_unwind(AssertUnwindSafe(|| {
            if last {
                judge.replay(&watch);
            } else {
                one_round(plan, round, &yard, &mut watch, &mut judge, &mut random);
            }
        }));
        if held.is_err() || last {
            break held;
        }
        let events = judge.events();
        told(&format!("round {round}: {events} events, {} s", began.elapsed().as_secs()));
    };
    match outcome {
        Ok(()) => {
            let mut report = Report { rounds: round - 1, events: judge.events(), ..Report::default() };
            report.acts = yard.diary.counts();
            report.values = judge.values();
            report.overflows = watch.overflows();
            judge.peak().fill(&mut report);
            Ok(report)
        }
        Err(panic) => {
            let what = said(&*panic);
            let around = yard.diary.around(&judge.names_in(&what));
            watch.write_log(&yard.world.beside("daemon.log"));
            judge.write_events(&yard.world.beside("events.log"));
            drop((judge, watch));
            let folder = yard.world.keep();
            Err(Box::new(Failure { seed: plan.seed, round, what, around, folder }))
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

fn one_round(
    plan: &Plan,
    round: usize,
    yard: &Yard,
    watch: &mut Watch,
    judge: &mut Judge,
    random: &mut Random,
) {
    let steps = STEPS_MIN + random.below(STEPS_MORE);
    yard.begin_round(steps * plan.writers);
    std::thread::scope(|scope| {
        for writer in 0..plan.writers {
            let mut random = Random::new(random.next());
            scope.spawn(move || {
                let _alarm = Alarm(yard);
                for _ in 0..steps {
                    write::step(yard, writer, &mut random);
                }
            });
        }
        yard.wait_steps(random.below(steps));
        judge.list(watch);
        disturb::disturb(yard, watch, judge, random);
    });
    judge.judge(round, yard, watch, random);
}
