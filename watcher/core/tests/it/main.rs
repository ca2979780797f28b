//! The laws of the core, told as text cases, properties, exhaustive histories and a simulation.

mod apply;
mod cases;
mod classify;
mod fake_git;
mod given;
mod histories;
mod laws;
mod links;
mod push_cases;
mod push_git;
mod push_given;
mod push_laws;
mod push_simulation;
mod simulation;
