//! The contract of the stream, over the wire: one property a file, held by one validator, for every way to start and
//! for filters of every kind. The table is in `tests/README.md`.

mod scene;

mod atomicity;
mod cancelled;
mod cut;
mod deadline;
mod delivery;
mod drain;
mod epoch;
mod expiry;
mod half_open;
mod heartbeat;
mod many;
mod message_size;
mod ordering;
mod resumability;
mod retention;
mod slow;
mod typing;
