//! Makes plans of what was found. Pure: no file is looked at here, and none touched.

mod install;
mod remove;

pub(super) use install::{Others, Wanted, Way, install};
pub(super) use remove::remove;

use super::refusal::Refusal;
use super::step::Step;

/// What is to be done, in order, and what is left alone though somebody might expect otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) notes: Vec<String>,
}

/// A plan, or everything that speaks against it.
pub(super) type Planned = Result<Plan, Vec<Refusal>>;

#[cfg(test)]
mod tests;
