//! End-to-end tests: the real binary over real Git, one behaviour a file.

mod stage;

mod guarantees;
mod repositories;
mod types;
