//! Derives the steps that lead from what was known to what is seen, with the journal as an explanation.
