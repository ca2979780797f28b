//! Turns steps and facts about their objects into events.
