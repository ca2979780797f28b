//! Soaks refwatch: random writers over many repositories, a daemon that is killed, hung and started anew, and a judge of
//! every guarantee. Ends with 1 when one did not hold, and says then with which seed, and where everything was left.
//!
//! `cargo run -p refwatch-tests --bin soak -- --seed 7 --minutes 10`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it is run for")]

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use refwatch_tests::soak::{Plan, run};

/// Soaks refwatch with random writers, and judges every guarantee.
#[derive(Debug, Parser)]
struct Arguments {
    /// All choices follow from it; by default from the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// How long, in minutes.
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// How many repositories there are at most at a time.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    repositories: u16,
    /// How many write at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    writers: u16,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let plan = Plan {
        seed: arguments.seed.unwrap_or_else(clock),
        duration: Duration::from_secs(arguments.minutes * 60),
        repositories: arguments.repositories.into(),
        writers: arguments.writers.into(),
    };
    println!("--seed {} --minutes {}", plan.seed, arguments.minutes);
    match run(&plan, |line| println!("{line}")) {
        Ok(report) => {
            println!("every guarantee held: {report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
