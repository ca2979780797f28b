//! The log of ref changes in SQLite.
