//! The documents: what they name exists, what they say to type works, and the events that they show are those of today.

mod commands;
mod events;
mod guide;
mod links;
mod stage;
