//! The refwatch daemon and command line.
fn main() {}
