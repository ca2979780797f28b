//! The pure core of refwatch.
