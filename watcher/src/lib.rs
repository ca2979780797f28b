//! Sees what changes in Git repositories.
