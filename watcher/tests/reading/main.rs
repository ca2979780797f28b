//! Reading repositories that real Git made.

mod broken;
mod corpus;
mod damage;
mod discover;
mod files;
mod layout;
mod races;
mod random;
mod reftable;
mod signature;
mod support;
mod worktrees;
