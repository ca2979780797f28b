//! End-to-end tests: the real binary over real Git, one behaviour a file.

#![allow(clippy::print_stdout, reason = "the seed of a failure is told")]

mod stage;

mod guarantees;
mod repositories;
mod types;
