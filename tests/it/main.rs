//! End-to-end tests: the real binary over real Git, one behaviour a file.

#![allow(clippy::print_stdout, reason = "the seed of a failure is told")]

mod stage;

mod ancestry;
mod bad_input;
mod baseline;
mod clients;
mod cloudevents;
mod contract;
mod docs;
mod examples;
mod extremes;
mod follow;
mod formats;
mod full;
mod guarantees;
mod hook_cli;
mod hooks;
mod hooks_restart;
mod hooks_t1416;
mod ingest;
mod moves;
mod ops;
mod packed;
mod polling;
mod reftable;
mod repositories;
mod resume;
mod security;
mod sidecar;
mod soak;
mod types;
mod writers;
