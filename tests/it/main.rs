//! End-to-end tests: the real binary over real Git, one behaviour a file.

mod stage;

mod baseline;
mod formats;
mod guarantees;
mod polling;
mod repositories;
mod resume;
mod speed;
mod types;
