//! The refwatch daemon and command line.

// A test that meets what it did not expect panics, whatever it is.
#![cfg_attr(test, allow(clippy::wildcard_enum_match_arm, clippy::cast_possible_truncation))]

mod app;
mod barrier;
mod cli;
mod config;
mod directory;
mod engine;
mod filter;
mod grpc;
mod intake;
mod log;
mod pass;
mod problems;
mod protected;
mod releases;
mod service;
mod settings;
mod status;
mod subscriptions;
mod wire;

fn main() -> std::process::ExitCode {
    cli::main()
}
